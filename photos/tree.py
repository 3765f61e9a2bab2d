"""An owner's folder of photos: what is in it, in what order, and under which name each photo is published.

Order: a folder's photos by name, then its folders by name, each in the same way. Only one folder's names are in memory.

Names: ``a.jpg`` becomes ``a.png``. Where that name would be another photo's too (``a.jpg`` beside ``a.png``), or a
folder's, each keeps its own suffix: ``a.jpg.png``, ``a.png.png``. What still is the same then, where case and Unicode
forms do not count (``A.jpg`` beside ``a.jpg``), is left out, since file systems differ in what they hold apart.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from datamodules.decode import SUFFIXES
from datamodules.tree import UNREAD

DICOM = (".dcm", ".dicom")  # whose copies are DICOM too
KINDS = 50  # suffixes that are counted one by one


@dataclass(frozen=True)
class Found:
    """A photo, or what is left out.

    Attributes:
        source: its path below the owner's folder, with slashes; a folder's ends in one.
        target: the path of its protected copy; empty where it is left out.
        reason: why it is left out.
    """

    source: str
    target: str = ""
    reason: str = ""


@dataclass
class PhotoTree:
    """Walks a folder.

    Attributes:
        root: the folder.
        suffix: of the protected copies, with its dot.
        reserved: names that the top folder may not have.
        others: after a walk, how many files of which suffix are no photos by their name.
    """

    root: Path
    suffix: str
    reserved: tuple[str, ...] = ()
    others: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Found]:
        self.others.clear()
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(self.root / folder) as listed:
                    entries = sorted(listed, key=lambda entry: entry.name)
            except OSError as error:
                yield Found(folder or "./", reason=f"folder cannot be read ({error.strerror})")
                continue
            photos, folders = [], []
            for entry in entries:
                path, kind = folder + entry.name, PurePosixPath(entry.name).suffix.lower()
                hidden = entry.name.startswith(".")
                if _is_folder(entry):
                    if hidden:
                        yield Found(f"{path}/", reason="hidden: begins with a dot")
                    elif entry.is_symlink():
                        yield Found(f"{path}/", reason="link to a folder; not followed, since it may lead in circles")
                    else:
                        folders.append(entry.name)
                elif kind in UNREAD and kind not in DICOM:
                    yield Found(path, reason=f"{kind} files are not read; convert them to PNG")
                elif kind not in SUFFIXES and kind not in DICOM:
                    self.others[kind if kind in self.others or len(self.others) < KINDS else "other"] += 1
                elif hidden:
                    yield Found(path, reason="hidden: begins with a dot")
                else:
                    photos.append(entry.name)
            reserved = () if folder else self.reserved
            for name, target in self._named(photos, [*folders, *reserved]).items():
                if target:
                    yield Found(folder + name, folder + target)
                else:
                    yield Found(folder + name, reason="another file's protected copy has the same name; rename one")
            times = Counter(map(_fold, [*folders, *reserved]))
            for name in folders:
                if times[_fold(name)] > 1:
                    yield Found(f"{folder}{name}/", reason="folder whose name another has but for case; rename one")
            waiting += [f"{folder}{name}/" for name in reversed(folders) if times[_fold(name)] == 1]

    def _named(self, photos: list[str], folders: list[str]) -> dict[str, str]:
        """Each photo's name for its copy; empty where it has none of its own."""
        ends = {name: ".dcm" if PurePosixPath(name).suffix.lower() in DICOM else self.suffix for name in photos}
        short = {name: PurePosixPath(name).stem + ends[name] for name in photos}
        times = Counter(map(_fold, [*short.values(), *folders]))
        names = {name: copy if times[_fold(copy)] == 1 else name + ends[name] for name, copy in short.items()}
        times = Counter(map(_fold, [*names.values(), *folders]))
        return {name: copy if times[_fold(copy)] == 1 else "" for name, copy in names.items()}


def order(source: str) -> tuple[tuple[int, str], ...]:
    """A key by which paths sort as a walk gives them."""
    *folders, name = source.split("/")
    return (*((1, folder) for folder in folders), (0, name))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
