"""``cifar10`` and ``cifar100``: the official archives of Python pickles."""

import io
import pickle
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import numpy as np

from datamodules.archive import Archive
from datamodules.base import ImageDataModule
from datamodules.config import DataError
from datamodules.download import RemoteFile
from datamodules.source import DatasetInfo, Listing, Raw

CITATION = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, University of Toronto, 2009"
PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


class Cifar10(ImageDataModule):
    """50,000 + 10,000 photos of 32×32 pixels, ten classes; the official test part."""

    info = DatasetInfo(
        title="CIFAR-10",
        kind="natural",
        images="50,000 + 10,000",
        classes=10,
        size="32×32",
        licence="none stated; research, with citation",
        citation=CITATION,
        page=PAGE,
        todo="nothing: fetched at first use (163 MiB)",
    )
    file: ClassVar = RemoteFile(
        "cifar-10-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "md5:c58f30108f718f92721af3b95e74349a",
        170498071,
    )
    folder: ClassVar = "cifar-10-batches-py"
    batches: ClassVar = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
    labels_key: ClassVar = b"labels"
    names_file: ClassVar = ("batches.meta", b"label_names")

    def files(self) -> list[RemoteFile]:
        return [self.file]

    def listing(self) -> Listing:
        """Both parts, in the official order.

        Raises:
            DataError: the archive is not laid out as published.
        """
        path = self.root / self.file.name
        members = {f"{self.folder}/{name}": part for part, names in self.batches.items() for name in names}
        meta, key = self.names_file
        labels: dict[str, list[int]] = {name: [] for name in members}
        pixels: dict[str, np.ndarray] = {}
        class_names: tuple[str, ...] = ()
        for name, data in Archive(path).stream([*members, f"{self.folder}/{meta}"]):
            content = unpickle(data, f"{path}: {name}")
            if name in members:
                labels[name], pixels[name] = content[self.labels_key], content[b"data"]
            else:
                class_names = tuple(entry.decode() for entry in content[key])
        absent = [name for name in members if name not in pixels]
        if absent or not class_names:
            raise DataError(f"{path}: has no {absent[0] if absent else meta}; delete it and fetch it again")
        return Listing(
            names=[f"{name} {i}" for name in members for i in range(len(labels[name]))],
            labels=np.concatenate([labels[name] for name in members]).astype(np.int64),
            class_names=class_names,
            read=partial(_images, [pixels[name] for name in members]),
            parts=np.concatenate(
                [np.full(len(labels[name]), 2 if part == "test" else 0) for name, part in members.items()]
            ),
        )


class Cifar100(Cifar10):
    """50,000 + 10,000 photos of 32×32 pixels, a hundred fine classes; the official test part."""

    info = DatasetInfo(
        title="CIFAR-100",
        kind="natural",
        images="50,000 + 10,000",
        classes=100,
        size="32×32",
        licence="none stated; research, with citation",
        citation=CITATION,
        page=PAGE,
        todo="nothing: fetched at first use (161 MiB)",
    )
    file = RemoteFile(
        "cifar-100-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "md5:eb9058c3a382ffc7106e4002c42a8d85",
        169001437,
    )
    folder = "cifar-100-python"
    batches: ClassVar = {"train": ["train"], "test": ["test"]}
    labels_key = b"fine_labels"
    names_file = ("meta", b"fine_label_names")


def _images(batches: list[np.ndarray]) -> Iterator[Raw]:
    """Rows of 3,072 bytes, the red plane first, as 32×32×3."""
    for batch in batches:
        yield from batch.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


class _Arrays(pickle.Unpickler):
    """Loads NumPy arrays and plain values; whatever else a pickle asks for is refused."""

    allowed = frozenset({("multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")})

    def find_class(self, module: str, name: str) -> Any:
        if (module.rpartition(".")[2], name) not in self.allowed or module.partition(".")[0] != "numpy":
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        if name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        return getattr(np, name)


def unpickle(data: bytes, what: str) -> Any:
    """Content of a pickle that Python 2 wrote, without running any code from it.

    Raises:
        DataError: damaged, or it asks for more than arrays.
    """
    try:
        return _Arrays(io.BytesIO(data), encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{what} is no pickle of arrays ({error}); delete the archive and fetch it again") from error
