"""Fixed changes of pixels, image by image: what an attacker applies to every image before a victim sees it.

Each takes images, uint8 N×C×H×W (C = 1 or 3, any size), and its parameters (``defences``), and returns uint8 of the
same shape. Nothing is drawn at random, and no image depends on another.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import fft, ndimage
from torch import Tensor, nn
from torchvision.transforms.v2.functional import adjust_sharpness, rgb_to_grayscale

from datamodules.images import to_float
from victims.chains import after, coded
from victims.defences import DEFENCES
from victims.smoothing import nonlocal_means, total_variation

Purifier = Callable[[Tensor], Tensor]
CHUNK = 512  # images at a time: in float they take four times their memory


def rounded(images: Tensor) -> Tensor:
    """Float pixels in [0, 1] (and a little beyond) to uint8."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


def apply_input_stage(purifiers: list[Purifier], images: Tensor) -> Tensor:
    """Images, uint8 N×C×H×W, after all purifiers, in order."""
    for purifier in purifiers:
        images = torch.cat([purifier(part) for part in images.split(CHUNK)])
    return images


def gray(images: Tensor) -> Tensor:
    """Luma in all channels."""
    # in float: torchvision cuts off the fraction of uint8
    return rounded(rgb_to_grayscale(to_float(images), 3)) if images.shape[1] == 3 else images


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur; ``sigma`` in pixels."""
    return rounded(torch.from_numpy(ndimage.gaussian_filter(to_float(images).numpy(), (0, 0, sigma, sigma))))


def median(images: Tensor) -> Tensor:
    """Median of 3×3 pixels."""
    return torch.from_numpy(ndimage.median_filter(images.numpy(), (1, 1, 3, 3)))


def jpeg(images: Tensor, quality: int) -> Tensor:
    """JPEG with 4:2:0; images of one channel as gray JPEG."""
    return _coded(images, format="JPEG", quality=quality, subsampling=2)


def webp(images: Tensor, quality: int) -> Tensor:
    """Lossy WebP."""
    return _coded(images, format="WEBP", quality=quality)


def _coded(images: Tensor, **options: Any) -> Tensor:
    return torch.stack([_by_pillow(image, partial(coded, **options)) for image in images])


def _by_pillow(image: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """What Pillow makes of an image, uint8 C×H×W, in the same mode and size."""
    array = image.permute(1, 2, 0).numpy()
    changed = change(Image.fromarray(np.ascontiguousarray(array[..., 0] if len(image) == 1 else array)))
    return torch.from_numpy(np.array(changed).reshape(array.shape)).permute(2, 0, 1)


def chain(images: Tensor, name: str) -> Tensor:
    """One of ``victims.chains``; brought back to the images' size (bilinear)."""
    return torch.stack([_by_pillow(image, partial(_chained, name=name)) for image in images])


def _chained(image: Image.Image, name: str) -> Image.Image:
    changed = after(image, name)
    return changed if changed.size == image.size else changed.resize(image.size, Image.Resampling.BILINEAR)


def bits(images: Tensor, count: int) -> Tensor:
    """2^count levels."""
    steps = 2**count - 1
    return rounded((to_float(images) * steps).round() / steps)


def resize(images: Tensor, factor: float) -> Tensor:
    """Down and up again."""
    height, width = images.shape[2:]
    small = max(1, round(height / factor)), max(1, round(width / factor))
    scaled = partial(F.interpolate, mode="bilinear", antialias=True)
    return rounded(scaled(scaled(to_float(images), small), (height, width)))


def lowpass(images: Tensor, share: float) -> Tensor:
    """Without frequencies above ``share`` of Nyquist's."""
    height, width = images.shape[2:]
    # coefficient k of n has k/n of the Nyquist frequency; a cosine transform mirrors the image at its edges
    radius = np.hypot(np.arange(height)[:, None] / height, np.arange(width) / width)
    waves = fft.dctn(to_float(images).numpy(), axes=(2, 3), norm="ortho")
    return rounded(torch.from_numpy(fft.idctn(waves * (radius <= share), axes=(2, 3), norm="ortho")))


def sharpen(images: Tensor, factor: float) -> Tensor:
    """Away from a smoothed copy; images of less than 3 pixels per side stay as they are."""
    return rounded(adjust_sharpness(to_float(images), factor))


def tv(images: Tensor, weight: float) -> Tensor:
    """Least total variation."""
    return rounded(total_variation(to_float(images), weight))


def nlm(images: Tensor, strength: float) -> Tensor:
    """Non-local means; ``strength`` in grey levels."""
    return rounded(nonlocal_means(to_float(images), strength / 255))


PURIFIERS: dict[str, Callable[..., Tensor]] = {
    **{f.__name__: f for f in (gray, blur, median, jpeg, webp, chain, bits, resize, lowpass, sharpen, tv, nlm)},
    **{name: defence.change for name, defence in DEFENCES.items() if defence.change},
}


class Purified(nn.Module):
    """A classifier behind its attacker's purification, so that whoever measures it gives it images as they are.

    Args:
        net: takes float images in [0, 1].
        purifiers: come before it, in order.
    """

    def __init__(self, net: nn.Module, purifiers: list[Purifier]) -> None:
        super().__init__()
        self.net, self.purifiers = net, purifiers

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float B×K, of images, float B×C×H×W in [0, 1], rounded to whole grey levels first."""
        found: Tensor = self.net(to_float(apply_input_stage(self.purifiers, rounded(images).cpu()).to(images.device)))
        return found
