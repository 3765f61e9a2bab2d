"""Which methods can be told apart: for each victim, the one that leaves it least, and those that are level with it."""

from itertools import product
from typing import Any

from evaluation.statistics import interval, paired, relation
from evaluation.verdicts import LEARNED, PROTECTED, Finding
from experiments.report.page import Table

HEAD = ["data", "setting", "victim", "least is left by", "recovered, %", "level with it", "more is left by"]
TITLE = (
    "Methods beside each other: recovered shares, 95 % intervals over seeds; level: the interval of the differences, "
    "seed by seed, holds 0"
)


def recovered(found: Finding) -> dict[int, float]:
    """The recovered share of each seed whose clean twin learned something."""
    values = zip(found.seeds, found.clean, found.protected, strict=True)
    base = found.chance
    return {seed: (hit - base) / (clean - base) for seed, clean, hit in values if clean - base >= LEARNED}


def compared(spec: dict[str, Any], found: list[Finding]) -> Table | None:
    """A line for each data set, setting and victim that several methods were measured with in the same two seeds or
    more; None where there is no such.
    """
    lines = []
    for data, setting, victim in product(spec["data"], PROTECTED, spec["victims"]):
        here = [f for f in found if (f.data, f.setting, f.victim) == (data, setting, victim)]
        shares = {f.variant: own for f in here if len(own := recovered(f)) > 1}
        if len(shares) < 2:
            continue
        least = min(shares, key=lambda variant: interval(list(shares[variant].values())).mean)
        beside = {variant: relation(paired(own, shares[least])) for variant, own in shares.items() if variant != least}
        if set(beside.values()) == {"unknown"}:
            continue
        level, more = (
            ", ".join(variant for variant, said in beside.items() if said == word) or "–" for word in ("level", "above")
        )
        first = interval(list(shares[least].values())).written(100)
        lines.append([data, setting, victim, least, first, level, more])
    return Table(TITLE, HEAD, lines) if lines else None
