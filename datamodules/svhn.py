"""``svhn``: house-number digits, the official cropped format."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy.io import loadmat

from datamodules.base import ImageDataModule
from datamodules.config import DataError
from datamodules.download import RemoteFile
from datamodules.source import DatasetInfo, Listing, Raw


class Svhn(ImageDataModule):
    """73,257 + 26,032 cropped digits of 32×32 pixels (format 2); the official test part, without the extra set."""

    info = DatasetInfo(
        title="SVHN, cropped digits",
        kind="natural",
        images="73,257 + 26,032",
        classes=10,
        size="32×32",
        licence="non-commercial use only",
        citation="Y. Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, 2011",
        page="http://ufldl.stanford.edu/housenumbers/",
        todo="nothing: fetched at first use (235 MiB)",
    )

    def files(self) -> list[RemoteFile]:
        base = "http://ufldl.stanford.edu/housenumbers"
        return [
            RemoteFile("train_32x32.mat", f"{base}/train_32x32.mat", "md5:e26dedcc434d2e4c54c9b2d4a06d8373", 182040794),
            RemoteFile("test_32x32.mat", f"{base}/test_32x32.mat", "md5:eb5a983be6a315427106f1b164d9cef3", 64275384),
        ]

    def listing(self) -> Listing:
        """Both parts, in the official order; label = digit.

        Raises:
            DataError: a file does not hold X (32×32×3×N) and y (N×1, digit 0 as 10).
        """
        paths = [self.root / file.name for file in self.files()]
        arrays, labels = [], []
        for path in paths:
            try:
                content = loadmat(path)
                pixels, digits = content["X"], content["y"][:, 0]
            except Exception as error:  # scipy raises a dozen kinds on damaged files
                raise DataError(
                    f"{path}: no readable .mat file with X and y ({type(error).__name__}: {error}); delete it and "
                    "fetch it again"
                ) from error
            if pixels.shape != (32, 32, 3, len(digits)):
                raise DataError(f"{path}: X is {pixels.shape} for {len(digits)} labels; 32×32×3×N expected")
            arrays.append(pixels)
            labels.append(digits.astype(np.int64) % 10)
        return Listing(
            names=[f"{path.stem} {i}" for path, part in zip(paths, labels, strict=True) for i in range(len(part))],
            labels=np.concatenate(labels),
            class_names=tuple(map(str, range(10))),
            read=partial(_images, arrays),
            parts=np.repeat([0, 2], [len(part) for part in labels]),
        )


def _images(arrays: list[np.ndarray]) -> Iterator[Raw]:
    for array in arrays:
        yield from array.transpose(3, 0, 1, 2)
