"""Plots of reports: learning curves and the map of recovered shares. Colours can be told apart by the colour-blind."""

import io
from itertools import product
from statistics import mean

from matplotlib.figure import Figure
from PIL import Image

from evaluation.rows import Row, select, unique, victims
from evaluation.verdicts import Finding
from experiments.report.grid_table import TITLES

# Okabe and Ito's palette ("Color Universal Design", 2008) without black, which is the clean victims' colour
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442")
ACROSS = 3  # panels side by side
MANY = 8  # victims side by side in a map


def curves(data: str, variants: list[str], rows: list[Row]) -> bytes | None:
    """PNG: one panel per victim; one line per variant and setting, mean over seeds of the balanced accuracy by epoch.

    None where no row of the data set has a curve.
    """
    drawn = [r for r in select(victims(rows), data=data) if r.curve]
    names = unique(drawn, "victim")
    if not names:
        return None
    across = min(len(names), ACROSS)
    down = -(-len(names) // ACROSS)
    figure = Figure(figsize=(4.2 * across + 1.8, 3.4 * down), layout="constrained")
    panels = figure.subplots(down, across, sharey=True, squeeze=False)
    lines = [("clean", "", "black", "-"), ("clean_fast", "", "grey", "-")]
    for i, variant in enumerate(variants):
        colour = COLOURS[i % len(COLOURS)]
        lines += [("standard", variant, colour, "-"), ("fast", variant, colour, "--")]
    handles = {}
    for panel, victim in zip(panels.flat, names, strict=False):
        for setting, variant, colour, style in lines:
            place = {"data": data, "victim": victim, "setting": setting} | ({"variant": variant} if variant else {})
            found = select(drawn, **place)
            if not found:
                continue
            points: dict[int, list[float]] = {}
            for point in (point for row in found for point in row.curve):
                points.setdefault(point.epoch, []).append(100 * point.balanced_accuracy)
            epochs = sorted(points)
            label = TITLES[setting] + (f", {variant}" if variant and len(variants) > 1 else "")
            [handles[label]] = panel.plot(
                epochs, [mean(points[e]) for e in epochs], color=colour, linestyle=style, label=verbatim(label)
            )
        handles["chance"] = panel.axhline(100 * drawn[0].chance, color="grey", linestyle=":", label="chance")
        panel.set(title=verbatim(victim), xlabel="epoch of the victim", ylim=(0, 102))
    for panel in panels.flat[len(names) :]:
        panel.set_axis_off()
    for panel in panels[:, 0]:
        panel.set_ylabel("balanced accuracy, %")
    figure.legend(handles=list(handles.values()), loc="outside right upper", fontsize=8)
    return _png(figure)


def share_map(setting: str, found: list[Finding]) -> bytes | None:
    """PNG: recovered share of a setting, a line for each data set and variant, a column for each victim; of more than
    MANY victims each has a line.

    Data sets and variants are named by the variant alone where there is one data set, and the other way round. None
    without any share.
    """
    found = [f for f in found if f.setting == setting]
    places = list(dict.fromkeys((f.data, f.variant) for f in found))
    who = list(dict.fromkeys(f.victim for f in found))
    shares = {(f.data, f.variant, f.victim): f.share for f in found}
    if all(share is None for share in shares.values()):
        return None
    many_data, many_variants = (len({p[i] for p in places}) > 1 for i in (0, 1))
    names = [", ".join(n for n, shown in zip(p, (many_data, many_variants), strict=True) if shown) for p in places]
    if not many_data and not many_variants:
        names = [p[0] for p in places]
    values = [[shares.get((*p, v)) for v in who] for p in places]
    lines, columns = names, who
    if len(who) > MANY:
        values, lines, columns = [list(line) for line in zip(*values, strict=True)], who, names
    figure = Figure(figsize=(2.8 + 0.95 * len(columns), 1.5 + 0.42 * len(lines)), layout="constrained")
    axes = figure.subplots()
    filled = [[float("nan") if s is None else 100 * s for s in line] for line in values]
    image = axes.imshow(filled, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for (i, line), (j, _) in product(enumerate(values), enumerate(columns)):
        share = line[j]
        text, dark = ("–", False) if share is None else (f"{100 * share:.0f}", share < 0.55)
        axes.text(j, i, text, ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(range(len(columns)), [verbatim(c) for c in columns], rotation=30, ha="right")
    axes.set_yticks(range(len(lines)), [verbatim(n) for n in lines])
    figure.colorbar(image, label="recovered share, %", extend="both")
    return _png(figure)


def verbatim(text: str) -> str:
    """A name as matplotlib shows it letter by letter: no formula between dollars."""
    return text.replace("$", r"\$")


def survival(rows: list[Row], variant: str) -> bytes:
    """PNG: one panel per victim, two bars per data set: accuracy after training on clean and on protected images.

    Args:
        rows: of a grid, settings clean and standard.
        variant: of the protection.
    """
    names, columns, trained = unique(rows, "data"), unique(rows, "victim"), victims(rows)
    figure = Figure(figsize=(2.6 * len(columns) + 0.6, 3.2), layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for panel, victim in zip(panels, columns, strict=True):
        for shift, setting, colour in ((-0.2, "clean", "#bbbbbb"), (0.2, "standard", COLOURS[0])):
            for place, data in enumerate(names):
                found = select(trained, data=data, victim=victim, setting=setting, variant=variant)
                values = [100 * row.scores.balanced_accuracy.last for row in found]
                if values:
                    errors = [[mean(values) - min(values)], [max(values) - mean(values)]]
                    label = {"clean": "clean", "standard": "protected"}[setting] if place == 0 else None
                    panel.bar(place + shift, mean(values), 0.4, color=colour, yerr=errors, ecolor="#555", label=label)
        for place, data in enumerate(names):
            for row in select(trained, data=data, setting="standard")[:1]:
                panel.plot([place - 0.45, place + 0.45], [100 * row.chance] * 2, ":", color="black")
        panel.set(title=verbatim(victim), ylim=(0, 100), xticks=range(len(names)))
        panel.set_xticklabels([verbatim(name) for name in names], rotation=60, ha="right", fontsize=8)
    panels[0].set_ylabel("balanced accuracy, %")
    panels[-1].legend(fontsize=8)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    with Image.open(buffer) as drawn:  # lines and even fields: a palette shows the same in a third of the bytes
        drawn.convert("RGB").quantize(dither=Image.Dither.NONE).save(smaller := io.BytesIO(), "png", optimize=True)
    return smaller.getvalue()
