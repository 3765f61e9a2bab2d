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
from photos.jpeg import encode_jpeg
from photos.manifest import (
    FORMAT,
    MANIFEST,
    PARTIAL,
    PREVIOUS,
    Entry,
    Head,
    Known,
    Skipped,
    difference,
    entries,
    fold_manifests,
    lines_of,
    read_head,
)
from photos.photo import (
    SMALL,
    SUFFIX,
    Change,
    Photo,
    pixels_in,
    read_photo,
    save_photo,
    stored_as,
)
from photos.tree import Found, PhotoTree

REPORT = "report.html"
LOCK, UNFINISHED = ".lock", ".unfinished"
SHARD = ".shard-"  # begins the folder of a shard's own manifests, lock and unfinished files
BUSY = "dest: another process is writing to {}; wait for it, or give another folder"
LARGE = 16_000_000  # pixels; of photos above it one at a time is worked on, whatever the number of threads
LARGEST_FILE = 2 << 30
TOGETHER, TOGETHER_BYTES = 16, 1 << 20  # photos that a thread takes at a time: so many, or as many as are so large
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


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
        raise DataError(BUSY.format(dest)) from error
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
    # what was known before the folder was shared out (``share``) belongs to all shards
    known = (MANIFEST, PARTIAL, PREVIOUS) if control == dest else (MANIFEST, PARTIAL)
    whole = [name for name in known if (dest / name).exists()]
    if control == dest:
        if MANIFEST in whole:  # killed after joining
            for name in found:
                shutil.rmtree(dest / name)
        elif found:
            raise DataError(
                f"dest: {dest} is being written in shards ({', '.join(found)}); give shard= for each of them, or the "
                "devices that it was begun with"
            )
        return
    if whole:
        raise DataError(f"dest: {dest} was written as a whole, or is finished; leave shard out")
    other = [name for name in found if name.rpartition("-")[2] != control.name.rpartition("-")[2]]
    if other:
        raise DataError(
            f"dest: {dest} holds shards of another number ({other[0]}); finish these, or choose another folder"
        )


def share(dest: Path, head: Head) -> None:
    """Before a folder is shared out among processes: what earlier calls for all of it knew is there for each shard.

    Raises:
        DataError: another process is at work there, or the folder holds what another generator or other options made.
    """
    if not dest.exists():
        return
    lock = FileLock(dest / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError(BUSY.format(dest)) from error
    with lock:
        _check_head(dest, head)
        if (dest / MANIFEST).exists():  # shards beside it were killed after joining
            for folder in dest.glob(f"{SHARD}*"):
                shutil.rmtree(folder)
        fold_manifests(dest)


def _check_head(folder: Path, head: Head) -> None:
    for name in (PARTIAL, PREVIOUS, MANIFEST):
        if (folder / name).exists() and (before := read_head(folder / name)) not in (None, head):
            raise DataError(f"{folder / name}: {difference(head, before)}; choose another folder")


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
    (dest / PREVIOUS).unlink(missing_ok=True)


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
        for folder in {self.dest, self.control}:
            _check_head(folder, self.head)
        fold_manifests(self.control)
        shutil.rmtree(self.control / UNFINISHED, ignore_errors=True)
        (self.control / UNFINISHED).mkdir()
        folders = dict.fromkeys([self.control, self.dest])  # of a shard two, else the same
        known, summary = [Known(folder / PREVIOUS) for folder in folders], Summary(others=tree.others)
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
        # what all of a folder's shards know, the first one counts
        summary.left = sum(one.left() for one in (known if self.shard[0] == 1 else known[:1]))
        self._keep_folder_times(tree)
        report(self.control / PARTIAL, summary)
        os.replace(self.control / PARTIAL, self.control / MANIFEST)
        (self.control / PREVIOUS).unlink(missing_ok=True)
        return summary

    def _groups(self, tree: PhotoTree, known: list[Known]) -> Iterator[list[_Item]]:
        """The walk in pieces: small photos several at a time, since they are read faster so."""
        items: list[_Item] = []
        size = 0
        for number, found in enumerate(tree):
            before = [one.take(found) for one in known] if found.target else []  # all: the walk is theirs, too
            if number % self.shard[1] != self.shard[0] - 1:
                continue
            if found.target:
                with suppress(OSError):  # whoever reads it tells
                    size += (self.source / found.source).stat().st_size
            items.append(_Item(found, next(filter(None, before), None), number))
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
