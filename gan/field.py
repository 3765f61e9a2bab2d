"""The noise of one picture at any size: a coarse field of colours on the picture's own coordinates, enlarged to it.

What is learned is defined on the picture, not on its pixels: it is read after the picture was resized, and adding it to
a photo of any size needs no overlapping pieces and no blending (ours).
"""

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class NoiseField(Protocol):
    """The noise of one picture, at whatever size the picture has."""

    def rows(self, height: int, width: int, rows: slice) -> np.ndarray:
        """The noise of some of the picture's rows.

        Args:
            height: of the whole picture, in pixels.
            width: of the whole picture, in pixels.
            rows: which of them; ``start`` and ``stop`` are absolute.

        Returns:
            float32 h×W×C in [-ε, ε], in [0, 1] pixel units; the same bits however the rows are cut. The caller may
            change it.
        """


class GridField:
    """A field on a square grid that is enlarged bilinearly; the outermost cells reach to the picture's edges.

    Pictures of fewer pixels than cells get the mean over the cells that a pixel covers, as ``enlarged`` gives it.

    Args:
        values: float32 S×S×C in [-ε, ε]; of what is not square rows×columns×C.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values.astype(np.float32)
        self._size, self._across = (0, 0), self.values  # of the last picture: the grid enlarged sideways to it

    def rows(self, height: int, width: int, rows: slice) -> np.ndarray:
        """See NoiseField. Element by element, so that no sum's order depends on how the rows are cut.

        The grid is enlarged sideways once, so that the cost is two operations a value.
        """
        if self._size != (height, width):
            self._size, self._across = (height, width), _across(self._shrunk(height, width), width)
        across = self._across
        low, high, share = (places[rows] for places in _places(height, len(across)))
        noise = np.empty((len(low), *across.shape[1:]), np.float32)
        starts = np.flatnonzero(np.diff(low, prepend=-1))  # of the rows below the same grid row
        for start, stop in zip(starts, [*starts[1:], len(low)], strict=True):
            before, after = across[low[start]], across[high[start]]
            np.multiply(share[start:stop, None, None], after - before, out=noise[start:stop])
            noise[start:stop] += before
        return noise

    def _shrunk(self, height: int, width: int) -> np.ndarray:
        """The grid, at most as many cells per side as the picture has pixels."""
        rows, columns = self.values.shape[:2]
        cells = torch.from_numpy(self.values).permute(2, 0, 1)[None]
        return enlarged(cells, (min(height, rows), min(width, columns)))[0].permute(1, 2, 0).numpy()


def _across(grid: np.ndarray, width: int) -> np.ndarray:
    """Rows of a grid, float32 n×S×C, enlarged sideways to n×width×C."""
    low, high, share = _places(width, grid.shape[1])
    before = grid[:, low]
    found: np.ndarray = before + share[:, None] * (grid[:, high] - before)
    return found


def _places(length: int, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each pixel of a side the cells before and after its centre, and the share of the latter."""
    place = ((np.arange(length) + 0.5) * (cells / length) - 0.5).clip(0, cells - 1)
    low = np.floor(place).astype(np.int64)
    return low, (low + 1).clip(max=cells - 1), (place - low).astype(np.float32)


def enlarged(field: Tensor, size: tuple[int, int]) -> Tensor:
    """A batch of fields, float B×C×S×S, at the size of their pictures, float B×C×H×W: as ``GridField`` does.

    Sides of fewer pixels than the field has cells get the mean over the cells that a pixel covers (antialiasing).
    """
    if tuple(field.shape[-2:]) == size:
        return field
    return F.interpolate(field, size=size, mode="bilinear", antialias=min(size) < field.shape[-1])


def grid_field(noise: Tensor) -> GridField:
    """The field, float 1×C×S×S, of one picture."""
    return GridField(noise[0].permute(1, 2, 0).float().cpu().numpy())


def reduced(images: Tensor, side: int) -> Tensor:
    """Whole images, float B×C×H×W in [0, 1], squeezed or enlarged to B×C×side×side."""
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
