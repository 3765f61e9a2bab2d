"""What it costs to spare smooth areas (``protect visible=``), and at which training sizes photos' noise is read.

    python -m experiments.benchmarks.visibility photos=../shared/data/imagenette_224_2500.zip sizes=64+128 limit=60

Photos get their class folders' codes at their own size, and are shrunk as a collector would; a victim is trained on
each. Writes results/visibility_cpu.json. The test part is used once per size and seed.
"""

import io
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath
from statistics import mean
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torchmetrics.functional.image import structural_similarity_index_measure

from datamodules.images import ImageSet
from experiments.folder import environment, progress_bar, write_json
from gan.protection import SHIPPED
from photos.photo import Photo
from photos.protector import Protector
from photos.texture import SMOOTH
from victims.config import RECIPES
from victims.train import train_victim

CLEAN = "clean"


def read(archive: Path, limit: int) -> dict[str, list[tuple[np.ndarray, int]]]:
    """The photos of both parts, uint8 H×W×3, and their classes; of the training part so many per class."""
    parts: dict[str, list[tuple[np.ndarray, int]]] = {"train": [], "test": []}
    with zipfile.ZipFile(archive) as stored:
        names = sorted(name for name in stored.namelist() if name.endswith(".JPEG"))
        classes = sorted({PurePosixPath(name).parent.name for name in names})
        taken = dict.fromkeys(classes, 0)
        for name in names:
            part, folder = PurePosixPath(name).parts[-3:-1]
            taken[folder] += part == "train"
            if part == "train" and taken[folder] > limit:
                continue
            with Image.open(io.BytesIO(stored.read(name))) as image:
                parts[part].append((np.array(image.convert("RGB")), classes.index(folder)))
    return parts


def shrunk(photos: list[np.ndarray], labels: list[int], size: int) -> ImageSet:
    """Photos as a collector shrinks them."""
    images = [ImageOps.fit(Image.fromarray(one), (size, size), Image.Resampling.LANCZOS) for one in photos]
    pixels = np.stack([np.asarray(one) for one in images]).transpose(0, 3, 1, 2)
    return ImageSet(torch.from_numpy(pixels.copy()), torch.tensor(labels))


def similarity(before: np.ndarray, after: np.ndarray) -> float:
    """SSIM of the whole photo at its own size, in gray."""
    photo, copy = (
        torch.from_numpy(np.asarray(Image.fromarray(one).convert("L"), np.float32)[None, None] / 255)
        for one in (before, after)
    )
    found = structural_similarity_index_measure(copy, photo, data_range=1.0)
    assert isinstance(found, torch.Tensor)
    return found.item()


def measure(archive: Path, sizes: list[int], seeds: int, limit: int) -> dict[str, Any]:
    """Of each choice: accuracies of victims at the last epoch by size, and the means of PSNR and SSIM."""
    began, parts = time.perf_counter(), read(archive, limit)
    before, labels = [pixels for pixels, _ in parts["train"]], [label for _, label in parts["train"]]
    variants: dict[str, list[np.ndarray]] = {CLEAN: before}
    found: dict[str, dict[str, Any]] = {CLEAN: {"accuracy": {}}}
    for visible in SMOOTH:
        protector, psnr, ssim = Protector.load(SHIPPED, visible), [], []
        variants[visible] = []
        for pixels, label in parts["train"]:
            [noised] = protector.protect_photos([Photo(pixels.copy())], [label])
            assert not isinstance(noised, Exception)
            psnr.append(noised.add().psnr or np.inf)
            ssim.append(similarity(pixels, noised.photo.pixels))
            variants[visible].append(noised.photo.pixels)
        found[visible] = {"accuracy": {}, "psnr": mean(psnr), "ssim": mean(ssim)}
    recipe = replace(RECIPES["quick"], epochs=15, augment="crop+flip")
    with progress_bar() as bar:
        task = bar.add_task("victims", total=len(sizes) * len(variants) * seeds)
        for size in sizes:
            test = shrunk([pixels for pixels, _ in parts["test"]], [label for _, label in parts["test"]], size)
            for name, photos in variants.items():
                train = shrunk(photos, labels, size)
                scores = []
                for seed in range(seeds):
                    scores.append(train_victim(train, test, max(labels) + 1, recipe, seed).curve[-1]["accuracy"])
                    bar.advance(task)
                found[name]["accuracy"][str(size)] = scores
    asked = f"sizes={'+'.join(map(str, sizes))} limit={limit} seeds={seeds}"
    return {
        "what": f"{len(before)} photos of {archive.stem} in class folders, protected at their own size, then shrunk",
        "command": f"python -m experiments.benchmarks.visibility {asked}",
        "chance": 1 / (max(labels) + 1),
        "seeds": seeds,
        "variants": found,
        "seconds": time.perf_counter() - began,
        "environment": environment(),
    }


def main(arguments: list[str]) -> None:
    given = dict(argument.partition("=")[::2] for argument in arguments)
    archive = Path(given.get("photos", "../shared/data/imagenette_224_2500.zip"))
    sizes = [int(size) for size in given.get("sizes", "64+128").split("+")]
    found = measure(archive, sizes, int(given.get("seeds", 1)), int(given.get("limit", 60)))
    write_json(Path("results/visibility_cpu.json"), found)


if __name__ == "__main__":
    main(sys.argv[1:])
