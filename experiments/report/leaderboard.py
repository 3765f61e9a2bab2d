"""The leaderboard: methods by what the strongest attacker gets back, from the rows of a grid alone.

The rule, ours: an attacker's **recovered share** is (protected − chance) / (clean − chance), where the clean victim has
the same defence, recipe and seed. In every seed the attacker that recovers most decides; methods stand in the order of
the mean of that over seeds. Two methods are **level** where the interval of their differences, seed by seed, holds 0
(``evaluation.statistics``).
"""

from dataclasses import dataclass
from statistics import mean
from typing import Any

from evaluation.rows import ProtectionRow, Row, finished, protections, select
from evaluation.statistics import interval, paired, relation
from evaluation.verdicts import findings
from experiments.report.comparisons import recovered
from experiments.report.grid_table import MEASURED_ON, backward, ssim

HEAD = ["", "method", "strongest attacker gets back, %", "by", "untouched, %", "beside the first", "seeds"]
COSTS = ["PSNR, dB", "SSIM", "seconds to fit", "backward passes per image", "images per second"]


@dataclass(frozen=True)
class Standing:
    """What attackers get back from one method.

    Attributes:
        variant: its name in the grid.
        shares: of each attacker, the recovered share by seed.
        counted: the attackers that decide: those that every method was measured with.
    """

    variant: str
    shares: dict[str, dict[int, float]]
    counted: tuple[str, ...]

    @property
    def worst(self) -> dict[int, float]:
        """Of each seed with all counted attackers, the largest recovered share."""
        seeds = set.intersection(*(set(self.shares[attacker]) for attacker in self.counted))
        return {seed: max(self.shares[attacker][seed] for attacker in self.counted) for seed in sorted(seeds)}

    @property
    def decides(self) -> str:
        """The attacker that recovers most on average."""
        return max(self.counted, key=lambda attacker: mean(self.shares[attacker].values()))


def standings(spec: dict[str, Any], rows: list[Row], data: str) -> list[Standing]:
    """The methods of a data set, the best protected first; those that no attacker was measured with are left out.

    Args:
        spec: of the grid.
        rows: of the grid; failed ones are passed over.
        data: name of the data set in the grid.
    """
    shares: dict[str, dict[str, dict[int, float]]] = {}
    for found in findings(spec, rows):
        if (found.data, found.setting) == (data, "standard") and (by_seed := recovered(found)):
            shares.setdefault(found.variant, {})[found.victim] = by_seed
    counted = tuple(victim for victim in spec["victims"] if all(victim in own for own in shares.values()))
    if not counted:
        return []
    return sorted(
        (Standing(variant, own, counted) for variant, own in shares.items()),
        key=lambda standing: mean(standing.worst.values()) if standing.worst else float("inf"),
    )


def board(spec: dict[str, Any], rows: list[Row], data: str) -> list[list[str]]:
    """The leaderboard as rows of cells, the head first."""
    lines, order = [HEAD + COSTS], standings(spec, rows, data)
    plain = next(iter(spec["victims"]))
    for place, one in enumerate(order, 1):
        worst, first = one.worst, order[0].worst
        untouched = one.shares.get(plain, {})
        lines.append(
            [
                *(str(place), one.variant, interval(list(worst.values())).written(100) if worst else "–", one.decides),
                interval(list(untouched.values())).written(100) if untouched else "–",
                "" if place == 1 else {"above": "worse", "below": "better"}.get(r := relation(paired(worst, first)), r),
                str(len(worst)),
                *prices(select(protections(rows), data=data, variant=one.variant)),
            ]
        )
    return lines


def prices(made: list[ProtectionRow]) -> list[str]:
    """What a protection costs the owner: means over its rows; – where no row tells."""
    hidden = [row.imperceptibility["standard"] for row in made]
    costs = [row.cost_to_make for row in made if row.cost_to_make]
    seconds = [cost.fit_seconds for cost in costs if cost.fit_seconds is not None]
    passes = [count for row in made if (count := backward(row)) is not None]
    speeds = [cost.images_per_second for cost in costs if cost.images_per_second is not None]
    return [
        f"{mean(one.psnr for one in hidden):.1f}" if hidden else "–",
        ssim(hidden),
        f"{mean(seconds):.0f}" if seconds else "–",
        f"{mean(passes):.0f}" if passes else "–",
        f"{mean(speeds):,.0f}" if speeds else "–",
    ]


def accuracies(spec: dict[str, Any], rows: list[Row], data: str) -> list[list[str]]:
    """Every attacker on every method: clean → protected balanced accuracy in %, as rows of cells, the head first."""
    order = [one.variant for one in standings(spec, rows, data)]
    found = {(f.victim, f.variant): f for f in findings(spec, rows) if (f.data, f.setting) == (data, "standard")}
    lines = [["attacker", *order]]
    for attacker in spec["victims"]:
        cells = []
        for variant in order:
            one = found.get((attacker, variant))
            done = one is not None and one.seeds
            cells.append(f"{_mean(one.clean)} → {interval(one.protected).written(100)}" if one and done else "–")
        if any(cell != "–" for cell in cells):
            lines.append([attacker, *cells])
    return lines


def _mean(values: tuple[float, ...]) -> str:
    return f"{100 * mean(values):.0f}"


def said(spec: dict[str, Any], rows: list[Row], data: str) -> str:
    """How to read the two tables, and what they do not say."""
    done = finished(rows)
    order = standings(spec, rows, data)
    seeds = max((len(one.worst) for one in order), default=0)
    left_out = [victim for victim in spec["victims"] if order and victim not in order[0].counted]
    few = " One seed: the order is a hint, and nothing is said of level or not." if seeds < 2 else ""
    more = f" Not counted, since not every method was measured with them: {', '.join(left_out)}." if left_out else ""
    where = ", ".join(sorted({row.device for row in done}))
    chance = next((row.chance for row in done), 0.0)
    return (
        f"`{data}`, {MEASURED_ON[spec['measured_on']]}; chance {100 * chance:.0f} %. In brackets: 95 % intervals over "
        f"seeds (Student's t). Beside the first: by the interval of the differences seed by seed.{few}{more} "
        f"{sum(row.seconds for row in done) / 3600:.1f} hours of single processes on {where or 'nothing yet'}."
    )
