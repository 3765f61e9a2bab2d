"""``stl10``: the labelled parts of the official binary archive."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from datamodules.archive import Archive
from datamodules.base import ImageDataModule
from datamodules.config import DataError
from datamodules.download import RemoteFile
from datamodules.source import DatasetInfo, Listing, Raw

SIDE = 96


class Stl10(ImageDataModule):
    """5,000 + 8,000 labelled photos of 96×96 pixels, ten classes; the unlabelled 100,000 are passed over."""

    info = DatasetInfo(
        title="STL-10, labelled parts",
        kind="natural",
        images="5,000 + 8,000",
        classes=10,
        size="96×96",
        licence="none stated; images from ImageNet, research use",
        citation="A. Coates et al., Analysis of Single-Layer Networks in Unsupervised Feature Learning, AISTATS 2011",
        page="https://cs.stanford.edu/~acoates/stl10/",
        todo="nothing: fetched at first use (2.5 GiB)",
    )
    file = RemoteFile(
        "stl10_binary.tar.gz",
        "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
        "md5:91f7769df0f17e558f3565bffb0c7dfb",
        2640397119,
    )

    def files(self) -> list[RemoteFile]:
        return [self.file]

    def listing(self) -> Listing:
        """Both labelled parts, in the official order.

        Raises:
            DataError: the archive is not laid out as published.
        """
        path = self.root / self.file.name
        wanted = ["class_names.txt", "train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"]
        content = {
            name.removeprefix("stl10_binary/"): data
            for name, data in Archive(path).stream([f"stl10_binary/{name}" for name in wanted])
        }
        labels = [np.frombuffer(content[f"{part}_y.bin"], np.uint8).astype(np.int64) - 1 for part in ("train", "test")]
        pixels = [content[f"{part}_X.bin"] for part in ("train", "test")]
        for part, data, own in zip(("train", "test"), pixels, labels, strict=True):
            if len(data) != 3 * SIDE * SIDE * len(own):
                raise DataError(f"{path}: {part}_X.bin has {len(data)} bytes for {len(own)} labels; fetch it again")
        return Listing(
            names=[f"{part} {i}" for part, own in zip(("train", "test"), labels, strict=True) for i in range(len(own))],
            labels=np.concatenate(labels),
            class_names=tuple(content["class_names.txt"].decode().split()),
            read=partial(_images, pixels),
            parts=np.repeat([0, 2], [len(own) for own in labels]),
        )


def _images(parts: list[bytes]) -> Iterator[Raw]:
    """Colour planes of columns, as 96×96×3."""
    for part in parts:
        yield from np.frombuffer(part, np.uint8).reshape(-1, 3, SIDE, SIDE).transpose(0, 3, 2, 1)
