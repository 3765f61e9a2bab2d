"""A folder of protected photos on disk: written so that it can be killed at any moment.

What lies in it: ``photos.destination``. Every photo gets its name when it is whole, when ε was found to hold in the
pixels that were encoded without loss, or in the decoded file (``photos.write.to_be_decoded``), and when what describes
it has been compared with the owner's file. Nothing depends on
the clock or on how many threads there are, so that a folder that was cut off and finished has the bytes of one that was
not. Memory does not grow with the number of photos. No copy can be read by more people than its photo can.
"""

import errno
import hashlib
import json
import mmap
import os
import shutil
import stat
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from datamodules.config import DataError
from datamodules.decode import BadImage
from photos.change import Change
from photos.description.metadata import compare_items
from photos.destination import (
    UNFINISHED,
    check_header,
    check_shards,
    control_of,
    locked,
    make_folder,
    mode_of,
    planned,
)
from photos.jpeg import encode_jpeg
from photos.manifest import (
    MANIFEST,
    PARTIAL,
    PREVIOUS,
    Entry,
    Known,
    ManifestHeader,
    Skipped,
    fold_manifests,
    header_line,
    lines_of,
    private,
)
from photos.photo import SMALL, Photo
from photos.read import items_of, pixels_in, read_photo
from photos.text import printable
from photos.tree import PhotoTree, ScannedFile
from photos.write import save_photo, stored_as, to_be_decoded

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
        others: files that are no photos by their content, by suffix; they are not copied.
        mode: the permissions that all photos have in common, which manifest and report get.
        seconds: that the call took, without the report.
    """

    protected: int = 0
    kept: int = 0
    skipped: int = 0
    left: int = 0
    others: Counter[str] = field(default_factory=Counter)
    mode: int = 0o600
    seconds: float = 0.0


class PendingNoise(Protocol):
    """A photo and the noise that is meant for it."""

    photo: Photo

    def add(self) -> Change:
        """Adds the noise to ``photo``, in place."""

    def copy(self, levels: int) -> Photo:
        """A copy of ``photo`` with the noise, cut to so many of the photo's levels."""


# photos, and their paths below the owner's folder, to what becomes of each, in the same order; where a photo cannot be
# protected, the reason. What becomes of a photo must not depend on those beside it
Protect = Callable[[Sequence[Photo], Sequence[str]], Sequence[PendingNoise | BadImage]]


@dataclass(frozen=True)
class _Item:
    """A step of the walk: what was found, what an earlier call wrote, and its place in the walk."""

    found: ScannedFile
    known: Entry | None
    number: int


@dataclass(frozen=True)
class _Read:
    """A photo in memory, with its file's hash, time and permissions, and the items that describe it."""

    photo: Photo
    sha256: str
    modified: int
    mode: int
    items: dict[str, bytes]


Line = tuple[Entry | Skipped, bool]  # of the manifest; and whether the copy was there already


def write_folder(
    source: Path,
    dest: Path,
    header: ManifestHeader,
    protect: Protect,
    workers: int,
    progress: Callable[[Summary], None],
    report: Callable[[Path, Summary], None],
    shard: tuple[int, int] = (1, 1),
) -> Summary:
    """Protects all photos of a folder into another; resumes where a killed call stopped.

    Args:
        source: is only read.
        dest: made if absent.
        header: of the manifest.
        protect: adds noise to some photos; deterministic.
        workers: threads, at least 1.
        progress: called after every photo, from this thread.
        report: called with the whole manifest and the summary, before the manifest gets its final name.
        shard: (i, n) works on the i-th of n equal shares of the walk; the call that ends last joins what all have
            written into the folder that one call for all would have made.

    Raises:
        DataError: a place is refused, there are no photos, another process is at work there, or the folder holds what
            another generator or other options made.
        OSError: the disk is full; what is there is whole, and the same call resumes it.
    """
    tree = planned(source, dest, header.output)
    if not sum(1 for _ in tree):  # the whole walk: a folder of protected images is refused before anything is written
        others = ", ".join(f"{count} {kind or 'without suffix'}" for kind, count in tree.others.most_common(8))
        raise DataError(
            f"source: {printable(source)} has no photos (files: {others or 'none'}); give the folder of the photos"
        )
    control = control_of(dest, shard)
    check_shards(dest, control)
    dest.parent.mkdir(parents=True, exist_ok=True)
    make_folder(dest, mode_of(source))
    make_folder(control, 0o700)
    with locked(control, dest):
        writer = _Writer(source, dest, header, protect, shard)
        if shard[1] == 1:
            return writer.run(tree, workers, progress, report)
        summary = writer.run(tree, workers, progress, lambda manifest, summary: None)
        with locked(dest, dest, wait=True):
            _join(dest, tree, shard[1], report, summary.seconds)
        return summary


def _join(dest: Path, tree: PhotoTree, count: int, report: Callable[[Path, Summary], None], seconds: float) -> None:
    """Makes one manifest of all shards', a line of each in turn, as the walk was dealt; none while one is missing."""
    folders = [control_of(dest, (number, count)) for number in range(1, count + 1)]
    if not all((folder / MANIFEST).exists() for folder in folders):
        return
    merged, total = folders[0] / "joined.jsonl", Summary(others=tree.others, seconds=seconds)
    with private(merged) as file, (folders[0] / MANIFEST).open() as first:
        file.write(first.readline())
        shares = [lines_of(folder / MANIFEST) for folder in folders]
        for place, found in enumerate(tree):
            line = next(shares[place % count], None)
            if line is None or line.source != found.source:
                raise DataError(
                    f"{printable(found.source)}: came while {printable(dest)} was being written in shards; run each "
                    "shard again"
                )
            file.write(json.dumps(asdict(line)) + "\n")
            total.protected += isinstance(line, Entry)
            total.skipped += isinstance(line, Skipped)
    if any(next(share, None) for share in shares):
        raise DataError(
            f"source: photos went while {printable(dest)} was being written in shards; run each shard again"
        )
    total.mode = tree.mode
    report(merged, total)
    _publish(merged, dest / MANIFEST, tree.mode)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    (dest / PREVIOUS).unlink(missing_ok=True)


def _publish(manifest: Path, final: Path, mode: int) -> None:
    """Gives a whole manifest its name, and the permissions that all photos have in common."""
    os.chmod(manifest, mode & 0o666 | 0o400)
    os.replace(manifest, final)


class _Writer:
    """One call of ``write_folder``, the lock held."""

    def __init__(
        self, source: Path, dest: Path, header: ManifestHeader, protect: Protect, shard: tuple[int, int]
    ) -> None:
        self.source, self.dest, self.header, self.protect = source, dest, header, protect
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
        began = time.perf_counter()
        for folder in {self.dest, self.control}:
            check_header(folder, self.header)
        fold_manifests(self.control)
        shutil.rmtree(self.control / UNFINISHED, ignore_errors=True)
        make_folder(self.control / UNFINISHED, 0o700)
        folders = dict.fromkeys([self.control, self.dest])  # of a shard two, else the same
        known, summary = [Known(folder / PREVIOUS) for folder in folders], Summary(others=tree.others)
        pool = ThreadPoolExecutor(workers)
        try:
            # line by line: whatever has a line is whole
            with private(self.control / PARTIAL) as lines:
                lines.write(header_line(self.header))
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
        summary.mode, summary.seconds = tree.mode, time.perf_counter() - began
        report(self.control / PARTIAL, summary)
        _publish(self.control / PARTIAL, self.control / MANIFEST, tree.mode)
        (self.control / PREVIOUS).unlink(missing_ok=True)
        return summary

    def _groups(self, tree: PhotoTree, known: list[Known]) -> Iterator[list[_Item]]:
        """The walk in pieces: small photos several at a time, since they are read faster so."""
        items: list[_Item] = []
        size = 0
        for number, found in enumerate(tree):
            # all: the walk is theirs, too
            before = [one.take(found.source, found.target) for one in known] if found.target else []
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
        data, modified = contents(self.source / found.source)
        sha256 = hashlib.sha256(data).hexdigest()
        target = self.dest / found.target
        if known and known.source_sha256 == sha256 and _sha256(target) == known.protected_sha256:
            with suppress(OSError):  # times are a courtesy
                os.utime(target, ns=(modified, modified))
            self._restrict(target, found)
            return known, True
        size = pixels_in(data)
        with self.large if size > LARGE else nullcontext():
            photo = read_photo(data, self.header.strip)
            read = _Read(photo, sha256, modified, found.mode, items_of(data))
            if size <= SMALL:
                return read
            del data  # the photo's pixels are enough to hold
            [(_, line)] = self._protected([(item, read)])
            return line

    def _protected(self, photos: list[tuple[_Item, _Read]]) -> Iterator[tuple[_Item, Line]]:
        """Adds noise to some photos at once and writes them one by one."""
        sources = [item.found.source for item, _ in photos]
        noised = self.protect([read.photo for _, read in photos], sources) if photos else ()
        for (item, read), one in zip(photos, noised, strict=True):
            try:
                if isinstance(one, BadImage):
                    raise one
                yield item, (self._write(item, read, one), False)
            except BadImage as error:
                yield item, (Skipped(item.found.source, str(error)), False)

    def _write(self, item: _Item, read: _Read, noised: PendingNoise) -> Entry | Skipped:
        """Writes a copy under a passing name, checks it, and gives it its own.

        Raises:
            BadImage: the format cannot hold it.
        """
        found, photo = item.found, noised.photo
        target, passing = self.dest / found.target, self.control / UNFINISHED / str(item.number)
        data, quality, share = b"", 0, None
        if self.header.output == "jpeg" and not photo.dicom:
            encoded = encode_jpeg(photo, noised.copy, self.header.epsilon, self.header.quality)
            data, photo, change = encoded.data, encoded.photo, encoded.change
            quality, share = encoded.quality, encoded.kept
        else:
            change = noised.add()
        if change.levels > self.header.epsilon:
            raise DataError(
                f"{printable(found.source)}: was changed by {change.levels:g} grey levels, above "
                f"ε = {self.header.epsilon:g}; the protection is faulty"
            )
        try:
            self._make_folders(found)
            below = os.path.join(self.real, os.path.dirname(found.target)).rstrip("/")
            if os.path.realpath(target.parent) != below:
                return Skipped(found.source, f"{os.path.dirname(found.target)} is a link in the destination; remove it")
            with open(passing, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                if data:
                    file.write(data)
                else:
                    save_photo(photo, file, self.header.output)
            if to_be_decoded(photo, self.header.output, read.sha256) and not stored_as(photo, passing):
                raise DataError(
                    f"{printable(found.source)}: its copy decodes to other pixels than were written; check the disk"
                )
            described = compare_items(read.items, _items(passing), photo.dropped)
            stored, size = _sha256(passing), passing.stat().st_size
            os.utime(passing, ns=(read.modified, read.modified))
            os.chmod(passing, read.mode)
            os.replace(passing, target)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise OSError(error.errno, error.strerror, str(self.dest)) from error
            return Skipped(found.source, f"its copy cannot be written ({error.strerror or error})")
        finally:
            passing.unlink(missing_ok=True)
        return Entry(
            source=found.source,
            path=found.target,
            source_sha256=read.sha256,
            protected_sha256=stored,
            bytes=size,
            width=photo.width,
            height=photo.height,
            bits=photo.bits,
            linf=round(change.levels, 3),
            psnr=_rounded(change.psnr),
            lost=described.lost,
            quality=quality,
            noise_share=_rounded(share),
            displayed=photo.display.text if photo.display else "",
            stored_linf=change.stored_largest,
            stored_psnr=_rounded(change.stored_psnr),
            cast=_rounded(change.cast),
            kept=described.kept,
            added=described.added,
        )

    def _restrict(self, target: Path, found: ScannedFile) -> None:
        """Gives a copy that is there already its photo's permissions."""
        try:
            os.chmod(target, found.mode)
        except OSError as error:
            raise BadImage(f"its copy's permissions cannot be set ({error.strerror}); remove the copy") from error

    def _make_folders(self, found: ScannedFile) -> None:
        """The folders of a copy, each as private as the owner's."""
        sources, targets = (os.path.dirname(path).split("/") for path in (found.source, found.target))
        for depth in range(1, len(targets) + 1):
            folder = self.dest.joinpath(*targets[:depth])
            if not folder.is_dir():
                make_folder(folder, mode_of(self.source.joinpath(*sources[:depth])))

    def _keep_folder_times(self, tree: PhotoTree) -> None:
        """Folders get the times of the owner's, after all files are in them."""
        last = ""
        for found in tree:
            source, target = os.path.dirname(found.source), os.path.dirname(found.target)
            if target == last:
                continue
            last = target
            while target:
                with suppress(OSError):
                    modified = (self.source / source).stat().st_mtime_ns
                    os.utime(self.dest / target, ns=(modified, modified))
                source, target = os.path.dirname(source), os.path.dirname(target)


def _items(path: Path) -> dict[str, bytes]:
    """Of a file that may be too large to hold in memory."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return items_of(data)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def contents(path: Path) -> tuple[bytes, int]:
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
