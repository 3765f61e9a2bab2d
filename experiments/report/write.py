"""Reports that people can read: ``report.html`` (self-contained), ``report.md`` (without figures) and ``table.csv``."""

import csv
import io
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from datamodules.files import write_atomic
from datamodules.images import folder_name
from evaluation.rows import CELLS, SPEC
from evaluation.verdicts import PROTECTED, Finding, findings
from experiments.config import Config
from experiments.folder import RunError, newest, rank_zero_print
from experiments.report.document import document
from experiments.report.inputs import ReportInput, input_of_grid, input_of_run
from experiments.report.page import to_html, to_markdown

RESULTS = "results.json"
HTML, MARKDOWN, CSV = "report.html", "report.md", "table.csv"
COLUMNS = (
    "data", "variant", "setting", "victim", "seeds", "chance", "clean", "clean_sd", "protected", "protected_sd",
    "selected", "peak", "recovered", "recovered_sd", "verdict", "swap", "failed", "remainder",
)  # fmt: skip


def report(config: Config) -> int:
    """The verb: writes the report of a finished run or of a grid's folder anew, from what is in it.

    Args:
        config: ``run`` names the folder; ``store`` is where picture sheets of grids are.

    Raises:
        RunError: the folder holds neither.
    """
    folder = Path(config.run) if config.run else newest()
    if (folder / CELLS).is_file() and (folder / SPEC).is_file():
        write(folder, input_of_grid(folder, Path(config.store)))
    elif (folder / RESULTS).is_file():
        write_of_run(folder, json.loads((folder / RESULTS).read_text()))
    else:
        raise RunError(
            f"run: {folder} has neither {RESULTS} nor {CELLS} and {SPEC}; give a finished run's or a grid's folder"
        )
    rank_zero_print(f"{folder / HTML}, {MARKDOWN}, {CSV}")
    return 0


def write(folder: Path, asked: ReportInput) -> None:
    """Writes the three files, and the learning curves of each data set as ``curves_<data>.png``."""
    from experiments.report.figures import curves  # matplotlib

    drawn = {}
    for data in asked.spec["data"]:
        png = curves(data, list(asked.spec["variants"]), asked.rows)
        if png:
            drawn[data] = png
            write_atomic(folder / f"curves_{folder_name(data)}.png", png)
    found = findings(asked.spec, asked.rows)
    blocks = list(document(asked, found, drawn))
    write_atomic(folder / HTML, to_html(blocks).encode())
    write_atomic(folder / MARKDOWN, to_markdown(blocks).encode())
    write_atomic(folder / CSV, to_csv(found).encode())


def write_of_run(folder: Path, results: dict[str, Any]) -> None:
    """Writes the report of a run, or of an evaluation of one, beside its results."""
    write(folder, input_of_run(folder, results))


def to_csv(found: list[Finding]) -> str:
    """One line per finding: means and standard deviations over seeds, as fractions; empty where there is none."""

    def centre(values: tuple[float, ...]) -> float | str:
        return mean(values) if values else ""

    def spread(values: tuple[float, ...] | list[float]) -> float | str:
        return stdev(values) if len(values) > 1 else ""

    buffer = io.StringIO()
    lines = csv.writer(buffer, lineterminator="\n")
    lines.writerow(COLUMNS)
    for f in found:
        lines.writerow(
            [
                *(f.data, f.variant, f.setting, f.victim, " ".join(map(str, f.seeds)), f.chance),
                *(centre(f.clean), spread(f.clean), centre(f.protected), spread(f.protected)),
                *(centre(f.selected), centre(f.peak)),
                *("" if f.share is None else f.share, spread(f.shares) if f.share is not None else ""),
                *(f.grade if f.setting in PROTECTED else "", centre(f.swap), f.failed),
                centre(f.remainder),
            ]
        )
    return buffer.getvalue()
