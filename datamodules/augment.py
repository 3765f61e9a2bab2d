"""Augmentation of whole batches on their device, each image by its own random draw."""

import torch
import torch.nn.functional as F
from torch import Tensor


def crop_flip(images: Tensor, flip: bool, generator: torch.Generator | None = None) -> Tensor:
    """Random crop after zero padding by an eighth of the side, and a horizontal flip of every second image or so.

    Args:
        images: float B×C×H×W.
        flip: with flips or without.
        generator: CPU generator of the draws; None: torch's global one.

    Returns:
        float B×C×H×W.
    """
    batch, _, height, width = images.shape
    pad_h, pad_w = height // 8, width // 8
    top = torch.randint(0, 2 * pad_h + 1, (batch,), generator=generator)
    left = torch.randint(0, 2 * pad_w + 1, (batch,), generator=generator)
    rows = top[:, None] + torch.arange(height)
    columns = left[:, None] + torch.arange(width)
    if flip:
        mirrored = torch.rand(batch, generator=generator) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    padded = F.pad(images, (pad_w, pad_w, pad_h, pad_h)).permute(0, 2, 3, 1)  # gathers whole pixels
    index = torch.arange(batch, device=images.device)[:, None, None]
    return padded[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
