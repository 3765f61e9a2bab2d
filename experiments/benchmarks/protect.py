"""What protecting a folder costs, beside decoding and encoding the same files with the same settings and nothing else.

::

    python -m experiments.benchmarks.protect images=100 rounds=3 workers=1 format=png root=imagenette_224_2500.zip

The photos are the first of a folder or archive, or where there is none the embedded digits, scaled up to 224×224 JPEGs;
they lie in two class folders. ``height=3000`` scales them up first, to 4000×3000 as cameras take them, saved as JPEG
92; that result is ``protect_large_cpu.json``. Protected with codes read from each photo, and with the folders' codes.
The generator has the default form and is not trained, which does not change its cost. Seconds of the processor beside
those of the clock: on a machine that does other work only the former can be compared.
"""

import hashlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

from datamodules.tree import Tree
from datamodules.versions import versions
from experiments.folder import environment, write_json
from gan.config import ClassifierConfig, NoiseConfig
from gan.networks import build_generator
from gan.protection import GENERATOR, GeneratorCard, save_generator
from photos.description.metadata import Output
from photos.evidence import evidence_of
from photos.folder import Summary
from photos.manifest import MANIFEST
from photos.noise import add_noise, noise_of, read_codes
from photos.photo import Photo
from photos.protector import ClassChoice, Protector
from photos.read import read_photo
from photos.report import page
from photos.write import Z_RLE, save_photo, stored_as, to_be_decoded

SIDE, TRAINED = 224, (64, 64)
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "PNG, level 1, runs alone (`format=png`)": ("PNG", {"compress_level": 1, "compress_type": Z_RLE}),
    "PNG, level 1": ("PNG", {"compress_level": 1}),
    "PNG, level 6": ("PNG", {"compress_level": 6}),
    "WebP, method 0 (`format=webp`)": ("WEBP", {"lossless": True, "exact": True, "method": 0, "quality": 0}),
    "WebP, method 2": ("WEBP", {"lossless": True, "exact": True, "method": 2, "quality": 25}),
}


ENCODED = 50  # photos that ways to encode are compared on
FILES = ("photos", "*/*"), ("bare0", "*"), ("ours0", "*/*")


def photos(folder: Path, count: int, root: Path, height: int = 0) -> str:
    """Fills two class folders in a folder with JPEGs, of their own size or scaled up; returns where they come from."""
    places = [folder / "0", folder / "1"]
    for place in places:
        place.mkdir(parents=True)
    if root.exists():
        tree = Tree(root)
        for number, raw in enumerate(tree.read(tree.images[:count])):
            data = raw.read_bytes() if isinstance(raw, Path) else raw
            assert isinstance(data, bytes)
            (places[number % 2] / f"{number:05d}.jpg").write_bytes(scaled(data, height) if height else data)
        return root.name
    from sklearn.datasets import load_digits

    for number, pixels in enumerate(load_digits().images[:count]):
        image = Image.fromarray((pixels * 15).astype("uint8")).convert("RGB")
        image.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(places[number % 2] / f"{number:05d}.jpg", quality=90)
    return "digits, scaled up"


def scaled(data: bytes, height: int) -> bytes:
    """A picture as a photo of 4:3 and so many rows."""
    buffer, size = io.BytesIO(), (height * 4 // 3, height)
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def untrained(folder: Path) -> Path:
    """File of a generator of the default form for colour and ten classes."""
    path, classifier, noise = folder / GENERATOR, ClassifierConfig(), NoiseConfig()
    net = build_generator(classifier, noise, 3, 10, 8 / 255, TRAINED)
    options = {"classifier": asdict(classifier), "noise": asdict(noise)}
    classes = [str(k) for k in range(10)]
    save_generator(path, net, GeneratorCard(3, 8.0, options, "none", "", classes, 0, list(TRAINED), 0, 0, versions()))
    return path


def bare(source: Path, dest: Path, workers: int, output: Output) -> None:
    """Decodes and encodes alone, with the settings of the copies."""
    dest.mkdir()

    def one(path: Path) -> None:
        with Image.open(path) as image, (dest / path.stem).open("wb") as file:
            save_photo(Photo(np.array(image.convert("RGB"))), file, output)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, sorted(source.glob("*/*"))))


def stages(protector: Protector, source: Path, passing: Path, output: Output, batch: int) -> dict[str, float]:
    """Seconds of the processor in each step of protecting, so many photos read at a time."""
    spent = dict.fromkeys(("read and hash", "decode", "read the class", "add noise", "encode", "decode again"), 0.0)

    def timed(name: str, step: Callable[..., Any], *arguments: Any) -> Any:
        started = time.process_time()
        result = step(*arguments)
        spent[name] += time.process_time() - started
        return result

    net, channels, epsilon = protector.generator, protector.card.channels, protector.card.epsilon
    paths = sorted(source.glob("*/*"))
    for start in range(0, len(paths), batch):
        photos = []
        for path in paths[start : start + batch]:
            data = timed("read and hash", path.read_bytes)
            timed("read and hash", hashlib.sha256, data)
            photos.append(timed("decode", read_photo, data).in_colour())
        codes = timed("read the class", read_codes, net, photos, channels, protector.size, batch)
        for photo, code in zip(photos, codes.split(1), strict=True):
            buffer = io.BytesIO()
            noise = timed("add noise", noise_of, net, code, photo, channels, epsilon)
            timed("add noise", add_noise, photo, noise)
            timed("encode", save_photo, photo, buffer, output)
            timed("encode", passing.write_bytes, buffer.getvalue())
            if to_be_decoded(photo, output, hashlib.sha256(buffer.getvalue()).hexdigest()):
                timed("decode again", stored_as, photo, passing)
    return spent


def encoders(protector: Protector, source: Path, count: int) -> dict[str, dict[str, float]]:
    """Milliseconds of the processor and kilobytes for each protected photo, by ways to encode it without loss."""
    found: dict[str, dict[str, float]] = {}
    paths = sorted(source.glob("*/*"))[:count]
    for path in paths:
        image = protector.protect_photo(read_photo(path.read_bytes()))[0].image()
        for name, (kind, options) in ENCODERS.items():
            buffer, started = io.BytesIO(), time.process_time()
            image.save(buffer, kind, **options)
            row = found.setdefault(name, {"milliseconds": 0.0, "kilobytes": 0.0})
            row["milliseconds"] += 1000 * (time.process_time() - started) / len(paths)
            row["kilobytes"] += buffer.tell() / 1000 / len(paths)
    return found


def size_of(folder: Path, pattern: str) -> int:
    """Bytes of a folder's files."""
    return sum(path.stat().st_size for path in folder.glob(pattern))


def measured(work: Callable[..., Any], *arguments: Any) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work(*arguments)
    return time.perf_counter() - clock, time.process_time() - processor


def main(arguments: list[str]) -> int:
    """Measures, prints and writes the result."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    count, rounds, workers = (int(given.get(k, v)) for k, v in (("images", 100), ("rounds", 3), ("workers", 1)))
    output: Output = given.get("format", "png")  # type: ignore[assignment]
    height = int(given.get("height", 0))
    torch.set_num_threads(1)
    pairs, sorted_photos = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        origin = photos(
            folder / "photos", count, Path(given.get("root", "../shared/data/imagenette_224_2500.zip")), height
        )
        protector = Protector.load(untrained(folder))
        source, passing = folder / "photos", folder / "passing"
        profile = stages(protector, source, passing, output, protector.batch)  # warms up, too
        alone = stages(protector, source, passing, output, 1)["read the class"]

        def ours(turn: int, classes: ClassChoice) -> None:
            dest = folder / (f"ours{turn}" if classes == "read" else f"folders{turn}")
            protector.protect_folder(source, dest, output, workers=workers, classes=classes)

        for turn in range(rounds):
            theirs = measured(bare, source, folder / f"bare{turn}", workers, output)
            pairs.append((measured(ours, turn, "read"), theirs))
            sorted_photos.append(measured(ours, turn, "folders"))
        again = measured(ours, 0, "read")
        ways = encoders(protector, source, ENCODED)
        sizes = [size_of(folder / name, pattern) for name, pattern in FILES]
        lines = folder / "ours0" / MANIFEST
        report = measured(page, lines, folder / "ours0", source, Summary(count), protector.card, evidence_of(None))
    total = sum(profile.values())
    result: dict[str, Any] = {
        "benchmark": "protect",
        "command": f"python -m experiments.benchmarks.protect images={count} rounds={rounds} workers={workers} "
        f"format={output}" + (f" height={height}" if height else ""),
        "photos": origin,
        "images": count,
        "workers": workers,
        "format": output,
        "batch": protector.batch,
        "note": given.get("note", ""),
        "images_per_second": count / median(own[0] for own, _ in pairs),
        "images_per_processor_second": count / median(own[1] for own, _ in pairs),
        "bare_images_per_processor_second": count / median(theirs[1] for _, theirs in pairs),
        "ratio": median(theirs[1] / own[1] for own, theirs in pairs),
        "folders_images_per_second": count / median(own[0] for own in sorted_photos),
        "folders_ratio": median(theirs[1] / own[1] for own, (_, theirs) in zip(sorted_photos, pairs, strict=True)),
        "seconds": {"ours": [own[0] for own, _ in pairs], "bare": [theirs[0] for _, theirs in pairs]},
        "processor_seconds": {"ours": [own[1] for own, _ in pairs], "bare": [theirs[1] for _, theirs in pairs]},
        "ratio_without_reading": median(theirs[1] for _, theirs in pairs) / (total - profile["read the class"]),
        "read_alone_milliseconds": 1000 * alone / count,
        "bytes": dict(zip(("photos", "bare", "copies"), sizes, strict=True)),
        "encoders": ways,
        "report_processor_seconds": report[1],
        "again_processor_seconds": again[1],
        "shares": {step: seconds / total for step, seconds in profile.items()},
        "milliseconds": {step: 1000 * seconds / count for step, seconds in profile.items()},
        "environment": environment(),
    }
    path = Path("results") / ("protect_large_cpu.json" if height else "protect_cpu.json")
    path.parent.mkdir(exist_ok=True)
    write_json(path, result)
    print(
        json.dumps(
            {k: result[k] for k in ("images_per_processor_second", "ratio", "folders_ratio", "milliseconds")}, indent=1
        )
    )
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
