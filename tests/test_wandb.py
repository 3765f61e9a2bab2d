"""W&B: offline files really written, one id for one run, and nothing fails without the package."""

import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL

from experiments.cli import main
from experiments.logs import wandb_mode


def small_run(path: Path, folder: Path, *extra: str) -> int:
    return main(["train", "data=npz", f"data.path={path}", f"run_dir={folder}", *SMALL, *extra])


def test_offline_run_holds_curves_pictures_tables_and_summary(
    tiny: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb")
    folder = tmp_path / "run"
    options = ("logger=wandb", "trainer.max_epochs=1", "victim.check_every=1", "victim.check_epochs=1")
    assert small_run(tiny(), folder, *options) == 0
    shown = capsys.readouterr().out
    assert f"W&B is offline (no API key found); upload later with: wandb sync {folder / 'wandb'}/offline-run-*" in shown
    runs = sorted((folder / "wandb").glob("offline-run-*"))
    identity = (folder / "wandb-id").read_text()
    assert runs
    assert all(run.name.endswith(identity) for run in runs)
    names = {p.name for run in runs for p in run.rglob("*") if p.is_file()}
    assert any(name.startswith("pictures") and name.endswith(".png") for name in names)
    assert any(name.startswith("final") and name.endswith(".png") for name in names)
    assert any(name.startswith("results") and name.endswith(".table.json") for name in names)
    table = next(p for run in runs for p in run.rglob("results*.table.json"))
    assert "protected (standard)" in json.dumps(json.loads(table.read_text())["data"])
    logged = b"".join(p.read_bytes() for run in runs for p in run.glob("*.wandb"))
    for key in (b"loss_g_epoch", b"psnr_epoch", b"check/standard", b"standard/accuracy/last", b"imperceptibility/psnr"):
        assert key in logged
    assert (folder / "metrics.csv").exists()
    assert main(["train", f"resume={folder}"]) == 0
    assert (folder / "wandb-id").read_text() == identity
    assert all(run.name.endswith(identity) for run in (folder / "wandb").glob("offline-run-*"))


def test_without_the_package_metrics_go_to_csv(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "wandb":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert wandb_mode() == ("missing", "not installed")
    assert small_run(tiny(), tmp_path / "run", "logger=wandb", "trainer.max_epochs=1") == 0
    assert "the package wandb is not installed, so metrics go to metrics.csv alone" in capsys.readouterr().out
    assert (tmp_path / "run" / "metrics.csv").exists()
    assert not (tmp_path / "run" / "wandb").exists()


def test_mode_follows_key_and_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    assert wandb_mode() == ("offline", "no API key found")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert wandb_mode()[0] == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert wandb_mode() == ("offline", "WANDB_MODE=offline")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode()[0] == "disabled"
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password " + "x" * 40)
    (tmp_path / ".netrc").chmod(0o600)
    assert wandb_mode() == ("online", "a key is in ~/.netrc")
