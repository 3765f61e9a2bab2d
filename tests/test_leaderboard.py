"""The leaderboard: ordered by the strongest attacker, fair to methods with fewer rows, silent where seeds say nothing."""

from dataclasses import replace
from typing import Any

import pytest
from made_rows import HIDDEN, made, victim

from evaluation.rows import Cost, Row
from evaluation.verdicts import Finding, findings
from experiments.grid.cells import cells_of
from experiments.grid.spec import read_grid
from experiments.report.comparisons import compared, recovered
from experiments.report.leaderboard import accuracies, board, said, standings

ASKED: dict[str, Any] = {
    "data": {"small": {}}, "variants": {"ours": {}, "theirs": {}, "twin": {}}, "victims": {"untouched": {}, "JPEG": {}, "late": {}},
    "settings": ["clean", "standard"], "seeds": [0, 1, 2], "measured_on": "test",
}  # fmt: skip
# protected accuracies by method and attacker; clean is 0.6, chance 0.1: a recovered share of 1 is 0.5
PROTECTED = {
    ("ours", "untouched"): (0.10, 0.11, 0.12),
    ("ours", "JPEG"): (0.20, 0.21, 0.19),
    ("theirs", "untouched"): (0.10, 0.10, 0.10),
    ("theirs", "JPEG"): (0.50, 0.49, 0.52),
    ("twin", "untouched"): (0.22, 0.19, 0.20),
    ("twin", "JPEG"): (0.15, 0.15, 0.15),
    ("ours", "late"): (0.60, 0.60, 0.60),
}


def rows(seeds: int = 3) -> list[Row]:
    cost, size = Cost(fit_seconds=12.4, images_per_second=2000.0, backward=7.0), replace(HIDDEN, psnr=32.0)
    protections = [made(cost, {"standard": size}, data="small", variant=variant) for variant in ("ours", "theirs")]
    clean = [victim("clean", s, 0.6, data="small", victim=v) for s in range(seeds) for v in ASKED["victims"]]
    stopped = [
        victim("standard", s, values[s], data="small", victim=name, variant=variant)
        for (variant, name), values in PROTECTED.items()
        for s in range(seeds)
    ]
    return [*protections, *clean, *stopped]


def test_methods_stand_in_the_order_of_the_strongest_attacker_of_each_seed() -> None:
    order = standings(ASKED, rows(), "small")
    assert [one.variant for one in order] == ["ours", "twin", "theirs"]
    assert order[0].counted == ("untouched", "JPEG"), "what only some methods were measured with decides nothing"
    assert [one.decides for one in order] == ["JPEG", "untouched", "JPEG"]
    assert list(order[0].worst.values()) == pytest.approx([0.2, 0.22, 0.18])
    head, *lines = board(ASKED, rows(), "small")
    cells = [dict(zip(head, line, strict=True)) for line in lines]
    assert [c["strongest attacker gets back, %"] for c in cells] == ["20 [15, 25]", "21 [13, 28]", "81 [73, 88]"]
    assert [c["beside the first"] for c in cells] == ["", "level", "worse"]
    assert [c["untouched, %"] for c in cells] == ["2 [-3, 7]", "21 [13, 28]", "0 [0, 0]"]
    assert [c["seeds"] for c in cells] == ["3"] * 3
    assert (cells[0]["PSNR, dB"], cells[0]["seconds to fit"], cells[0]["images per second"]) == ("32.0", "12", "2,000")
    assert cells[1]["PSNR, dB"] == "–", "a protection without a row of its own"


def test_one_seed_orders_and_does_not_judge() -> None:
    head, *lines = board(ASKED, rows(1), "small")
    cells = [dict(zip(head, line, strict=True)) for line in lines]
    assert [c["method"] for c in cells] == ["ours", "twin", "theirs"]
    assert [c["strongest attacker gets back, %"] for c in cells] == ["20", "24", "80"]
    assert [c["beside the first"] for c in cells] == ["", "unknown", "unknown"]
    told = said(ASKED, rows(1), "small")
    assert "One seed: the order is a hint" in told
    assert "not every method was measured with them: late" in told
    assert "One seed" not in said(ASKED, rows(3), "small")


def test_every_attacker_has_its_line_and_its_clean_figure() -> None:
    lines = accuracies(ASKED, rows(), "small")
    assert lines == [
        ["attacker", "ours", "twin", "theirs"],
        ["untouched", "60 → 11 [9, 13]", "60 → 20 [17, 24]", "60 → 10 [10, 10]"],
        ["JPEG", "60 → 20 [18, 22]", "60 → 15 [15, 15]", "60 → 50 [47, 54]"],
        ["late", "60 → 60 [60, 60]", "–", "–"],
    ]


def test_nothing_measured_is_no_leaderboard() -> None:
    assert standings(ASKED, [], "small") == []
    assert len(board(ASKED, [], "small")) == len(accuracies(ASKED, [], "small")) == 1
    assert "nothing yet" in said(ASKED, [], "small")


def test_a_seed_whose_clean_victim_learned_nothing_has_no_share() -> None:
    place = ("small", "ours", "standard", "untouched")
    found = Finding(*place, 0.1, (0, 1), (0.6, 0.15), (0.35, 0.1), (), (), (), (), 0)
    assert recovered(found) == {0: pytest.approx(0.5)}


def test_the_report_says_which_methods_are_level() -> None:
    table = compared(ASKED, findings(ASKED, rows()))
    assert table is not None
    assert table.rows == [
        ["small", "standard", "untouched", "theirs", "0 [0, 0]", "ours", "twin"],
        ["small", "standard", "JPEG", "twin", "10 [10, 10]", "–", "ours, theirs"],
    ], "an attacker of one method alone compares nothing"
    assert compared(ASKED, findings(ASKED, rows(1))) is None, "one seed tells nothing apart"
    alone = ASKED | {"variants": {"ours": {}}}
    assert compared(alone, findings(alone, rows())) is None


def test_the_shipped_leaderboard_is_laid_out_and_takes_a_method_of_one_s_own() -> None:
    spec = read_grid("benchmark")
    assert len(spec["seeds"]) == 5
    spec["data"] = {"digits": {"data": "digits", "data.limit": 300}}
    spec["variants"] |= {"stripes": {"method": "own", "baselines.own": "examples.my_protection.Stripes"}}
    spec["victims"] |= {"blur, then gray": {"victim.defence": "blur:1.5+gray"}}
    spec["seeds"] = [0]
    cells = [cell for cell in cells_of(spec, "benchmark") if cell.is_victim]
    clean = len(spec["victims"]) - 1 + len(spec["variants"])  # the clean victim of pairs is each method's own
    assert len(cells) == clean + len(spec["victims"]) * len(spec["variants"])
