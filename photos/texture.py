"""Where a picture's own texture hides noise, and where it is smooth and noise would show: a gate at full size. Ours.

Texture is measured on the pixels themselves, within cells of the picture, from sums of whole numbers, and enlarged as
the noise is (``gan.field``): it has no seams, and the same bits whatever strips a picture is worked on in.
"""

from typing import Literal

import numpy as np
from PIL import Image

from gan.field import GridField
from photos.photo import Photo

Visible = Literal["full", "less", "least"]
SMOOTH: dict[Visible, float] = {"full": 1.0, "less": 0.5, "least": 0.25}  # the share of the noise that smooth areas get
SAID: dict[Visible, str] = {
    "full": "",
    "less": " Smooth areas have half of the noise, with which the generator was not tested.",
    "least": " Smooth areas have a quarter of the noise, with which the generator was not tested.",
}
CELLS = 256  # per side, at most: as fine as the largest size that training uses; smaller pictures have one for a pixel
HIDES = 8.0  # standard deviation of luma within 3×3 cells, in grey levels, that hides noise: as much as ε allows


def texture_gate(photo: Photo, floor: float) -> GridField:
    """The share of the noise that each place gets, from ``floor`` to 1: little where the picture is smooth.

    The deviation of luma within 3×3 cells, then the least of 3×3, so that smooth areas beside an edge stay smooth, then
    the mean of 3×3, so that the gate draws no edges.

    Args:
        photo: as it is displayed; of several frames the middle one, as the noise is made for it.
        floor: what smooth places get, in (0, 1].
    """
    counts, sums, squares = (_mean(one) for one in _cells(photo))
    deviation = np.sqrt(np.maximum(squares / counts - (sums / counts) ** 2, 0))
    share = _mean(_around(np.minimum(deviation / HIDES, 1)).min(0))
    return GridField((floor + (1 - floor) * share)[..., None])


def _cells(photo: Photo) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of each cell, the sum of their luma and of its square: float64 rows×columns, exact."""
    shown_frame = photo.frame(photo.frames // 2) if photo.animation else photo
    height, width = shown_frame.height, shown_frame.width
    tops, lefts = (np.arange(min(side, CELLS)) * side // min(side, CELLS) for side in (height, width))
    sums, squares = np.empty((len(tops), len(lefts))), np.empty((len(tops), len(lefts)))
    bottoms = np.append(tops[1:], height)
    for row, (top, bottom) in enumerate(zip(tops, bottoms, strict=True)):
        pixels = shown_frame.pixels[top:bottom]
        shown = pixels if shown_frame.display is None else shown_frame.display.eight(pixels)
        gray = shown[..., 0] if shown.shape[2] == 1 else np.asarray(Image.fromarray(shown).convert("L"))
        luma = gray.astype(np.int64)
        sums[row] = np.add.reduceat(luma.sum(0), lefts)
        squares[row] = np.add.reduceat((luma * luma).sum(0), lefts)
    counts = np.outer(bottoms - tops, np.append(lefts[1:], width) - lefts).astype(np.float64)
    return counts, sums, squares


def _around(values: np.ndarray) -> np.ndarray:
    """Each cell's 3×3 neighbours: 9×rows×columns; beyond the border those on it."""
    padded = np.pad(values, 1, mode="edge")
    rows, columns = values.shape
    return np.stack([padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)])


def _mean(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = _around(values).sum(0) / 9
    return found
