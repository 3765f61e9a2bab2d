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
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from filelock import FileLock, Timeout

from datamodules.config import DataError
from datamodules.decode import BadImage
from datamodules.photo import Output, Photo, Strip, pixels_in, read_photo, save_photo, stored_as
from datamodules.photo_tree import Found, PhotoTree, order

FORMAT = 1
MANIFEST, PARTIAL, PREVIOUS = "manifest.jsonl", "manifest.partial.jsonl", "manifest.previous.jsonl"
REPORT = "report.html"
LOCK, UNFINISHED = ".lock", ".unfinished"
LARGE = 16_000_000  # pixels; of photos above it one at a time is worked on, whatever the number of threads
LARGEST_FILE = 2 << 30
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
        output: ``png`` or ``webp``.
        strip: what is left out of the description of photos.
    """

    method: str
    checkpoint: str
    epsilon: float
    seed: int
    data: str
    output: Output
    strip: Strip


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
        bits: 8 or 16 a channel.
        linf: largest change of a pixel, in grey levels of 255.
        psnr: in dB; None where nothing changed.
        lost: what of the owner's file is not in the copy.
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


class Measured(Protocol):
    """What the noise did: largest change in grey levels of 255, PSNR in dB or None."""

    @property
    def levels(self) -> float: ...

    @property
    def psnr(self) -> float | None: ...


Protect = Callable[[Photo], tuple[Photo, Measured]]


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
    if names - {LOCK, UNFINISHED} and not names & {MANIFEST, PARTIAL, PREVIOUS}:
        raise DataError(f"dest: {dest} is not empty and was not made by this program; give another folder")


def planned(source: Path, dest: Path, head: Head) -> PhotoTree:
    """The walk that ``write_folder`` does, for showing it; writes nothing.

    Raises:
        DataError: as ``check_places``.
    """
    check_places(source, dest)
    return PhotoTree(source, f".{head.output}", (MANIFEST, PARTIAL, PREVIOUS, REPORT))


def write_folder(
    source: Path,
    dest: Path,
    head: Head,
    protect: Protect,
    workers: int,
    progress: Callable[[Summary], None],
    report: Callable[[Path, Summary], None],
) -> Summary:
    """Protects all photos of a folder into another; goes on where a killed call stopped.

    Args:
        source: is only read.
        dest: made if absent.
        head: of the manifest.
        protect: a photo to its protected one (the same object if it likes) and what was measured; deterministic.
        workers: threads, at least 1.
        progress: called after every photo, from this thread.
        report: called with the whole manifest and the summary, before the manifest gets its final name.

    Raises:
        DataError: a place is refused, there are no photos, another process is at work there, or the folder holds what
            another generator or other options made.
        OSError: the disk is full; what is there is whole, and the same call goes on.
    """
    tree = planned(source, dest, head)
    if next(iter(tree), None) is None:
        others = ", ".join(f"{count} {kind or 'without suffix'}" for kind, count in tree.others.most_common(8))
        raise DataError(f"source: {source} has no photos (files: {others or 'none'}); give the folder of the photos")
    dest.mkdir(parents=True, exist_ok=True)
    lock = FileLock(dest / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError(f"dest: another process is writing to {dest}; wait for it, or give another folder") from error
    with lock:
        return _Writer(source, dest, head, protect).run(tree, workers, progress, report)


class _Writer:
    """One call of ``write_folder``, the lock held."""

    def __init__(self, source: Path, dest: Path, head: Head, protect: Protect) -> None:
        self.source, self.dest, self.head, self.protect = source, dest, head, protect
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
            if (self.dest / name).exists() and (before := read_head(self.dest / name)) not in (None, self.head):
                raise DataError(f"{self.dest / name}: {_difference(self.head, before)}; choose another folder")
        _fold_manifests(self.dest)
        shutil.rmtree(self.dest / UNFINISHED, ignore_errors=True)
        (self.dest / UNFINISHED).mkdir()
        known, summary = _Known(self.dest / PREVIOUS), Summary(others=tree.others)
        pool = ThreadPoolExecutor(workers)
        try:
            # line by line: whatever has a line is whole
            with (self.dest / PARTIAL).open("w", buffering=1) as lines:
                lines.write(json.dumps({"format": FORMAT, **asdict(self.head)}) + "\n")
                waiting: deque[Future[tuple[Entry | Skipped, bool]]] = deque()

                def settle() -> None:
                    entry, kept = waiting.popleft().result()
                    lines.write(json.dumps(asdict(entry)) + "\n")
                    summary.protected += isinstance(entry, Entry)
                    summary.skipped += isinstance(entry, Skipped)
                    summary.kept += kept
                    progress(summary)

                for number, found in enumerate(tree):
                    entry = known.take(found) if found.target else None
                    waiting.append(pool.submit(self._one, found, entry, number))
                    if len(waiting) >= 4 * workers:
                        settle()
                while waiting:
                    settle()
        finally:
            pool.shutdown(cancel_futures=True)
            shutil.rmtree(self.dest / UNFINISHED, ignore_errors=True)
        summary.left = known.left()
        self._keep_folder_times(tree)
        report(self.dest / PARTIAL, summary)
        os.replace(self.dest / PARTIAL, self.dest / MANIFEST)
        (self.dest / PREVIOUS).unlink(missing_ok=True)
        return summary

    def _one(self, found: Found, known: Entry | None, number: int) -> tuple[Entry | Skipped, bool]:
        """A photo's line, its copy written if it is not there already; and whether it was."""
        if not found.target:
            return Skipped(found.source, found.reason), False
        try:
            data, modified = _contents(self.source / found.source)
            sha256 = hashlib.sha256(data).hexdigest()
            target = self.dest / found.target
            if known and known.source_sha256 == sha256 and _sha256(target) == known.protected_sha256:
                with suppress(OSError):  # times are a courtesy
                    os.utime(target, ns=(modified, modified))
                return known, True
            with self.large if pixels_in(data) > LARGE else nullcontext():
                photo = read_photo(data, self.head.strip)
                del data  # the photo's pixels are enough to hold
                photo, measured = self.protect(photo)
                return self._write(found, photo, measured, sha256, modified, number), False
        except BadImage as error:
            return Skipped(found.source, str(error)), False
        except MemoryError:
            return Skipped(found.source, "too large for this machine's memory"), False

    def _write(
        self, found: Found, photo: Photo, measured: Measured, sha256: str, modified: int, number: int
    ) -> Entry | Skipped:
        """Writes a copy under a passing name, reads it back, and gives it its own."""
        if measured.levels > self.head.epsilon:
            raise DataError(
                f"{found.source}: was changed by {measured.levels:g} grey levels, above ε = {self.head.epsilon:g}; "
                "the protection is faulty"
            )
        target, passing = self.dest / found.target, self.dest / UNFINISHED / str(number)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            below = os.path.join(self.real, os.path.dirname(found.target)).rstrip("/")
            if os.path.realpath(target.parent) != below:
                return Skipped(found.source, f"{os.path.dirname(found.target)} is a link in the destination; remove it")
            with passing.open("xb") as file:
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
        psnr = None if measured.psnr is None else round(measured.psnr, 3)
        return Entry(
            found.source, found.target, sha256, stored, size, width, height, photo.bits, round(measured.levels, 3),
            psnr, photo.lost,
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
        unfinished = (dest / PARTIAL).exists() or (dest / PREVIOUS).exists()
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
    largest = np.abs(after.pixels.astype(np.int32) - before.pixels).max() * (255 / np.iinfo(before.pixels.dtype).max)
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
