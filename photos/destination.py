"""The folder that copies are written to: whether it may be used, and how several calls share it.

::

    <folder>/<the owner's folders>/<photo>.png
    <folder>/manifest.jsonl     first line: about the folder; then one line per photo, or the reason why it is left out
    <folder>/report.html        for the owner
    <folder>/check.json         what ``photos.check`` measured, if it was asked

While it is being written the manifest is called ``manifest.partial.jsonl``; what an earlier call knew is in
``manifest.previous.jsonl``; ``.unfinished/`` holds files that have no final name yet; ``.lock`` stays, empty.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from datamodules.config import DataError
from photos.description.metadata import Output
from photos.kinds import is_litter
from photos.manifest import (
    MANIFEST,
    PARTIAL,
    PREVIOUS,
    ManifestHeader,
    continues,
    difference,
    fold_manifests,
    read_header,
)
from photos.photo import SUFFIX
from photos.text import printable
from photos.tree import PERMISSIONS, PhotoTree, refuse_protected

REPORT, CHECK = "report.html", "check.json"
LOCK, UNFINISHED = ".lock", ".unfinished"
SHARD = ".shard-"  # begins the folder of a shard's own manifests, lock and unfinished files


def planned(source: Path, dest: Path, output: Output) -> PhotoTree:
    """The walk over the photos of a folder, for writing their copies or showing what they would be; writes nothing.

    Raises:
        DataError: as ``check_places``.
    """
    check_places(source, dest)
    return PhotoTree(source, SUFFIX[output], (MANIFEST, PARTIAL, PREVIOUS, REPORT, CHECK))


def check_places(source: Path, dest: Path) -> None:
    """Refuses folders that lie in one another, a source of protected images, a destination that holds something else.

    Raises:
        DataError: as described.
    """
    if not source.is_dir():
        raise DataError(f"source: no folder {printable(source)}; give the folder of the photos")
    here, there = source.resolve(), dest.resolve()
    shown, given = printable(dest), printable(source)
    if here == there or (dest.exists() and os.path.samefile(source, dest)):
        raise DataError(f"dest: {shown} is the folder of the photos itself; give another, outside of it")
    if here in there.parents:
        raise DataError(f"dest: {shown} is inside {given}, where its files would pass for photos; give one outside")
    if there in here.parents:
        raise DataError(f"dest: {shown} contains the photos' own folder; give one outside of it")
    for folder in (here, *here.parents):
        refuse_protected(folder, {MANIFEST, PARTIAL, PREVIOUS})
    if not dest.exists():
        return
    if not dest.is_dir():
        raise DataError(f"dest: {shown} is a file; give a folder, or a name that is free")
    names = {path.name for path in dest.iterdir() if not is_litter(path.name)}
    ours = {MANIFEST, PARTIAL, PREVIOUS, *(name for name in names if name.startswith(SHARD))}
    if names - {LOCK, UNFINISHED} and not names & ours:
        raise DataError(f"dest: {shown} is not empty and was not made by this program; give another folder")


def make_folder(path: Path, mode: int) -> None:
    """Makes a folder, if absent, that nobody can open whom ``mode`` keeps out; its owner can always write to it."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    os.chmod(path, mode & PERMISSIONS | 0o700)


def mode_of(path: Path) -> int:
    """A file's or folder's permissions; the owner's alone where they cannot be read."""
    try:
        return path.stat().st_mode & PERMISSIONS
    except OSError:
        return 0o700


@contextmanager
def locked(folder: Path, dest: Path, wait: bool = False) -> Iterator[None]:
    """Keeps other processes out of a folder.

    Args:
        folder: that has the lock.
        dest: to name.
        wait: for the other process, instead of refusing.

    Raises:
        DataError: another process is at work there.
    """
    lock = FileLock(folder / LOCK, mode=0o600)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout as error:
        raise DataError(
            f"dest: another process is writing to {printable(dest)}; wait for it, or give another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def control_of(dest: Path, shard: tuple[int, int]) -> Path:
    """The folder of a call's manifests: the destination, or a shard's own inside it."""
    return dest if shard[1] == 1 else dest / f"{SHARD}{shard[0]}-of-{shard[1]}"


def check_shards(dest: Path, control: Path) -> None:
    """Refuses to mix calls for shares of a folder with those for all of it, or with other shares.

    Raises:
        DataError: as described.
    """
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
                f"dest: {printable(dest)} is being written in shards ({', '.join(found)}); give shard= for each of "
                "them, or the devices that it was begun with"
            )
        return
    if whole:
        raise DataError(f"dest: {printable(dest)} was written as a whole, or is finished; leave shard out")
    other = [name for name in found if name.rpartition("-")[2] != control.name.rpartition("-")[2]]
    if other:
        raise DataError(
            f"dest: {printable(dest)} holds shards of another number ({other[0]}); finish these, or choose another "
            "folder"
        )


def share(dest: Path, header: ManifestHeader) -> None:
    """Before a folder is shared out among processes: what earlier calls for all of it knew is there for each shard.

    Raises:
        DataError: another process is at work there, or the folder holds what another generator or other options made.
    """
    if not dest.exists():
        return
    with locked(dest, dest):
        check_header(dest, header)
        if (dest / MANIFEST).exists():  # shards beside it were killed after joining
            for folder in dest.glob(f"{SHARD}*"):
                shutil.rmtree(folder)
        fold_manifests(dest)


def begun(dest: Path) -> ManifestHeader | None:
    """The header that an earlier call left in a folder, or in one of its shards; None where there is none.

    Raises:
        DataError: it is damaged, or of another version.
    """
    for folder in (dest, *sorted(dest.glob(f"{SHARD}*"))):
        for name in (PARTIAL, PREVIOUS, MANIFEST):
            if (folder / name).exists() and (found := read_header(folder / name)):
                return found
    return None


def check_header(folder: Path, header: ManifestHeader) -> None:
    """Refuses a folder that another generator or other options made.

    Raises:
        DataError: as described.
    """
    for name in (PARTIAL, PREVIOUS, MANIFEST):
        if not (folder / name).exists():
            continue
        before = read_header(folder / name)
        if before is not None and not continues(header, before):
            raise DataError(f"{printable(folder / name)}: {difference(header, before)}; choose another folder")
