"""What was done to a photo: in the picture as it is displayed, and in the numbers that its file stores. Ours."""

from dataclasses import dataclass

import numpy as np

from photos.display import WHITE, Display

PART, NOISE = 1 << 17, 11  # values whose squares add up exactly in 32-bit floats, and the largest of them


@dataclass(frozen=True)
class Change:
    """What was done to a photo. All sums are of whole numbers, and do not depend on the order of pixels.

    Attributes:
        largest: change of a pixel as it is displayed, the largest of all its views, 0 to ``peak``.
        squares: sum of the squared changes over all pixels and channels, in the view that a viewer opens with.
        values: how many pixels times channels those are; padding is none of them.
        peak: white: 255 of 8-bit pictures, 65535 of those that have a ``Display``.
        sums: of the changes with their signs, channel by channel, in the view that a viewer opens with.
        stored_largest: change of a stored value.
        stored_squares: sum of the squared changes of stored values.
        stored_peak: the highest value that the file's bits can hold.
    """

    largest: int
    squares: int
    values: int
    peak: int
    sums: tuple[int, ...]
    stored_largest: int
    stored_squares: int
    stored_peak: int

    @property
    def levels(self) -> float:
        """The largest change in displayed grey levels of 255."""
        return self.largest * 255 / self.peak

    @property
    def psnr(self) -> float | None:
        """Peak signal-to-noise ratio of the displayed picture in dB; None where nothing changed in it."""
        return _psnr(self.peak, self.values, self.squares)

    @property
    def stored_psnr(self) -> float | None:
        """The same of the stored values, whose peak is what the file's bits can hold; None where nothing changed."""
        return _psnr(self.stored_peak, self.values, self.stored_squares)

    @property
    def cast(self) -> float:
        """Mean change of a channel, with its sign, in displayed grey levels of 255; of the channel that moved most."""
        return max(self.sums, key=abs) * len(self.sums) / self.values * 255 / self.peak if self.values else 0.0


def _psnr(peak: int, values: int, squares: int) -> float | None:
    return 10 * float(np.log10(peak**2 * values / squares)) if squares else None


class ChangeAccumulator:
    """Adds up a ``Change``, strip by strip; any strips give the same.

    Args:
        display: of the photo before; None for 8 bits that are displayed as they are.
        peak: the highest value that the photo's bits can hold.
        channels: of the photo.
    """

    def __init__(self, display: Display | None, peak: int, channels: int) -> None:
        self.display, self.peak = display, peak
        self.kind = np.int16 if peak < 1 << 14 else np.int32  # room for a difference
        self.largest = self.squares = self.values = self.stored_largest = self.stored_squares = 0
        self.sums = np.zeros(channels, np.int64)

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        """A strip, integers h×W×C from 0 to ``peak``, before and after."""
        difference = np.subtract(after, before, dtype=self.kind)
        largest, squares, sums = _measured(difference)
        self.stored_largest = max(self.stored_largest, largest)
        self.stored_squares += squares
        if self.display is None:
            self.largest, self.squares, self.sums = self.stored_largest, self.stored_squares, self.sums + sums
            self.values += difference.size
            return
        # padding that stays as it is adds nothing, and padding that something moved must count
        self.values += difference.size - int(np.count_nonzero(self.display.is_padding(before)))
        for view, levels in enumerate(self.display.levels):
            largest, squares, sums = _measured(levels.take(after) - levels.take(before))
            self.largest = max(self.largest, largest)
            if view == 0:
                self.squares, self.sums = self.squares + squares, self.sums + sums

    def change(self) -> Change:
        """Of all strips so far."""
        return Change(
            self.largest, self.squares, self.values, self.peak if self.display is None else WHITE,
            tuple(int(one) for one in self.sums), self.stored_largest, self.stored_squares, self.peak,
        )  # fmt: skip


def _measured(difference: np.ndarray) -> tuple[int, int, np.ndarray]:
    """The largest one, the sum of squares, and the sum of each channel (int64)."""
    largest = max(int(difference.max()), -int(difference.min()))
    # whole numbers below 2^24 or 2^53, since strips are of a million pixels or so: exact, in any order. Rows are added
    # up first, which is several times as fast as channel by channel
    flat = difference.ravel().astype(np.float32 if largest <= NOISE else np.float64)
    squares = 0
    for start in range(0, flat.size, PART):
        part = flat[start : start + PART]
        squares += int(np.dot(part, part))
    rows = flat.reshape(len(difference), -1).sum(0).astype(np.float64)
    return largest, squares, rows.reshape(-1, difference.shape[-1]).sum(0).astype(np.int64)
