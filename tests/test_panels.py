"""TensorBoard read back, the dashboard as code, sweeps as grids and as W&B takes them."""

import csv
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import torch
import yaml
from conftest import SMALL

from experiments import sweep as sweep_file
from experiments.cli import main
from experiments.config import Config, compose, names
from experiments.grid.spec import read_grid
from experiments.logs import _wandb_run, make_loggers
from experiments.panels import PANELS, panel_metrics
from experiments.sweep import LAST_ALONE, combinations, run_of, wandb_sweep


def test_tensorboard_holds_the_same_curves_and_pictures(tiny: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run"
    options = (
        "logger=tensorboard",
        "trainer.profiler=pytorch",
        "trainer.max_epochs=1",
        "victim.check_every=1",
        "victim.check_epochs=1",
    )
    assert main(["train", "data=npz", f"data.path={tiny()}", f"run_dir={folder}", *SMALL, *options]) == 0
    events = EventAccumulator(str(folder / "tensorboard"), {"scalars": 0, "images": 0, "tensors": 0}).Reload()
    tags = events.Tags()
    media = {name for panels in PANELS.values() for panel in panels if panel.kind == "media" for name in panel.metrics}
    assert media == {"pictures", "final"}
    assert set(panel_metrics()) - media <= set(tags["scalars"])
    assert {"pictures", "final/standard", "final/fast_worst", "final/victims"} <= set(tags["images"])
    assert [image.step for image in events.Images("pictures")] == [2]  # batches
    assert events.Images("pictures")[0].encoded_image_string.startswith(b"\x89PNG")
    assert {"results/text_summary", "config/text_summary", "custom_scalars__config__"} <= set(tags["tensors"])
    assert b"protected (standard)" in events.Tensors("results/text_summary")[0].tensor_proto.string_val[0]
    rows = [row["psnr_epoch"] for row in csv.DictReader((folder / "metrics.csv").open()) if row["psnr_epoch"]]
    assert [event.value for event in events.Scalars("psnr_epoch")] == pytest.approx([float(v) for v in rows])
    assert "(pytorch profiler): profile/*-pytorch*.txt" in (folder / "summary.md").read_text()
    assert "Self CPU" in next((folder / "profile").glob("*-pytorch*.txt")).read_text()


def test_without_tensorboard_metrics_go_to_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert len(make_loggers(compose(["logger=tensorboard"])[0], tmp_path, 0)) == 1
    assert "the package tensorboard is not installed, so metrics go to metrics.csv alone" in capsys.readouterr().out


def test_half_precision_needs_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    asked = ["train", "trainer.precision=fp16", f"run_dir={folder}"]
    assert main([*asked, "trainer.accelerator=cpu"]) == 2
    assert "trainer.precision: fp16 needs a CUDA GPU, not cpu; use bf16 or fp32" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main(asked) == 2
        assert "trainer.precision: fp16 needs a CUDA GPU, and this machine has none" in capsys.readouterr().err
    assert not folder.exists()


def test_bad_options_of_logging(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", f"tags=a,{'b' * 65}", "method=emn", "trainer.profiler=simple"]) == 2
    shown = capsys.readouterr().err
    assert "tags: W&B takes tags of at most 64 characters, and 'bbb" in shown
    assert "trainer.profiler: method=emn has no generator whose training it could show" in shown


@dataclass
class Chart:
    """Any of wandb-workspaces' panels."""

    title: str
    x: Any = None
    y: Any = ()
    metrics: Any = ()
    media_keys: Any = ()


@dataclass
class Section:
    name: str
    panels: list[Chart]
    is_open: bool


@dataclass
class Workspace:
    """As wandb-workspaces saves it."""

    entity: str
    project: str
    name: str
    sections: list[Section] = field(default_factory=list)
    saved: ClassVar[list[tuple[str, list[Section]]]] = []
    url: ClassVar[str] = "https://wandb.ai/me/photos?nw=abc"

    @classmethod
    def from_url(cls, url: str) -> "Workspace":
        assert url == cls.url
        return cls("me", "photos", "renewed")

    def save(self) -> None:
        self.saved.append((self.name, self.sections))


def test_the_dashboard_is_made_once_and_then_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        assert main(["dashboard", "project=photos"]) == 2
    shown = capsys.readouterr()
    assert "no finished run under runs/ to check the panels against" in shown.out
    assert "wandb-workspaces is missing; pip install wandb-workspaces" in shown.err
    for name in (
        "wandb_workspaces",
        "wandb_workspaces.reports",
        "wandb_workspaces.reports.v2",
        "wandb_workspaces.workspaces",
    ):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    wr, ws = sys.modules["wandb_workspaces.reports.v2"], sys.modules["wandb_workspaces.workspaces"]
    sys.modules["wandb_workspaces"].reports = sys.modules["wandb_workspaces.reports"]  # type: ignore[attr-defined]
    sys.modules["wandb_workspaces"].workspaces = ws  # type: ignore[attr-defined]
    sys.modules["wandb_workspaces.reports"].v2 = wr  # type: ignore[attr-defined]
    wr.__dict__.update(LinePlot=Chart, BarPlot=Chart, MediaBrowser=Chart, Metric=str)
    ws.__dict__.update(Workspace=Workspace, Section=Section)

    class Api:
        default_entity = "me"

    monkeypatch.setattr(wandb, "Api", Api)
    for _ in range(2):
        assert main(["dashboard", "project=photos"]) == 0
    assert f"W&B workspace: {Workspace.url}" in capsys.readouterr().out
    assert [name for name, _ in Workspace.saved] == ["ConfounderGAN", "renewed"]
    for _, sections in Workspace.saved:
        assert [section.name for section in sections] == list(PANELS)
        charts = [chart for section in sections for chart in section.panels]
        assert {name for c in charts for name in (*c.y, *c.metrics, *c.media_keys)} == set(panel_metrics())

    def refuses(self: Workspace) -> None:
        raise PermissionError("not your project")

    monkeypatch.setattr(Workspace, "save", refuses)
    assert main(["dashboard", "project=photos"]) == 2
    assert "dashboard: W&B refused (PermissionError: not your project)" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "count"), [("ablation", 6), ("epsilon", 6)])
def test_shipped_sweeps_are_runs_and_grids(name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert name in names("sweep")
    spec = read_grid(name, "sweep")
    assert spec["measured_on"] == "rest", "nothing is chosen by the test part"
    config, _ = compose([f"sweep={name}", "tags=lab"])
    made = [run_of(config, spec, name, cell) for cell in combinations(spec)]
    assert len(made) == count
    assert len({str(run.gan) for run in made}) == count, "all of them differ"
    assert len({run.run_dir for run in made}) == count
    assert {run.victim.check_every for run in made} == {LAST_ALONE}
    assert {(run.logger, run.group, run.tags) for run in made} == {("wandb", name, "lab,sweep")}


def test_an_agent_of_wandb_is_given_each_combination_as_a_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    monkeypatch.chdir(tmp_path)
    trained: list[tuple[Config, list[str]]] = []
    monkeypatch.setattr(sweep_file, "train", lambda config, arguments: trained.append((config, arguments)))
    config, _ = compose(["sweep=epsilon", "project=photos", "logger=wandb"])
    asked = wandb_sweep(config, read_grid("epsilon", "sweep"), "epsilon")
    assert (asked["method"], asked["metric"]["name"]) == ("grid", "check/standard")
    for number, cell in enumerate(asked["parameters"]["cell"]["values"]):
        monkeypatch.setenv("WANDB_RUN_ID", f"run{number}")
        own = utils.create_sweep_command_args({"args": {"cell": {"value": cell}}})["args_no_hyphens"]
        assert asked["command"][1:3] == ["-m", "experiments"]
        assert asked["command"][-1] == "${args_no_hyphens}"
        assert main([*asked["command"][3:-1], *own]) == 0
    assert [run.gan.epsilon for run, _ in trained] == [2, 4, 6, 8, 12, 16]
    assert {run.project for run, _ in trained} == {"photos"}
    assert trained[1][0].run_dir == "runs/sweeps/epsilon/run1"
    folder = tmp_path / trained[1][0].run_dir
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("")  # it was stopped: the same command resumes it
    monkeypatch.setenv("WANDB_RUN_ID", "run1")
    cell = asked["parameters"]["cell"]["values"][1]
    assert main(["sweep", "sweep=epsilon", f"cell={cell}"]) == 0
    assert trained[-1][1] == ["resume=runs/sweeps/epsilon/run1"]


def test_a_sweep_without_wandb_is_a_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(sweep_file, "compute_grid", lambda *arguments: given.append(arguments) or 0)
        assert main(["sweep", "sweep=epsilon", "logger=wandb"]) == 0
    assert "no sweep of W&B (no API key found); the same combinations as a local grid:" in capsys.readouterr().out
    config, spec, name, place = given[0]
    assert (config.logger, name, place) == ("csv", "epsilon", "sweeps")
    assert list(spec["variants"]) == [f"gan.epsilon={value}" for value in (2, 4, 6, 8, 12, 16)]
    assert main(["sweep", "sweep=epsilon", "dry_run=true", f"store={tmp_path}", f"run_dir={tmp_path / 'out'}"]) == 0
    # six protections with a victim in either setting, and the two clean ones
    assert "grid epsilon: 20 cells (14 victims), 0 done, 20 to do" in capsys.readouterr().out


def test_a_sweep_of_wandb_is_made_and_computed_or_falls_back_to_the_grid(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb = pytest.importorskip("wandb")
    called: list[Any] = []
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setattr(sweep_file, "compute_grid", lambda *arguments: called.append(("grid", arguments[2])) or 0)
    monkeypatch.setattr(wandb, "sweep", lambda asked, project: called.append((asked["name"], project)) or "abc")
    monkeypatch.setattr(wandb, "agent", lambda number, **options: called.append((number, options)))
    asked = ["sweep", "sweep=epsilon", "logger=wandb", "project=photos"]
    assert main(asked) == 0
    assert called == [("epsilon", "photos"), ("abc", {"project": "photos", "forward_signals": True})]
    assert "other machines take part with: wandb agent --forward-signals photos/abc" in capsys.readouterr().out

    def refuses(asked: Any, project: str) -> None:
        raise wandb.Error("permission denied")

    monkeypatch.setattr(wandb, "sweep", refuses)
    assert main(asked) == 0
    assert called[-1] == ("grid", "epsilon")
    assert "no sweep of W&B (online failed: permission denied); the same combinations as a" in capsys.readouterr().out


def test_a_run_of_a_sweep_has_the_id_that_its_agent_chose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    config, _ = compose(["logger=wandb"])
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    assert _wandb_run(config, tmp_path, 0, "train", offline=True)._wandb_init["id"] == "r1"
    monkeypatch.setenv("WANDB_RUN_ID", "r2")  # resumed by another agent: one run keeps one id
    assert _wandb_run(config, tmp_path, 0, "train", offline=True)._wandb_init["id"] == "r1"


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"gan.epsilon": []}, "parameters is a list of keys, each with the list of its values"),
        ({"gan.epsilom": [4]}, "gan.epsilom=4, narrow: gan.epsilom: no such key"),
    ],
)
def test_faults_of_a_sweep_are_named(
    parameters: Any, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = {key: value for key, value in read_grid("epsilon", "sweep").items() if key != "variants"}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(spec | {"parameters": parameters}))
    assert main(["sweep", f"sweep={path}", "dry_run=true"]) == 2
    assert expected in capsys.readouterr().err
    path.write_text(yaml.safe_dump(spec | {"variants": {"transfer": {"trained_on": "digits"}}}))
    assert main(["sweep", f"sweep={path}", "dry_run=true"]) == 2
    assert "trained_on is for grids; use grid=" in capsys.readouterr().err
    assert main(["sweep", "sweep=epsilom"]) == 2
    assert "sweep: no sweep 'epsilom'; did you mean 'epsilon'?" in capsys.readouterr().err
    assert main(["sweep", "sweep=epsilon", "cell=digits; gan.epsilon=3; narrow; seed 0"]) == 2
    assert "cell: sweep epsilon has no 'digits; gan.epsilon=3; narrow; seed 0'" in capsys.readouterr().err
