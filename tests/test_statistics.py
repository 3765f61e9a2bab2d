"""Intervals against values that are known from elsewhere, and what they allow to say."""

import math

import pytest

from evaluation.statistics import Interval, interval, paired, relation

# additional hours of sleep by two drugs, ten patients (Student, Biometrika 1908): the textbook's paired comparison
FIRST = dict(enumerate([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]))
SECOND = dict(enumerate([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]))


def test_the_interval_of_a_mean_by_hand() -> None:
    found = interval([1, 2, 3, 4, 5])  # t of 4 degrees at 97.5 %: 2.776; standard error 0.7071
    assert (found.mean, found.count) == (3, 5)
    assert (found.low, found.high) == pytest.approx((3 - 1.963, 3 + 1.963), abs=1e-3)
    narrower = interval([1, 2, 3, 4, 5], 0.5)  # 0.741
    assert (narrower.low, narrower.high) == pytest.approx((3 - 0.524, 3 + 0.524), abs=1e-3)


def test_one_value_has_no_spread_to_tell_and_equal_ones_have_none() -> None:
    one = interval([0.4])
    assert (one.mean, one.low, one.high) == (0.4, -math.inf, math.inf)
    assert one.written(100) == "40"
    same = interval([0.4, 0.4, 0.4])
    assert same.low == same.high == pytest.approx(0.4)
    with pytest.raises(ValueError, match="at least one value"):
        interval([])


def test_students_patients() -> None:
    found = paired(FIRST, SECOND)
    assert found is not None
    assert found.mean == pytest.approx(-1.58)
    assert (found.low, found.high) == pytest.approx((-2.4599, -0.7001), abs=1e-4)
    assert relation(found) == "below"
    assert relation(paired(SECOND, FIRST)) == "above"
    # the same numbers unpaired say nothing: their intervals overlap
    assert interval(list(FIRST.values())).overlaps(interval(list(SECOND.values())))


def test_pairs_are_of_the_same_seed_whatever_the_order() -> None:
    turned = dict(reversed(list(SECOND.items()))) | {"another": 99.0}
    assert paired(FIRST, turned) == paired(FIRST, SECOND)
    assert paired({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    ("differences", "expected"),
    [([0.1, -0.1, 0.05], "level"), ([0.1, 0.12, 0.11], "above"), ([-0.1, -0.12, -0.11], "below"), ([-0.1, -0.12], "level"), ([0.5], "unknown"),
     ([0.0, 0.0], "level")],
)  # fmt: skip
def test_what_differences_say(differences: list[float], expected: str) -> None:
    values = dict(enumerate(differences))
    assert relation(paired(values, dict.fromkeys(values, 0.0))) == expected
    assert relation(None) == "unknown"


def test_ends_belong_to_an_interval() -> None:
    low, high = Interval(1, 0, 2, 3), Interval(3, 2, 4, 3)
    assert low.overlaps(high)
    assert high.overlaps(low)
    assert low.holds(2)
    assert not Interval(5, 4.5, 5.5, 3).overlaps(high)
    assert low.written(10) == "10 [0, 20]"
    assert low.written(digits=1) == "1.0 [0.0, 2.0]"
