"""What the generator that ships withstands on photos: victims of photos protected at their own size, then shrunk.

    python -m experiments.benchmarks.shipped photos=../shared/data/imagenette_224_2500.zip

Writes gan/shipped/results.json, which ``protect`` reads before anything else. The test part is used once a seed.
"""

import shutil
import sys
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datamodules.decode import Form, read
from datamodules.images import ImageSet
from experiments.folder import environment, progress_bar, write_json
from photos.protector import SHIPPED, Protector
from victims.config import RECIPES
from victims.train import train_victim

FORM = Form(64, "crop", 3)
FATES = ("none", "jpeg:75")  # of the photos after they were shrunk


def images_in(folder: Path, suffix: str, classes: list[str]) -> ImageSet:
    """Photos in class folders, shrunk as a collector would."""
    paths = [(path, label) for label, name in enumerate(classes) for path in sorted((folder / name).glob(f"*{suffix}"))]
    pixels = np.stack([read(path, FORM) for path, _ in paths]).transpose(0, 3, 1, 2)
    return ImageSet(torch.from_numpy(pixels), torch.tensor([label for _, label in paths]))


def measure(archive: Path, seeds: int, limit: int) -> dict[str, Any]:
    """Accuracies at the last epoch of victims of clean and of protected photos.

    Args:
        archive: ZIP of ``train/<class>/<photo>`` and ``test/<class>/<photo>``.
        seeds: victims of each kind.
        limit: training photos a class.
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
        Protector.load(SHIPPED).protect_folder(root / "train", root / "safe")
        parts = {
            "clean_fast": images_in(root / "train", ".JPEG", classes),
            "fast": images_in(root / "safe", ".png", classes),
        }
        test = images_in(root / "test", ".JPEG", classes)
        shutil.rmtree(root)
        root.mkdir()
    recipe = replace(RECIPES["quick"], epochs=15, augment="crop+flip")
    cells = [(fate, key) for fate in FATES for key in parts]
    scores: dict[tuple[str, str], list[float]] = {cell: [] for cell in cells}
    with progress_bar() as bar:
        task = bar.add_task("victims", total=seeds * len(cells))
        for seed in range(seeds):
            for fate, key in cells:
                report = train_victim(parts[key], test, len(classes), replace(recipe, defence=fate), seed)
                scores[fate, key].append(report.curve[-1]["accuracy"])
                bar.advance(task)
    found = {key: scores["none", key] for key in parts}
    return {
        "what": f"{len(parts['fast'])} photos of {archive.stem}, protected at their own size, then shrunk to 64 pixels",
        "chance": 1 / len(classes),
        "mean": {key: {"accuracy": {"last": sum(values) / len(values)}} for key, values in found.items()},
        "after": {fate: {key: scores[fate, key] for key in parts} for fate in FATES},
        "seeds": [{key: values[seed] for key, values in found.items()} for seed in range(seeds)],
        "seconds": time.perf_counter() - began,
        "environment": environment(),
    }


def main(arguments: list[str]) -> None:
    given = dict(argument.partition("=")[::2] for argument in arguments)
    archive = Path(given.get("photos", "../shared/data/imagenette_224_2500.zip"))
    found = measure(archive, int(given.get("seeds", 3)), int(given.get("limit", 200)))
    write_json(SHIPPED.parent / "results.json", found)


if __name__ == "__main__":
    main(sys.argv[1:])
