"""Results as the docs show them: where the files are, and how a table is written."""

import json
from pathlib import Path
from typing import Any

from datamodules.renames import current_spec
from evaluation.rows import CELLS, SPEC, Row, read_rows

ROOT = Path(__file__).parents[2]


def as_table(rows: list[list[str]]) -> str:
    """Rows of cells, the head first, as Markdown."""
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def load(name: str) -> Any:
    """Content of a results file."""
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def rows_of(name: str) -> tuple[list[Row], dict[str, Any]]:
    """A committed grid's rows, and what it was asked."""
    folder = ROOT / "results" / "grids" / name
    return read_rows(folder / CELLS), current_spec(json.loads((folder / SPEC).read_text()))
