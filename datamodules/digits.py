"""``digits``: scikit-learn's embedded handwritten digits; needs no network and no file."""

import numpy as np
import torch
from sklearn.datasets import load_digits

from datamodules.base import ImageDataModule, ImageSet, resize

SIDE = 32


class Digits(ImageDataModule):
    """Optical recognition of handwritten digits (E. Alpaydin and C. Kaynak, 1998; CC BY 4.0), as scikit-learn ships it.

    1,797 gray images of 8×8 pixels with 17 levels, ten classes. Scaled to 0–255, enlarged to 32×32 (Lanczos) and
    rounded, so that they lie on the uint8 grid before any noise is added.
    """

    class_names = tuple(str(digit) for digit in range(10))

    def load(self) -> tuple[ImageSet, None]:
        """All images; the source has no test part of its own."""
        digits = load_digits()
        pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
        return ImageSet(resize(torch.from_numpy(pixels), SIDE), torch.from_numpy(digits.target.astype(np.int64))), None
