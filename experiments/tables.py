"""Writes the tables of README.md and docs/ from results/ and from the data modules: ``make tables``.

No number is typed by hand. The schema of rows is written, too, from their classes. Each table is made in
``experiments/report/docs_*.py``; which stands where is in PLACES.
"""

import json
import re
from collections.abc import Callable
from functools import partial

from evaluation.rows import schema
from evaluation.verdicts import findings
from experiments.architecture import inventory, picture
from experiments.report.docs_benchmarks import (
    checked,
    data_path,
    fitting,
    killed_grid,
    kills,
    memory,
    overhead,
    protecting,
    scaling,
    unless_missing,
    victim_speed,
    visibility,
)
from experiments.report.docs_grids import (
    SURVIVAL,
    candidates,
    clean_columns,
    compared,
    grid_table,
    leaderboard,
    markdown,
    photos,
    survival_table,
)
from experiments.report.docs_registries import citations, data_sets, defences, methods, recipes, shipped
from experiments.report.docs_results import ROOT, load, rows_of
from experiments.report.figures import share_map, survival

PLACES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "results/digits_cpu.json": lambda: markdown(load("digits_cpu")),
        "gan/shipped/results.json": photos,
        "results/grids/survival": lambda: survival_table("as it comes", only=SURVIVAL),
    },
    "docs/ARCHITECTURE.md": {
        "experiments/architecture.py, picture": picture,
        "experiments/architecture.py, inventory": inventory,
    },
    "docs/BENCHMARK.md": {"results/grids/benchmark": lambda: leaderboard("benchmark")},
    "docs/DATA.md": {
        "datamodules, table": data_sets,
        "datamodules": citations,
        "results/data_cpu.json": lambda: data_path(load("data_cpu")),
    },
    "docs/DEFENCES.md": {
        f"victims/defences.py, {stage}": partial(defences, stage) for stage in ("input", "dataset", "batch", "model")
    }
    | {
        "results/grids/defences": lambda: grid_table("defences"),
        "results/grids/defences and evaluation, clean": lambda: clean_columns("defences", "evaluation"),
    },
    "docs/SCALING.md": {
        "results/loop_overhead_cpu.json": lambda: overhead(load("loop_overhead_cpu")),
        "results/scaling_cpu.json": lambda: unless_missing("scaling_cpu", scaling),
        "results/scaling_cpu.json, memory": lambda: unless_missing("scaling_cpu", memory),
        "results/kills_cpu.json": lambda: unless_missing("kills_cpu", kills),
    },
    "docs/VICTIMS.md": {
        "victims/config.py": recipes,
        "results/victims_cpu.json": lambda: victim_speed(load("victims_cpu")),
        "results/killed_grid_cpu.json": lambda: killed_grid(load("killed_grid_cpu")),
        "results/grids/lent": lambda: grid_table("lent"),
    },
    "docs/METHODS.md": {
        "baselines": methods,
        "results/methods_cpu.json": lambda: fitting("methods_cpu"),
        "results/grids/settings": lambda: grid_table("settings"),
        "results/grids/peers": lambda: grid_table("peers"),
    }
    | {f"results/grids/compare_{data}": partial(compared, f"compare_{data}") for data in ("digits", "cifar10", "ham")},
    "docs/PROTECT.md": {
        "gan/shipped/results.json": photos,
        "results/photos_check_cpu.json": lambda: checked(load("photos_check_cpu")),
        "results/visibility_cpu.json": lambda: visibility(load("visibility_cpu")),
        "results/protect_cpu.json": lambda: protecting(load("protect_cpu")),
        "results/protect_large_cpu.json": lambda: protecting(load("protect_large_cpu")),
    },
    "docs/METHOD.md": {
        "gan/shipped/noise.json": shipped,
        "results/grids/survival": lambda: grid_table("survival"),
        "results/grids/unseen": lambda: survival_table("as it comes", "unseen", "fast"),
        "results/grids/pretraining": candidates,
        "results/grids/learned": lambda: grid_table("learned"),
    },
}


def rendered(document: str) -> str:
    """A document's text with every marked place written anew from its results."""
    text = (ROOT / document).read_text()
    for name, render in PLACES[document].items():
        pattern = rf"(<!-- from {re.escape(name)} -->\n).*?(<!-- end -->)"
        content = render() + "\n"
        text, count = re.subn(pattern, lambda match, new=content: match[1] + new + match[2], text, flags=re.S)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f"{document}: needs one place marked '<!-- from {name} -->' … '<!-- end -->'")
    return text


if __name__ == "__main__":
    for document in PLACES:
        (ROOT / document).write_text(rendered(document))
    (ROOT / "evaluation" / "rows.schema.json").write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n")
    shown = [r for r in rows_of("survival")[0] if r.place.victim in (None, *SURVIVAL)]
    (ROOT / "docs" / "pictures" / "survival.png").write_bytes(survival(shown, "as it comes"))
    compared_rows, compared_spec = rows_of("benchmark")
    if map_of_shares := share_map("standard", findings(compared_spec, compared_rows)):
        (ROOT / "docs" / "pictures" / "benchmark.png").write_bytes(map_of_shares)
