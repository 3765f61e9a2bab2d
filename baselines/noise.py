"""What the baselines share: noise by class, and an image's own name, by which its noise is found or drawn again."""

import hashlib

import torch
from torch import Tensor

from datamodules.augment import draws
from datamodules.config import DataError
from datamodules.images import ImageSet
from datamodules.protection import Norm, Passes
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


def quantise_l2(images: Tensor, noise: Tensor, radius: float) -> Tensor:
    """Q(clip(x + n, 0, 1)) on the uint8 grid, whose distance from x is at most ``radius`` in each image.

    Rounding to grey levels may make noise longer; such noise is shortened, by a hundredth at a time, until it fits.

    Args:
        images: uint8 B×C×H×W.
        noise: float B×C×H×W in [0, 1] pixel units, not longer than the radius.
        radius: Euclidean length, pixels in [0, 1].

    Returns:
        uint8 B×C×H×W.
    """
    levels, share = noise.double() * 255, torch.ones(len(noise), 1, 1, 1, dtype=torch.float64)
    while True:
        steps = (share * levels).round()
        beyond = steps.flatten(1).norm(dim=1) > 255 * radius
        if not beyond.any():
            return (images.double() + steps).clamp(0, 255).to(torch.uint8)
        share[beyond] -= 0.01


class NoiseByImage:
    """Noise of single images, which are known again by the sha256 of their pixels.

    Equal images share the noise of the first of them.

    Args:
        images: uint8 N×C×H×W, that a method was fitted on.
        noise: float N×C×H×W, theirs, in [0, 1] pixel units.
    """

    def __init__(self, images: Tensor, noise: Tensor) -> None:
        self.noise = noise.cpu()
        self.rows = {key: row for row, key in reversed(list(enumerate(pixel_hashes(images))))}


class CraftedByImage:
    """What methods share that craft noise within ε for the very images they are fitted on, and for no others.

    Args:
        epsilon: L∞ bound in grey levels.

    Attributes:
        own: the images' noise, set by ``fit``.
    """

    name: str
    norm: Norm = "linf"
    label_free = False

    def __init__(self, epsilon: float) -> None:
        self.epsilon, self.passes = epsilon, Passes()
        self.own: NoiseByImage | None = None

    def protect(self, images: ImageSet) -> Tensor:
        """Protected images, uint8 N×C×H×W.

        Raises:
            DataError: any image that it was not fitted on.
            RuntimeError: not fitted.
        """
        return protect_by_image(self.name, self.own, images, self.epsilon, "fit on it too")


def protect_by_image(name: str, fitted: NoiseByImage | None, images: ImageSet, epsilon: float, remedy: str) -> Tensor:
    """Protected images, uint8 N×C×H×W: each with its own noise.

    Args:
        name: of the method.
        fitted: the noise; None before ``fit``.
        images: N of the images that it is for.
        epsilon: in grey levels.
        remedy: what to do about other images, for the message.

    Raises:
        DataError: images of another shape, or one that has no noise.
        RuntimeError: there is no noise yet.
    """
    if fitted is None:
        raise unfitted(name)
    channels, height, width = fitted.noise.shape[1:]
    check_shape(name, (channels, height, width), images)
    pixels = images.images
    hashes = pixel_hashes(pixels)
    for i, key in enumerate(hashes):
        if key not in fitted.rows:
            raise DataError(
                f"{name}: expected images among the {len(fitted.noise)} that it was fitted on, found another (image "
                f"{i} of these, sha256 {key.hex()[:12]}…); {remedy}"
            )
    return quantise(pixels, fitted.noise[[fitted.rows[key] for key in hashes]], epsilon)


def check_classes(name: str, train: ImageSet, classes: int) -> None:
    """Raises DataError if a class has no image to fit on."""
    empty = (train.labels.bincount(minlength=classes) == 0).nonzero()
    if len(empty):
        raise DataError(f"{name}: class {int(empty[0])} has no image to craft its noise on; leave the class out")


def unfitted(name: str) -> RuntimeError:
    """The error of protecting before fitting."""
    return RuntimeError(f"{name}: protect was called before fit; call fit first")
