"""What a few seeds allow to say: intervals of means, and of differences seed by seed. Pure functions of numbers."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Literal, TypeVar

from scipy.stats import t as student

CONFIDENCE = 0.95
Seed = TypeVar("Seed", bound=Hashable)
Relation = Literal["below", "level", "above", "unknown"]


@dataclass(frozen=True)
class Interval:
    """A mean and where it lies; without ends where one value tells of no spread.

    Attributes:
        mean: of the values.
        low, high: ends of the interval; −∞ and ∞ of a single value.
        count: of the values.
    """

    mean: float
    low: float
    high: float
    count: int

    def holds(self, value: float) -> bool:
        """Whether a value lies within, the ends among it."""
        return self.low <= value <= self.high

    def overlaps(self, other: "Interval") -> bool:
        """Whether the two have a value in common."""
        return self.low <= other.high and other.low <= self.high

    def written(self, scale: float = 1.0, digits: int = 0) -> str:
        """The mean and, of several values, the ends: ``14 [12, 16]``."""
        if self.count < 2:
            return f"{scale * self.mean:.{digits}f}"
        low, high = (f"{scale * end:.{digits}f}" for end in (self.low, self.high))
        return f"{scale * self.mean:.{digits}f} [{low}, {high}]"


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Student's interval of the mean: of independent values that are roughly normal, such as accuracies of seeds.

    Args:
        values: at least one.
        confidence: how often such an interval holds the true mean, above 0 and below 1.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("an interval needs at least one value")
    centre, count = mean(values), len(values)
    if count == 1:
        return Interval(centre, -math.inf, math.inf, 1)
    reach = float(student.ppf((1 + confidence) / 2, count - 1)) * stdev(values) / math.sqrt(count)
    return Interval(centre, centre - reach, centre + reach, count)


def paired(
    first: Mapping[Seed, float], second: Mapping[Seed, float], confidence: float = CONFIDENCE
) -> Interval | None:
    """The interval of first − second over what both were measured in: the same seeds, so that what a seed does to both
    falls out.

    Args:
        first: value by seed.
        second: value by seed.
        confidence: as ``interval``'s.

    Returns:
        None where they have no seed in common.
    """
    common = [seed for seed in first if seed in second]
    return interval([first[seed] - second[seed] for seed in common], confidence) if common else None


def relation(difference: Interval | None) -> Relation:
    """What a paired difference says: ``level`` where its interval holds 0; nothing of fewer than two seeds."""
    if difference is None or difference.count < 2:
        return "unknown"
    return "level" if difference.holds(0) else "below" if difference.high < 0 else "above"
