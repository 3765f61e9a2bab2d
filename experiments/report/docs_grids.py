"""Tables of the docs about committed grids, runs and the generator that ships."""

import json
from itertools import product
from statistics import mean
from typing import Any

from evaluation.rows import finished, protections, select, victims
from evaluation.verdicts import moments
from experiments.report.costs import costs
from experiments.report.docs_results import ROOT, as_table, rows_of
from experiments.report.grid_table import MEASURED_ON, by_victim, notes, scored, ssim
from experiments.report.grid_table import table as table_of_grid
from experiments.report.leaderboard import accuracies, board, said
from experiments.report.published import beside
from experiments.results import summary_lines, table
from gan.protection import SHIPPED

SURVIVAL = ("untouched", "JPEG 50", "half size", "gray")  # victims of the README's table; they have all sets and seeds
FAST = ("untouched", "JPEG 50")  # victims of the fast setting by which noise networks are compared
# clean accuracy in %, of 94.68 without: ResNet-18 on the whole CIFAR-10 (README of Image Shortcut Squeezing)
PUBLISHED_CLEAN = {"gray": 92.41, "jpeg:10": 85.38}


def markdown(results: dict[str, Any]) -> str:
    """A run's table and the facts below it."""
    where = results["environment"]
    device = f"{where['device']}, {where['cpus']} cores, PyTorch {where['versions']['torch']}"
    return "\n".join([as_table(table(results)), "", " ".join(summary_lines(results)) + f" On: {device}."])


def grid_table(name: str) -> str:
    """A committed grid's table and how to read it."""
    rows, spec = rows_of(name)
    return "\n".join([table_of_grid(rows), "", *notes(spec, rows)])


def survival_table(variant: str, name: str = "survival", setting: str = "standard", only: tuple[str, ...] = ()) -> str:
    """A committed grid's table with a column for each victim (or some of them), and where it was computed."""
    rows, spec = rows_of(name)
    rows = [r for r in rows if not only or r.place.victim in (None, *only)]
    where = sorted({r.device for r in finished(rows)})
    note = (
        "Balanced accuracy in % at the victim's last epoch, clean → protected, mean ± standard deviation over seeds "
        f"{', '.join(map(str, spec['seeds']))}, on {MEASURED_ON[spec['measured_on']]}. On {', '.join(where)}."
    )
    return f"{by_victim(rows, variant, setting)}\n\n{note}"


def candidates() -> str:
    """What each choice of the game buys: networks trained by ``experiments.gpu.pretraining``, a line for each set."""
    rows, spec = rows_of("pretraining")
    head = [
        "game",
        "data",
        *spec["victims"],
        *(f"fast, {victim}" for victim in FAST),
        "PSNR, dB",
        "SSIM",
        "luma",
        "varies",
    ]
    lines = [head]
    for data in spec["data"]:
        clean = [scored(rows, "clean", data=data, victim=v) for v in spec["victims"]]
        clean += [scored(rows, "clean_fast", data=data, victim=v) for v in FAST]
        lines.append(["clean pictures", f"`{data}`", *clean, "", "", "", ""])
    for variant, data in product(spec["variants"], spec["data"]):
        place = {"data": data, "variant": variant}
        cells = [scored(rows, "standard", **place, victim=v) for v in spec["victims"]]
        cells += [scored(rows, "fast", **place, victim=v) for v in FAST]
        found = select(protections(rows), **place)
        hidden = [r.imperceptibility["standard"] for r in found]
        cells += [moments([h.psnr for h in hidden]), ssim(hidden)]
        cells += [moments([r.survival["standard"]["gray"] for r in found if r.survival], 100)]
        cells += [moments([r.variation["standard"] for r in found if r.variation], 100)]
        lines.append([variant, f"`{data}`", *cells])
    where = sorted({r.device for r in finished(rows)})
    return as_table(lines) + (
        "\n\nBalanced accuracy in % at the victim's last epoch, on training images that the victim does not train on; "
        f"seeds {', '.join(map(str, spec['seeds']))}. Shares of the noise's energy, in %: luma, that gray leaves; "
        f"varies, that differs from image to image within a class. On {', '.join(where)}."
    )


def clean_columns(*grids: str) -> str:
    """What each defence costs victims of clean images, beside the same victim without it; the first grid's counts."""
    found: dict[str, dict[str, str]] = {}
    for name in grids:
        rows, spec = rows_of(name)
        clean = select(victims(rows), setting="clean")
        for data, (victim, options) in product(spec["data"], spec["victims"].items()):
            defence = options.get("victim.defence")
            without = {key: value for key, value in options.items() if key != "victim.defence"}
            plain = next(other for other, known in spec["victims"].items() if known == without)
            own, base = (
                [100 * r.scores.accuracy.last for r in select(clean, data=data, victim=which)]
                for which in (victim, plain)
            )
            if defence and own and base:
                column = f"`{data}`, {options.get('victim.arch', 'narrow')}"
                change = f"{mean(own):.1f} ({mean(own) - mean(base):+.1f})"
                found.setdefault(defence, {}).setdefault(column, change)
    columns = list(dict.fromkeys(column for row in found.values() for column in row))
    published = {defence: f"{accuracy - 94.68:+.1f}" for defence, accuracy in PUBLISHED_CLEAN.items()}
    body = [
        [f"`{defence}`", *(row.get(column, "") for column in columns), published.get(defence, "")]
        for defence, row in found.items()
    ]
    return as_table([["defence", *columns, "published change"], *body])


def compared(name: str) -> str:
    """A committed comparison's costs and accuracies, and published ones beside; says so where it was not run yet."""
    if not (ROOT / "results" / "grids" / name).exists():
        return (
            f"Not run yet (`make compare DATA={name.removeprefix('compare_')}`): no figure compares these methods here."
        )
    rows, spec = rows_of(name)
    found, published = costs(spec, rows), beside(spec, rows)
    priced = as_table([found.head, *found.rows]) if found else "Costs were not measured."
    known = ["", as_table([published.table.head, *published.table.rows]), "", published.said] if published else []
    return "\n".join([priced, "", grid_table(name), *known])


def leaderboard(name: str) -> str:
    """A committed grid's methods by what the strongest attacker gets back, for each of its data sets."""
    rows, spec = rows_of(name)
    parts = []
    for data in spec["data"]:
        parts += [as_table(board(spec, rows, data)), as_table(accuracies(spec, rows, data)), said(spec, rows, data)]
    return "\n\n".join(parts)


def photos() -> str:
    """What the generator that ships was measured to protect photos from, for each kind of code."""
    found = json.loads((SHIPPED.parent / "results.json").read_text())
    titles = {
        "folders": "its class folder's",
        "groups": "its group of like photos'",
        "read": "of the class read from it",
    }
    transformations = {"none": "untouched", "jpeg:75": "JPEG 75", "gray": "gray"}
    lines = [
        "| a photo's code | " + " | ".join(transformations.values()) + " |",
        "|" + "---|" * (1 + len(transformations)),
    ]
    for kind, title in titles.items():
        after = found[kind]["after"]
        pairs = [
            " → ".join(moments(after[transformation][name], 100) for name in ("clean_fast", "fast"))
            for transformation in transformations
        ]
        lines.append("| " + " | ".join([title, *pairs]) + " |")
    one = found["read"]
    seeds, device = len(one["after"]["none"]["fast"]), one["environment"]["device"]
    return (
        "\n".join(lines) + f"\n\n{one['what']}; accuracy in % at the victim's last epoch, clean → protected, "
        f"{seeds} seeds, chance {100 * one['chance']:.0f}. On {device}."
    )
