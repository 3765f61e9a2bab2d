"""What a grid found as one compact table, from its rows alone: a line for each data set, variant and victim."""

from statistics import mean, stdev
from typing import Any

Row = dict[str, Any]
CELLS, SPEC = "cells.jsonl", "grid.json"  # files of a grid's folder: its rows, and what was asked
COLUMNS = ("clean", "standard", "remainder", "clean_fast", "fast", "remainder_fast", "misclassified")
SIZES = (("linf", 255), ("l2", 1), ("l0", 1))
TITLES = {
    "clean": "clean A",
    "standard": "standard",
    "remainder": "clean remainder of A alone",
    "clean_fast": "clean B",
    "fast": "fast",
    "remainder_fast": "clean remainder of B alone",
    "misclassified": "misclassified images of B alone",
}
MEASURED_ON = {
    "test": "the clean test part, used once per seed",
    "rest": "clean training images that the victim does not train on (the test part is untouched)",
}


def select(rows: list[Row], **place: Any) -> list[Row]:
    """Finished rows at a place; clean victims are those of every variant."""
    return [
        r
        for r in rows
        if "error" not in r and all(r["place"].get(k, v if k == "variant" else None) == v for k, v in place.items())
    ]


def moments(values: list[float], scale: float = 1.0) -> str:
    """Mean ± standard deviation; – without any."""
    if not values:
        return "–"
    spread = f" ± {scale * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{scale * mean(values):.1f}{spread}"


def scored(rows: list[Row], setting: str, **place: Any) -> str:
    """Balanced accuracy of victims at their last epoch, in %."""
    found = select(rows, setting=setting, **place)
    return moments([row["scores"]["balanced_accuracy"]["last"] for row in found], 100)


def table(rows: list[Row]) -> str:
    """A line for each data set, variant and victim, as Markdown."""
    settings = [s for s in COLUMNS if any(r["place"].get("setting") == s for r in rows)]
    made = [r for r in rows if "victim" not in r["place"]]
    head = ["data", "chance", "variant", "victim", *(TITLES[s] for s in settings)]
    head += ["B classified correctly", "PSNR, dB", "SSIM", "minutes to make"]
    sizes, passes = unlike_bounds(made), any(backward(r) is not None for r in made)
    head += ["L∞, /255", "L2", "pixels changed"] if sizes else []
    head += ["passes"] if passes else []
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for data in unique(rows, "data"):
        chance = next(iter(select(rows, data=data)), {}).get("chance")
        for variant in unique(made, "variant"):
            protections = select(made, data=data, variant=variant)
            for victim in unique(rows, "victim"):
                place = {"data": data, "variant": variant, "victim": victim}
                if not select([r for r in rows if "variant" in r["place"]], **place, setting="standard"):
                    continue
                named = [100 * r["named"]["balanced_accuracy"] for r in protections if r["named"]]
                hidden = [r["imperceptibility"]["standard"] for r in protections]
                cells = [f"`{data}`", f"{100 * chance:.0f}" if chance else "–", variant, victim]
                cells += [scored(rows, s, **place) for s in settings]
                cells += [moments(named), moments([h["psnr"] for h in hidden])]
                cells += [f"{mean(h['ssim'] for h in hidden):.3f}" if hidden else "–"]
                cells += [moments([sum(r["stages"].values()) / 60 for r in protections])]
                if sizes:
                    cells += [moments([h[norm] for h in hidden if norm in h], scale) for norm, scale in SIZES]
                if passes:
                    cells += [moments([n for r in protections if (n := backward(r)) is not None])]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def by_victim(rows: list[Row], variant: str, setting: str) -> str:
    """A line for each data set, a column for each victim: clean → protected, as Markdown.

    Args:
        rows: of a grid.
        variant: of the protection.
        setting: ``standard`` or ``fast``.
    """
    clean, victims = {"standard": "clean", "fast": "clean_fast"}[setting], unique(rows, "victim")
    made = [r for r in rows if "victim" not in r["place"]]
    lines = ["| data | chance | " + " | ".join(victims) + " | PSNR, dB | SSIM |", "|" + "---|" * (len(victims) + 4)]
    for data in unique(rows, "data"):
        hidden = [r["imperceptibility"][setting] for r in select(made, data=data, variant=variant)]
        pairs = [
            [scored(rows, s, data=data, variant=variant, victim=victim) for s in (clean, setting)] for victim in victims
        ]
        chance = next(iter(select(rows, data=data, setting=setting)), {}).get("chance")
        cells = [f"`{data}`", f"{100 * chance:.0f}" if chance else "–", *(" → ".join(pair) for pair in pairs)]
        cells += [moments([h["psnr"] for h in hidden])]
        lines.append("| " + " | ".join([*cells, f"{mean(h['ssim'] for h in hidden):.3f}" if hidden else "–"]) + " |")
    return "\n".join(lines)


def unlike_bounds(rows: list[Row]) -> bool:
    """Whether methods of other bounds than L∞ stand among protections: the largest changes are far apart."""
    largest = [r["imperceptibility"]["standard"]["linf"] for r in rows if "imperceptibility" in r]
    return bool(largest) and max(largest) > 2 * min(largest)


def backward(row: Row) -> float | None:
    """Backward passes per image that fitting took; None where they were not counted (``passes``: in older rows)."""
    found: float | None = (row.get("cost_to_make") or row.get("passes") or {}).get("backward")
    return found


def unique(rows: list[Row], key: str) -> list[Any]:
    """The values of a key of the places, each once, in order."""
    return list(dict.fromkeys(r["place"][key] for r in rows if key in r["place"]))


def notes(spec: dict[str, Any], rows: list[Row]) -> list[str]:
    """How to read the table."""
    done = [r for r in rows if "error" not in r]
    failed = len(rows) - len(done)
    where = sorted({r["device"] for r in done})
    torch = sorted({r["versions"]["torch"] for r in done})
    return [
        "Balanced accuracy in % at the victim's last epoch, mean ± standard deviation over seeds "
        f"{', '.join(map(str, spec['seeds']))}, on {MEASURED_ON[spec['measured_on']]}. Classified correctly: balanced "
        "accuracy of the protection's own classifier on unseen images. PSNR and SSIM: of the standard set."
        + (" L∞: its largest change; L2 and pixels changed: means over its images." if unlike_bounds(done) else "")
        + (" Passes: backward, per image, to fit." if any(backward(r) is not None for r in done) else ""),
        "",
        f"{len(done)} cells, {sum(r['seconds'] for r in done) / 3600:.1f} hours of single processes on "
        f"{', '.join(where) or 'nothing yet'}; PyTorch {', '.join(torch) or '–'}."
        + (f" {failed} failed." if failed else ""),
    ]
