"""What the data path costs: building the cache, batches from it, memory as the set grows; each beside the bare thing.

::

    python -m experiments.benchmarks.data images=3000 rounds=3

* cache: JPEG files to decoded and resized images, beside bare Pillow (open, convert, crop, resize) in as many threads,
  which writes nothing; once as people write it, once with libjpeg's scaled decoding as the cache uses it.
* batches: a pass over the cache through sampler, loader and ``on_after_batch_transfer``, without and with augmentation,
  beside a plain loop over the same pixels in memory with the same augmentation.
* memory: a process that builds a cache from a stream and reads an epoch of batches, for a set and for one ten times
  larger. Pages of the mapped file, which the kernel drops when it needs room, are not counted.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from PIL import Image

from datamodules.augment import augment, draws
from datamodules.base import ImageDataModule
from datamodules.config import DataConfig
from datamodules.folder import Folder
from datamodules.images import to_float
from datamodules.source import DatasetInfo, Listing
from experiments.folder import environment

SIZE, BATCH, EPOCHS = 64, 128, 10
COUNTS = (5_000, 50_000)  # images, for memory
PHOTO = (640, 480)


def photos(folder: Path, count: int) -> list[Path]:
    """Writes JPEGs of two classes, smooth and noisy as photos are."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(count):
        small = Image.fromarray(rng.integers(0, 256, (24, 32, 3)).astype(np.uint8))
        pixels = np.asarray(small.resize(PHOTO, Image.Resampling.BICUBIC)).astype(np.int16)
        pixels += rng.integers(-12, 13, (PHOTO[1], PHOTO[0], 1), dtype=np.int16)
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
        path = folder / f"class{i % 2}" / f"{i:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
        paths.append(path)
    return paths


def bare_decoding(paths: list[Path], scaled: bool) -> float:
    """Seconds of Pillow alone, in one thread per core."""

    def one(path: Path) -> int:
        with Image.open(path) as image:
            if scaled:
                image.draft(None, (2 * SIZE, 2 * SIZE))
            side = min(image.size)
            left, top = ((length - side) / 2 for length in image.size)
            box = (left, top, left + side, top + side)
            return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS, box)).size

    started = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        assert sum(pool.map(one, paths)) == len(paths) * 3 * SIZE * SIZE
    return time.perf_counter() - started


def cache_building(folder: Path, cache: Path) -> tuple[float, ImageDataModule]:
    """Seconds to build the cache (division included), and the module that reads it."""
    data = Folder(DataConfig(name="folder", root=str(folder), size=SIZE, batch_size=BATCH, cache=str(cache)))
    started = time.perf_counter()
    data.setup()
    return time.perf_counter() - started, data


def batches_from_cache(data: ImageDataModule, operations: str) -> float:
    """Seconds of the module's own loader, with augmentation."""
    data.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    loader = data.train_dataloader()
    started = time.perf_counter()
    for epoch in range(EPOCHS):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for step, batch in enumerate(loader):
            ready = data.on_after_batch_transfer(batch, 0)
            augment(ready.images, operations, draws(0, epoch, step, 0))
            augment(ready.others, operations, draws(0, epoch, step, 1))
    return time.perf_counter() - started


def batches_from_memory(images: torch.Tensor, labels: torch.Tensor, operations: str) -> float:
    """Seconds of a plain loop over the same pixels, each with a partner as the module gives it."""
    generator = torch.Generator().manual_seed(0)
    started = time.perf_counter()
    for _ in range(EPOCHS):
        order = torch.randperm(len(images), generator=generator)
        for rows in order.tensor_split(-(-len(images) // BATCH)):
            pair = to_float(images[rows]), to_float(images[rows.roll(-1)])
            for part in pair:
                augment(part, operations, generator)
            labels[rows]
    return time.perf_counter() - started


class Stream(ImageDataModule):
    """A set of any length that is never in memory."""

    info = DatasetInfo("stream", "own", "any", "64×64", "none", "", "", "nothing")

    def __init__(self, config: DataConfig, count: int) -> None:
        super().__init__(config)
        self.count = count

    def identity(self) -> int:
        return self.count

    def listing(self) -> Listing:
        def rows() -> Iterator[np.ndarray]:
            rng = np.random.default_rng(0)
            for _ in range(self.count):
                yield rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)

        names = [str(i) for i in range(self.count)]
        return Listing(names, np.arange(self.count) % 2, ("a", "b"), rows)


def memory(count: int, cache: str) -> dict[str, float]:
    """Peak of this process's own memory (MiB) over building a cache of ``count`` images and an epoch of batches."""
    base, peak = anonymous(), 0.0
    data = Stream(DataConfig(batch_size=BATCH, cache=cache), count)
    data.setup()
    data.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    for batch in data.train_dataloader():
        data.on_after_batch_transfer(batch, 0)
        peak = max(peak, anonymous())
    return {"images": count, "set_mib": count * 3 * SIZE * SIZE / 2**20, "before_mib": base, "peak_mib": peak}


def anonymous() -> float:
    """Memory of this process that is no page of a file, in MiB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def side_by_side(rounds: int, ours: Callable[[], float], theirs: Callable[[], float]) -> dict[str, Any]:
    """Both in turn, and the ratio of their speeds: above 1 ours is faster."""
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    ratios = [b / a for a, b in pairs]
    return {
        "ratio": median(ratios),
        "ratios": ratios,
        "seconds": [a for a, _ in pairs],
        "bare_seconds": [b for _, b in pairs],
    }


def main(arguments: list[str]) -> int:
    """Runs all three, prints and writes the result."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if "memory" in given:
        print(json.dumps(memory(int(given["memory"]), given["cache"])))
        return 0
    images, rounds = int(given.get("images", 3000)), int(given.get("rounds", 3))
    result: dict[str, Any] = {
        "benchmark": "data",
        "command": f"python -m experiments.benchmarks.data images={images} rounds={rounds}",
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = photos(folder / "photos", images)
        turn = iter(range(1000))
        for kind, scaled in (("cache", False), ("cache_scaled", True)):
            found = side_by_side(
                rounds,
                lambda: cache_building(folder / "photos", folder / f"cache-{next(turn)}")[0],
                lambda scaled=scaled: bare_decoding(paths, scaled),  # type: ignore[misc]
            )
            result[kind] = found | {"images_per_second": images / median(found["seconds"])}
            print(f"{kind}: {result[kind]['images_per_second']:.0f} images/s, {found['ratio']:.2f} of bare Pillow")
        data = cache_building(folder / "photos", folder / "cache-0")[1]
        part = data.parts["train"]
        pixels = part.images.clone()
        for operations in ("none", "crop+flip"):
            found = side_by_side(
                rounds,
                lambda o=operations: batches_from_cache(data, o),  # type: ignore[misc]
                lambda o=operations: batches_from_memory(pixels, part.labels, o),  # type: ignore[misc]
            )
            speed = EPOCHS * -(-len(part) // BATCH) / median(found["seconds"])
            result[f"batches {operations}"] = found | {"batches_per_second": speed}
            print(f"batches, {operations}: {speed:.0f}/s, {found['ratio']:.2f} of a plain loop over memory")
        result["memory"] = []
        for count in COUNTS:
            command = [
                sys.executable,
                "-m",
                "experiments.benchmarks.data",
                f"memory={count}",
                f"cache={folder / 'big'}",
            ]
            shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            result["memory"].append(json.loads(shown.splitlines()[-1]))
            print(f"memory: {shown.splitlines()[-1]}")
    result["environment"] = environment()
    path = Path("results") / f"data_{'cpu' if not torch.cuda.is_available() else 'gpu'}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
