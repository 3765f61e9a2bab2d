"""How bright a stored value is displayed, and how far noise may move it there.

8 bits of a PNG or JPEG are displayed as they are. Values of more bits, and those of a DICOM file in gray, are not: a
window of 400 may be cut out of 65,536 possible ones. A bound that is scaled to what the file's bits can hold is then
none to whoever looks, so it is one on what is displayed: the windows and tables that a DICOM file states
(``photos.views``), or else the range that the values use.

That range is from the 0.1th to the 99.9th percentile of the pixels that are no padding: a dead pixel, or a marker as
white as the file can hold, does not stretch it. This is our choice; viewers differ in what they show of a picture that
states nothing. What TIFF says in MinSampleValue and MaxSampleValue is seldom true, and is not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from datamodules.decode import BadImage

WHITE = 65535
UNITS = WHITE // 255  # of brightness in a grey level of 255
TAIL = 0.001  # share of the pixels that may lie below, and above, the range that is taken for the used one
ROWS = 256  # of a strip
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Display:
    """How a picture's values are displayed. Values are those of ``Photo.pixels``: 0 is the lowest possible one.

    Attributes:
        text: how that is known, as "window 40/400" or "values used, 24 to 1,741".
        levels: int32 V×(peak+1): brightness of every value, 0 (black) to WHITE, in each view that the file states; the
            first is what a viewer opens with.
        lowest: value in the picture that is no padding.
        highest: likewise; noise leaves no value beyond these two.
        padding: the lowest and the highest value that say "no picture here"; None for none.
    """

    text: str
    levels: np.ndarray
    lowest: int
    highest: int
    padding: tuple[int, int] | None = None

    @property
    def falling(self) -> bool:
        """Whether higher values are darker, in the view that a viewer opens with."""
        return bool(self.levels[0, self.highest] < self.levels[0, self.lowest])

    def is_padding(self, pixels: np.ndarray) -> np.ndarray:
        """bool, of the same shape: which values are padding."""
        if self.padding is None:
            return np.zeros(pixels.shape, bool)
        return (pixels >= self.padding[0]) & (pixels <= self.padding[1])

    def eight(self, pixels: np.ndarray) -> np.ndarray:
        """The values as they are displayed in the first view: uint8, of the same shape."""
        found: np.ndarray = np.rint(self.levels[0] / UNITS).astype(np.uint8)[pixels]
        return found

    def bound(self, epsilon: float) -> int:
        """The largest change of a value that no view displays as more than ε.

        It is no more than ε of the values in the picture, either: a window that is far wider than these says little of
        what viewers make of them.

        Args:
            epsilon: in grey levels of 255.

        Raises:
            BadImage: it is less than one.
        """
        span = self.highest - self.lowest
        most = int(epsilon * span / 255 + ROUNDING)
        if most < 1:
            raise BadImage(f"its values span {span + 1} stored levels, of which ε = {epsilon:g}/255 is less than one")
        for levels in self.levels[:, self.lowest : self.highest + 1]:
            most = steepness(levels, epsilon, most)
        if most < 1:
            step = np.abs(np.diff(self.levels[:, self.lowest : self.highest + 1])).max() / UNITS
            raise BadImage(
                f"one stored level is displayed as up to {step:.3g} of 255 grey levels ({self.text}), more than "
                f"ε = {epsilon:g}"
            )
        return most


def steepness(levels: np.ndarray, epsilon: float, most: int) -> int:
    """The largest change of a value, up to ``most``, that moves its brightness by at most ε; 0 where the least does.

    Args:
        levels: int32 n, of neighbouring values, in any order of brightness.
        epsilon: in grey levels of 255.
        most: not negative.
    """
    units, fits = int(epsilon * UNITS + ROUNDING), 0
    while fits < most:  # what changes can do grows with them, so that the largest that fits can be searched by halves
        middle = (fits + most + 1) // 2
        spread = maximum_filter1d(levels, middle + 1, mode="nearest") - minimum_filter1d(
            levels, middle + 1, mode="nearest"
        )
        fits, most = (middle, most) if spread.max() <= units else (fits, middle - 1)
    return fits


def counted(pixels: np.ndarray, peak: int, padding: tuple[int, int] | None = None) -> np.ndarray:
    """How many pixels have each value: int64 peak+1; padding does not count.

    Raises:
        BadImage: all of it is padding.
    """
    counts = np.zeros(peak + 1, np.int64)
    for top in range(0, len(pixels), ROWS):  # numpy makes 64 bits of each pixel
        counts += np.bincount(pixels[top : top + ROWS].ravel(), minlength=peak + 1)
    if padding:
        counts[padding[0] : padding[1] + 1] = 0
    if not counts.any():
        raise BadImage("all of its pixels are padding")
    return counts


def ends(counts: np.ndarray) -> tuple[int, int]:
    """The lowest and the highest value that there is."""
    found = np.flatnonzero(counts)
    return int(found[0]), int(found[-1])


def used(values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """The range that a picture uses.

    Args:
        values: float n, what each stored value stands for.
        counts: int64 n, how many pixels have it.

    Raises:
        BadImage: there is none.
    """
    order = np.argsort(values, kind="stable")
    below, total = np.cumsum(counts[order]), int(counts.sum())
    low, high = (values[order[np.searchsorted(below, total * share)]] for share in (TAIL, 1 - TAIL))
    if not low < high:
        raise BadImage(
            f"its displayed range cannot be told: it states none, and nearly all of its pixels are {_number(low)}"
        )
    return float(low), float(high)


def ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Brightness, float of the same shape in [0, 1], that rises from black at ``low`` to white at ``high``."""
    return ((values - low) / (high - low)).clip(0, 1)


def by_values(values: np.ndarray, counts: np.ndarray) -> tuple[str, np.ndarray]:
    """A view of a picture that states none: its text, and brightness, float n in [0, 1].

    Args:
        values: as for ``used``.
        counts: likewise.

    Raises:
        BadImage: the range cannot be told.
    """
    low, high = used(values, counts)
    return f"values used, {_number(low)} to {_number(high)}", ramp(values, low, high)


def whole_levels(views: Sequence[np.ndarray]) -> np.ndarray:
    """Brightness in [0, 1] as whole numbers: int32 V×n."""
    found: np.ndarray = np.rint(np.stack(views) * WHITE).astype(np.int32)
    return found


def display_of_values(pixels: np.ndarray) -> Display:
    """Of a picture that says nothing of its range: 16-bit gray of a PNG, TIFF or PGM.

    Args:
        pixels: uint16 H×W×1.

    Raises:
        BadImage: its range cannot be told.
    """
    counts = counted(pixels, WHITE)
    text, view = by_values(np.arange(WHITE + 1, dtype=np.float64), counts)
    return Display(text, whole_levels([view]), *ends(counts))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.4g}"
