"""Small labelled sets of random pixels, on which protections are fitted."""

import torch

from datamodules.images import ImageSet


def pictures(count: int = 40, channels: int = 3, low: int = 0, high: int = 256, seed: int = 0) -> ImageSet:
    """Random pixels, 16 by 10, that say nothing of their class."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(low, high, (count, channels, 16, 10), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.arange(count) % 4)


def told(count: int = 64) -> ImageSet:
    """Pictures whose class can be told by their rows."""
    train = pictures(count, low=100, high=150)
    for k in range(4):
        train.images[train.labels == k, :, k::4] += 12
    return train
