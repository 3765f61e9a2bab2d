"""What the baselines share: noise by class, and an image's own name, by which its noise is found or drawn again."""

import hashlib

import torch
from torch import Tensor

from datamodules.augment import draws
from datamodules.config import DataError
from datamodules.images import ImageSet
from gan.protection import quantise


def pixel_hashes(images: Tensor) -> list[bytes]:
    """The sha256 of each image's pixels (row by row, H×W×C, as in the manifest), of images, uint8 N×C×H×W."""
    return [hashlib.sha256(pixels.tobytes()).digest() for pixels in images.permute(0, 2, 3, 1).contiguous().numpy()]


def image_draws(seed: int, pixel_hash: bytes) -> torch.Generator:
    """A CPU generator of one image's draws, a function of the seed and its pixels alone: batches decide nothing."""
    return draws(seed, int.from_bytes(pixel_hash, "big"))


def random_signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Independent fair signs, float −1 or 1."""
    return torch.randint(0, 2, shape, generator=generator) * 2.0 - 1.0


def check_shape(name: str, fitted: tuple[int, int, int], images: ImageSet) -> None:
    """Raises DataError unless images have the channels, height and width that the method was fitted on."""
    if images.shape != fitted:
        expected, found = ("×".join(map(str, shape)) for shape in (fitted, images.shape))
        raise DataError(
            f"{name}: expected images of {expected}, as it was fitted on, found {found}; fit on such images"
        )


def check_labels(name: str, classes: int, images: ImageSet) -> None:
    """Raises DataError if a label is none of the K that the method was fitted on."""
    wrong = (images.labels < 0) | (images.labels >= classes)
    if wrong.any():
        row = int(wrong.int().argmax())
        raise DataError(
            f"{name}: expected labels from 0 to {classes - 1}, found {images.labels[row]} at image {row}; "
            "fit with all classes"
        )


def protect_by_class(name: str, patterns: Tensor | None, images: ImageSet, epsilon: float) -> Tensor:
    """Protected images, uint8 N×C×H×W: each with the pattern of its label.

    Args:
        name: of the method.
        patterns: float K×C×H×W in [0, 1] pixel units; None before ``fit``.
        images: N images with labels from 0 to K − 1.
        epsilon: in grey levels.

    Raises:
        DataError: images of another shape, or labels of other classes.
        RuntimeError: there are no patterns yet.
    """
    if patterns is None:
        raise unfitted(name)
    channels, height, width = patterns.shape[1:]
    check_shape(name, (channels, height, width), images)
    check_labels(name, len(patterns), images)
    return quantise(images.images, patterns[images.labels], epsilon)


def unfitted(name: str) -> RuntimeError:
    """The error of protecting before fitting."""
    return RuntimeError(f"{name}: protect was called before fit; call fit first")
