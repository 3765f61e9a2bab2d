"""What protections cost beside ours, and published numbers beside ours: from rows alone."""

from dataclasses import replace
from typing import Any

import pytest
from made_rows import HIDDEN, made, recipe, victim

from evaluation.rows import Cost, ProtectionRow, Row, VictimRow
from experiments.report.costs import MeanCost, break_even, costs, in_words
from experiments.report.published import CIFAR10_RESNET18, beside, order

OURS = MeanCost(100.0, 500, 1000.0)


@pytest.mark.parametrize(
    ("theirs", "anew", "expected"),
    [
        ((50.0, 500, 1e9), True, 100 / (0.1 - 0.001)),  # 0.1 s an image to fit, against 0.001 s to protect
        ((0.1, 500, 1e9), True, None),  # noise that is drawn
        ((200.0, 500, 500.0), False, 0.0),  # a generator that is slower in both
        ((40.0, 500, 500.0), False, 60 / 0.001),
        ((40.0, 500, 1000.0), False, None),
    ],
)
def test_break_even_is_where_the_seconds_are_equal(
    theirs: tuple[float, int, float], anew: bool, expected: float | None
) -> None:
    other = MeanCost(*theirs)
    found = break_even(OURS, other, anew)
    assert found == (expected if not expected else pytest.approx(expected, rel=1e-6))
    if found:
        own = OURS.fit_seconds + found / OURS.images_per_second
        fits = found / other.images if anew else 1
        assert own == pytest.approx(fits * other.fit_seconds + found / other.images_per_second)


def protection(variant: str, cost: Cost | None, fast: bool) -> ProtectionRow:
    return made(cost, {"standard": HIDDEN} | ({"fast": HIDDEN} if fast else {}), variant=variant)


def test_costs_are_one_line_per_variant_and_say_who_is_cheaper() -> None:
    spec = {"variants": {"ours": {}, "slow": {"method": "tap"}, "old": {"method": "emn"}}}
    ours = Cost(fit_seconds=100.0, images=500, images_per_second=1000.0, backward=7.0)
    slow = Cost(fit_seconds=50.0, images=500, images_per_second=1e6, forward=66.0, backward=65.0)
    rows: list[Row] = [
        protection("ours", ours, True),
        protection("slow", slow, False),
        protection("old", None, False),
        protection("old", Cost(backward=1.0), False),
    ]
    table = costs(spec, rows)
    assert table is not None
    assert table.rows == [
        ["d", "ours", "100.0", "–", "7.0", "1,000", "–"],
        ["d", "slow", "50.0", "66.0", "65.0", "1,000,000", "1,010 images"],
    ]
    assert costs(spec, rows[2:]) is None
    assert [in_words(n) for n in (None, 0.0, 1234.4)] == ["never", "the first image", "1,234 images"]


def trained(variant: str, accuracy: float, **changes: Any) -> VictimRow:
    stated = recipe(epochs=60, **changes)
    return victim("standard", 0, accuracy, data="cifar10_part", variant=variant, images=2000, recipe=stated)


def test_published_numbers_stand_beside_ours_and_say_what_they_allow() -> None:
    variants = {
        "tap": {"method": "tap"},
        "untargeted": {"method": "tap", "baselines.tap.goal": "untargeted"},
        "emn": {"method": "emn"},
        "by class": {"method": "emn", "baselines.emn.kind": "class"},
        "hypo": {"method": "hypo"},
        "ours": {},
    }
    spec = {"data": {"cifar10_part": {}}, "variants": variants, "victims": {"v": {}}}
    rows: list[Row] = [trained(name, 0.1 + 0.1 * i) for i, name in enumerate(variants)]
    found = beside(spec, rows)
    assert found is not None
    assert [row[1] for row in found.table.rows] == ["tap", "emn", "hypo"]  # one bound and kind, as published
    assert {row[-1] for row in found.table.rows} == {"order only"}
    assert "Spearman's correlation 1.00" in found.said
    full: list[Row] = [
        replace(trained("tap", 0.11, arch="resnet18"), images=50_000),
        replace(trained("hypo", 0.5, arch="resnet18"), images=50_000),
    ]
    same = beside(spec, full)
    assert same is not None
    assert [row[-1] for row in same.table.rows] == ["reproduced", "finding: 20.4 points from the nearest"]
    assert beside({**spec, "data": {"digits": {}}}, rows) is None
    assert order([(1, 2), (2, 1), (3, 0)]).endswith("-1.00.")
    assert "no order" in order([(1, 2), (1, 3), (1, 4)])
    assert all(0 < value < 100 for known in CIFAR10_RESNET18.values() for value in known)
