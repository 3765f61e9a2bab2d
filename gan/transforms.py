"""What happens to a published picture on its way into a training set, at random, inside the game: T.

Each takes images, float B×C×H×W in [0, 1], and a CPU generator of its draws, and returns the same shape. Gradients pass
through all of them, so that the noise that is learned survives them (expectation over transformations, Athalye et al.,
arXiv 1707.07397); what a codec does has no slope and is passed straight through.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from datamodules.augment import augment
from gan.config import TransformsConfig
from gan.noise import luma
from victims import input_stage

CODES = {10: 1, 20: 1, 30: 2, 40: 3, 50: 4, 60: 3, 75: 3, 85: 2, 95: 1}  # qualities of JPEG and how often each comes
KERNELS = ("bilinear", "bicubic", "area", "nearest")

Transform = Callable[[Tensor, torch.Generator], Tensor]


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def _one_of(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


def jpeg(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pillow's JPEG, 4:2:0, of a random quality; the gradient passes as if nothing had happened."""
    weights = torch.tensor(list(CODES.values()), dtype=torch.float)
    quality = list(CODES)[int(torch.multinomial(weights, 1, generator=generator))]
    pixels = input_stage.rounded(images.detach()).cpu()
    coded = input_stage.jpeg(pixels, quality).to(images.device) / 255
    return images + (coded - images).detach()


def resize(images: Tensor, generator: torch.Generator) -> Tensor:
    """To half to one and a half times the size and back, each way by a random kernel."""
    height, width = images.shape[-2:]
    factor = _uniform(0.5, 1.5, generator)
    for size in ((max(4, round(height * factor)), max(4, round(width * factor))), (height, width)):
        kernel = KERNELS[_one_of(len(KERNELS), generator)]
        images = F.interpolate(images, size=size, mode=kernel, antialias=kernel in ("bilinear", "bicubic"))
    return images


def blur(images: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian, of a random deviation from 0.3 to 1.5 pixels."""
    found: Tensor = gaussian_blur(images, [7, 7], [_uniform(0.3, 1.5, generator)])
    return found


def gray(images: Tensor, generator: torch.Generator) -> Tensor:
    """Luma in all channels."""
    return luma(images).expand_as(images)


def band(images: Tensor, generator: torch.Generator) -> Tensor:
    """A random ring of frequencies removed: no single band may carry the code."""
    height, width = images.shape[-2:]
    radius = (torch.fft.fftfreq(height)[:, None].square() + torch.fft.rfftfreq(width).square()).sqrt()
    start = _uniform(0.02, 0.5, generator)
    stays = ((radius < start) | (radius > start + 0.12) | (radius == 0)).to(images.device)
    found: Tensor = torch.fft.irfft2(torch.fft.rfft2(images) * stays, s=(height, width))
    return found


def noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise of a random deviation up to 8 grey levels."""
    drawn = torch.randn(images.shape, generator=generator).to(images.device)
    return images + drawn * (_uniform(0, 8, generator) / 255)


def zoom(images: Tensor, generator: torch.Generator) -> Tensor:
    """A random part of 0.5 to 1 of the area, of whatever shape near a square, enlarged to the whole."""
    height, width = images.shape[-2:]
    area, aspect = _uniform(0.5, 1, generator), _uniform(0.8, 1.25, generator)
    h = min(height, max(4, round(height * (area * aspect) ** 0.5)))
    w = min(width, max(4, round(width * (area / aspect) ** 0.5)))
    top, left = _one_of(height - h + 1, generator), _one_of(width - w + 1, generator)
    part = images[..., top : top + h, left : left + w]
    return F.interpolate(part, size=(height, width), mode="bilinear", antialias=True)


TRANSFORMS: dict[str, Transform] = {f.__name__: f for f in (jpeg, resize, blur, gray, band, noise, zoom)}


def transformed(images: Tensor, options: TransformsConfig, share: float, generator: torch.Generator) -> Tensor:
    """A batch as somebody who collects pictures may have it.

    Crop and flip always, each image by its own draw; then, for a ``share`` of the batches, one of TRANSFORMS by its
    weight (or none: what the weights leave of 1).

    Args:
        images: float B×C×H×W in [0, 1].
        options: the weights.
        share: of the batches that are transformed at all, in [0, 1].
        generator: CPU generator of the draws, which are the same on every device.
    """
    images = augment(images, "crop+flip", generator)
    drawn = torch.rand((), generator=generator).item() / max(share, 1e-9)
    for name, transform in TRANSFORMS.items():
        weight = getattr(options, name)
        if drawn < weight:
            return transform(images, generator).clamp(0, 1)
        drawn -= weight
    return images
