"""One cell computed: a protection made and measured, or a victim trained and scored."""

import json
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from datamodules.base import ImageDataModule
from datamodules.files import write_atomic
from datamodules.images import ImageSet
from evaluation.diagnostics import noise_of
from evaluation.export import SETTINGS, predicted_classes
from evaluation.jobs import default_device
from evaluation.measure import diagnostics, imperceptibility, probe_jobs, score_victim, sets_of
from evaluation.rows import Cost, FailedRow, GitState, ProtectionRow, Row, VictimRow, from_json, write_row
from evaluation.stored import linf_bound, pairs_of, stored_set
from experiments.folder import environment, write_json
from experiments.grid.cells import PART, REMAINDERS, Cell, canonical, data_of
from experiments.methods import cost_of, protect_seed, transfer
from victims.defences import needs_pairs
from victims.partial import clean_remainder, mask_to_text, partially_protected, protected_mask
from victims.pretrained import Unavailable
from victims.train import predict

MADE, MASKS = "made.json", "masks"


def run_cell(cell: Cell, store: Path) -> Row:
    """Computes one cell and stores its row; a failure is a row that says why."""
    started = time.perf_counter()
    try:
        row = _victim(cell, store) if cell.is_victim else _protection(cell, store)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        skipped = isinstance(error, Unavailable)
        kind = "skipped" if skipped else type(error).__name__
        return FailedRow(
            **_identity(cell), error=f"{kind}: {reason}", traceback=traceback.format_exc(), skipped=skipped
        )
    row = replace(row, seconds=time.perf_counter() - started)
    write_atomic(store / f"{cell.key}.json", write_row(row).encode())
    return row


def _identity(cell: Cell) -> dict[str, Any]:
    """The fields that every row has, of its cell."""
    return {"key": cell.key, "place": cell.place, "cost": cell.cost, "needs": cell.needs}


def _surroundings() -> dict[str, Any]:
    """The fields that every finished row has, of where it is computed; the seconds are known at the end."""
    where = environment()
    git = from_json(GitState, where["git"]) if where["git"] else None
    return {"seconds": 0.0, "device": where["device"], "versions": where["versions"], "git": git}


def made_protection(cell: Cell, key: str, store: Path) -> Path:
    """The folder of a protection, made if it is not there, by one process; MADE in it tells the seconds that took."""
    folder, seed = store / key, cell.place.seed
    with FileLock(store / f"{key}.lock"):
        if (folder / MADE).exists():
            return folder
        folder.mkdir(exist_ok=True)
        data = data_of(cell.config)
        data.seed = seed
        if cell.origin:
            made = transfer(made_protection(cell.origin, cell.origin.key, store), data, folder, seed)
        else:
            config = replace(cell.config, logger="csv", victim=replace(cell.config.victim, check_every=0))
            made = protect_seed(config, data, folder, seed)
        write_json(folder / MADE, made.seconds)
    return folder


def _protection(cell: Cell, store: Path) -> ProtectionRow:
    """Fits a method, stores its sets, and measures what needs no victim."""
    data, seed = data_of(cell.config), cell.place.seed
    folder = made_protection(cell, cell.key, store)
    sets = sets_of(folder, data)
    jobs, _ = probe_jobs(sets, seed, default_device())
    return ProtectionRow(
        **_identity(cell),
        stages=json.loads((folder / MADE).read_text()),
        cost_to_make=from_json(Cost, cost) if (cost := cost_of(folder)) else None,
        images=len(data.parts["train"]),
        epsilon=linf_bound(folder),
        imperceptibility=imperceptibility(sets),
        **vars(diagnostics(sets, {name: job() for name, job in jobs.items()})),
        chance=1 / data.classes,
        **_surroundings(),
    )


def _victim(cell: Cell, store: Path) -> VictimRow:
    """Trains a victim on what its setting says, and measures it on clean images."""
    data, seed = data_of(cell.config), cell.place.seed
    assert cell.place.setting is not None
    setting, recipe = canonical(cell.place.setting, cell.config.victim.resolved())
    base = next((s for s, other in REMAINDERS.items() if other == setting), setting)
    part = PART[base]
    clean = train = data.parts[part]
    noise, mask = None, protected_mask(clean.labels, recipe, seed) if recipe.partly else None
    if setting in SETTINGS:
        train = stored_set(made_protection(cell, cell.needs, store), data, setting)
        noise = noise_of(clean, train)
        if mask is not None:
            train = partially_protected(clean, train, mask)
    elif setting == "misclassified":
        names = predicted_classes(made_protection(cell, cell.needs, store))
        assert names is not None
        train = train.subset((names != train.labels).nonzero()[:, 0])
    elif mask is not None:
        train = clean_remainder(clean, mask)
    others = data.parts["test"] if cell.measured_on == "test" else rest(data, part)
    swapped = (noise, data.parts["val"]) if noise else None
    paired = needs_pairs(recipe.defence)
    pairs = pairs_of(made_protection(cell, cell.needs, store), data, setting) if paired else None
    known = ~mask if mask is not None and setting in SETTINGS else None
    device = default_device()
    report, found = score_victim(train, others, swapped, data.classes, recipe, seed, device, pairs=pairs, known=known)
    row = VictimRow(
        **_identity(cell),
        **vars(found),
        images=len(train),
        chance=1 / data.classes,
        majority=data.majority,
        recipe=recipe.decisive() | {"defence": recipe.defence},
        **_surroundings(),
    )
    if mask is not None:
        (store / MASKS).mkdir(exist_ok=True)
        write_atomic(store / MASKS / f"{cell.key}.txt", mask_to_text(mask).encode())
        right = predict(report.model, others.images, device).argmax(1) == others.labels
        row = replace(
            row,
            protected_images=int(mask.sum()),
            protected_classes=tuple(clean.labels[mask].unique().tolist()),
            recalls=tuple(right[others.labels == k].float().mean().item() for k in range(data.classes)),
        )
    return row


def rest(data: ImageDataModule, part: str) -> ImageSet:
    """The clean training images that are not in a part: of A, B or the validation part, the other two."""
    names = [name for name in ("train", "unseen", "val") if name in data.parts and name != part]
    sets = [data.parts[name] for name in names]
    rows = [s.rows for s in sets]
    return ImageSet(sets[0].store, torch.cat([s.labels for s in sets]), torch.cat([r for r in rows if r is not None]))
