"""Reports that people can read: ``report.html`` (self-contained), ``report.md`` (without figures) and ``table.csv``.

All three come from rows of cells.jsonl alone; a finished run (results.json) is brought into such rows first. Picture
sheets of the images are taken from disk, where they are.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from baselines.capabilities import DEFAULT_METHOD
from datamodules.files import write_atomic
from datamodules.images import folder_name
from datamodules.renames import current_spec
from evaluation.pictures import PICTURES, SHEETS
from evaluation.rows import (
    CELLS,
    SPEC,
    Cost,
    Diagnostics,
    GitState,
    NoiseSize,
    Place,
    ProtectionRow,
    Row,
    VictimRow,
    VictimScores,
    finished,
    from_json,
    protections,
    read_rows,
    select,
    unique,
    victims,
)
from experiments.comparisons import compared
from experiments.config import Config, leaves
from experiments.costs import costs
from experiments.folder import RunError, newest, rank_zero_print
from experiments.grid_report import MEASURED_ON, moments, ssim
from experiments.page import Block, Heading, Items, Picture, Table, Text, Verdicts, to_html, to_markdown
from experiments.published import NOTE, beside, read_published
from experiments.verdicts import (
    CLEAN,
    PROTECTED,
    REMAINDER,
    Finding,
    failed,
    findings,
    missing,
    percent,
    rules,
    to_csv,
    verdicts,
)
from victims.config import VictimConfig

RESULTS = "results.json"
HTML, MARKDOWN, CSV = "report.html", "report.md", "table.csv"
MEANING = {
    "clean": "clean: victims trained on part A as it is.",
    "standard": "standard: part A, protected by a method that was fitted on it.",
    "remainder": "remainder: those images of A alone that victim.share and victim.class_share leave clean: what a "
    "victim learns without the protected ones.",
    "clean_fast": "clean_fast: victims trained on part B as it is.",
    "fast": "fast: part B, protected without labels by a method that never saw it.",
    "remainder_fast": "remainder_fast: the same of B.",
    "misclassified": "misclassified: the images of B that the generator misclassifies, unprotected: what an attacker "
    "could learn if the others were useless. It explains a protection and is none.",
}


@dataclass(frozen=True)
class ReportInput:
    """What a report is about.

    Attributes:
        name: the title.
        spec: the grid's file, or the like of a run: ``about``, ``data``, ``variants``, ``victims`` (options by name),
            ``settings``, ``seeds``, ``measured_on``.
        rows: of cells.jsonl.
        pictures: data set and variant → folder of its picture sheets, which may be absent.
        void: why nothing may be concluded from the figures; empty where something may.
    """

    name: str
    spec: dict[str, Any]
    rows: list[Row]
    pictures: Mapping[tuple[str, str | None], Path]
    void: str = ""


def report(config: Config) -> int:
    """The verb: writes the report of a finished run or of a grid's folder anew, from what is in it.

    Args:
        config: ``run`` names the folder; ``store`` is where picture sheets of grids are.

    Raises:
        RunError: the folder holds neither.
    """
    folder = Path(config.run) if config.run else newest()
    if (folder / CELLS).is_file() and (folder / SPEC).is_file():
        write(folder, input_of_grid(folder, Path(config.store)))
    elif (folder / RESULTS).is_file():
        write_of_run(folder, json.loads((folder / RESULTS).read_text()))
    else:
        raise RunError(
            f"run: {folder} has neither {RESULTS} nor {CELLS} and {SPEC}; give a finished run's or a grid's folder"
        )
    rank_zero_print(f"{folder / HTML}, {MARKDOWN}, {CSV}")
    return 0


def write(folder: Path, asked: ReportInput) -> None:
    """Writes the three files, and the learning curves of each data set as ``curves_<data>.png``."""
    from experiments.figures import curves  # matplotlib

    drawn = {}
    for data in asked.spec["data"]:
        png = curves(data, list(asked.spec["variants"]), asked.rows)
        if png:
            drawn[data] = png
            write_atomic(folder / f"curves_{folder_name(data)}.png", png)
    found = findings(asked.spec, asked.rows)
    blocks = list(document(asked, found, drawn))
    write_atomic(folder / HTML, to_html(blocks).encode())
    write_atomic(folder / MARKDOWN, to_markdown(blocks).encode())
    write_atomic(folder / CSV, to_csv(found).encode())


def input_of_grid(folder: Path, store: Path) -> ReportInput:
    """A grid's folder as a report is about it; the picture sheets are in the store."""
    rows = list({(row.key, row.place): row for row in read_rows(folder / CELLS)}.values())
    pictures: dict[tuple[str, str | None], Path] = {}
    for row in protections(rows):
        sheets = store / row.key / PICTURES
        if sheets.is_dir():
            pictures.setdefault((row.place.data, row.place.variant), sheets)
    return ReportInput(folder.resolve().name, current_spec(json.loads((folder / SPEC).read_text())), rows, pictures)


def write_of_run(folder: Path, results: dict[str, Any]) -> None:
    """Writes the report of a run, or of an evaluation of one, beside its results."""
    write(folder, input_of_run(folder, results))


def input_of_run(folder: Path, results: dict[str, Any]) -> ReportInput:
    """The results of a run as a report is about them: its rows are those that a grid of one would have."""
    config, where = results["config"], results["environment"]
    known = {f.name for f in fields(VictimConfig)}
    recipe = VictimConfig(**{k: v for k, v in config["victim"].items() if k in known}).resolved()
    data, variant, victim = results["data"], config.get("method", DEFAULT_METHOD), recipe.arch
    seeds = [entry["seed"] for entry in results["seeds"]]
    own = {seed: folder / f"seed-{seed}" if len(seeds) > 1 else folder for seed in seeds}
    rows: list[Row] = []
    for entry in results["seeds"]:
        seconds, diagnostics = entry["seconds"], dict(entry["diagnostics"])
        swap, sizes = diagnostics.pop("swap"), entry["imperceptibility"]
        shared = {"key": "", "cost": 0.0, "needs": "", "chance": results["chance"]}
        shared |= {"device": where["device"], "versions": where["versions"]}
        shared |= {"git": from_json(GitState, where["git"]) if where["git"] else None}
        place = Place(data=data, variant=variant, seed=entry["seed"])
        stages = {k: seconds[k] for k in ("training", "export") if k in seconds}
        rows.append(
            ProtectionRow(
                place=place,
                stages=stages,
                cost_to_make=from_json(Cost, entry.get("cost", {})),
                epsilon=results["epsilon"],
                imperceptibility={s: from_json(NoiseSize, sizes[s]) for s in PROTECTED if s in sizes},
                **vars(from_json(Diagnostics, {"named": None} | diagnostics)),
                seconds=sum(stages.values()),
                **shared,
            )
        )
        for setting in (s for s in MEANING if s in entry):
            own_recipe = recipe if setting in PROTECTED or setting in REMAINDER.values() else recipe.on_clean
            protection = variant if setting in PROTECTED else None
            path = own[entry["seed"]] / "victims" / f"{setting}.json"
            curve = json.loads(path.read_text())["curve"] if path.is_file() else []
            found = {"scores": entry[setting], "curve": curve, "swap": swap.get(setting)}
            rows.append(
                VictimRow(
                    place=replace(place, variant=protection, setting=setting, victim=victim),
                    **vars(from_json(VictimScores, found)),
                    majority=results["majority"],
                    recipe=own_recipe.decisive() | {"defence": recipe.defence},
                    seconds=seconds.get(f"victim_{setting}", 0.0),
                    **shared,
                )
            )
    usual = dict(leaves(asdict(Config())))
    options = {
        k: v for k, v in leaves(config) if v != usual.get(k) and k.partition(".")[0] not in ("run_dir", "victim")
    }
    spec = {
        "about": f"One run of {variant} on {data}: protected, and retrained on by {victim}.",
        "data": {data: options},
        "variants": {variant: {}},
        "victims": {victim: {k: v for k, v in leaves({"victim": config["victim"]}) if v != usual.get(k)}},
        "settings": [s for s in MEANING if s in results["mean"]],
        "seeds": seeds,
        "measured_on": "test",
    }
    void = "fast_dev_run: a few batches of everything; the figures mean nothing." if config["fast_dev_run"] else ""
    pictures = {(data, variant): own[seeds[0]] / PICTURES}
    return ReportInput(folder.resolve().name, spec, rows, pictures, void)


def document(asked: ReportInput, found: list[Finding], drawn: dict[str, bytes]) -> Iterator[Block]:
    """The report's blocks, the verdict first.

    Args:
        asked: what it is about.
        found: of ``findings``.
        drawn: data set → PNG of its learning curves.
    """
    spec = asked.spec
    yield Heading(1, asked.name)
    yield Text(spec["about"])
    yield Heading(2, "Verdict")
    if asked.void:
        yield Text(asked.void)
    elif lines := verdicts(spec, found):
        yield Verdicts(lines)
        if apart := compared(spec, found):
            yield apart
    else:
        yield Text("Nothing was measured of a protected setting.")
    yield from _maps(spec, found)
    yield Heading(3, "How this is decided")
    yield Items(rules())
    yield Heading(2, "All figures")
    yield Text(
        "Balanced accuracy on clean images and recovered share in %, mean ± standard deviation over seeds. Clean, "
        "protected: at the last epoch. Selected: at the epoch that the victim's own images select. Peak: at the best "
        "epoch by the measured images, an upper bound. Measured on "
        f"{MEASURED_ON[spec['measured_on']]}."
    )
    yield numbers(found)
    if "published" in spec:
        yield from beside_published(read_published(spec["published"]), found)
    lost = failed(asked.rows)
    absent = missing(spec, asked.rows)
    yield Heading(3, "Failed and missing cells")
    yield Items(lost + absent) if lost or absent else Text("None.")
    if drawn:
        yield Heading(2, "Learning curves")
        yield from _curves(found, drawn)
    yield Heading(2, "Pictures")
    yield from _pictures(asked)
    yield Heading(2, "How visible the noise is, and what it tells")
    yield Text(
        "Measured on the stored files, against the clean images: the largest change of a pixel, the mean L2 of an "
        "image's noise (pixels in 0 to 1), PSNR and SSIM. In %: the label read from the noise alone by two probes, the "
        "unseen images that the method classifies correctly (balanced), and swap: how often victims answer the "
        "noise's label when it sits on another image."
    )
    yield noise_table(asked)
    if (known := beside(spec, asked.rows)) is not None:
        yield Heading(2, "Published numbers")
        yield Text(NOTE)
        yield known.table
        yield Text(known.said)
    yield Heading(2, "Protocol")
    yield from _protocol(spec, asked.rows)
    yield Heading(2, "Cost and surroundings")
    yield from _cost(spec, asked.rows)


def numbers(found: list[Finding]) -> Table:
    """A line for each data set, variant, setting and victim."""
    head = ["data", "variant", "setting", "victim", "verdict", "clean", "protected", "recovered"]
    partly = any(f.remainder for f in found)
    head += ["clean remainder alone"] if partly else []
    rows = []
    for f in found:
        share = "–" if f.share is None else f"{round(100 * f.share, 1) + 0.0:.1f}"  # no -0.0
        if f.share is not None and len(f.shares) > 1:
            share += f" ± {100 * stdev(f.shares):.1f}"
        scores = [percent(v, 1) for v in (f.clean, f.protected, f.selected, f.peak)]
        last = (f.grade if f.setting in PROTECTED else "–") + (f" ({f.failed} failed)" if f.failed else "")
        seeds = ", ".join(map(str, f.seeds)) or "none"
        alone = [percent(f.remainder, 1)] if partly else []
        place = [f.data, f.variant, f.setting, f.victim]
        rows.append([*place, last, *scores[:2], share, *alone, *scores[2:], f"{100 * f.chance:.0f}", seeds])
    return Table("What victims reach on clean images", [*head, "selected", "peak", "chance", "seeds"], rows)


def beside_published(published: dict[str, Any], found: list[Finding]) -> Iterator[Block]:
    """Ours beside what others published, for the variants and victims that both have."""
    yield Heading(3, "Beside published figures")
    yield Text(f"{published['source']}. {published['note']}")
    rows = []
    for f in found:
        theirs = published["figures"].get(f.variant, {}).get(f.victim) if f.setting == "standard" else None
        if theirs is not None:
            own = f"{100 * mean(f.protected):.1f}" if f.protected else "–"
            apart = f"{100 * mean(f.protected) - theirs:+.1f}" if f.protected else "–"
            rows.append([f.data, f.variant, f.victim, own, f"{theirs:.1f}", apart])
    head = ["data", "variant", "victim", "here", "published", "difference"]
    yield Table("Accuracy on clean images in %, standard setting", head, rows)


def _maps(spec: dict[str, Any], found: list[Finding]) -> Iterator[Block]:
    """The recovered shares at a glance, where there is more than one."""
    from experiments.figures import share_map  # matplotlib

    several = len(spec["victims"]) > 1 or len(spec["variants"]) > 1
    for setting in PROTECTED if several else ():
        png = share_map(setting, found)
        if png:
            listed = "; ".join(
                f"{f.data}, {f.variant}, {f.victim}: {100 * f.share:.0f} %"
                for f in found
                if f.setting == setting and f.share is not None
            )
            yield Picture(
                png, f"Map of recovered shares, {setting} setting. {listed}.", f"Recovered share, {setting} setting"
            )


def _curves(found: list[Finding], drawn: dict[str, bytes]) -> Iterator[Block]:
    for data, png in drawn.items():
        ends = "; ".join(
            f"{f.victim}, {f.variant}, {f.setting}: clean {percent(f.clean)} %, protected {percent(f.protected)} %"
            for f in found
            if f.data == data and f.setting in PROTECTED
        )
        yield Picture(
            png,
            f"Learning curves on {data}: balanced accuracy on clean images by epoch. At the last epoch: {ends}.",
            f"{data}: what victims learn, epoch by epoch (mean over seeds)",
        )


def _pictures(asked: ReportInput) -> Iterator[Block]:
    shown = False
    absent = []
    for data in asked.spec["data"]:
        for variant in asked.spec["variants"]:
            folder = asked.pictures.get((data, variant))
            sheets = [
                (folder / name.format(setting), setting, text)
                for setting in PROTECTED
                for name, text in SHEETS.items()
                if folder and (folder / name.format(setting)).is_file()
            ]
            if not sheets:
                absent.append(f"{data}, {variant}")
            for path, setting, text in sheets:
                if not shown:
                    shown = True
                    yield Text(
                        "These show images of the data set: where its licence forbids passing them on, this file must "
                        "not be published."
                    )
                what = f"{data}, {variant}, {setting} setting: {text}"
                yield Picture(path.read_bytes(), f"Image grid. {what}.", what)
    if absent:
        of = f" of {'; '.join(absent)}" if shown else ""
        yield Text(
            f"No pictures{of}: no picture sheets were found (the rows come from elsewhere, or the "
            "protected sets are no longer on disk)."
        )


def noise_table(asked: ReportInput) -> Table:
    """A line for each data set, variant and setting: what the noise looks like, and what can be read from it."""
    head = ["data", "variant", "setting", "ε", "largest change", "L2", "PSNR, dB", "worst PSNR, dB", "SSIM"]
    head += ["linear probe", "conv probe", "B classified correctly", "swap", "found (AUROC)", "stands out"]
    rows = []
    made = protections(asked.rows)
    for data in asked.spec["data"]:
        for variant in asked.spec["variants"]:
            for setting in PROTECTED:
                own = [r for r in select(made, data=data, variant=variant) if setting in r.imperceptibility]
                if not own:
                    continue
                hidden = [r.imperceptibility[setting] for r in own]
                read = [
                    [value for r in own if (value := r.noise_only[probe].get(setting)) is not None]
                    for probe in ("linear", "conv")
                ]
                named = [r.named.balanced_accuracy for r in own if r.named] if setting == "fast" else []
                trained = select(victims(asked.rows), data=data, variant=variant, setting=setting)
                seen = [r.detection[setting] for r in own if r.detection and setting in r.detection]
                best = [max(d.values(), key=lambda found: found.images) for d in seen]
                bounds = sorted({r.epsilon for r in own if r.epsilon})
                rows.append(
                    [
                        *(data, variant, setting, ", ".join(f"{b:g}/255" for b in bounds) or "–"),
                        f"{255 * max(h.linf for h in hidden):.0f}/255",
                        *(f"{mean(h.l2 for h in hidden):.2f}", moments([h.psnr for h in hidden])),
                        *(f"{min(h.psnr_min for h in hidden):.1f}", ssim(hidden)),
                        *map(percent, read),
                        *(percent(named), percent([r.swap for r in trained if r.swap is not None])),
                        f"{mean(d.images for d in best):.2f}" if best else "–",
                        f"{percent([d.set_clean for d in best])} → {percent([d.set_protected for d in best])}"
                        if best
                        else "–",
                    ]
                )
    return Table("Noise on the stored files", head, rows)


def _protocol(spec: dict[str, Any], rows: list[Row]) -> Iterator[Block]:
    yield Text(
        f"Seeds {', '.join(map(str, spec['seeds']))}. A method is fitted on part A of the training images and stores "
        "protected images as files; victims are trained on those files as decoded, by the recipes below, and measured "
        f"on {MEASURED_ON[spec['measured_on']]}. Noise is added once per image, before augmentation."
    )
    yield Items([MEANING[s] for s in spec["settings"]])
    trained = victims(rows)
    keys = list(dict.fromkeys(key for r in trained for key in r.recipe))
    lines: dict[tuple[str, ...], None] = {}
    for data in spec["data"]:
        for victim in spec["victims"]:
            for row in select(trained, data=data, victim=victim):
                lines[data, victim, *(_shown(row.recipe.get(key, "–")) for key in keys)] = None
    yield Table("Recipes of the victims", ["data", "victim", *keys], [list(line) for line in lines])
    options = []
    for section in ("data", "variants", "victims"):
        for name, pairs in spec[section].items():
            told = ", ".join(f"{k}={_shown(v)}" for k, v in leaves(pairs or {})) or "the defaults"
            options.append([name, section, told])
    yield Table(
        "Options that were given; all others are the defaults of the commit below", ["name", "of", "options"], options
    )
    counts = []
    for data in spec["data"]:
        if here := select(trained, data=data):
            counted = [
                ", ".join(sorted({str(r.images) for r in select(here, setting=s) if r.images is not None})) or "–"
                for s in (*CLEAN.values(),)[:2]
            ]
            majority = {f"{100 * r.majority:.0f} %" for r in here}
            counts.append([data, *counted, f"{100 * here[0].chance:.0f} %", ", ".join(sorted(majority))])
    yield Table("Data", ["data", "images of part A", "images of part B", "chance", "majority class"], counts)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cost(spec: dict[str, Any], rows: list[Row]) -> Iterator[Block]:
    done, made, trained = finished(rows), protections(rows), victims(rows)
    yield Text(
        f"{len(done)} cells, {sum(r.seconds for r in done) / 3600:.1f} hours of single processes; of these "
        f"{sum(r.seconds for r in trained) / 3600:.1f} for {len(trained)} victims."
    )
    lines = []
    for data in unique(done, "data"):
        for variant in spec["variants"]:
            own = select(made, data=data, variant=variant)
            if own:
                stages = [moments([r.stages.get(s, 0.0) for r in own], 1 / 60) for s in ("training", "export")]
                each = [r.seconds for r in select(trained, data=data, variant=variant)]
                lines.append([data, variant, *stages, moments(each, 1 / 60)])
    head = ["data", "variant", "fitting the method", "protecting and storing", "one victim"]
    yield Table("Minutes, mean ± standard deviation", head, lines)
    if (paid := costs(spec, rows)) is not None:
        yield paid
    facts = {
        "device": [r.device for r in done],
        "commit": [_commit(r.git) for r in done],
        "versions": [", ".join(f"{name} {version}" for name, version in r.versions.items()) for r in done],
    }
    told = [[name, "; ".join(dict.fromkeys(found)) or "–"] for name, found in facts.items()]
    yield Table("Where it ran", ["what", "found"], told)


def _commit(git: GitState | None) -> str:
    if git is None:
        return "not in a checkout"
    return git.commit + (" and uncommitted changes" if git.changed else "")
