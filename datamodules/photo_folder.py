"""A folder of protected photos on disk: written so that it can be killed at any moment, and checked afterwards.

::

    <folder>/<the owner's folders>/<photo>.png
    <folder>/manifest.jsonl     first line: about the folder; then one line a photo, or the reason why it is left out
    <folder>/report.html        for the owner

While it is being written the manifest is called ``manifest.partial.jsonl``; what an earlier call knew is in
``manifest.previous.jsonl``; ``.unfinished/`` holds files that have no final name yet; ``.lock`` stays, empty. Every
photo gets its name when it is whole, and when the file, decoded again, has been found to be what was meant. Nothing
depends on the clock or on how many threads there are, so that a folder that was cut off and finished has the bytes of
one that was not. Memory does not grow with the number of photos.
"""

import errno
import hashlib
import heapq
import json
import os
import shutil
import stat
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from filelock import FileLock, Timeout

from datamodules.config import DataError
from datamodules.decode import BadImage
from datamodules.photo import (
    SMALL,
    SUFFIX,
    Change,
    Output,
    Photo,
    Strip,
    pixels_in,
    read_photo,
    save_photo,
    stored_as,
)
from datamodules.photo_jpeg import encode_jpeg
from datamodules.photo_tree import Found, PhotoTree, order

FORMAT = 1
MANIFEST, PARTIAL, PREVIOUS = "manifest.jsonl", "manifest.partial.jsonl", "manifest.previous.jsonl"
REPORT = "report.html"
LOCK, UNFINISHED = ".lock", ".unfinished"
SHARD = ".shard-"  # begins the folder of a shard's own manifests, lock and unfinished files
LARGE = 16_000_000  # pixels; of photos above it one at a time is worked on, whatever the number of threads
LARGEST_FILE = 2 << 30
TOGETHER, TOGETHER_BYTES = 16, 1 << 20  # photos that a thread takes at a time: so many, or as many as are so large
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Head:
    """The manifest's first line: what decides the bytes of a copy.

    Attributes:
        method: name of the protection.
        checkpoint: sha256 of the generator's file.
        epsilon: the bound, in grey levels of 255.
        seed: of the generator.
        data: that the generator was trained on.
        output: ``png``, ``webp`` or ``jpeg``.
        strip: what is left out of the description of photos.
        quality: the lowest of JPEG; 0 for the others.
    """

    method: str
    checkpoint: str
    epsilon: float
    seed: int
    data: str
    output: Output
    strip: Strip
    quality: int = 0


@dataclass(frozen=True)
class Entry:
    """A photo's line in the manifest.

    Attributes:
        source: below the owner's folder.
        path: of its copy, relative to the manifest.
        source_sha256: of the owner's file.
        protected_sha256: of the copy.
        bytes: size of the copy.
        width: in pixels, upright.
        height: likewise.
        bits: 8 or 16 a channel; of DICOM what it stores.
        linf: largest change of a pixel, in grey levels of 255.
        psnr: in dB; None where nothing changed.
        lost: what of the owner's file is not in the copy.
        quality: of a JPEG; 0 for others, which are without loss.
        kept: share of the noise that is left in a JPEG; None for others.
    """

    source: str
    path: str
    source_sha256: str
    protected_sha256: str
    bytes: int
    width: int
    height: int
    bits: int
    linf: float
    psnr: float | None
    lost: list[str]
    quality: int = 0
    kept: float | None = None


@dataclass(frozen=True)
class Skipped:
    """The manifest's line of what is left out, and why."""

    source: str
    skipped: str


@dataclass
class Summary:
    """What became of a folder.

    Attributes:
        protected: photos that have a copy now.
        kept: those of them that an earlier call wrote, and that were found as it left them.
        skipped: photos and folders left out.
        left: copies whose photo is gone, changed its name or cannot be read any more; they stay, unlisted.
        others: files that are no photos by their name, by suffix; they are not copied.
    """

    protected: int = 0
    kept: int = 0
    skipped: int = 0
    left: int = 0
    others: Counter[str] = field(default_factory=Counter)


class Noised(Protocol):
    """A photo and the noise that is meant for it."""

    photo: Photo

    def add(self) -> Change:
        """Adds the noise to ``photo``, in place."""

    def copy(self, levels: int) -> Photo:
        """A copy of ``photo`` with the noise, cut to so many of the photo's levels."""


# photos to what becomes of each, in the same order; where a photo cannot be protected, the reason. What becomes of a
# photo must not depend on those beside it
Protect = Callable[[Sequence[Photo]], Sequence[Noised | BadImage]]


@dataclass(frozen=True)
class _Item:
    """A step of the walk: what was found, what an earlier call wrote, and its place in the walk."""

    found: Found
    known: Entry | None
    number: int


@dataclass(frozen=True)
class _Read:
    """A photo in memory, with its file's hash and time."""

    photo: Photo
    sha256: str
    modified: int


Line = tuple[Entry | Skipped, bool]  # of the manifest; and whether the copy was there already


def check_places(source: Path, dest: Path) -> None:
    """Refuses folders that lie in one another, and a destination that holds something else.

    Raises:
        DataError: as described.
    """
    if not source.is_dir():
        raise DataError(f"source: no folder {source}; give the folder of the photos")
    here, there = source.resolve(), dest.resolve()
    if here == there or (dest.exists() and os.path.samefile(source, dest)):
        raise DataError(f"dest: {dest} is the folder of the photos itself; give another, outside of it")
    if here in there.parents:
        raise DataError(f"dest: {dest} is inside {source}, where its files would pass for photos; give one outside")
    if there in here.parents:
        raise DataError(f"dest: {dest} contains the photos' own folder; give one outside of it")
    if not dest.exists():
        return
    if not dest.is_dir():
        raise DataError(f"dest: {dest} is a file; give a folder, or a name that is free")
    names = {path.name for path in dest.iterdir()}
    ours = {MANIFEST, PARTIAL, PREVIOUS, *(name for name in names if name.startswith(SHARD))}
    if names - {LOCK, UNFINISHED} and not names & ours:
        raise DataError(f"dest: {dest} is not empty and was not made by this program; give another folder")


def planned(source: Path, dest: Path, head: Head) -> PhotoTree:
    """The walk that ``write_folder`` does, for showing it; writes nothing.

    Raises:
        DataError: as ``check_places``.
    """
    check_places(source, dest)
    return PhotoTree(source, SUFFIX[head.output], (MANIFEST, PARTIAL, PREVIOUS, REPORT))


def write_folder(
    source: Path,
    dest: Path,
    head: Head,
    protect: Protect,
    workers: int,
    progress: Callable[[Summary], None],
    report: Callable[[Path, Summary], None],
    shard: tuple[int, int] = (1, 1),
) -> Summary:
    """Protects all photos of a folder into another; goes on where a killed call stopped.

    Args:
        source: is only read.
        dest: made if absent.
        head: of the manifest.
        protect: adds noise to some photos; deterministic.
        workers: threads, at least 1.
        progress: called after every photo, from this thread.
        report: called with the whole manifest and the summary, before the manifest gets its final name.
        shard: (i, n) works on the i-th of n equal shares of the walk; the call that ends last joins what all have
            written into the folder that one call for all would have made.

    Raises:
        DataError: a place is refused, there are no photos, another process is at work there, or the folder holds what
            another generator or other options made.
        OSError: the disk is full; what is there is whole, and the same call goes on.
    """
    tree = planned(source, dest, head)
    if next(iter(tree), None) is None:
        others = ", ".join(f"{count} {kind or 'without suffix'}" for kind, count in tree.others.most_common(8))
        raise DataError(f"source: {source} has no photos (files: {others or 'none'}); give the folder of the photos")
    control = control_of(dest, shard)
    _check_shards(dest, control)
    control.mkdir(parents=True, exist_ok=True)
    lock = FileLock(control / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError(f"dest: another process is writing to {dest}; wait for it, or give another folder") from error
    with lock:
        writer = _Writer(source, dest, head, protect, shard)
        if shard[1] == 1:
            return writer.run(tree, workers, progress, report)
        summary = writer.run(tree, workers, progress, lambda manifest, summary: None)
        with FileLock(dest / LOCK):
            _join(dest, tree, shard[1], report)
        return summary


def control_of(dest: Path, shard: tuple[int, int]) -> Path:
    """The folder of a call's manifests: the destination, or a shard's own inside it."""
    return dest if shard[1] == 1 else dest / f"{SHARD}{shard[0]}-of-{shard[1]}"


def _check_shards(dest: Path, control: Path) -> None:
    """Refuses to mix calls for shares of a folder with those for all of it, or with other shares."""
    found = sorted(path.name for path in dest.glob(f"{SHARD}*"))
    whole = [name for name in (MANIFEST, PARTIAL, PREVIOUS) if (dest / name).exists()]
    if control == dest:
        if MANIFEST in whole:  # killed after joining
            for name in found:
                shutil.rmtree(dest / name)
        elif found:
            raise DataError(
                f"dest: {dest} is being written in shards ({', '.join(found)}); give shard= for each of them"
            )
        return
    if whole:
        raise DataError(f"dest: {dest} was written as a whole, or is finished; leave shard out")
    other = [name for name in found if name.rpartition("-")[2] != control.name.rpartition("-")[2]]
    if other:
        raise DataError(
            f"dest: {dest} holds shards of another number ({other[0]}); finish these, or choose another folder"
        )


def _join(dest: Path, tree: PhotoTree, count: int, report: Callable[[Path, Summary], None]) -> None:
    """Makes one manifest of all shards', a line of each in turn, as the walk was dealt; none while one is missing."""
    folders = [control_of(dest, (number, count)) for number in range(1, count + 1)]
    if not all((folder / MANIFEST).exists() for folder in folders):
        return
    merged, total = folders[0] / "joined.jsonl", Summary(others=tree.others)
    with merged.open("w") as file, (folders[0] / MANIFEST).open() as first:
        file.write(first.readline())
        shares = [lines_of(folder / MANIFEST) for folder in folders]
        for place, found in enumerate(tree):
            line = next(shares[place % count], None)
            if line is None or line.source != found.source:
                raise DataError(f"{found.source}: came while {dest} was being written in shards; run each shard again")
            file.write(json.dumps(asdict(line)) + "\n")
            total.protected += isinstance(line, Entry)
            total.skipped += isinstance(line, Skipped)
    if any(next(share, None) for share in shares):
        raise DataError(f"source: photos went while {dest} was being written in shards; run each shard again")
    report(merged, total)
    os.replace(merged, dest / MANIFEST)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


class _Writer:
    """One call of ``write_folder``, the lock held."""

    def __init__(self, source: Path, dest: Path, head: Head, protect: Protect, shard: tuple[int, int]) -> None:
        self.source, self.dest, self.head, self.protect = source, dest, head, protect
        self.shard, self.control, self.stopped = shard, control_of(dest, shard), False
        self.large = threading.Lock()
        self.real = os.path.realpath(dest)

    def run(
        self,
        tree: PhotoTree,
        workers: int,
        progress: Callable[[Summary], None],
        report: Callable[[Path, Summary], None],
    ) -> Summary:
        for name in (PARTIAL, PREVIOUS, MANIFEST):
            if (self.control / name).exists() and (before := read_head(self.control / name)) not in (None, self.head):
                raise DataError(f"{self.control / name}: {_difference(self.head, before)}; choose another folder")
        _fold_manifests(self.control)
        shutil.rmtree(self.control / UNFINISHED, ignore_errors=True)
        (self.control / UNFINISHED).mkdir()
        known, summary = _Known(self.control / PREVIOUS), Summary(others=tree.others)
        pool = ThreadPoolExecutor(workers)
        try:
            # line by line: whatever has a line is whole
            with (self.control / PARTIAL).open("w", buffering=1) as lines:
                lines.write(json.dumps({"format": FORMAT, **asdict(self.head)}) + "\n")
                waiting: deque[Future[list[Line]]] = deque()

                def settle() -> None:
                    for entry, kept in waiting.popleft().result():
                        lines.write(json.dumps(asdict(entry)) + "\n")
                        summary.protected += isinstance(entry, Entry)
                        summary.skipped += isinstance(entry, Skipped)
                        summary.kept += kept
                        progress(summary)

                for items in self._groups(tree, known):
                    waiting.append(pool.submit(self._several, items))
                    if len(waiting) >= 2 * workers:
                        settle()
                while waiting:
                    settle()
        finally:
            self.stopped = True  # after an error nobody waits for the rest
            pool.shutdown(cancel_futures=True)
            shutil.rmtree(self.control / UNFINISHED, ignore_errors=True)
        summary.left = known.left()
        self._keep_folder_times(tree)
        report(self.control / PARTIAL, summary)
        os.replace(self.control / PARTIAL, self.control / MANIFEST)
        (self.control / PREVIOUS).unlink(missing_ok=True)
        return summary

    def _groups(self, tree: PhotoTree, known: "_Known") -> Iterator[list[_Item]]:
        """The walk in pieces: small photos several at a time, since they are read faster so."""
        items: list[_Item] = []
        size = 0
        for number, found in enumerate(tree):
            if number % self.shard[1] != self.shard[0] - 1:
                continue
            if found.target:
                with suppress(OSError):  # whoever reads it tells
                    size += (self.source / found.source).stat().st_size
            items.append(_Item(found, known.take(found) if found.target else None, number))
            if len(items) == TOGETHER or size >= TOGETHER_BYTES:
                yield items
                items, size = [], 0
        if items:
            yield items

    def _several(self, items: list[_Item]) -> list[Line]:
        """The lines of some photos, their copies written where they are not there already."""
        lines: dict[int, Line] = {}
        together: list[tuple[_Item, _Read]] = []
        for item in items:
            if self.stopped:
                return []
            try:
                found = self._read(item)
                if isinstance(found, _Read):
                    together.append((item, found))
                else:
                    lines[item.number] = found
            except BadImage as error:
                lines[item.number] = Skipped(item.found.source, str(error)), False
            except MemoryError:
                lines[item.number] = Skipped(item.found.source, "too large for this machine's memory"), False
        for item, line in self._protected(together):
            lines[item.number] = line
        return [lines[item.number] for item in items]

    def _read(self, item: _Item) -> Line | _Read:
        """A small photo; the line of one that is done already, or that is too large to wait for others."""
        found, known = item.found, item.known
        if not found.target:
            return Skipped(found.source, found.reason), False
        data, modified = _contents(self.source / found.source)
        sha256 = hashlib.sha256(data).hexdigest()
        target = self.dest / found.target
        if known and known.source_sha256 == sha256 and _sha256(target) == known.protected_sha256:
            with suppress(OSError):  # times are a courtesy
                os.utime(target, ns=(modified, modified))
            return known, True
        size = pixels_in(data)
        if size <= SMALL:
            return _Read(read_photo(data, self.head.strip), sha256, modified)
        with self.large if size > LARGE else nullcontext():
            photo = read_photo(data, self.head.strip)
            del data  # the photo's pixels are enough to hold
            [(_, line)] = self._protected([(item, _Read(photo, sha256, modified))])
            return line

    def _protected(self, photos: list[tuple[_Item, _Read]]) -> Iterator[tuple[_Item, Line]]:
        """Adds noise to some photos at once and writes them one by one."""
        noised = self.protect([read.photo for _, read in photos]) if photos else ()
        for (item, read), one in zip(photos, noised, strict=True):
            try:
                if isinstance(one, BadImage):
                    raise one
                yield item, (self._write(item, read, one), False)
            except BadImage as error:
                yield item, (Skipped(item.found.source, str(error)), False)

    def _write(self, item: _Item, read: _Read, noised: Noised) -> Entry | Skipped:
        """Writes a copy under a passing name, reads it back, and gives it its own.

        Raises:
            BadImage: the format cannot hold it.
        """
        found, number, modified = item.found, item.number, read.modified
        target, passing = self.dest / found.target, self.control / UNFINISHED / str(number)
        data, photo, quality, kept = b"", noised.photo, 0, None
        if self.head.output == "jpeg" and not photo.dicom:
            encoded = encode_jpeg(photo, noised.copy, self.head.epsilon, self.head.quality)
            data, photo, change = encoded.data, encoded.photo, encoded.change
            quality, kept = encoded.quality, encoded.kept
        else:
            change = noised.add()
        if change.levels > self.head.epsilon:
            raise DataError(
                f"{found.source}: was changed by {change.levels:g} grey levels, above ε = {self.head.epsilon:g}; "
                "the protection is faulty"
            )
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            below = os.path.join(self.real, os.path.dirname(found.target)).rstrip("/")
            if os.path.realpath(target.parent) != below:
                return Skipped(found.source, f"{os.path.dirname(found.target)} is a link in the destination; remove it")
            with passing.open("xb") as file:
                if data:
                    file.write(data)
                else:
                    save_photo(photo, file, self.head.output)
            if not stored_as(photo, passing):
                raise DataError(f"{found.source}: its copy decodes to other pixels than were written; check the disk")
            stored, size = _sha256(passing), passing.stat().st_size
            os.utime(passing, ns=(modified, modified))
            os.replace(passing, target)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise OSError(error.errno, error.strerror, str(self.dest)) from error
            return Skipped(found.source, f"its copy cannot be written ({error.strerror or error})")
        finally:
            passing.unlink(missing_ok=True)
        height, width = photo.pixels.shape[:2]
        psnr = None if change.psnr is None else round(change.psnr, 3)
        return Entry(
            found.source, found.target, read.sha256, stored, size, width, height, photo.bits, round(change.levels, 3),
            psnr, photo.lost, quality, None if kept is None else round(kept, 3),
        )  # fmt: skip

    def _keep_folder_times(self, tree: PhotoTree) -> None:
        """Folders get the times of the owner's, after all files are in them."""
        last = ""
        for found in tree:
            folder = os.path.dirname(found.target)
            if folder == last:
                continue
            last = folder
            while folder:
                with suppress(OSError):
                    modified = (self.source / folder).stat().st_mtime_ns
                    os.utime(self.dest / folder, ns=(modified, modified))
                folder = os.path.dirname(folder)


class _Known:
    """What an earlier call wrote, read beside a walk in the same order."""

    def __init__(self, path: Path) -> None:
        self.lines = entries(path) if path.exists() else iter(())
        self.next, self.passed = next(self.lines, None), 0

    def take(self, found: Found) -> Entry | None:
        """The entry of a photo that has the same name for its copy; called in the order of the walk."""
        while self.next and order(self.next.source) < order(found.source):
            self._pass()
        if self.next is None or self.next.source != found.source:
            return None
        if self.next.path != found.target:
            self._pass()
            return None
        entry, self.next = self.next, next(self.lines, None)
        return entry

    def left(self) -> int:
        """How many entries were not taken; at the end of the walk."""
        while self.next:
            self._pass()
        return self.passed

    def _pass(self) -> None:
        self.passed, self.next = self.passed + 1, next(self.lines, None)


def entries(path: Path) -> Iterator[Entry]:
    """The photos of a manifest, one after the other; a torn last line, and what is left out, are passed over."""
    for line in lines_of(path):
        if isinstance(line, Entry):
            yield line


def lines_of(path: Path) -> Iterator[Entry | Skipped]:
    """The lines of a manifest after the first; a torn last line is passed over.

    Raises:
        DataError: a line is damaged.
    """
    with path.open(newline="\n") as lines:
        next(lines, None)
        for number, line in enumerate(lines, 2):
            if not line.endswith("\n"):
                return
            try:
                fields = json.loads(line)
                yield Skipped(**fields) if "skipped" in fields else Entry(**fields)
            except (ValueError, TypeError) as error:
                raise DataError(
                    f"{path}: line {number} is damaged ({error}); delete this file, protect again"
                ) from error


def read_head(path: Path) -> Head | None:
    """A manifest's first line; None where it was torn while being written.

    Raises:
        DataError: it is damaged, or of another version.
    """
    with path.open(newline="\n") as lines:
        line = lines.readline()
    if not line.endswith("\n"):
        return None
    try:
        fields = json.loads(line)
        if fields.pop("format", None) != FORMAT:
            raise DataError(f"{path}: made by another version of this program; choose another folder")
        return Head(**fields)
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no manifest of this program ({error}); choose another folder") from error


def _difference(wanted: Head, found: Head | None) -> str:
    before, now = asdict(found) if found else {}, asdict(wanted)
    key = next(key for key in now if before.get(key) != now[key])
    return f"was made with {key} {before.get(key)}, now {now[key]} is asked for"


def _fold_manifests(dest: Path) -> None:
    """Brings what earlier calls knew into one file, ``manifest.previous.jsonl``; a kill meanwhile loses nothing."""
    previous, partial, final = dest / PREVIOUS, dest / PARTIAL, dest / MANIFEST
    if final.exists():
        os.replace(final, previous)
    if partial.exists() and read_head(partial) is None:  # killed in its first line
        partial.unlink()
    if not partial.exists():
        return
    if not previous.exists():
        os.replace(partial, previous)
        return
    merged = dest / f"{PREVIOUS}.tmp"
    with merged.open("w") as file, previous.open() as lines:
        file.write(lines.readline())
        last = None
        # of two lines for a photo the partial one, which is newer, comes first
        for entry in heapq.merge(entries(partial), entries(previous), key=lambda entry: order(entry.source)):
            if entry.source != last:
                file.write(json.dumps(asdict(entry)) + "\n")
            last = entry.source
    os.replace(merged, previous)
    partial.unlink()


def verify_folder(
    dest: Path, source: Path | None, progress: Callable[[], None] = lambda: None
) -> Iterator[tuple[str, str]]:
    """What is wrong with a folder of protected photos: a path and what was found there; nothing when all is well.

    Args:
        dest: the folder.
        source: the owner's, if the bound is to be measured anew on the decoded files.
        progress: called after every photo.

    Raises:
        DataError: no manifest, an unfinished or a damaged one.
    """
    manifest = dest / MANIFEST
    if not manifest.is_file():
        unfinished = (dest / PARTIAL).exists() or (dest / PREVIOUS).exists() or any(dest.glob(f"{SHARD}*"))
        state = "its writing was cut off; protect again to finish it" if unfinished else "none found"
        raise DataError(f"{manifest}: no finished folder of protected photos here ({state})")
    if source is not None and not source.is_dir():
        raise DataError(f"source: no folder {source}; give that of the photos, or leave it out")
    head = read_head(manifest)
    if head is None:
        raise DataError(f"{manifest}: is empty; protect the photos again")
    listed = set()
    for entry in entries(manifest):
        listed.add(entry.path)
        fault = _fault(dest, source, head, entry)
        if fault:
            yield entry.path, fault
        progress()
    for folder, folders, files in os.walk(dest):
        folders.sort()
        for name in sorted(files):
            path = os.path.relpath(os.path.join(folder, name), dest).replace(os.sep, "/")
            if path not in listed and path not in (MANIFEST, REPORT, LOCK):
                yield path, "is not in the manifest"


def _fault(dest: Path, source: Path | None, head: Head, entry: Entry) -> str:
    path = dest / entry.path
    try:
        stored = path.read_bytes()
    except OSError as error:
        return f"is in the manifest, but cannot be read ({error.strerror})"
    if hashlib.sha256(stored).hexdigest() != entry.protected_sha256:
        return "is not the file that the manifest describes"
    if source is None:
        return ""
    try:
        data, _ = _contents(source / entry.source)
        if hashlib.sha256(data).hexdigest() != entry.source_sha256:
            return f"its photo {entry.source} has changed since it was protected; protect again"
        before, after = read_photo(data), read_photo(stored)
    except BadImage as error:
        return f"its photo {entry.source}: {error}"
    if before.pixels.shape[:2] != after.pixels.shape[:2] or before.bits != after.bits:
        return f"has another size or depth than {entry.source}"
    largest = np.abs(after.pixels.astype(np.int32) - before.pixels).max() * (255 / before.peak)
    if largest > head.epsilon:
        return f"differs from {entry.source} by {largest:g} grey levels, above ε = {head.epsilon:g}"
    return ""


def _contents(path: Path) -> tuple[bytes, int]:
    """A file's bytes and the time of its last change in nanoseconds.

    Raises:
        BadImage: it cannot be read, or is no ordinary file.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise BadImage("no ordinary file")
        if found.st_size > LARGEST_FILE:
            raise BadImage("file above 2 GiB")
        return path.read_bytes(), found.st_mtime_ns
    except OSError as error:
        raise BadImage(f"cannot be read ({error.strerror})") from error


def _sha256(path: Path) -> str:
    """Of a file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
