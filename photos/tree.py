"""An owner's folder of photos: what is in it, in what order, and under which name each photo is published.

What is a photo is told by contents (``photos.kinds``), not by names. Order: a folder's photos by name, then its folders
by name, each in the same way. Only one folder's names are in memory.

Names: ``a.jpg`` becomes ``a.png``. Where that name would be another photo's too (``a.jpg`` beside ``a.png``), or a
folder's, each keeps its own suffix: ``a.jpg.png``, ``a.png.png``. What still is the same then, where case and Unicode
forms do not count (``A.png`` beside ``a.png``), gets the first digits of its name's sha256 (``a.d4bd2ba8.png``), since
file systems differ in what they hold apart; so do folders. A copy's name thus depends on no order.
"""

import hashlib
import json
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from datamodules.config import DataError
from photos.kinds import HEAD, PHOTO_SUFFIXES, RAW, READ, UNREAD_SUFFIXES, is_litter, kind_of
from photos.manifest import MANIFEST, PARTIAL, PREVIOUS
from photos.text import printable

KINDS = 50  # suffixes that are counted one by one
PERMISSIONS = 0o777


@dataclass(frozen=True)
class ScannedFile:
    """A photo, or what is left out.

    Attributes:
        source: its path below the owner's folder, with slashes; a folder's ends in one.
        target: the path of its protected copy; empty where it is left out.
        reason: why it is left out.
        mode: its permissions (``chmod``); all where they are unknown.
    """

    source: str
    target: str = ""
    reason: str = ""
    mode: int = PERMISSIONS


@dataclass
class PhotoTree:
    """Walks a folder.

    Attributes:
        root: the folder.
        suffix: of the protected copies, with its dot.
        reserved: names that the top folder may not have.
        others: after a walk, how many files of which suffix are no photos by their content.
        mode: after a walk, the permissions that all photos have in common.

    Raises:
        DataError: while walking: the folder, or one in it, holds protected photos.
    """

    root: Path
    suffix: str
    reserved: tuple[str, ...] = ()
    others: Counter[str] = field(default_factory=Counter)
    mode: int = PERMISSIONS

    def __iter__(self) -> Iterator[ScannedFile]:
        self.others.clear()
        self.mode = PERMISSIONS
        waiting = [("", "")]
        while waiting:
            folder, target = waiting.pop()
            try:
                with os.scandir(self.root / folder) as listed:
                    entries = sorted(listed, key=lambda entry: entry.name)
            except OSError as error:
                yield ScannedFile(folder or "./", reason=f"folder cannot be read ({error.strerror})")
                continue
            refuse_protected(self.root / folder, {entry.name for entry in entries})
            photos: dict[str, _Photo] = {}
            folders = []
            for entry in entries:
                if is_litter(entry.name):
                    continue
                if not _is_folder(entry):
                    found = self._file(entry)
                    self.mode &= found.mode
                    if found.reason:
                        yield ScannedFile(folder + entry.name, reason=found.reason, mode=found.mode)
                    elif found.suffix:
                        photos[entry.name] = found
                elif reason := _refused_folder(entry):
                    yield ScannedFile(f"{folder}{entry.name}/", reason=reason)
                else:
                    folders.append(entry.name)
            reserved = () if folder else self.reserved
            below = _folder_names(folders, reserved)
            names = _copy_names({name: photo.suffix for name, photo in photos.items()}, [*below.values(), *reserved])
            for name, copy in names.items():
                reason = "" if copy else "another file's protected copy has the same name; rename one"
                yield ScannedFile(folder + name, copy and target + copy, reason, photos[name].mode)
            for name in folders:
                if not below[name]:
                    reason = "another folder of the copies has this name; rename one"
                    yield ScannedFile(f"{folder}{name}/", reason=reason)
            waiting += [(f"{folder}{name}/", f"{target}{below[name]}/") for name in reversed(folders) if below[name]]

    def _file(self, entry: "os.DirEntry[str]") -> "_Photo":
        """What becomes of a file; one that is no photo is counted, and has neither suffix nor reason."""
        suffix = PurePosixPath(entry.name).suffix.lower()
        expected = suffix in PHOTO_SUFFIXES or suffix in UNREAD_SUFFIXES
        mode, kind, reason = PERMISSIONS, "", ""
        try:
            found = entry.stat()
            mode = stat.S_IMODE(found.st_mode) & PERMISSIONS
            if stat.S_ISREG(found.st_mode):  # a pipe would keep its reader waiting
                with open(entry.path, "rb") as file:
                    kind = kind_of(file.read(HEAD), suffix)
            elif expected:
                reason = "no ordinary file"
        except OSError as error:
            reason = f"cannot be read ({error.strerror})"
        if not (kind or expected or reason):
            self.others[suffix if suffix in self.others or len(self.others) < KINDS else "other"] += 1
            return _Photo(PERMISSIONS)
        if entry.name.startswith("."):
            reason = "hidden: begins with a dot"
        elif not reason and kind not in READ and (kind or suffix in UNREAD_SUFFIXES):
            shown = f"{kind} ({suffix})" if kind == RAW else kind or suffix
            reason = f"{shown} files are not read; convert them to PNG, TIFF or JPEG"
        return _Photo(mode, ".dcm" if kind == "DICOM" else self.suffix, reason)


@dataclass(frozen=True)
class _Photo:
    """A file of a folder: its permissions, the suffix of its copy, why it is left out."""

    mode: int
    suffix: str = ""
    reason: str = ""


def refuse_protected(folder: Path, names: set[str]) -> None:
    """Refuses a folder of protected images, by its manifest: noise on noise would pass the bound.

    Args:
        folder: to look at.
        names: of the files in it.

    Raises:
        DataError: it holds a manifest of protected images.
    """
    for name in (MANIFEST, PARTIAL, PREVIOUS):
        if name not in names:
            continue
        with suppress(OSError, ValueError), (folder / name).open() as lines:
            first = json.loads(lines.readline(1 << 16))
            if isinstance(first, dict) and {"format", "method", "checkpoint", "epsilon"} <= first.keys():
                raise DataError(
                    f"source: {printable(folder)} holds protected images ({name}); give the folder of the unprotected "
                    "ones"
                )


def _refused_folder(entry: "os.DirEntry[str]") -> str:
    if entry.name.startswith("."):
        return "hidden: begins with a dot"
    return "link to a folder; not followed, since it may lead in circles" if entry.is_symlink() else ""


def _folder_names(folders: list[str], reserved: tuple[str, ...]) -> dict[str, str]:
    """Each folder's name among the copies; empty where it can have none of its own."""
    times = Counter(map(_fold, [*folders, *reserved]))
    names = {name: name if times[_fold(name)] == 1 else f"{name}.{_tag(name)}" for name in folders}
    return _unique(names, [*reserved])


def _copy_names(suffixes: dict[str, str], taken: list[str]) -> dict[str, str]:
    """Each photo's name for its copy; empty where it can have none of its own.

    Args:
        suffixes: the photos of a folder, and the suffix of each one's copy.
        taken: names that copies may not have.
    """
    stems = {name: _stem(name) for name in suffixes}
    names = {name: stems[name] + suffix for name, suffix in suffixes.items()}
    for longer in (
        {name: name + suffix for name, suffix in suffixes.items()},
        {name: f"{stems[name]}.{_tag(name)}{suffix}" for name, suffix in suffixes.items()},
    ):
        times = Counter(map(_fold, [*names.values(), *taken]))
        names = {name: copy if times[_fold(copy)] == 1 else longer[name] for name, copy in names.items()}
    return _unique(names, taken)


def _unique(names: dict[str, str], taken: list[str]) -> dict[str, str]:
    """The same without those that two have: a file may be called as another's copy would be."""
    times = Counter(map(_fold, [*names.values(), *taken]))
    return {name: copy if times[_fold(copy)] == 1 else "" for name, copy in names.items()}


def _stem(name: str) -> str:
    """A name without the suffix of its format; ``1.2.840.113619`` and ``IMG.old`` keep what follows their dots."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in PHOTO_SUFFIXES else name


def _tag(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:8]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
