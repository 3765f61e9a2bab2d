"""What a report is about: a grid's rows, or a finished run's results brought into such rows.

Picture sheets of the images are taken from disk, where they are.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from baselines.capabilities import DEFAULT_METHOD
from datamodules.renames import current_spec
from evaluation.pictures import PICTURES
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
    from_json,
    protections,
    read_rows,
)
from evaluation.verdicts import PROTECTED, REMAINDER
from experiments.config import Config, leaves
from victims.config import VictimConfig

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


def input_of_grid(folder: Path, store: Path) -> ReportInput:
    """A grid's folder as a report is about it; the picture sheets are in the store."""
    rows = list({(row.key, row.place): row for row in read_rows(folder / CELLS)}.values())
    pictures: dict[tuple[str, str | None], Path] = {}
    for row in protections(rows):
        sheets = store / row.key / PICTURES
        if sheets.is_dir():
            pictures.setdefault((row.place.data, row.place.variant), sheets)
    return ReportInput(folder.resolve().name, current_spec(json.loads((folder / SPEC).read_text())), rows, pictures)


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
