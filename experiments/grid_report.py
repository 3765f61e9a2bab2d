"""What a grid found, as a table and as plots, from its rows alone."""

import io
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from matplotlib.figure import Figure

from datamodules.protected import write_atomic
from experiments.grid import save_rows

Row = dict[str, Any]
COLUMNS = ("clean", "standard", "clean_fast", "fast", "misnamed")
SIZES = (("linf", 255), ("l2", 1), ("l0", 1))
TITLES = {
    "clean": "clean A",
    "standard": "standard",
    "clean_fast": "clean B",
    "fast": "fast",
    "misnamed": "misnamed of B alone",
}


def write_report(folder: Path, name: str, spec: dict[str, Any], rows: list[Row]) -> None:
    """Writes rows, ``table.md``, and a plot of learning curves a data set."""
    save_rows(folder, spec, rows)
    text = [f"# {name}", "", spec["about"], "", table(rows), "", *notes(spec, rows), ""]
    write_atomic(folder / "table.md", "\n".join(text).encode())
    for data in spec["data"]:
        write_atomic(folder / f"{data}.png", curves(data, list(spec["variants"]), rows))


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
    head += ["B named right", "PSNR, dB", "SSIM", "minutes to make"]
    sizes = any("l0" in r["imperceptibility"]["standard"] for r in made if "error" not in r)  # older rows have none
    head += ["L∞, /255", "L2", "pixels changed", "passes"] if sizes else []
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
                    cells += [moments([r["passes"]["backward"] for r in protections if r.get("passes")])]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def unique(rows: list[Row], key: str) -> list[Any]:
    """The values of a key of the places, each once, in order."""
    return list(dict.fromkeys(r["place"][key] for r in rows if key in r["place"]))


def notes(spec: dict[str, Any], rows: list[Row]) -> list[str]:
    """How to read the table."""
    done = [r for r in rows if "error" not in r]
    on = {
        "test": "the clean test part, used once a seed",
        "rest": "clean training images that the victim does not train on (the test part is untouched)",
    }
    failed = len(rows) - len(done)
    where = sorted({r["device"] for r in done})
    torch = sorted({r["versions"]["torch"] for r in done})
    return [
        "Balanced accuracy in % at the victim's last epoch, mean ± standard deviation over seeds "
        f"{', '.join(map(str, spec['seeds']))}, on {on[spec['measured_on']]}. Named right: balanced accuracy of the "
        "generator's reading of unseen images. PSNR and SSIM: of the standard set."
        + (
            " L∞: its largest change; L2 and pixels changed: means over its images. Passes: backward, an image, to fit."
            if any("l0" in r.get("imperceptibility", {}).get("standard", {}) for r in done)
            else ""
        ),
        "",
        f"{len(done)} cells, {sum(r['seconds'] for r in done) / 3600:.1f} hours of single processes on "
        f"{', '.join(where) or 'nothing yet'}; PyTorch {', '.join(torch) or '–'}."
        + (f" {failed} failed." if failed else ""),
    ]


def curves(data: str, variants: list[str], rows: list[Row]) -> bytes:
    """PNG: a panel a victim; a line a variant and setting, mean over seeds of the balanced accuracy by epoch."""
    victims = unique(rows, "victim")
    figure = Figure(figsize=(4.2 * len(victims), 3.6), layout="constrained")
    panels = figure.subplots(1, len(victims), sharey=True, squeeze=False)[0]
    for panel, victim in zip(panels, victims, strict=True):
        chance = 0.0
        lines: list[tuple[str, str, str, str]] = [
            ("clean", "", "black", "-"),
            ("clean_fast", "", "grey", "-"),
        ]
        for i, variant in enumerate(variants):
            lines += [("standard", variant, f"C{i % 10}", "-"), ("fast", variant, f"C{i % 10}", "--")]
        for setting, variant, colour, style in lines:
            place = {"data": data, "victim": victim, "setting": setting} | ({"variant": variant} if variant else {})
            found = select(rows, **place)
            if not found:
                continue
            chance = found[0]["chance"]
            epochs = [point["epoch"] for point in found[0]["curve"]]
            values = [100 * mean(r["curve"][i]["balanced_accuracy"] for r in found) for i in range(len(epochs))]
            label = TITLES[setting] + (f", {variant}" if variant and len(variants) > 1 else "")
            panel.plot(epochs, values, color=colour, linestyle=style, label=label)
        panel.axhline(100 * chance, color="grey", linestyle=":", label="chance")
        panel.set(title=f"{data}: {victim}", xlabel="epoch of the victim", ylim=(0, 102))
    panels[0].set_ylabel("balanced accuracy on clean images, %")
    handles = dict(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    return buffer.getvalue()
