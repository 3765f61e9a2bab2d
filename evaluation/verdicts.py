"""What the rows of a grid, or of a run, say in plain words, by stated rules. The rules and thresholds are ours.

The **recovered share** of a victim is (protected − chance) / (clean − chance): how much of what the same victim learns
from clean images it still learns from the protected ones. Clean is the same victim in the same seed, on the same images
unprotected. 0 %: it learned nothing; 100 %: the protection did nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import mean, stdev
from typing import Any

from evaluation.rows import Row, VictimRow, failures, select, victims

STOPPED, WEAKENED = 0.10, 0.50  # largest recovered share that is called so; above: not protected
LEARNED = 0.10  # by how much the clean victim must pass chance before anything is concluded from it
ENOUGH_SEEDS = 3
FEW = 6  # victims that are named with their figures; of more, the range is told and the table has the rest
CLEAN = {"standard": "clean", "fast": "clean_fast", "misclassified": "clean_fast"}
REMAINDER = {"standard": "remainder", "fast": "remainder_fast"}
PROTECTED = ("standard", "fast")  # settings that are a protection; misclassified explains one
EDGE = 1e-9  # arithmetic on fractions


@dataclass(frozen=True)
class Verdict:
    """One claim of the verdict.

    Attributes:
        kind: ``stopped``, ``weakened``, ``broken`` or ``unknown``: the colour.
        claim: what is claimed, and of what.
        lines: the figures behind it, and what is to be known of them.
    """

    kind: str
    claim: str
    lines: list[str]


@dataclass(frozen=True)
class Finding:
    """What one victim made of one setting, seed by seed.

    Attributes:
        data, variant, setting, victim: the place.
        chance: 1/K; 0 where no row tells.
        seeds: those in which the victim was trained on protected images and its clean twin was, too.
        clean, protected, selected, peak: balanced accuracy in [0, 1], one per seed: of the clean twin, and of the
            victim at its last epoch, at the one its own images select, and at the best by the measured images.
        swap: how often the victim answers the noise's label, one per seed that tells.
        remainder: last, one per seed, of the same victim on the images alone that its set leaves clean; empty where all
            are protected.
        failed: cells of this place, or of the clean twin, with an error.
    """

    data: str
    variant: str
    setting: str
    victim: str
    chance: float
    seeds: tuple[int, ...]
    clean: tuple[float, ...]
    protected: tuple[float, ...]
    selected: tuple[float, ...]
    peak: tuple[float, ...]
    swap: tuple[float, ...]
    remainder: tuple[float, ...]
    failed: int

    @property
    def share(self) -> float | None:
        """Recovered share of the means over seeds; None where there is no seed or the clean twin learned nothing."""
        return self.share_at(self.protected)

    def share_at(self, values: tuple[float, ...]) -> float | None:
        """The recovered share that other accuracies of this victim, one per seed, stand for."""
        if not self.seeds or mean(self.clean) - self.chance < LEARNED - EDGE:
            return None
        return (mean(values) - self.chance) / (mean(self.clean) - self.chance)

    @property
    def shares(self) -> list[float]:
        """Recovered share of each seed whose clean twin learned something."""
        pairs = zip(self.clean, self.protected, strict=True)
        return [(p - self.chance) / (c - self.chance) for c, p in pairs if c - self.chance >= LEARNED - EDGE]

    @property
    def grade(self) -> str:
        """``stopped``, ``weakened``, ``not protected`` or ``unknown``."""
        return grade(self.share)


def grade(share: float | None) -> str:
    """The word for a recovered share."""
    if share is None:
        return "unknown"
    return "stopped" if share <= STOPPED + EDGE else "weakened" if share <= WEAKENED + EDGE else "not protected"


def rules() -> list[str]:
    """The rules in words, for the page."""
    return [
        "Figures are balanced accuracies on clean images at the victim's last epoch: clean → protected. Clean is the "
        "same victim in the same seed, trained on the same images without protection.",
        "Recovered share = (protected − chance) / (clean − chance).",
        f"Stopped: at most {100 * STOPPED:.0f} % recovered. Weakened: at most {100 * WEAKENED:.0f} %. Not protected: "
        "more. These thresholds are our choice.",
        "The victim that recovers most decides. Broken: some victims are stopped or weakened, and at least one is "
        "neither.",
        f"Nothing is said where the clean victim is less than {100 * LEARNED:.0f} points above chance: it had no time, "
        "or too few images, to learn.",
        f"Fewer than {ENOUGH_SEEDS} seeds are a hint, not a result. What holds for these victims need not hold for "
        "others.",
    ]


def findings(spec: dict[str, Any], rows: list[Row]) -> list[Finding]:
    """Everything that was measured of a protected setting, in the order of what was asked.

    Args:
        spec: ``data``, ``variants``, ``victims`` (mappings by name), ``settings``, ``seeds`` (lists).
        rows: of cells.jsonl; failed ones (``error``) count as failed.
    """
    found = []
    settings = [s for s in CLEAN if s in spec["settings"]]
    for data, variant, setting, victim in product(spec["data"], spec["variants"], settings, spec["victims"]):
        here = select(rows, data=data, victim=victim, variant=variant)  # most clean victims are of all variants
        own = select(here, setting=setting)
        twins = select(here, setting=CLEAN[setting])
        alone = select(here, setting=REMAINDER.get(setting, ""))
        if not own:
            continue
        done = {r.place.seed: r for r in victims(own)}
        pairs = [(r, twin) for _, r in sorted(done.items()) if (twin := _twin(r, victims(twins)))]
        scores = [r.scores.balanced_accuracy for r, _ in pairs]
        found.append(
            Finding(
                data,
                variant,
                setting,
                victim,
                next((r.chance for r in victims(own + twins)), 0.0),
                tuple(r.place.seed for r, _ in pairs),
                tuple(twin.scores.balanced_accuracy.last for _, twin in pairs),
                tuple(s.last for s in scores),
                tuple(s.selected for s in scores),
                tuple(s.peak for s in scores),
                tuple(r.swap for r, _ in pairs if r.swap is not None),
                tuple(r.scores.balanced_accuracy.last for r in victims(alone)),
                len(failures(own + twins + alone)),
            )
        )
    return found


def _twin(row: VictimRow, clean: list[VictimRow]) -> VictimRow | None:
    """The clean victim of the same seed and recipe, on as many images; None without exactly one."""
    counted = row.place.setting != "misclassified"
    fits = [
        r
        for r in clean
        if r.place.seed == row.place.seed and r.trained_by == row.trained_by and (not counted or r.images == row.images)
    ]
    return fits[0] if len(fits) == 1 else None


def moments(values: Sequence[float], scale: float = 1.0, digits: int = 1) -> str:
    """Mean ± standard deviation of several, times ``scale``; – without any."""
    if not values:
        return "–"
    spread = f" ± {scale * stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{scale * mean(values):.{digits}f}{spread}"


def percent(values: Sequence[float], digits: int = 0) -> str:
    """``moments`` of fractions, in %."""
    return moments(values, 100, digits)


def verdicts(spec: dict[str, Any], found: list[Finding]) -> list[Verdict]:
    """A line for each data set, variant and protected setting."""
    lines = []
    for data, variant, setting in product(spec["data"], spec["variants"], PROTECTED):
        group = [f for f in found if (f.data, f.variant, f.setting) == (data, variant, setting)]
        if group:
            lines.append(verdict(group, f"{variant}, " if len(spec["variants"]) > 1 else ""))
    return lines


def verdict(group: list[Finding], variant: str = "") -> Verdict:
    """The line of one data set, variant and setting, from all its victims; ``variant`` is how the line names that."""
    grades = ("stopped", "weakened", "not protected")
    graded = {name: members for name in grades if (members := [f for f in group if f.grade == name])}
    held = [f for f in group if f.grade in ("stopped", "weakened")]
    lost = graded.get("not protected", [])
    where = f"{group[0].data} ({variant}{group[0].setting} setting)"
    if lost and held:
        by = "; ".join(f.victim for f in lost) if len(lost) <= FEW else f"{len(lost)} of {len(group)} victims"
        kind, claim = "broken", f"Broken on {where} by {by}"
    elif lost:
        kind, claim = "broken", f"Not protected: {where}"
    elif "weakened" in graded:
        kind, claim = "weakened", f"Weakens training on {where}"
    elif held:
        kind, claim = "stopped", f"Stops training on {where}"
    else:
        kind, claim = "unknown", f"Nothing can be said about {where}"
    lines = [
        (f"{name.capitalize()}: " if len(graded) > 1 or len(members) > FEW else "") + _told(members, len(group))
        for name, members in graded.items()
    ]
    if lines:
        lines[-1] += f" (chance {100 * group[0].chance:.0f} %)"
    lines += [_unknown(f) for f in group if f.grade == "unknown"]
    lines += [line for f in held + lost for line in _doubts(f)]
    if held + lost:
        fewest = min(len(f.seeds) for f in held + lost)
        count = "One seed" if fewest == 1 else f"{fewest} seeds"
        lines += _beside(held + lost)
        lines.append(f"{count}: a hint, not a result." if fewest < ENOUGH_SEEDS else f"{count}.")
    return Verdict(kind, claim, lines)


def _told(members: list[Finding], of: int) -> str:
    """The figures of some victims: each one's, or how many of how many they are and the two ends."""

    def figures(f: Finding) -> str:
        return f"{f.victim}: {percent(f.clean)} → {percent(f.protected)} %"

    if len(members) <= FEW:
        return "; ".join(map(figures, members))
    first, *_, last = sorted(members, key=lambda f: f.share or 0.0)
    return f"{len(members)} of {of} victims, from {figures(first)} to {figures(last)}"


def _unknown(f: Finding) -> str:
    if not f.seeds:
        reason = "its cells failed" if f.failed else "no seed has both its clean and its protected victim"
        return f"Of {f.victim} nothing is known: {reason}."
    return (
        f"Of {f.victim} nothing is known: trained on clean images it reaches {percent(f.clean)} %, "
        f"chance is {100 * f.chance:.0f} % (on protected ones {percent(f.protected)} %)."
    )


def _doubts(f: Finding) -> list[str]:
    """What a single figure hides: seeds that say otherwise, and an earlier epoch that is better for the attacker."""
    doubts = []
    if len({grade(s) for s in f.shares}) > 1:
        low, high = min(f.shares), max(f.shares)
        doubts.append(f"Seeds of {f.victim} differ: {100 * low:.0f} to {100 * high:.0f} % recovered.")
    peak = f.share_at(f.peak)
    if peak is not None and f.grade in ("stopped", "weakened") and grade(peak) != f.grade:
        doubts.append(
            f"At its best epoch {f.victim} reaches {percent(f.peak)} % ({100 * peak:.0f} % recovered, "
            f"{grade(peak)}); its own images select an epoch with {percent(f.selected)} %."
        )
    return doubts


def _beside(group: list[Finding]) -> list[str]:
    """What partly protected sets have to be compared with."""
    partly = [f for f in group if f.remainder]
    if not partly:
        return []
    figures = "; ".join(f"{f.victim} {percent(f.protected)} %, {percent(f.remainder)} % without them" for f in partly)
    return [f"Protected in part (with the protected images, and on the clean remainder alone): {figures}."]


def failed(rows: list[Row]) -> list[str]:
    """Each failed cell and its error."""
    return [f"{row.place}: {row.error}" for row in failures(rows)]


def missing(spec: dict[str, Any], rows: list[Row]) -> list[str]:
    """What was asked for and has no row.

    Whether a setting applies (does the method need labels? is there a part B?) stands in no row, so a setting without
    any row of a data set and variant is told in one line.
    """
    lines = []
    clean = [s for s in spec["settings"] if s in CLEAN.values()]  # a remainder is never asked for
    for data in spec["data"]:
        for variant in ("", *spec["variants"]):
            mine = [r.place for r in rows if r.place.data == data and variant in ("", r.place.variant)]
            settings = clean if not variant else [s for s in spec["settings"] if s not in clean]
            here = f"data {data}" + (f", variant {variant}" if variant else "")
            for setting in settings:
                places = {(p.seed, p.victim) for p in mine if p.setting == setting}
                if not places:
                    reason = "it does not apply (a method that needs labels, no part B), or it is not computed yet"
                    lines.append(f"{here}, setting {setting}: no cell; {reason}")
                    continue
                lines += [
                    f"{here}, seed {seed}, setting {setting}, victim {victim}: not computed"
                    for seed, victim in product(spec["seeds"], spec["victims"])
                    if (seed, victim) not in places
                ]
    return lines
