"""Rows of a grid made by hand: what a test does not name is the same everywhere."""

from dataclasses import replace
from typing import Any

from evaluation.rows import (
    Cost,
    FailedRow,
    GitState,
    Moments,
    NoiseSize,
    Place,
    ProtectionRow,
    Row,
    Scores,
    VictimRow,
    from_json,
)
from victims.config import RECIPES

HIDDEN = NoiseSize(linf=8 / 255, l2=1.0, psnr=33.0, psnr_min=30.0, ssim=None)
SHARED: dict[str, Any] = {"device": "x86_64 CPU", "versions": {"torch": "2.8"}, "chance": 0.1, "cost": 1.0}


def recipe(**changes: Any) -> dict[str, Any]:
    """What a row states of a recipe."""
    found = replace(RECIPES["quick"], **changes)
    return found.decisive() | {"defence": found.defence}


def victim(setting: str, seed: int, last: float, **changes: Any) -> VictimRow:
    """A victim with the same value of all metrics; ``data``, ``variant``, ``victim`` and ``peak`` may be given."""
    variant = changes.pop("variant", "a")
    place = Place(
        data=changes.pop("data", "d"),
        variant=None if setting.startswith("clean") else variant,
        seed=seed,
        setting=setting,
        victim=changes.pop("victim", "v"),
    )
    moments = Moments(last=last, selected=last, peak=changes.pop("peak", last))
    epoch = {"val_accuracy": 0.0, "loss": 0.0, "accuracy": 0.0, "macro_auroc": 0.0}
    content = {
        "scores": Scores(accuracy=moments, balanced_accuracy=moments, macro_auroc=moments),
        "curve": [epoch | {"epoch": 1, "balanced_accuracy": 0.1}, epoch | {"epoch": 4, "balanced_accuracy": last}],
        "key": str(place), "place": place, "needs": "", "seconds": 60.0, "swap": 0.9, "images": 100, "majority": 0.2,
        "recipe": recipe(), "git": None,
    }  # fmt: skip
    return from_json(VictimRow, SHARED | content | changes)


def made(cost: Cost | None = None, imperceptibility: dict[str, NoiseSize] | None = None, **place: Any) -> ProtectionRow:
    """A protection."""
    where = Place(**{"data": "d", "variant": "a", "seed": 0} | place)
    probe = {"standard": 1.0, "fast": None}
    return ProtectionRow(
        key=str(where), place=where, needs="", imperceptibility=imperceptibility or {"standard": HIDDEN}, named=None,
        noise_only={"linear": probe, "conv": probe}, stages={"training": 60.0, "export": 6.0}, seconds=70.0,
        images=100, epsilon=8.0, git=GitState(commit="abc", changed=True), cost_to_make=cost, **SHARED,
    )  # fmt: skip


def lost(row: Row, error: str, **place: Any) -> FailedRow:
    """A cell at a row's place that failed."""
    return FailedRow(key="x", place=replace(row.place, **place), cost=1.0, needs="", error=error)
