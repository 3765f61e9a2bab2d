"""Images decoded and resized once, kept as one memory-mapped file of uint8.

::

    <cache>/<key>/images.u8      N×C×H×W, row by row
    <cache>/<key>/rows.npz       each image's label, part, group and digest
    <cache>/<key>/about.json     shape, class names, the images that were left out and why

The key is a hash of the source's identity (names, sizes and times of its files), the options that decide pixels, and
the versions that do; another source or option has another key, and a source that is cached is not opened. A folder gets
its name when it is complete. Several processes wait for the one that builds.
"""

import hashlib
import json
import math
import os
import shutil
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from filelock import FileLock
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from datamodules.config import Aspect, DataError
from datamodules.decode import BadImage, TargetFormat, decode, read, refit
from datamodules.source import PARTS, Listing, Raw

VERSION = 2
NOWHERE = -1  # the part of an image that is in none
CHUNK = 32  # images per task: small enough for a smooth bar, large enough that handing over costs nothing


@dataclass(frozen=True)
class CacheSpec:
    """What is asked of every image. Another specification is another cache.

    Attributes:
        size: pixels per side; 0: the images' own, which must then be one.
        aspect: what is done with images that are not square.
        channels: 1, 3, or 0: as the listing says.
    """

    size: int
    aspect: Aspect
    channels: int


@dataclass(frozen=True)
class Cached:
    """Images from the cache, one row each.

    Attributes:
        images: uint8 N×C×H×W, memory-mapped; writing to it changes no file.
        labels: int64 N.
        parts: integer N, the index in PARTS of the source's own division, all 0 where it has none; NOWHERE for images
            that are left out because a copy of them is in a later part.
        groups: integer N, equal for images that must stay together: a group of the source, else copies of one image.
        digests: uint8 N×16, equal for equal pixels.
        class_names: in label order.
        skipped: name and reason of every image that was left out.
        total: how many images there were with those.
    """

    images: Tensor
    labels: Tensor
    parts: np.ndarray
    groups: np.ndarray
    digests: np.ndarray
    class_names: tuple[str, ...]
    skipped: list[tuple[str, str]]
    total: int


def cached(identity: Any, listing: Callable[[], Listing], wanted: CacheSpec, root: Path, title: str) -> Cached:
    """A source's images as wanted, from the cache, which is built first if need be.

    Args:
        identity: of the source, as JSON.
        listing: makes the listing; called only to build.
        wanted: size, aspect and channels.
        root: folder of all caches; made if absent.
        title: for the progress bar and messages.

    Raises:
        DataError: no image can be read, they differ in size and ``size`` is 0, the disk is full or read-only; and what
            ``listing`` raises.
    """
    key = hashlib.sha256(json.dumps([VERSION, PIL.__version__, identity, asdict(wanted)]).encode()).hexdigest()[:24]
    folder = root / key
    try:
        if not _whole(folder):
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):
                if not _whole(folder):
                    _build(listing(), wanted, folder, title)
    except OSError as error:
        raise DataError(
            f"data.cache: {error.filename or root} cannot be written ({error.strerror}); make room, or give "
            "data.cache=<a folder you may write>"
        ) from error
    about = json.loads((folder / "about.json").read_text())
    # mode c: torch wants memory that it may write to; nothing written reaches the file
    images = np.memmap(folder / "images.u8", np.uint8, "c", shape=tuple(about["shape"]))
    with np.load(folder / "rows.npz", allow_pickle=False) as rows:
        return Cached(
            torch.from_numpy(images),
            torch.from_numpy(rows["labels"]),
            rows["parts"],
            rows["groups"],
            rows["digests"],
            tuple(about["class_names"]),
            [(name, reason) for name, reason in about["skipped"]],
            about["total"],
        )


def _whole(folder: Path) -> bool:
    """Whether a cache is complete; one cut short by a crash of the machine is not."""
    try:
        shape = json.loads((folder / "about.json").read_text())["shape"]
        found: bool = (folder / "images.u8").stat().st_size == math.prod(shape)
        return found
    except (FileNotFoundError, ValueError):
        return False


def _build(listing: Listing, wanted: CacheSpec, folder: Path, title: str) -> None:
    """Decodes everything into a folder beside, then gives it its name. The lock is held: leftovers are nobody's."""
    form = TargetFormat(wanted.size, wanted.aspect, wanted.channels or listing.channels)
    partial, count = folder.with_suffix(".partial"), len(listing.labels)
    for leftover in (partial, folder):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    skipped = list(listing.skipped)
    kept: list[int] = []
    digests: list[bytes] = []
    shape: tuple[int, ...] = ()
    try:
        # here and not in the threads that decode: one of them would undo the other's, for good
        with warnings.catch_warnings(), (partial / "images.u8").open("wb") as images, _progress() as bar:
            warnings.simplefilter("ignore")  # damaged EXIF blocks, palettes: what matters is raised
            task = bar.add_task(f"reading {title}", total=count)
            for row, result in enumerate(_decoded(listing.read(), form)):
                bar.update(task, completed=row + 1, refresh=row == count - 1)
                name = listing.names[row]
                if isinstance(result, BadImage):
                    skipped.append((name, str(result)))
                    continue
                if not shape:
                    shape, first = result.shape, name
                    _check_room(partial, count * result.size)
                if result.shape != shape:
                    raise DataError(
                        f"{title}: the images have several sizes ({first} is {_size(shape)}, {name} is "
                        f"{_size(result.shape)}); set data.size to bring them to one"
                    )
                images.write(result.data)
                digests.append(hashlib.blake2b(result.data, digest_size=16).digest())
                kept.append(row)
        if len(kept) + len(skipped) != count + len(listing.skipped):
            raise DataError(f"{title}: gave other than the {count} images that were listed; fetch it again")
        if not kept:
            raise DataError(f"{title}: not one image could be read ({': '.join(skipped[0])}); look at the files")
        rows = np.array(kept)
        parts = np.zeros(count, np.int64) if listing.parts is None else listing.parts
        hashes = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)
        groups = _groups(listing.groups, rows, hashes)
        parts, copies = _without_copies(parts[rows], hashes)
        skipped += [(listing.names[rows[i]], reason) for i, reason in copies]
        np.savez(partial / "rows.npz", labels=listing.labels[rows], parts=parts, groups=groups, digests=hashes)
        about = {
            "title": title,
            "wanted": asdict(wanted),
            "shape": [len(kept), *shape],
            "class_names": listing.class_names,
            "total": count + len(listing.skipped),
            "skipped": skipped,
        }
        (partial / "about.json").write_text(json.dumps(about, indent=1))
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _without_copies(parts: np.ndarray, digests: np.ndarray) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Takes images out of their part of which a copy is in a later one: a test image must not be trained on.

    Args:
        parts: int64 N, the index in PARTS of the source's own division.
        digests: uint8 N×16.

    Returns:
        The parts, NOWHERE for images that were taken out, and for each of these its row and the reason.
    """
    _, image = np.unique(np.ascontiguousarray(digests).view("V16")[:, 0], return_inverse=True)
    last = np.zeros(image.max() + 1, np.int64)
    np.maximum.at(last, image, parts)
    out = np.flatnonzero(parts < last[image])
    reasons = [(int(row), f"a copy of an image of the {PARTS[last[image[row]]]} part") for row in out]
    kept = parts.copy()
    kept[out] = NOWHERE
    return kept, reasons


def _groups(named: Sequence[str] | None, rows: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """int64 N: the source's group of each row, and where it has none, one for all copies of an image."""
    _, groups = np.unique(np.ascontiguousarray(digests).view("V16")[:, 0], return_inverse=True)
    if named is not None:
        names = np.array(named)[rows]
        _, own = np.unique(names, return_inverse=True)
        groups = np.where(names == "", groups, own + len(rows))
    return groups


def _decoded(raws: Iterable[Raw], form: TargetFormat) -> Iterator[np.ndarray | BadImage]:
    """Contiguous C×H×W arrays in order, decoded by all cores; a few chunks of them are held at a time."""
    workers = os.cpu_count() or 1
    # Pillow lets go of the interpreter while it decodes and resizes, so threads suffice
    with ThreadPoolExecutor(workers) as pool:
        source, waiting = iter(raws), deque[Future[list[np.ndarray | BadImage]]]()
        try:
            while True:
                while len(waiting) < 2 * workers and (chunk := list(islice(source, CHUNK))):
                    waiting.append(pool.submit(_chunk, chunk, form))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _chunk(raws: list[Raw], form: TargetFormat) -> list[np.ndarray | BadImage]:
    results: list[np.ndarray | BadImage] = []
    for raw in raws:
        try:
            if isinstance(raw, np.ndarray):
                pixels = refit(raw, form)
            else:
                pixels = decode(raw, form) if isinstance(raw, bytes) else read(raw, form)
            results.append(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        except BadImage as error:
            results.append(error)
    return results


def _check_room(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < need:
        raise DataError(
            f"data.cache: {folder.parent} has {free / 2**20:.0f} MiB free, the images need {need / 2**20:.0f}; make "
            "room, give data.cache=<another folder>, or a smaller data.size"
        )


def _size(shape: tuple[int, ...]) -> str:
    channels, height, width = shape
    return f"{height}×{width}×{channels}"


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        transient=True,
        disable=bool(os.environ.get("CONFOUNDERGAN_QUIET")),
    )
