"""Augmentation of whole batches on their device, each image by its own random draw.

An augmentation is written as its operations in order, joined by ``+``: ``crop+flip+cutout``; ``none`` is none.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Op = Callable[[Tensor, torch.Generator], Tensor]
SMALLEST = 0.3  # area that a zoom shows, as a share of the image's (ours; 0.08 is usual for large photos)


def step_seed(*key: int) -> int:
    """A seed of 63 bits for one step, a function of the key alone: (seed, epoch, step, process, …)."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def draws(*key: int) -> torch.Generator:
    """A CPU generator for one step's draws, a function of the key alone: (seed, epoch, step, process, …)."""
    return torch.Generator().manual_seed(step_seed(*key))


@contextmanager
def isolated_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds torch inside, and leaves the random state outside as it was."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def augment(images: Tensor, operations: str, generator: torch.Generator) -> Tensor:
    """A batch, augmented.

    Args:
        images: float B×C×H×W in [0, 1].
        operations: names of OPERATIONS joined by ``+``, or ``none``.
        generator: CPU generator of the draws, which are the same on every device.

    Returns:
        float B×C×H×W in [0, 1].
    """
    for name in [] if operations == "none" else operations.split("+"):
        images = OPERATIONS[name](images, generator)
    return images


def crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random crop after zero padding by an eighth of the side (4 pixels at 32)."""
    batch, _, height, width = images.shape
    pad_h, pad_w = height // 8, width // 8
    top = torch.randint(0, 2 * pad_h + 1, (batch,), generator=generator)
    left = torch.randint(0, 2 * pad_w + 1, (batch,), generator=generator)
    found: Tensor = _Window.apply(images, top.to(images.device), left.to(images.device))
    return found


def zoom(images: Tensor, generator: torch.Generator) -> Tensor:
    """A part, of SMALLEST to all of the area and in the image's proportions, enlarged to the whole (bilinear)."""
    batch = len(images)
    share = SMALLEST + (1 - SMALLEST) * torch.rand(batch, generator=generator)
    side = share.sqrt()
    shift = (1 - side)[:, None] * (2 * torch.rand(batch, 2, generator=generator) - 1)
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, :, 2] = shift
    places = F.affine_grid(theta, list(images.shape), align_corners=False).to(images.device)
    return F.grid_sample(images, places, padding_mode="border", align_corners=False)


class _Window(torch.autograd.Function):
    """The window of each zero-padded image that starts ``top`` and ``left``; its gradient is a window of the gradient.

    Autograd's own way back through the views of all windows would hold them all: gigabytes for a batch.
    """

    @staticmethod
    def forward(context: Any, images: Tensor, top: Tensor, left: Tensor) -> Tensor:
        context.save_for_backward(top, left)
        height, width = images.shape[2:]
        pad_h, pad_w = height // 8, width // 8
        # every window of the padded image as a view; picking one per image copies that one alone
        windows = F.pad(images, (pad_w, pad_w, pad_h, pad_h)).unfold(2, height, 1).unfold(3, width, 1)
        return windows[torch.arange(len(images), device=images.device), :, top, left]

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        top, left = context.saved_tensors
        pad_h, pad_w = gradient.shape[2] // 8, gradient.shape[3] // 8
        return _Window.apply(gradient, 2 * pad_h - top, 2 * pad_w - left), None, None


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Left and right exchanged, for every second image or so."""
    return torch.where(_coin(images, generator), images.flip(3), images)


def vflip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Top and bottom exchanged, for every second image or so; for images without an upright (cells, lesions)."""
    return torch.where(_coin(images, generator), images.flip(2), images)


def turn(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turned by 0, 90, 180 or 270 degrees; square images only (others by 0 or 180)."""
    square = images.shape[2] == images.shape[3]
    if square:
        images = torch.where(_coin(images, generator), images.transpose(2, 3).flip(2), images)
    return torch.where(_coin(images, generator), images.flip(2, 3), images)


def cutout(images: Tensor, generator: torch.Generator) -> Tensor:
    """A zero square of half the side at a random place, cut off at the edge (DeVries and Taylor, 2017)."""
    batch, _, height, width = images.shape
    row, column = torch.rand(2, batch, 1, generator=generator)
    hidden_rows = (torch.arange(height) - (row * height).floor()).abs() < height / 4
    hidden_columns = (torch.arange(width) - (column * width).floor()).abs() < width / 4
    hidden = hidden_rows[:, None, :, None] & hidden_columns[:, None, None, :]
    return images.masked_fill(hidden.to(images.device), 0.0)


def brightness(images: Tensor, generator: torch.Generator) -> Tensor:
    """All pixels times a factor between 0.6 and 1.4."""
    return (images * _factor(images, generator)).clamp(0, 1)


def contrast(images: Tensor, generator: torch.Generator) -> Tensor:
    """Distance from the image's mean times a factor between 0.6 and 1.4."""
    centre = images.mean((1, 2, 3), keepdim=True)
    return (centre + (images - centre) * _factor(images, generator)).clamp(0, 1)


OPERATIONS: dict[str, Op] = {f.__name__: f for f in (crop, zoom, flip, vflip, turn, cutout, brightness, contrast)}


def _coin(images: Tensor, generator: torch.Generator) -> Tensor:
    return (torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5).to(images.device)


def _factor(images: Tensor, generator: torch.Generator) -> Tensor:
    return (0.6 + 0.8 * torch.rand(len(images), 1, 1, 1, generator=generator)).to(images.device)
