"""Protections from outside the package: fitted, stored and compared as all others are."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALL

from baselines.config import BaselinesConfig
from baselines.own import source_digest
from baselines.registry import make_protection
from datamodules.protected import ProtectedDataset
from experiments.cli import main

ROOT = Path(__file__).parents[1]
STRIPES = (ROOT / "examples" / "my_protection.py").read_text()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example as a module of somebody else's, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    path = tmp_path / "mine.py"
    path.write_text(STRIPES)
    return path


def test_a_protection_of_the_user_s_is_trained_like_others(
    module: Path, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    own = ["method=own", "baselines.own=mine.Stripes", "fast_dev_run=true", f"run_dir={run}"]
    assert main(["train", "data=npz", f"data.path={tiny()}", *SMALL, *own]) == 0
    stored = ProtectedDataset(run / "protected" / "standard")
    assert (stored.header.method, stored.header.norm, stored.header.epsilon) == ("own", "linf", 8.0)
    assert {entry.linf for entry in stored.entries} == {8}
    assert not (run / "protected" / "fast").exists(), "it reads labels"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "baselines.own: is empty; expected module.Class"),
        ("nowhere.Stripes", "baselines.own: nowhere.Stripes: cannot be imported (No module named 'nowhere')"),
        ("mine.Spots", "baselines.own: mine.Spots: cannot be imported (module 'mine' has no attribute 'Spots')"),
        ("mine.Tensor", "baselines.own: mine.Tensor: "),
        ("pathlib.PurePath", "baselines.own: pathlib.PurePath: "),
        ("collections.Counter", "baselines.own: collections.Counter: "),
    ],
)
def test_what_is_no_protection_is_refused_in_one_line(
    name: str, message: str, module: Path, tiny: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    asked = ["method=own", f"baselines.own={name}", f"run_dir={run}"]
    assert main(["train", "data=npz", f"data.path={tiny()}", *SMALL, *asked]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {message}")
    assert not run.exists()


def test_a_changed_source_is_another_protection(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grid's cells are kept by what decides them; of the package's own protections that is the program's version."""

    def digest() -> str:
        monkeypatch.delitem(sys.modules, "mine", raising=False)
        return source_digest(make_protection("own", BaselinesConfig(own="mine.Stripes"), 8.0))

    first = digest()
    assert first == digest() != ""
    module.write_text(STRIPES + "\n")
    assert digest() != first
    assert source_digest(make_protection("random", BaselinesConfig(), 8.0)) == ""


@pytest.mark.slow
def test_the_example_compares_itself_with_others_by_one_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments", "grid", "grid=examples/compare.yaml", "jobs=2"]
    places = [f"run_dir={tmp_path / 'grid'}", f"store={tmp_path / 'store'}"]
    done = subprocess.run([*command, *places], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "| digits | stripes |" in (tmp_path / "grid" / "report.md").read_text()
