"""The classes' textures: waves near the finest that pixels can hold, each with its own pattern of channel signs.

Why these and no learned ones: a victim that crops at random meets a texture in every phase, so all that a filter and a
mean can read of it is the energy in a narrow band, best where pictures have least: near the Nyquist frequency. Textures
that the reading loss was free to choose became constant shifts of colour; whether victims read those better or worse
depends on the images and is open (docs/METHOD.md).
"""

import math

import torch
from torch import Tensor

LOWEST = 3 / 8  # cycles a pixel along one axis; 1/2 is the Nyquist frequency
COLOURS = {1: ((1,),), 3: ((1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1))}  # a common sign is a shift by half a period
PHASE = 0.6  # radians; no pixel then falls on a zero of a wave
LARGEST = 64  # pixels a side of a tile


def textures(classes: int, channels: int) -> Tensor:
    """One tile a class, of the smallest size that holds as many different ones.

    Tiles of 2×2 pixels hold 3 waves (stripes of two directions and the chequerboard), hence 12 textures in colour; 4×4
    hold 5, 8×8 16, 16×16 45, 32×32 145 waves.

    Args:
        classes: number of classes K.
        channels: 1 or 3.

    Returns:
        float K×C×t×t of -1 and 1.

    Raises:
        ValueError: there are not so many different tiles of 64×64.
    """
    colours = torch.tensor(COLOURS[channels], dtype=torch.float32)
    side = 2
    while len(frequencies(side)) * len(colours) < classes:
        side *= 2
        if side > LARGEST:
            raise ValueError(f"{classes} classes are more than there are textures for images of {channels} channels")
    places = torch.arange(side)
    waves = [
        torch.cos(2 * math.pi * (down * places[:, None] + right * places) / side + PHASE).sign()
        for down, right in frequencies(side)
    ]
    tiles = [colour[:, None, None] * wave for colour in colours for wave in waves]
    return torch.stack(tiles[:classes])


def frequencies(side: int) -> list[tuple[int, int]]:
    """Cycles a tile, down and right, of the waves in tiles of ``side`` pixels, the finest first.

    Waves that a flip of the picture turns into each other count once.
    """
    finest = range(side // 2 + 1)
    found = [(down, right) for down in finest for right in finest if max(down, right) >= LOWEST * side]
    return sorted(found, key=lambda wave: (-(wave[0] ** 2 + wave[1] ** 2), wave))
