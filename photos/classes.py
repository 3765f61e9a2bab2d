"""Which photos get the same code: those of one class folder, where the owner has sorted the photos into folders. Ours.

A code is safest where it is known: whoever trains on the photos labels them as they are sorted, so a folder's photos
get the folder's own code and nothing has to be read from them. Elsewhere the generator reads each photo's class.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from datamodules.tree import SIDES

SHOWN = 10  # class folders that a sentence names


@dataclass(frozen=True)
class ClassFolders:
    """The owner's class folders.

    Attributes:
        names: of the classes, in the order of their codes; none: codes are read from the photos.
        level: how many folders lie above a class folder, such as ``train``.
    """

    names: tuple[str, ...] = ()
    level: int = 0

    def of(self, source: str) -> str | None:
        """A photo's class by its path below the owner's folder; None outside of all class folders."""
        folders = PurePosixPath(source).parts[:-1]
        return folders[self.level] if len(folders) > self.level and folders[self.level] in self.names else None

    def sentence(self, groups: int = 0) -> str:
        """Where the codes come from, and what follows, in words.

        Args:
            groups: of like photos, by which photos without class folders get their codes; 0: by the class read.
        """
        if not self.names:
            how = f"one for each of {groups} groups of like photos" if groups else "of the class read from each photo"
            return f"{how}. Photos that lie in one folder per class get their folder's code, which is safer"
        shown = ", ".join(self.names[:SHOWN]) + (", …" if len(self.names) > SHOWN else "")
        return (
            f"one for each of the {len(self.names)} class folders ({shown}). This hinders whoever trains with these "
            "folders as classes, and others less; classes=groups goes by groups of like photos instead"
        )


NO_FOLDERS = ClassFolders()  # codes are read from the photos


def class_folders(folders: Iterable[str], known: ClassFolders | None = None) -> ClassFolders:
    """The class folders among the folders that hold photos.

    A class folder is a top one; a single folder above all others is passed over, and so are ``train``, ``val`` and
    ``test``, whose folders of one name are one class.

    Args:
        folders: that hold photos, as paths below the owner's folder; empty for that itself.
        known: of an earlier call for the same copies, which this one follows: each class keeps its code, and new ones
            come after them.

    Returns:
        At least two, or none.
    """
    if known is not None and not known.names:
        return known
    paths = [PurePosixPath(folder).parts for folder in set(folders)]
    level = known.level if known else _above(paths)
    found = {path[level] for path in paths if len(path) > level}
    before = known.names if known else ()
    names = (*before, *sorted(found - set(before)))
    return ClassFolders(names, level) if len(names) > 1 else NO_FOLDERS


def _above(paths: Sequence[tuple[str, ...]]) -> int:
    """How many folders lie above the class folders."""
    level = 0
    while len({path[level : level + 1] for path in paths}) == 1 and len(paths[0]) > level:
        if any(len(path) == level + 1 for path in paths):  # photos lie in it: it is a class, the only one
            return level
        level += 1
    tops = {path[level].lower() for path in paths if len(path) > level}
    divided = tops and tops <= set(SIDES) and "train" in {SIDES[top] for top in tops}
    return level + 1 if divided else level
