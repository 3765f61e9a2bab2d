"""What a grid found as one compact table, from its rows alone: a line for each data set, variant and victim."""

from statistics import mean
from typing import Any

from evaluation.rows import NoiseSize, ProtectionRow, Row, failures, finished, protections, select, unique, victims
from evaluation.verdicts import moments

COLUMNS = ("clean", "standard", "remainder", "clean_fast", "fast", "remainder_fast", "misclassified")
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


def scored(rows: list[Row], setting: str, **place: str) -> str:
    """Balanced accuracy of victims at their last epoch, in %."""
    found = select(victims(rows), setting=setting, **place)
    return moments([row.scores.balanced_accuracy.last for row in found], 100)


def chance_of(rows: list[Row], **place: str) -> str:
    """Accuracy of guessing in %, of the victims at a place."""
    found = select(victims(rows), **place)
    return f"{100 * found[0].chance:.0f}" if found else "–"


def table(rows: list[Row]) -> str:
    """A line for each data set, variant and victim, as Markdown."""
    settings = [s for s in COLUMNS if s in unique(rows, "setting")]
    made = protections(rows)
    head = ["data", "chance", "variant", "victim", *(TITLES[s] for s in settings)]
    head += ["B classified correctly", "PSNR, dB", "SSIM", "minutes to make"]
    sizes, passes = unlike_bounds(made), any(backward(r) is not None for r in made)
    head += ["L∞, /255", "L2", "pixels changed"] if sizes else []
    head += ["passes"] if passes else []
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for data in unique(rows, "data"):
        for variant in unique(made, "variant"):
            own = select(made, data=data, variant=variant)
            for victim in unique(rows, "victim"):
                place = {"data": data, "variant": variant, "victim": victim}
                if not select(victims(rows), **place, setting="standard"):
                    continue
                hidden = [r.imperceptibility["standard"] for r in own]
                cells = [f"`{data}`", chance_of(rows, data=data), variant, victim]
                cells += [scored(rows, s, **place) for s in settings]
                cells += [moments([r.named.balanced_accuracy for r in own if r.named], 100)]
                cells += [moments([h.psnr for h in hidden]), ssim(hidden)]
                cells += [moments([sum(r.stages.values()) / 60 for r in own])]
                if sizes:
                    cells += [moments([h.linf for h in hidden], 255), moments([h.l2 for h in hidden])]
                    cells += [moments([h.l0 for h in hidden if h.l0 is not None])]
                if passes:
                    cells += [moments([n for r in own if (n := backward(r)) is not None])]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def by_victim(rows: list[Row], variant: str, setting: str) -> str:
    """A line for each data set, a column for each victim: clean → protected, as Markdown.

    Args:
        rows: of a grid.
        variant: of the protection.
        setting: ``standard`` or ``fast``.
    """
    clean, names = {"standard": "clean", "fast": "clean_fast"}[setting], unique(rows, "victim")
    lines = ["| data | chance | " + " | ".join(names) + " | PSNR, dB | SSIM |", "|" + "---|" * (len(names) + 4)]
    for data in unique(rows, "data"):
        hidden = [r.imperceptibility[setting] for r in select(protections(rows), data=data, variant=variant)]
        pairs = [
            [scored(rows, s, data=data, variant=variant, victim=victim) for s in (clean, setting)] for victim in names
        ]
        cells = [f"`{data}`", chance_of(rows, data=data, setting=setting), *(" → ".join(pair) for pair in pairs)]
        lines.append("| " + " | ".join([*cells, moments([h.psnr for h in hidden]), ssim(hidden)]) + " |")
    return "\n".join(lines)


def ssim(hidden: list[NoiseSize]) -> str:
    """Mean over protections; – without any, or where images are too small for it."""
    found = [h.ssim for h in hidden if h.ssim is not None]
    return f"{mean(found):.3f}" if found else "–"


def unlike_bounds(rows: list[ProtectionRow]) -> bool:
    """Whether methods of other bounds than L∞ stand among protections: the largest changes are far apart."""
    largest = [r.imperceptibility["standard"].linf for r in rows]
    return bool(largest) and max(largest) > 2 * min(largest)


def backward(row: ProtectionRow) -> float | None:
    """Backward passes per image that fitting took; None where they were not counted."""
    return row.cost_to_make.backward if row.cost_to_make else None


def notes(spec: dict[str, Any], rows: list[Row]) -> list[str]:
    """How to read the table."""
    made, done = protections(rows), finished(rows)
    failed = len(failures(rows))
    where = sorted({r.device for r in done})
    torch = sorted({r.versions["torch"] for r in done})
    return [
        "Balanced accuracy in % at the victim's last epoch, mean ± standard deviation over seeds "
        f"{', '.join(map(str, spec['seeds']))}, on {MEASURED_ON[spec['measured_on']]}. Classified correctly: balanced "
        "accuracy of the protection's own classifier on unseen images. PSNR and SSIM: of the standard set."
        + (" L∞: its largest change; L2 and pixels changed: means over its images." if unlike_bounds(made) else "")
        + (" Passes: backward, per image, to fit." if any(backward(r) is not None for r in made) else ""),
        "",
        f"{len(done)} cells, {sum(r.seconds for r in done) / 3600:.1f} hours of single processes on "
        f"{', '.join(where) or 'nothing yet'}; PyTorch {', '.join(torch) or '–'}."
        + (f" {failed} failed." if failed else ""),
    ]
