"""Writes the tables of README.md and docs/ from results/ and from the data modules: ``make tables``.

No number is typed by hand. The schema of rows is written, too, from their classes.
"""

import json
import re
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from baselines.info import method_infos
from datamodules.config import SETS
from datamodules.renames import current_spec
from evaluation.rows import CELLS, SPEC, Row, finished, protections, read_rows, schema, select, victims
from experiments.architecture import inventory, picture
from experiments.costs import costs
from experiments.data import module_of
from experiments.figures import share_map, survival
from experiments.grid_report import MEASURED_ON, by_victim, moments, notes, scored, ssim
from experiments.grid_report import table as table_of_grid
from experiments.leaderboard import accuracies, board, said
from experiments.published import beside
from experiments.results import summary_lines, table
from experiments.verdicts import findings
from gan.protection import SHIPPED
from victims.config import RECIPES, Recipe
from victims.defences import DEFENCES, example

ROOT = Path(__file__).parents[1]
SURVIVAL = ("untouched", "JPEG 50", "half size", "gray")  # victims of the README's table; they have all sets and seeds
FAST = ("untouched", "JPEG 50")  # victims of the fast setting by which noise networks are compared


def as_table(rows: list[list[str]]) -> str:
    """Rows of cells, the head first, as Markdown."""
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def markdown(results: dict[str, Any]) -> str:
    """A run's table and the facts below it."""
    where = results["environment"]
    device = f"{where['device']}, {where['cpus']} cores, PyTorch {where['versions']['torch']}"
    return "\n".join([as_table(table(results)), "", " ".join(summary_lines(results)) + f" On: {device}."])


def overhead(result: dict[str, Any]) -> str:
    """The sentence about Lightning's cost."""
    return (
        f"Lightning's loop takes {result['ratio']:.3f} times a bare PyTorch loop with the same mathematics on the same "
        f"batches (median of {len(result['ratios'])} rounds in one run; weights "
        f"{'bit-equal' if result['weights_bit_equal'] else 'different'}; `make benchmark`)."
    )


def load(name: str) -> Any:
    """Content of a results file."""
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def shipped() -> str:
    """What the card of the noise network that comes with the package says."""
    card = json.loads(SHIPPED.with_suffix(".json").read_text())
    return (
        f"{card['command']}: {card['steps']:,} steps on {card['images']:,} pictures, {card['pictures']}; "
        f"{card['classes']} classes; "
        f"{card['seconds'] / 60:.0f} minutes; at the end level {card['level']:.2f}, read {card['read']:.2f}; "
        f"{SHIPPED.stat().st_size / 2**20:.1f} MiB; PyTorch {card['versions']['torch']}."
    )


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


def checked(result: dict[str, Any]) -> str:
    """What a check of protected photos found, a line for each chain."""
    lines = ["| what happens to the photos | clean → protected | noise left |", "|---|---|---|"]
    for one in result["chains"]:
        pair = f"{100 * one['clean']:.0f} → {100 * one['protected']:.0f}"
        lines.append(f"| `{one['chain']}`: {one['does']} | {pair} | {100 * one['noise_left']:.0f} % |")
    return "\n".join(lines) + (
        f"\n\n{result['photos']} photos in {len(result['classes'])} class folders (`{result['command']}`): balanced "
        f"accuracy in %, seed {result['seed']}, chance {100 * result['chance']:.0f}. On "
        f"{result['environment']['device']}."
    )


def leaderboard(name: str) -> str:
    """A committed grid's methods by what the strongest attacker gets back, for each of its data sets."""
    rows, spec = rows_of(name)
    parts = []
    for data in spec["data"]:
        parts += [as_table(board(spec, rows, data)), as_table(accuracies(spec, rows, data)), said(spec, rows, data)]
    return "\n\n".join(parts)


def rows_of(name: str) -> tuple[list[Row], dict[str, Any]]:
    """A committed grid's rows, and what it was asked."""
    folder = ROOT / "results" / "grids" / name
    return read_rows(folder / CELLS), current_spec(json.loads((folder / SPEC).read_text()))


# clean accuracy in %, of 94.68 without: ResNet-18 on the whole CIFAR-10 (README of Image Shortcut Squeezing)
PUBLISHED_CLEAN = {"gray": 92.41, "jpeg:10": 85.38}


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


def data_sets() -> str:
    """One row per data set, from what its module states."""
    rows = [["`DATA=`", "data set", "classes", "images (train + val + test)", "pixels", "licence", "what you do"]]
    for name in SETS:
        info = module_of(name).info
        title = f"[{info.title}]({info.page})" if info.page else info.title
        rows.append([f"`{name}`", title, str(info.classes or "yours"), info.images, info.size, info.licence, info.todo])
    return as_table(rows)


def citations() -> str:
    """Where each data set is published."""
    return "\n".join(f"* `{name}`: {info.citation}." for name in SETS if (info := module_of(name).info).citation)


def defences(stage: str) -> str:
    """One row per defence of one stage, from what is stated where its name is defined."""
    rows = [["written", "what is done", "parameters", "source"]]
    rows += [
        [f"`{example(name)}`", defence.does, "; ".join(p.described for p in defence.parameters) or "–", defence.source]
        for name, defence in DEFENCES.items()
        if defence.stage == stage
    ]
    return as_table(rows)


def recipes() -> str:
    """One row per recipe of victims."""
    head = ["`victim.recipe=`", "network", "starts from", "epochs", "batch", "optimizer", "rate", "rises for"]
    rows = [[*head, "rate falls", "weight decay", "gradient clipped at", "augmentation", "besides"]]
    for name, r in RECIPES.items():
        optimizer = (
            "AdamW" if r.optimizer == "adamw" else f"SGD, {'Nesterov ' if r.nesterov else ''}momentum {r.momentum}"
        )
        rows.append(
            [
                *(f"`{name}`", r.arch, r.start.replace("_", "-"), str(r.epochs), str(r.batch_size), optimizer),
                *(f"{r.lr:g}", f"{100 * r.warmup:.0f} %" if r.warmup else "–", falls(r), f"{r.weight_decay:g}"),
                *(f"{r.clip:g}" if r.clip else "–", r.augment, besides(r)),
            ]
        )
    return as_table(rows)


def besides(recipe: Recipe) -> str:
    """What else a recipe does to its batches, its labels and its weights."""
    techniques = [] if recipe.techniques == "none" else [f"`{recipe.techniques}`"]
    smoothing = [f"labels smoothed by {recipe.smoothing:g}"] if recipe.smoothing else []
    ema = [f"mean of the weights with decay {recipe.ema:g}"] if recipe.ema else []
    return "; ".join(techniques + smoothing + ema) or "–"


def falls(recipe: Recipe) -> str:
    """How a recipe's learning rate falls."""
    if recipe.milestones is None:
        return "cosine"
    shares = ", ".join(f"{100 * share:g} %" for share in recipe.milestones)
    return f"times {recipe.gamma:g} at {shares}" if shares else "not"


def victim_speed(result: dict[str, Any]) -> str:
    """The sentence about the trainer of victims."""
    shown = ", ".join(
        f"{ratio:.2f} {'with ' + name.partition(', ')[2] if ', ' in name else 'without augmentation'}"
        for name, ratio in result["ratio"].items()
    )
    return (
        f"The trainer makes {result['images_per_second']['ours']:.0f} images per second (`{result['recipe']}`, "
        f"{result['arch']}, 32×32, batches of {result['batch_size']}, {result['precision']}); of a bare PyTorch loop "
        f"over preloaded float tensors with the same network, batch and precision that is {shown} (processor time on "
        f"{result['environment']['device']}, one thread, median of {result['rounds']} rounds"
        f"{'; ' + result['note'] if result['note'] else ''}; `{result['command']}`)."
    )


def data_path(result: dict[str, Any]) -> str:
    """The sentences about the cost of the data path."""
    plain, scaled = result["cache"], result["cache_scaled"]
    batches = {name: result[f"batches {name}"] for name in ("none", "crop+flip")}
    small, large = result["memory"]
    return "\n".join(
        [
            f"* Building the cache: {plain['images_per_second']:.0f} JPEGs per second (640×480 to 64×64), "
            f"{plain['ratio']:.2f} of the speed of bare Pillow in as many threads, "
            f"{scaled['ratio']:.2f} of bare Pillow with the same scaled decoding.",
            f"* Batches of 128 (and a partner for each image) from the cache: "
            f"{batches['none']['batches_per_second']:.0f} per second, {batches['none']['ratio']:.2f} of a plain loop "
            f"over the same array in memory; with crop and flip {batches['crop+flip']['batches_per_second']:.0f}, "
            f"{batches['crop+flip']['ratio']:.2f}.",
            f"* Memory of its own that a process adds while it builds a cache and reads an epoch: "
            f"{small['peak_mib'] - small['before_mib']:.0f} MiB for {small['images']:,} images, "
            f"{large['peak_mib'] - large['before_mib']:.0f} MiB for {large['images']:,} ({large['set_mib']:.0f} MiB).",
            f"* On {result['environment']['device']}, {result['environment']['cpus']} cores; medians of "
            f"{len(plain['ratios'])} rounds in one run (`make benchmark`).",
        ]
    )


def methods() -> str:
    """One row per protection, from what baselines/info.py states."""
    rows = [["`method=`", "what", "paper", "bound", "needs labels to protect", "protects", "passes to fit"]]
    for row in method_infos():
        labels = "yes" if row.labels else "no"
        rows.append([f"`{row.method}`", row.title, row.paper, row.norm, labels, row.images, row.cost])
    return as_table(rows)


def fitting(name: str) -> str:
    """One row per method: passes and seconds of fitting beside what its paper implies; says so where unmeasured."""
    if not (ROOT / "results" / f"{name}.json").exists():
        return "Not measured yet (`make benchmark`)."
    result = load(name)
    rows = [
        ["`method=`", "backward passes per image", "implied by the paper", "ratio", "seconds, of the implied passes'"]
    ]
    for method, found in result["methods"].items():
        counts = [f"{found[key]:.2f}" for key in ("passes", "implied", "passes_ratio")]
        seconds = "–" if found["seconds_ratio"] is None else f"{found['seconds_ratio']:.2f}"
        rows.append([f"`{method}`", *counts, seconds])
    where = result["environment"]
    told = (
        f"{result['images']} digits, few steps, one thread of {where['device']}; seconds of the processor, medians of "
        f"{result['rounds']} rounds (`python -m experiments.benchmarks.methods rounds={result['rounds']}`)."
    )
    return "\n".join([as_table(rows), "", told])


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


def protecting(result: dict[str, Any]) -> str:
    """The sentences about the cost of protecting a folder."""
    shares = ", ".join(f"{step} {100 * share:.0f} %" for step, share in result["shares"].items())
    again = result["again_processor_seconds"]
    note = f" ({result['note']})" if result["note"] else ""
    return "\n".join(
        [
            f"* {result['images_per_processor_second']:.0f} photos for each second of one core "
            f"({result['images']} of `{result['photos']}`, a generator of the default form), "
            f"{result['ratio']:.2f} of bare decoding and encoding with the same settings, which makes "
            f"{result['bare_images_per_processor_second']:.0f}.",
            f"* With the codes of class folders, which leaves reading out: {result['folders_images_per_second']:.0f} "
            f"photos per second, {result['folders_ratio']:.2f} of bare decoding and encoding.",
            f"* Where the time goes: {shares}. Reading the class takes "
            f"{result['milliseconds']['read the class']:.1f} ms per photo, {result['batch']} photos at a time; one at "
            f"a time {result['read_alone_milliseconds']:.1f} ms.",
            f"* Without any reading the ratio would be {result['ratio_without_reading']:.2f}: finding and adding the "
            "noise and decoding every copy again are the rest.",
            f"* The report takes {result['report_processor_seconds']:.1f} s of these figures; more photos hardly make "
            "it longer.",
            f"* A second call, which finds and verifies everything: {1000 * again / result['images']:.1f} ms per "
            "photo.",
            f"* On {result['environment']['device']}, threads: {result['workers']}{note}; medians of "
            f"{len(result['seconds']['ours'])} rounds in one run (`{result['command']}`).",
        ]
    )


def unless_missing(name: str, render: Callable[[Any], str]) -> str:
    """A results file's place, or that it has not been measured yet."""
    if not (ROOT / "results" / f"{name}.json").exists():
        return f"Not measured yet: `python -m experiments.benchmarks.{name.removesuffix('_cpu')}`, then `make tables`."
    return render(load(name))


def where_measured(result: dict[str, Any]) -> str:
    """Machine and command of a benchmark."""
    note = f" ({result['note']})" if result["note"] else ""
    place = result["environment"]
    return f"On {place['device']}, {place['cpus']} cores{note}; `{result['command']}`."


def scaling(result: dict[str, Any]) -> str:
    """Whether numbers of processes compute the same, and what sharing a step costs."""
    rows = [["start", "losses compared", "largest relative difference", "results that differ", "by at most, relative"]]
    for start, row in result["same"].items():
        differing = f"{len(row['results_that_differ'])} of {row['results']}"
        rows.append(
            [start, str(row["losses"]), f"{row['loss_difference']:.1e}", differing, f"{row['result_difference']:.1e}"]
        )
    equal = "" if result["same"]["2 machines of 1"]["bits_of_2_processes"] else " **not**"
    kept = result["step"]["efficiency"]
    return "\n".join(
        [
            as_table(rows),
            "",
            "Beside one process; differences are sums in another order, which grow from step to step (dropout is off). "
            f"Two machines of one process end with{equal} the bits of two processes on one.",
            "",
            f"Scaling efficiency of the training step from one process to two, on the same global batches: "
            f"{kept['lightning clock']:.2f} by the clock and {kept['lightning processor']:.2f} by seconds of the "
            f"processor; a plain loop with torch's DDP around each network has {kept['plain clock']:.2f} and "
            f"{kept['plain processor']:.2f}. `protect` on photos of 224 pixels, by the clock and without its start, "
            f"has {result['protect']['efficiency']:.2f}. {where_measured(result)}",
        ]
    )


def memory(result: dict[str, Any]) -> str:
    """What a step holds and sends, by image size."""
    rows = [["side, pixels", "MiB per step", "MiB per image"]]
    for side, found in result["memory"].items():
        rows.append([side, f"{found['mib']:.0f}", f"{found['mib'] / result['images']:.2f}"])
    sizes = next(iter(result["memory"].values()))["parameters"]
    parts = ", ".join(f"{name} {count:,}" for name, count in sizes.items())
    total = sum(sizes.values())
    return "\n".join(
        [
            as_table(rows),
            "",
            f"A step's additional memory for {result['images']} colour images of 10 classes, one process. Trainable "
            f"parameters of the default form: {parts}; together P = {total:,}, hence 12 P = {12 * total / 1e6:.1f} MB "
            f"out of each of two processes per step, up to {24 * total / 1e6:.1f} MB with many.",
        ]
    )


def kills(result: dict[str, Any]) -> str:
    """What became of a run that was killed again and again."""
    by = {name: sum(row["launcher"] == name for row in result["rounds"]) for name in ("plain", "torchrun")}
    first = sum(row["first"] for row in result["rounds"])
    slowest = max(row["seconds"] for row in result["rounds"])
    equal = "bit-equal to" if result["weights_bit_equal"] else "**different from**"
    return (
        f"A run of two processes, killed {result['kills']} times by SIGKILL to one of them ({first} times the first; "
        f"started by Lightning {by['plain']} times, by torchrun {by['torchrun']}) and resumed: weights "
        f"{equal} an undisturbed run's; "
        f"{result['hung']} starts hung, the slowest ended {slowest:.0f} s after its kill. {where_measured(result)}"
    )


def killed_grid(result: dict[str, Any]) -> str:
    """What a grid takes that is killed on the way."""
    when = " and ".join(str(row["finished"]) for row in result["rounds"])
    return (
        f"`grid={result['grid']}`, {result['cells']} cells, killed {result['kills']} times by SIGKILL when {when} were "
        f"finished, and started again: {result['seconds'] / 60:.0f} minutes by the clock, {result['lost']} cells lost, "
        f"{result['done_twice']} done twice, {result['missing']} missing. {where_measured(result)}"
    )


PLACES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "results/digits_cpu.json": lambda: markdown(load("digits_cpu")),
        "gan/shipped/results.json": photos,
        "results/grids/survival": lambda: survival_table("as it comes", only=SURVIVAL),
    },
    "docs/ARCHITECTURE.md": {
        "experiments/architecture.py, picture": picture,
        "experiments/architecture.py, inventory": inventory,
    },
    "docs/BENCHMARK.md": {"results/grids/benchmark": lambda: leaderboard("benchmark")},
    "docs/DATA.md": {
        "datamodules, table": data_sets,
        "datamodules": citations,
        "results/data_cpu.json": lambda: data_path(load("data_cpu")),
    },
    "docs/DEFENCES.md": {
        f"victims/defences.py, {stage}": partial(defences, stage) for stage in ("input", "dataset", "batch", "model")
    }
    | {
        "results/grids/defences": lambda: grid_table("defences"),
        "results/grids/defences and evaluation, clean": lambda: clean_columns("defences", "evaluation"),
    },
    "docs/SCALING.md": {
        "results/loop_overhead_cpu.json": lambda: overhead(load("loop_overhead_cpu")),
        "results/scaling_cpu.json": lambda: unless_missing("scaling_cpu", scaling),
        "results/scaling_cpu.json, memory": lambda: unless_missing("scaling_cpu", memory),
        "results/kills_cpu.json": lambda: unless_missing("kills_cpu", kills),
    },
    "docs/VICTIMS.md": {
        "victims/config.py": recipes,
        "results/victims_cpu.json": lambda: victim_speed(load("victims_cpu")),
        "results/killed_grid_cpu.json": lambda: killed_grid(load("killed_grid_cpu")),
        "results/grids/lent": lambda: grid_table("lent"),
    },
    "docs/METHODS.md": {
        "baselines": methods,
        "results/methods_cpu.json": lambda: fitting("methods_cpu"),
        "results/grids/settings": lambda: grid_table("settings"),
    }
    | {f"results/grids/compare_{data}": partial(compared, f"compare_{data}") for data in ("digits", "cifar10", "ham")},
    "docs/PROTECT.md": {
        "gan/shipped/results.json": photos,
        "results/photos_check_cpu.json": lambda: checked(load("photos_check_cpu")),
        "results/protect_cpu.json": lambda: protecting(load("protect_cpu")),
    },
    "docs/METHOD.md": {
        "gan/shipped/noise.json": shipped,
        "results/grids/survival": lambda: grid_table("survival"),
        "results/grids/unseen": lambda: survival_table("as it comes", "unseen", "fast"),
        "results/grids/pretraining": candidates,
        "results/grids/learned": lambda: grid_table("learned"),
    },
}


def rendered(document: str) -> str:
    """A document's text with every marked place written anew from its results."""
    text = (ROOT / document).read_text()
    for name, render in PLACES[document].items():
        pattern = rf"(<!-- from {re.escape(name)} -->\n).*?(<!-- end -->)"
        content = render() + "\n"
        text, count = re.subn(pattern, lambda match, new=content: match[1] + new + match[2], text, flags=re.S)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f"{document}: needs one place marked '<!-- from {name} -->' … '<!-- end -->'")
    return text


if __name__ == "__main__":
    for document in PLACES:
        (ROOT / document).write_text(rendered(document))
    (ROOT / "evaluation" / "rows.schema.json").write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n")
    shown = [r for r in rows_of("survival")[0] if r.place.victim in (None, *SURVIVAL)]
    (ROOT / "docs" / "pictures" / "survival.png").write_bytes(survival(shown, "as it comes"))
    compared_rows, compared_spec = rows_of("benchmark")
    if map_of_shares := share_map("standard", findings(compared_spec, compared_rows)):
        (ROOT / "docs" / "pictures" / "benchmark.png").write_bytes(map_of_shares)
