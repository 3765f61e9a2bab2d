"""The project itself: README, Makefile, packaging, the direction of imports, the committed results."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml
from conftest import SMALL

from evaluation.rows import CELLS, finished, read_rows
from experiments.architecture import LEVELS, imports, room_of
from experiments.cli import VERBS, main
from experiments.tables import PLACES, rendered

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OTHERS = (
    "loop_overhead_cpu.json",
    "data_cpu.json",
    "protect_cpu.json",
    "protect_large_cpu.json",
    "visibility_cpu.json",
    "scaling_cpu.json",
    "kills_cpu.json",
    "killed_grid_cpu.json",
    "methods_cpu.json",
    "victims_cpu.json",
    "photos_check_cpu.json",
    "grid.json",
)  # benchmarks, and what a grid was asked


def commands() -> list[str]:
    """Every command that the README shows in a code block, without its comment."""
    blocks = re.findall(r"```\n(.*?)```", README, re.S)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(("make ", ".venv/"))]


def test_readme_shows_the_two_commands_first() -> None:
    assert commands()[:2] == ["make train", "make test"]


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("make ")])
def test_make_commands_of_the_readme_exist(command: str) -> None:
    done = subprocess.run(["bash", "-c", f"{command} -n"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [c for c in commands() if "confoundergan" in c])
def test_program_commands_of_the_readme_work(
    command: str, tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = command.split()[1:]
    if "--help" in arguments or "--print-config" in arguments:
        assert main(arguments) == 0
        return
    assert arguments[0] in VERBS
    # the same request, composed as it stands; the options with an effect on the whole run are run elsewhere in the tests
    assert main([arguments[0], "--print-config", *arguments[1:]]) == 0


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in (
        "setup",
        "train",
        "compare",
        "sweep",
        "dashboard",
        "evaluate",
        "validate",
        "protect",
        "lint",
        "test",
        "test-all",
        "benchmark",
        "clean",
    ):
        assert re.search(rf"^  make {target} ", shown, re.M), target


def test_set_up_is_skipped_when_done() -> None:
    if not (ROOT / ".venv" / ".done").exists():
        pytest.skip("this environment was not made by 'make setup'")
    shown = subprocess.run(["make", "-n", "setup"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "pip install" not in shown


@pytest.mark.parametrize("package", LEVELS)
def test_packages_are_those_of_this_repository(package: str) -> None:
    found = import_module(package).__file__
    assert found is not None
    assert Path(found).is_relative_to(ROOT)


def test_imports_go_one_way() -> None:
    upwards = [
        f"{module} imports {other}"
        for module, others in imports().items()
        for other in others
        if room_of(module) != room_of(other) and LEVELS[room_of(module)] <= LEVELS[room_of(other)]
    ]
    assert not upwards


def test_pins_are_versions_alone() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[A-Za-z0-9._-]+", line), line


def test_every_dependency_has_its_reason_and_its_pin() -> None:
    pinned = (ROOT / "constraints.txt").read_text().lower()
    lines = (
        (ROOT / "pyproject.toml").read_text().split("dependencies = [")[1].split("[project.scripts]")[0].splitlines()
    )
    named = [line for line in lines if re.match(r"\s*(\w+ = \[)?\"", line)]
    assert len(named) > 12
    for line in named:
        assert "# " in line, line
        name = re.findall(r"\"([a-z0-9-]+)", line)[0]
        assert f"\n{name}==" in pinned, name


def test_a_wheel_has_every_file_that_is_no_code() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for room in LEVELS:
        globs = [*stated["*"], *stated.get(room, ())]
        packed = {path for pattern in globs for path in (ROOT / room).glob(pattern)}
        others = {path for path in (ROOT / room).rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
        assert others <= packed, room


@pytest.mark.parametrize("document", PLACES)
def test_tables_come_from_the_results(document: str) -> None:
    assert rendered(document) == (ROOT / document).read_text(), "run 'make tables'"


@pytest.mark.parametrize(
    "path", [p for p in sorted((ROOT / "results").rglob("*.json")) if p.name not in OTHERS], ids=str
)
def test_committed_results_follow_the_schema(path: Path) -> None:
    schema = json.loads((files("experiments") / "results.schema.json").read_text())
    results = json.loads(path.read_text())
    jsonschema.validate(results, schema)
    assert results["environment"]["versions"]["torch"]


@pytest.mark.parametrize("folder", sorted((ROOT / "results" / "grids").iterdir()), ids=lambda p: p.name)
def test_committed_grids_are_whole_and_say_where_they_ran(folder: Path) -> None:
    spec = json.loads((folder / "grid.json").read_text())
    rows = read_rows(folder / CELLS)
    assert {row.place.data for row in rows} == set(spec["data"])
    assert {row.place.seed for row in rows} == set(spec["seeds"])
    assert len({(row.key, row.place) for row in rows}) == len(rows)
    assert len(finished(rows)) == len(rows)
    for row in finished(rows):
        assert row.versions["torch"]
        assert row.device
        assert row.seconds > 0


def test_benchmark_runs_and_its_weights_are_bit_equal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.benchmarks.loop", "epochs=1", "rounds=1"],
        cwd=tmp_path, env={"PATH": "", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "results" / "loop_overhead_cpu.json").read_text())["weights_bit_equal"]


@pytest.mark.slow
def test_every_shipped_experiment_runs(tiny: Callable[..., Path], tmp_path: Path) -> None:
    options = ["data=npz", f"data.path={tiny(channels=3)}", f"run_dir={tmp_path / 'run'}", *SMALL]
    assert main(["train", "experiment=emn60", "fast_dev_run=true", *options]) == 0


@pytest.mark.slow
def test_the_data_benchmark_measures_all_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.benchmarks import data

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "COUNTS", (500, 600))
    monkeypatch.setattr(data, "BATCH", 16)
    monkeypatch.setattr(data, "EPOCHS", 1)
    assert data.main(["images=120", "rounds=1"]) == 0
    found = json.loads((tmp_path / "results" / "data_cpu.json").read_text())
    assert found["cache"]["images_per_second"] > 0
    assert found["batches crop+flip"]["batches_per_second"] > 0
    assert [entry["images"] for entry in found["memory"]] == [500, 600]


def test_the_list_of_results_names_what_is_there_and_nothing_else() -> None:
    listed = set(re.findall(r"`((?:grids/)?\w+(?:/\*|\.json))`", (ROOT / "results" / "README.md").read_text()))
    grids = {f"grids/{path.name}/*" for path in (ROOT / "results" / "grids").iterdir()}
    files = {path.name for path in (ROOT / "results").glob("*.json")}
    assert listed - {"results.json", "cells.jsonl", "grid.json", "check.json"} == grids | files


def test_files_for_other_programs_can_be_read() -> None:
    for name in ("CITATION.cff", ".pre-commit-config.yaml", ".github/workflows/ci.yml"):
        assert isinstance(yaml.safe_load((ROOT / name).read_text()), dict), name
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version


def test_what_contributing_names_is_there() -> None:
    text = re.sub(r"```python.*?```", "", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.S)  # what is to be added
    paths = re.findall(r"(?:[a-z_]+/)+[A-Za-z_]+\.(?:py|md)", text)
    assert len(paths) > 8
    for path in paths:
        assert (ROOT / path).is_file(), path
    for target in re.findall(r"^make ([a-z]+)", text, re.M):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), target
    for name, path in re.findall(r"`([A-Z]+)` of\s+`([a-z_/]+\.py)`", text):
        assert re.search(rf"^{name}\b", (ROOT / path).read_text(), re.M), (name, path)


def test_no_module_imports_another_in_a_circle() -> None:
    """Not within functions either, where an import would only hide the circle."""
    graph = imports()
    assert len(graph) > 150
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise AssertionError(f"a circle of imports: {' → '.join(error.args[1])}") from error


def test_nobody_asks_for_a_method_by_its_name() -> None:
    """What differs between protections is a stated capability (baselines/capabilities.py)."""
    asked = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for room in LEVELS
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare)
        and any(isinstance(side, ast.Constant) and side.value == "confoundergan" for side in ast.walk(node))
    ]
    assert not asked


def test_the_way_of_an_image_names_files_that_are_there() -> None:
    way = (ROOT / "docs" / "ARCHITECTURE.md").read_text().partition("## What is in the rooms")[0]
    named = re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", way)
    assert len(named) > 15
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150
