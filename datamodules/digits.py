"""``digits``: scikit-learn's embedded handwritten digits; needs no network and no file."""

import numpy as np
import sklearn
from sklearn.datasets import load_digits

from datamodules.base import ImageDataModule
from datamodules.source import DatasetInfo, Listing


class Digits(ImageDataModule):
    """1,797 gray images of 8×8 pixels with 17 levels, ten classes.

    Scaled to 0–255 and rounded: they lie on the uint8 grid before any noise is added.
    """

    info = DatasetInfo(
        title="Optical recognition of handwritten digits",
        kind="natural",
        images="1,797",
        classes=10,
        size="8×8 gray; configs/data/digits.yaml enlarges them to 32×32",
        licence="CC BY 4.0",
        citation="E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998",
        page="https://archive.ics.uci.edu/dataset/80",
        todo="nothing: scikit-learn brings them",
    )

    def identity(self) -> str:
        """The library's version: its digits have no file of their own."""
        found: str = sklearn.__version__
        return found

    def listing(self) -> Listing:
        """All images; the source has no test part of its own."""
        digits = load_digits()
        pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        return Listing(
            names=[f"digit {i}" for i in range(len(pixels))],
            labels=digits.target.astype(np.int64),
            class_names=tuple(map(str, range(10))),
            read=lambda: pixels,
            channels=1,
        )
