"""Rows of grids: typed, described by a schema that comes from their classes, and the same file again when written."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from made_rows import lost, made, recipe, victim

from datamodules.config import DataError
from datamodules.renames import current_row
from evaluation.rows import CELLS, Cost, Place, Row, read_row, read_rows, schema, to_json, unique, victims, write_row

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "evaluation" / "rows.schema.json"
GRIDS = sorted((ROOT / "results" / "grids").iterdir())


@pytest.mark.parametrize("folder", GRIDS, ids=lambda folder: folder.name)
def test_every_committed_row_loads_and_is_written_the_same(folder: Path) -> None:
    lines = (folder / CELLS).read_text().splitlines()
    rows = read_rows(folder / CELLS)
    assert len(rows) == len(lines) > 0
    for row, line in zip(rows, lines, strict=True):
        assert write_row(row) == json.dumps(current_row(json.loads(line)))
    for row in victims(rows):
        assert row.trained_by.arch == row.recipe["arch"]


def test_the_schema_is_that_of_the_classes_and_describes_all_rows() -> None:
    described = json.loads(SCHEMA.read_text())
    assert described == schema(), "run 'make tables'"
    validator = jsonschema.Draft202012Validator(described)
    partly: list[Row] = [
        victim("clean", 0, 0.5, recipe=recipe(milestones=(0.5, 1), start="pretrained", compile=True)),
        replace(victim("standard", 0, 0.5), protected_images=3, protected_classes=(1, 2), recalls=(0.5,)),
        lost(made(), "E: why"),
        replace(lost(made(), "E: why"), skipped=True, traceback="Traceback"),
    ]
    for row in [*(row for folder in GRIDS for row in read_rows(folder / CELLS)[::20]), *partly]:
        validator.validate(json.loads(write_row(row)))
        assert read_row(write_row(row), "here") == row
    damaged: dict[str, Any] = to_json(made())
    del damaged["imperceptibility"]["standard"]["psnr"]
    assert not validator.is_valid(damaged)


def test_rows_of_earlier_versions_lack_what_these_did_not_measure() -> None:
    content = to_json(made(Cost(images=3)))
    for name in ("epsilon", "cost_to_make", "images"):
        del content[name]
    older = read_row(json.dumps(content), "here")
    assert (older.epsilon, older.cost_to_make, older.images, older.detection) == (0, Cost(), None, None)  # type: ignore[union-attr]
    assert json.loads(write_row(older)) == content
    unbounded = read_row(json.dumps(content | {"epsilon": None, "cost_to_make": None}), "here")
    assert json.loads(write_row(unbounded)) == content | {"epsilon": None, "cost_to_make": None}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"imperceptibility": {"standard": {"psnr": 3.0}}}, "ProtectionRow, imperceptibility.standard.linf: "),
        ({"colour": 3}, "ProtectionRow, colour: "),
        ({"seconds": "long"}, "ProtectionRow, seconds: "),
        ({"place": None}, "'NoneType' object"),
    ],
)
def test_a_row_that_is_none_is_named(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    lines = [write_row(victim("clean", 0, 0.9)), json.dumps(to_json(made()) | changes), '{"key": "torn']
    (tmp_path / CELLS).write_text("\n".join(lines))
    with pytest.raises(DataError, match=f"{CELLS}, line 2: no row of a grid ") as raised:
        read_rows(tmp_path / CELLS)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)
    (tmp_path / CELLS).write_text(f"{lines[0]}\n{lines[2]}")
    assert read_rows(tmp_path / CELLS) == [victim("clean", 0, 0.9)]


def test_places() -> None:
    here, clean = victim("standard", 3, 0.5).place, victim("clean", 3, 0.5).place
    assert str(here) == "data d, variant a, seed 3, setting standard, victim v"
    assert clean.pairs() == {"data": "d", "seed": 3, "setting": "clean", "victim": "v"}
    assert here.at(variant="a", seed=3)
    assert not here.at(variant="b")
    assert clean.at(variant="b"), "a clean victim is that of every variant"
    assert not Place(data="d", seed=0).at(setting="clean")
    assert unique([made(), made(variant="b"), victim("clean", 0, 0.1)], "variant") == ["a", "b"]
