"""Image sets: labelled uint8 images, in memory or in a memory-mapped file larger than memory."""

from collections.abc import Sequence

from torch import Tensor


class ImageSet:
    """Labelled images: chosen rows of a store, which is never copied as a whole by choosing.

    Args:
        store: uint8 M×C×H×W, C = 1 or 3; a memory-mapped file or plain memory.
        labels: int64 N, from 0.
        rows: int64 N, the store's rows; None: all of them in order, N = M.
    """

    def __init__(self, store: Tensor, labels: Tensor, rows: Tensor | None = None) -> None:
        self.store, self.labels, self.rows = store, labels, rows

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.store.shape[1:]
        return channels, height, width

    @property
    def images(self) -> Tensor:
        """All images, uint8 N×C×H×W, in memory: for sets that fit."""
        return self.store if self.rows is None else self.store.index_select(0, self.rows)

    def pixels(self, indices: Tensor) -> Tensor:
        """The images at ``indices`` (int64 B), uint8 B×C×H×W, in that order; a copy."""
        # index_select copies whole images: six times faster than indexing with a tensor
        return self.store.index_select(0, indices if self.rows is None else self.rows[indices])

    def subset(self, indices: Tensor) -> "ImageSet":
        """The set of the images at ``indices`` (int64 M), in that order; copies no pixels."""
        rows = indices if self.rows is None else self.rows[indices]
        return ImageSet(self.store, self.labels[indices], rows)


def to_float(images: Tensor) -> Tensor:
    """uint8 pixels to float32 in [0, 1]."""
    return images.float() / 255


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """Weights (float K) by which every class counts the same: N / (K · images of the class).

    Args:
        labels: int64 N, every class at least once.
        classes: number of classes K.
    """
    return len(labels) / (classes * labels.bincount(minlength=classes).float())


def class_folders(class_names: Sequence[str]) -> list[str]:
    """The classes' folders, which sort in label order, since ``ImageFolder`` numbers classes by it.

    Names that sort otherwise ("10" before "2") get their label before them, with zeros: "02-2", "10-10".
    """
    plain = [folder_name(name) for name in class_names]
    digits = len(str(len(plain) - 1))
    return plain if plain == sorted(plain) else [f"{label:0{digits}}-{name}" for label, name in enumerate(plain)]


def folder_name(class_name: str) -> str:
    """A class's name without what file systems forbid."""
    return "".join(c if c.isalnum() or c in "-_. " else "_" for c in class_name).strip(" .") or "_"
