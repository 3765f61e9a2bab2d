"""What protections cost beside ConfounderGAN, which is trained once: from the rows of a grid alone."""

from statistics import mean
from typing import Any

from baselines.capabilities import DEFAULT_METHOD, capabilities
from experiments.grid_report import Row, moments, select, unique
from experiments.page import Table

HEAD = [
    "data",
    "variant",
    "seconds to fit",
    "forward",
    "backward",
    "images per second",
    "ConfounderGAN is cheaper from",
]


def break_even(ours: Row, theirs: Row, anew: bool) -> float | None:
    """From how many images on ConfounderGAN costs less than another method, by measured seconds.

    Args:
        ours: ``fit_seconds``, ``images`` and ``images_per_second`` of ConfounderGAN (experiments.methods.cost_of).
        theirs: of the other.
        anew: the other has to be fitted again for new images, at the same cost per image; else once is enough.

    Returns:
        The number of images; 0 where it is cheaper at once, None where never.
    """
    fixed = ours["fit_seconds"] - (0.0 if anew else theirs["fit_seconds"])
    saved = 1 / theirs["images_per_second"] - 1 / ours["images_per_second"]
    if anew:
        saved += theirs["fit_seconds"] / theirs["images"]
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
    made = [r for r in rows if "victim" not in r["place"] and "images_per_second" in (r.get("cost_to_make") or {})]
    lines = []
    for data in unique(made, "data"):
        names = [v for v in spec["variants"] if _transferable(spec, v) and select(made, data=data, variant=v)]
        ours = _mean(select(made, data=data, variant=names[0])) if names else None
        for variant in spec["variants"]:
            own = select(made, data=data, variant=variant)
            if not own:
                continue
            found = [r["cost_to_make"] for r in own]
            cells = [moments([c[key] for c in found if key in c]) for key in ("fit_seconds", "forward", "backward")]
            speed = mean(c["images_per_second"] for c in found)
            even = "–"
            if ours is not None and not _transferable(spec, variant):
                anew = all("fast" not in r["imperceptibility"] for r in own)
                even = in_words(break_even(ours, _mean(own), anew))
            lines.append([data, variant, *cells, f"{speed:,.0f}", even])
    return Table("Cost of protecting: passes are for each image fitted on", HEAD, lines) if lines else None


def _transferable(spec: dict[str, Any], variant: str) -> bool:
    """Whether a variant's generator protects other data, too: then it is what the others are compared with."""
    return capabilities(str((spec["variants"][variant] or {}).get("method", DEFAULT_METHOD))).transferable


def _mean(rows: list[Row]) -> Row:
    found = [r["cost_to_make"] for r in rows]
    return {key: mean(c[key] for c in found) for key in ("fit_seconds", "images", "images_per_second")}
