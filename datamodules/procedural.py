"""Procedural pictures: overlapping shapes of random colours, gradients and textures, in the manner of dead leaves.

They have what a noise network must know of pictures (edges, smooth places, textures with falling spectra, gray ones
among coloured ones) and no owner, so that what is trained on them may be given away. Dead leaves: Lee, Mumford and
Huang, IJCV 2001; the mixture here is ours.
"""

import numpy as np
import torch
from torch import Tensor

GRAY = 0.15  # share of pictures without colour
MOST = 14  # shapes of a picture


def leaves(count: int, side: int, seed: int) -> Tensor:
    """Pictures, uint8 N×3×side×side.

    Args:
        count: N.
        side: in pixels.
        seed: decides all of them; picture i is the same whatever N.
    """
    made = np.empty((count, side, side, 3), np.uint8)
    for i in range(count):
        made[i] = _one(side, np.random.default_rng((seed, i)))
    return torch.from_numpy(made).permute(0, 3, 1, 2).contiguous()


def _one(side: int, random: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[0:side, 0:side] / side
    slopes = random.normal(size=(2, 3)) * 0.5
    image = random.random(3) + (columns[..., None] - 0.5) * slopes[0] + (rows[..., None] - 0.5) * slopes[1]
    for _ in range(random.integers(0, MOST)):
        centre, radius, angle = (
            random.random(2) * 1.2 - 0.1,
            0.05 + 0.45 * random.random() ** 2,
            random.random() * np.pi,
        )
        u = (columns - centre[0]) * np.cos(angle) + (rows - centre[1]) * np.sin(angle)
        v = (rows - centre[1]) * np.cos(angle) - (columns - centre[0]) * np.sin(angle)
        flat = radius * (0.4 + 0.6 * random.random())
        inside = (
            (u / radius) ** 2 + (v / flat) ** 2 < 1 if random.random() < 0.6 else (abs(u) < radius) & (abs(v) < flat)
        )
        colour = random.random(3) if random.random() < 0.7 else np.full(3, random.random())
        shaded = colour + u[..., None] * random.normal(size=3) * 0.3
        image = np.where(inside[..., None], shaded, image)
    texture = _texture(side, random.uniform(0.5, 1.8), random)[..., None]
    image = image + texture * random.uniform(0, 0.12) * (random.random(3) * 0.5 + 0.75)
    if random.random() < GRAY:
        image = image.mean(2, keepdims=True)
    found: np.ndarray = (image.clip(0, 1) * 255).round().astype(np.uint8)
    return found


def _texture(side: int, slope: float, random: np.random.Generator) -> np.ndarray:
    """Noise of deviation 1 whose amplitude falls with frequency by that power."""
    axis = np.fft.fftfreq(side)
    frequency = np.hypot(axis[:, None], axis)
    frequency[0, 0] = 1.0
    shaped = np.fft.ifft2(np.fft.fft2(random.normal(size=(side, side))) / frequency**slope).real
    found: np.ndarray = shaped / shaped.std()
    return found
