"""Rows of cells.jsonl: what a grid, or a run, found of each protection and each victim.

A field that is at its default is not written: rows of earlier versions, which lack it, stay as they are. What else
earlier versions wrote differently is in ``datamodules.renames``. The JSON schema of rows, ``rows.schema.json``, is
generated from these classes.
"""

import json
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from datamodules.config import DataError
from datamodules.renames import current_row
from victims.config import PROTECTED_PART, Recipe

CELLS, SPEC = "cells.jsonl", "grid.json"  # files of a grid's folder: its rows, and what was asked
# described in the schema, not enforced: sums of floats may end a hair above 1
Fraction = Annotated[float, Field(json_schema_extra={"minimum": 0, "maximum": 1})]
Option = bool | int | float | str | tuple[float, ...] | None
Size = Annotated[float, Field(json_schema_extra={"minimum": 0})]


class _Described:
    """What all classes here have in common: a file with a key that they do not know is refused."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Place(_Described):
    """Where a row stands in its grid.

    Attributes:
        data: name of the data set.
        variant: of the protection; None for victims of clean images, which are those of every variant, unless their
            attacker has pairs of one.
        seed: of the run.
        setting: what the victim was trained on, such as ``standard`` or ``clean``; None for a protection.
        victim: its name; None for a protection.
    """

    data: str
    variant: str | None = None
    seed: int
    setting: str | None = None
    victim: str | None = None

    def pairs(self) -> dict[str, str | int]:
        """What applies, by name."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in named.items() if value is not None}

    def at(self, **wanted: str | int) -> bool:
        """Whether all of these are its own; what has no variant is at every one."""
        return all(getattr(self, k) == v or (k == "variant" and self.variant is None) for k, v in wanted.items())

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.pairs().items())


@dataclass(frozen=True, kw_only=True)
class Moments(_Described):
    """One metric of a victim: at its last epoch, at its best by the measured images, at that its own images select."""

    last: Fraction
    peak: Fraction
    selected: Fraction


@dataclass(frozen=True, kw_only=True)
class Scores(_Described):
    """A victim's metrics on clean images that it was not trained on."""

    accuracy: Moments
    balanced_accuracy: Moments
    macro_auroc: Moments


@dataclass(frozen=True, kw_only=True)
class EpochScores(_Described):
    """A victim after one epoch, counted from 1: its metrics, the accuracy on images kept from it, its loss."""

    epoch: int
    accuracy: Fraction
    balanced_accuracy: Fraction
    macro_auroc: Fraction
    val_accuracy: Fraction
    loss: float


@dataclass(frozen=True, kw_only=True)
class VictimScores(_Described):
    """What became of a victim.

    Attributes:
        scores: its metrics.
        curve: by measured epoch; empty where no file tells.
        swap: how often it answers the noise's label when the noise sits on another image; None for a clean victim.
    """

    scores: Scores
    curve: tuple[EpochScores, ...]
    swap: Fraction | None


@dataclass(frozen=True, kw_only=True)
class NoiseSize(_Described):
    """The noise on stored images (evaluation/imperceptibility.py).

    Attributes:
        linf: largest change of any pixel, in [0, 1].
        l2, l2_max: Euclidean length of an image's noise in [0, 1] units: the mean, and of the image with most.
        l0, l0_max: pixels of an image that differ in any channel: the mean, and of the image with most.
        psnr, psnr_min: in dB: the mean, and of the worst image.
        ssim: mean; None where a side is below its window.
    """

    linf: Size
    l2: Size
    l2_max: Size | None = None
    l0: Size | None = None
    l0_max: Size | None = None
    psnr: float
    psnr_min: float
    ssim: float | None


@dataclass(frozen=True, kw_only=True)
class ClassAccuracy(_Described):
    """How often the class that the protection reads from unseen images is right."""

    accuracy: Fraction
    balanced_accuracy: Fraction


@dataclass(frozen=True, kw_only=True)
class DetectionScores(_Described):
    """How well a simple network tells protected images from clean ones (evaluation/detection.py).

    Attributes:
        set_protected, set_clean: its accuracy on published and on clean images that are kept from it.
        images: area under the ROC curve for single images of a set that is protected by half.
        found: share of the protected images that is found at 5 % false alarms.
    """

    set_protected: Fraction
    set_clean: Fraction
    images: Fraction
    found: Fraction


@dataclass(frozen=True, kw_only=True)
class Diagnostics(_Described):
    """What is measured of a protection without a victim.

    Attributes:
        named: how often the class is read right; None where none is read.
        noise_only: probe → setting → accuracy on the noise alone; None where there are no such images.
        variation: setting → share of the noise's energy that differs from image to image within a class.
        survival: setting → transformation → the noise's energy after it over that before.
        detection: setting → simple network → how well it finds protected images.
    """

    named: ClassAccuracy | None
    noise_only: dict[str, dict[str, Fraction | None]]
    variation: dict[str, Fraction] | None = None
    survival: dict[str, dict[str, Size]] | None = None
    detection: dict[str, dict[str, DetectionScores]] | None = None


@dataclass(frozen=True, kw_only=True)
class Cost(_Described):
    """What making a protection cost.

    Attributes:
        fit_seconds: wall time to fit.
        images: that it was fitted on.
        forward, backward: passes through networks for each of these; None where not all were counted.
        images_per_second: protected, without encoding and writing.
    """

    fit_seconds: Size | None = None
    images: int | None = None
    forward: Size | None = None
    backward: Size | None = None
    images_per_second: Size | None = None


@dataclass(frozen=True, kw_only=True)
class GitState(_Described):
    """The commit that computed a row, and whether there were changes beside it."""

    commit: str
    changed: bool


@dataclass(frozen=True, kw_only=True)
class _Cell(_Described):
    """What every row tells of its cell: key, place, expected work, and the key of the protection that it reads."""

    key: str
    place: Place
    cost: Size
    needs: str


@dataclass(frozen=True, kw_only=True)
class ProtectionRow(_Cell):
    """A protection, made and measured.

    Attributes:
        stages: seconds of ``training`` and ``export``.
        cost_to_make: None where it was fitted elsewhere.
        images: that it was fitted on; None where no file tells.
        epsilon: L∞ bound in grey levels; None where it is bounded otherwise or not at all, 0 where no file tells.
        imperceptibility: setting → the noise on its stored images.
        named, noise_only, variation, survival, detection: see Diagnostics.
        chance: 1/K for K classes.
        seconds: wall time of the cell.
        device, versions, git: where it was computed, and by what; git is None outside of a checkout.
    """

    stages: dict[str, Size]
    cost_to_make: Cost | None = Cost()
    images: int | None = None
    epsilon: float | None = 0.0
    imperceptibility: dict[str, NoiseSize]
    named: ClassAccuracy | None
    noise_only: dict[str, dict[str, Fraction | None]]
    variation: dict[str, Fraction] | None = None
    survival: dict[str, dict[str, Size]] | None = None
    detection: dict[str, dict[str, DetectionScores]] | None = None
    chance: Fraction
    seconds: Size
    device: str
    versions: dict[str, str]
    git: GitState | None


@dataclass(frozen=True, kw_only=True)
class VictimRow(_Cell):
    """A victim, trained and scored.

    Attributes:
        scores, curve, swap: see VictimScores.
        images: that it was trained on; None where no file tells.
        chance: 1/K for K classes.
        majority: share of the largest class in the test part.
        recipe: options that decide its training, without those at their default (``Recipe.decisive``).
        protected_images, protected_classes: of a set that is protected in part, how many and which are.
        recalls: of such a set's victim, by class.
        seconds: wall time of the cell.
        device, versions, git: where it was computed, and by what; git is None outside of a checkout.
    """

    scores: Scores
    curve: tuple[EpochScores, ...]
    swap: Fraction | None
    images: int | None = None
    chance: Fraction
    majority: Fraction
    recipe: dict[str, Option]
    protected_images: int | None = None
    protected_classes: tuple[int, ...] | None = None
    recalls: tuple[Fraction, ...] | None = None
    seconds: Size
    device: str
    versions: dict[str, str]
    git: GitState | None

    @property
    def trained_by(self) -> Recipe:
        """Its whole recipe, but for which images were protected."""
        return from_json(Recipe, {k: v for k, v in self.recipe.items() if k not in PROTECTED_PART})


@dataclass(frozen=True, kw_only=True)
class FailedRow(_Cell):
    """A cell that could not be computed.

    Attributes:
        error: why, in one line.
        traceback: of the exception.
        skipped: it lacks something that is not at hand, such as pretrained weights: that is no failure.
    """

    error: str
    traceback: str = ""
    skipped: bool = False


FinishedRow = ProtectionRow | VictimRow
Row = ProtectionRow | VictimRow | FailedRow
T = TypeVar("T")
AnyRow = TypeVar("AnyRow", bound=_Cell)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def from_json(kind: type[T], content: Any) -> T:
    """An object of one of these classes, from what JSON gave.

    Raises:
        DataError: a field is missing, unknown or of another type; one line that names it.
    """
    try:
        found: T = _adapter(cast(Hashable, kind)).validate_python(content)
        return found
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{kind.__name__}, {where}: {first['msg']}") from error


def to_json(content: Any) -> Any:
    """What JSON has of an object of one of these classes: fields that are not at their default, in their order."""
    return _adapter(cast(Hashable, type(content))).dump_python(content, exclude_defaults=True, warnings="error")


def read_row(text: str, where: str) -> Row:
    """A row from its line of JSON, of this version or an earlier one.

    Args:
        text: the line.
        where: the file, for messages.

    Raises:
        DataError: it is no row; the file and the field.
    """
    try:
        content = current_row(json.loads(text))
        if "error" in content:
            return from_json(FailedRow, content)
        if "victim" in content["place"]:
            return from_json(VictimRow, content)
        return from_json(ProtectionRow, content)
    except (DataError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: no row of a grid ({error}); delete it and it is computed anew") from error


def write_row(row: Row) -> str:
    """A row as one line of JSON, without the line's end."""
    return json.dumps(to_json(row))


def read_rows(path: Path) -> list[Row]:
    """The rows of a grid's file; a last line without its end was torn by a kill and is left out.

    Raises:
        DataError: a line is no row; the file, the line and the reason.
    """
    lines = path.read_text().split("\n")[:-1]
    return [read_row(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]


def protections(rows: Iterable[Row]) -> list[ProtectionRow]:
    """Those of finished protections."""
    return [row for row in rows if isinstance(row, ProtectionRow)]


def victims(rows: Iterable[Row]) -> list[VictimRow]:
    """Those of finished victims."""
    return [row for row in rows if isinstance(row, VictimRow)]


def finished(rows: Iterable[Row]) -> list[FinishedRow]:
    """Those of protections and of victims."""
    return [row for row in rows if not isinstance(row, FailedRow)]


def failures(rows: Iterable[Row]) -> list[FailedRow]:
    """Those of cells that could not be computed."""
    return [row for row in rows if isinstance(row, FailedRow)]


def select(rows: Iterable[AnyRow], **place: str | int) -> list[AnyRow]:
    """The rows at a place, by the names of its parts; what has no variant is at every one."""
    return [row for row in rows if row.place.at(**place)]


def unique(rows: Iterable[Row], key: str) -> list[str]:
    """The values of a key of the places, each once, in order."""
    return [value for value in dict.fromkeys(getattr(row.place, key) for row in rows) if value is not None]


def schema() -> dict[str, Any]:
    """The JSON schema of a row."""
    return TypeAdapter[Row](Row).json_schema() | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A row of ConfounderGAN's cells.jsonl",
    }
