"""What protections cost beside ConfounderGAN, which is trained once: from the rows of a grid alone."""

from dataclasses import dataclass
from statistics import mean
from typing import Any

from baselines.capabilities import DEFAULT_METHOD, capabilities
from evaluation.rows import ProtectionRow, Row, protections, select, unique
from evaluation.verdicts import moments
from experiments.report.page import Table

HEAD = [
    "data",
    "variant",
    "seconds to fit",
    "forward",
    "backward",
    "images per second",
    "ConfounderGAN is cheaper from",
]


@dataclass(frozen=True)
class MeanCost:
    """What a method costs, the mean over seeds: seconds to fit, images fitted on, images protected per second."""

    fit_seconds: float
    images: float
    images_per_second: float


def break_even(ours: MeanCost, theirs: MeanCost, anew: bool) -> float | None:
    """From how many images on ConfounderGAN costs less than another method, by measured seconds.

    Args:
        ours: cost of ConfounderGAN.
        theirs: of the other.
        anew: the other has to be fitted again for new images, at the same cost per image; else once is enough.

    Returns:
        The number of images; 0 where it is cheaper at once, None where never.
    """
    fixed = ours.fit_seconds - (0.0 if anew else theirs.fit_seconds)
    saved = 1 / theirs.images_per_second - 1 / ours.images_per_second
    if anew:
        saved += theirs.fit_seconds / theirs.images
    if fixed <= 0 and saved >= 0:
        return 0.0
    return fixed / saved if saved > 0 else None


def in_words(images: float | None) -> str:
    """A break-even count as it stands in a table."""
    if images is None:
        return "never"
    return "the first image" if images == 0 else f"{images:,.0f} images"


def costs(spec: dict[str, Any], rows: list[Row]) -> Table | None:
    """A line for each data set and variant whose cost was measured; None where none was.

    A variant without a fast set is fitted anew for new images; its seconds per image are those of its own fit.
    """
    made = [r for r in protections(rows) if r.cost_to_make and r.cost_to_make.images_per_second is not None]
    lines = []
    for data in unique(made, "data"):
        names = [v for v in spec["variants"] if _transferable(spec, v) and select(made, data=data, variant=v)]
        ours = mean_cost(select(made, data=data, variant=names[0])) if names else None
        for variant in spec["variants"]:
            own = select(made, data=data, variant=variant)
            if not own:
                continue
            found = [r.cost_to_make for r in own if r.cost_to_make]
            cells = [
                moments([c.fit_seconds for c in found if c.fit_seconds is not None]),
                moments([c.forward for c in found if c.forward is not None]),
                moments([c.backward for c in found if c.backward is not None]),
            ]
            theirs, even = mean_cost(own), "–"
            if ours is not None and not _transferable(spec, variant):
                anew = all("fast" not in r.imperceptibility for r in own)
                even = in_words(break_even(ours, theirs, anew))
            lines.append([data, variant, *cells, f"{theirs.images_per_second:,.0f}", even])
    return Table("Cost of protecting: passes are for each image fitted on", HEAD, lines) if lines else None


def _transferable(spec: dict[str, Any], variant: str) -> bool:
    """Whether a variant's generator protects other data, too: then it is what the others are compared with."""
    return capabilities(str((spec["variants"][variant] or {}).get("method", DEFAULT_METHOD))).transferable


def mean_cost(rows: list[ProtectionRow]) -> MeanCost:
    """The mean over seeds of rows whose cost was measured."""
    found = [r.cost_to_make for r in rows if r.cost_to_make]
    return MeanCost(
        mean(c.fit_seconds or 0.0 for c in found),
        mean(c.images or 0 for c in found),
        mean(c.images_per_second or 0.0 for c in found),
    )
