"""What the generator that ships withstands on photos: victims of photos protected at their own size, then shrunk.

    python -m experiments.benchmarks.shipped photos=../shared/data/imagenette_224_2500.zip

Writes gan/shipped/results.json, which ``protect`` reads before anything else; with ``codes=groups`` that part of it
alone, beside the victims of clean photos that are in it. The test part is used once per seed.
"""

import json
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from datamodules.decode import TargetFormat, read
from datamodules.images import ImageSet
from experiments.folder import environment, progress_bar, write_json
from gan.protection import SHIPPED
from photos.protector import ClassChoice, Protector
from victims.config import RECIPES
from victims.train import train_victim

FORM = TargetFormat(64, "crop", 3)
TRANSFORMATIONS = ("none", "jpeg:75", "gray")  # of the photos after they were shrunk
CODES: tuple[ClassChoice, ...] = ("folders", "groups", "read")  # whose code a photo gets


def images_in(folder: Path, suffix: str, classes: list[str]) -> ImageSet:
    """Photos in class folders, shrunk as a collector would."""
    paths = [(path, label) for label, name in enumerate(classes) for path in sorted((folder / name).glob(f"*{suffix}"))]
    pixels = np.stack([read(path, FORM) for path, _ in paths]).transpose(0, 3, 1, 2)
    return ImageSet(torch.from_numpy(pixels), torch.tensor([label for _, label in paths]))


def measure(archive: Path, seeds: int, limit: int, kinds: Sequence[ClassChoice] = CODES) -> dict[str, Any]:
    """Accuracies at the last epoch of victims of clean and of protected photos.

    Args:
        archive: ZIP of ``train/<class>/<photo>`` and ``test/<class>/<photo>``.
        seeds: victims of each kind.
        limit: training photos per class.
        kinds: of codes.

    Returns:
        For each kind its results; without victims of clean photos (``clean_fast``) unless all kinds are measured.
    """
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        with zipfile.ZipFile(archive) as stored:
            stored.extractall(root)
        classes = sorted(path.name for path in (root / "train").iterdir())
        for name in classes:
            for path in sorted((root / "train" / name).iterdir())[limit:]:
                path.unlink()
        parts = {"clean": images_in(root / "train", ".JPEG", classes)} if set(kinds) == set(CODES) else {}
        for codes in kinds:
            Protector.load(SHIPPED).protect_folder(root / "train", root / codes, classes=codes)
            parts[codes] = images_in(root / codes, ".png", classes)
        test = images_in(root / "test", ".JPEG", classes)
        shutil.rmtree(root)
        root.mkdir()
    recipe = replace(RECIPES["quick"], epochs=15, augment="crop+flip")
    cells = [(transformation, key) for transformation in TRANSFORMATIONS for key in parts]
    scores: dict[tuple[str, str], list[float]] = {cell: [] for cell in cells}
    with progress_bar() as bar:
        task = bar.add_task("victims", total=seeds * len(cells))
        for seed in range(seeds):
            for transformation, key in cells:
                report = train_victim(parts[key], test, len(classes), replace(recipe, defence=transformation), seed)
                scores[transformation, key].append(report.curve[-1]["accuracy"])
                bar.advance(task)
    what = f"{len(parts[kinds[0]])} photos of {archive.stem}, protected at their own size, then shrunk to 64 pixels"
    common = {
        "what": what,
        "chance": 1 / len(classes),
        "seconds": time.perf_counter() - began,
        "environment": environment(),
    }
    keys = {"clean": "clean_fast"} | dict.fromkeys(kinds, "fast")
    after = {
        codes: {
            transformation: {keys[key]: scores[transformation, key] for key in parts if key in ("clean", codes)}
            for transformation in TRANSFORMATIONS
        }
        for codes in kinds
    }
    return {codes: common | {"after": after[codes]} for codes in kinds}


def main(arguments: list[str]) -> None:
    given = dict(argument.partition("=")[::2] for argument in arguments)
    archive = Path(given.get("photos", "../shared/data/imagenette_224_2500.zip"))
    kinds = [kind for kind in CODES if kind in given.get("codes", "+".join(CODES)).split("+")]
    found = measure(archive, int(given.get("seeds", 3)), int(given.get("limit", 200)), kinds)
    results = SHIPPED.parent / "results.json"
    before = json.loads(results.read_text()) if len(kinds) < len(CODES) else {}
    for one in found.values():
        for transformation, scores in one["after"].items():
            if before:  # the same victims of the same photos as in the run before
                scores["clean_fast"] = next(iter(before.values()))["after"][transformation]["clean_fast"][
                    : len(scores["fast"])
                ]
        untouched = one["after"]["none"].items()
        one["mean"] = {name: {"accuracy": {"last": mean(values)}} for name, values in untouched}
    write_json(results, before | found)


if __name__ == "__main__":
    main(sys.argv[1:])
