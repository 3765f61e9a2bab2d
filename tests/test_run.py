"""Whole runs from the command line, in this process: end to end, resumed, stopped, refused."""

import csv
import json
import re
import signal
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from conftest import SMALL

from callbacks.periodic_evaluation import PeriodicVictimEvaluation
from callbacks.stopping import StopOnSignal
from datamodules.protected import ProtectedDataset
from experiments.cli import main
from gan import module as module_file
from gan.module import ConfounderGAN
from gan.protection import load_generator

SCHEMA = json.loads((files("experiments") / "results.schema.json").read_text())


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def small_run(path: Path, folder: Path, *extra: str) -> int:
    return run("train", "data=npz", f"data.path={path}", f"run_dir={folder}", *SMALL, *extra)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_digits_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert run("train", "fast_dev_run=true", f"run_dir={folder}", *SMALL) == 0
    shown = capsys.readouterr().out
    assert "protected (standard)" in shown
    assert "these numbers mean nothing" in shown
    results = json.loads((folder / "results.json").read_text())
    jsonschema.validate(results, SCHEMA)
    assert results["chance"] == 0.1
    assert set(results["seeds"][0]) > {
        "clean",
        "standard",
        "fast",
        "clean_fast",
        "imperceptibility",
        "diagnostics",
        "seconds",
    }
    assert results["mean"]["standard"] == results["seeds"][0]["standard"]
    assert results["std"]["standard"]["accuracy"]["last"] is None
    for setting in ("standard", "fast"):
        stored = ProtectedDataset(folder / "protected" / setting)
        assert max(entry.linf for entry in stored.entries) <= 8
        assert len(stored.load()) == stored.header.images
        assert (folder / "pictures" / f"{setting}.png").exists()
    assert results["seeds"][0]["imperceptibility"]["linf"] <= 8 / 255 + 1e-9
    _trained, card, _ = load_generator(folder / "generator.safetensors")
    assert card.data == "digits"
    assert (folder / "pictures" / "epoch-0001.png").exists()
    assert not list((folder / "check").rglob("*.png"))
    columns = csv.DictReader((folder / "metrics.csv").open()).fieldnames or []
    for name in (
        "loss_d",
        "loss_s",
        "loss_g",
        "loss_g_gan",
        "read",
        "level",
        "noise_mean",
        "noise_max",
        "psnr",
    ):
        assert f"{name}_step" in columns
        assert f"{name}_epoch" in columns
    assert "check/standard" in columns
    assert (folder / "summary.md").read_text().startswith("# Summary")
    page = (folder / "report.html").read_text()
    assert "a few batches of everything; the figures mean nothing" in page
    assert "Stops training" not in page
    assert page.count("<img ") == 1 + 4  # curves; two sheets of each setting
    assert {"versions", "device", "git"} <= set(json.loads((folder / "environment.json").read_text()))


def test_several_seeds_give_mean_and_spread(tiny: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert small_run(tiny(channels=3), folder, "seeds=2", "seed=3", "trainer.max_epochs=1") == 0
    results = json.loads((folder / "results.json").read_text())
    jsonschema.validate(results, SCHEMA)
    assert [entry["seed"] for entry in results["seeds"]] == [3, 4]
    values = [entry["imperceptibility"]["psnr"] for entry in results["seeds"]]
    assert results["mean"]["imperceptibility"]["psnr"] == pytest.approx(np.mean(values))
    assert results["std"]["imperceptibility"]["psnr"] == pytest.approx(np.std(values, ddof=1))
    assert values[0] != values[1]
    for seed in (3, 4):
        assert load_generator(folder / f"seed-{seed}" / "generator.safetensors")[1].seed == seed


def test_without_part_b_there_is_no_fast_setting(tiny: Callable[..., Path], tmp_path: Path) -> None:
    assert small_run(tiny(), tmp_path / "run", "data.fast_fraction=0") == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    jsonschema.validate(results, SCHEMA)
    assert "fast" not in results["mean"]
    assert not (tmp_path / "run" / "protected" / "fast").exists()


def test_evaluate_retrains_victims_with_other_options(
    tiny: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    small_run(tiny(), folder)
    before = (folder / "results.json").read_bytes()
    assert run("evaluate", f"run={folder}", "victim.arch=linear", "victim.epochs=2") == 0
    results = json.loads((folder / "evaluations" / "1" / "results.json").read_text())
    jsonschema.validate(results, SCHEMA)
    assert results["config"]["victim"]["arch"] == "linear"
    assert len(json.loads((folder / "evaluations" / "1" / "victims" / "clean.json").read_text())["curve"]) == 2
    assert (folder / "results.json").read_bytes() == before
    capsys.readouterr()
    assert run("evaluate", f"run={folder}", "gan.epsilon=4") == 2
    assert "gan.epsilon: cannot change in an existing run" in capsys.readouterr().err
    # half of the images protected: what stays clean stands beside, and the masks are kept
    assert run("evaluate", f"run={folder}", "victim.share=0.5", "victim.size=12") == 0
    partly = folder / "evaluations" / "2"
    results = json.loads((partly / "results.json").read_text())
    jsonschema.validate(results, SCHEMA)
    assert {"remainder", "remainder_fast"} <= set(results["seeds"][0])
    mask = (partly / "masks" / "standard.txt").read_text()
    assert abs(mask.count("1") - mask.count("0")) <= 3  # of three classes, each rounded
    assert "what stays clean of A alone" in (partly / "summary.md").read_text()
    assert "clean remainder alone" in (partly / "report.md").read_text()
    capsys.readouterr()
    assert run("evaluate", f"run={folder}", "victim.start=probe", "victim.arch=resnet18", "victim.weights=no.pth") == 2
    assert "error: victim.weights: no file no.pth" in capsys.readouterr().err
    next((folder / "protected" / "standard").rglob("*.png")).write_bytes(b"changed")
    assert run("evaluate", f"run={folder}") == 2
    assert "is not the file that the manifest describes" in capsys.readouterr().err
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("victim:\n", "victim:\n  brightness: 3\n", 1))
    assert run("evaluate", f"run={folder}") == 2
    assert "made by another version of this program (" in (shown := capsys.readouterr().err)
    assert "victim.brightness; use that version, or train again" in shown
    (folder / "config.yaml").write_text(config)
    card = folder / "generator.json"
    card.write_text(card.read_text().replace('"format": ', '"format": 9'))
    assert run("evaluate", f"run={folder}") == 2
    shown = capsys.readouterr().err
    assert "made by another version of this program" in shown
    assert "is not finished" not in shown


class StopAfter(Exception):
    pass


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_ends_with_the_same_bits(
    tiny: Callable[..., Path], tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny()
    extra = (
        f"data.workers={workers}",
        "trainer.max_epochs=4",
        "gan.surrogates.life=2",
        "gan.curriculum.rate=0.3",
        "victim.check_every=2",
        "victim.check_epochs=1",
    )
    assert small_run(path, tmp_path / "whole", *extra) == 0

    def die(self: Any, trainer: Any, *args: Any) -> None:
        if trainer.current_epoch == 2 and trainer.fit_loop.epoch_loop.batch_idx == 1:
            raise StopAfter  # in the middle of an epoch, as a kill would

    with monkeypatch.context() as patch:
        patch.setattr(StopOnSignal, "on_train_batch_end", die)
        with pytest.raises(StopAfter):
            small_run(path, tmp_path / "cut", *extra)
    rows = list(csv.DictReader((tmp_path / "cut" / "metrics.csv").open()))
    assert run("train", f"resume={tmp_path / 'cut'}") == 0
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    first, second = (load_generator(tmp_path / n / "generator.safetensors")[2] for n in ("whole", "cut"))
    assert first == second
    results = [json.loads((tmp_path / n / "results.json").read_text())["mean"]["standard"] for n in ("whole", "cut")]
    assert results[0] == results[1]
    after = list(csv.DictReader((tmp_path / "cut" / "metrics.csv").open()))
    assert len(after) > len(rows) > 0  # what was logged before the stop is still there
    assert [r["loss_s_step"] for r in after[: len(rows)]] == [r["loss_s_step"] for r in rows]


def test_a_run_killed_after_training_resumes_with_what_is_missing(tiny: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    small_run(tiny(), folder)
    expected = json.loads((folder / "results.json").read_text())["mean"]["fast"]
    (folder / "results.json").unlink()
    (folder / "victims" / "fast.json").unlink()
    kept = (folder / "victims" / "clean.json").stat().st_mtime_ns
    assert run("train", f"resume={folder}") == 0
    assert (folder / "victims" / "clean.json").stat().st_mtime_ns == kept
    assert json.loads((folder / "results.json").read_text())["mean"]["fast"] == expected


def test_checks_do_not_disturb_the_training(tiny: Callable[..., Path], tmp_path: Path) -> None:
    path = tiny()
    small_run(path, tmp_path / "without", "victim.check_every=0")
    small_run(path, tmp_path / "with", "victim.check_every=1", "victim.check_epochs=1")
    assert_equal(weights(tmp_path / "without"), weights(tmp_path / "with"))


def losses(folder: Path) -> list[tuple[str, str]]:
    """Step and surrogate loss of every row of a batch."""
    rows = csv.DictReader((folder / "metrics.csv").open())
    return [(row["step"], row["loss_s_step"]) for row in rows if row["loss_s_step"]]


# SIGINT and SIGUSR1 go the same way; workers prefetch batches, which must not be lost or seen twice
@pytest.mark.parametrize(
    ("number", "code", "after", "workers"), [(signal.SIGTERM, 143, 0, 0), (signal.SIGUSR1, 138, 1, 2)]
)
def test_a_signal_stops_after_the_batch_and_the_run_resumes_at_the_next(
    tiny: Callable[..., Path], tmp_path: Path, number: signal.Signals, code: int, after: int, workers: int,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path, folder, extra = tiny(), tmp_path / "cut", ("trainer.max_epochs=3", f"data.workers={workers}")
    small_run(path, tmp_path / "whole", *extra)
    original = ConfounderGAN.training_step

    def interrupted(self: ConfounderGAN, batch: Any, batch_idx: int) -> None:
        original(self, batch, batch_idx)
        if self.current_epoch == 1 and batch_idx == after:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(ConfounderGAN, "training_step", interrupted)
        assert small_run(path, folder, *extra) == code
    assert signal.getsignal(number) is before
    shown = capsys.readouterr().err
    assert f"stopped by {number.name} in epoch 1; resume with: confoundergan train resume={folder}" in shown
    assert losses(folder) == losses(tmp_path / "whole")[: 3 + after]
    assert run("train", f"resume={folder}") == 0
    assert_equal(weights(tmp_path / "whole"), weights(folder))
    assert losses(folder) == losses(tmp_path / "whole")  # each batch once


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder, original = tiny(), tmp_path / "run", module_file.generator_gan_loss

    def ruined(*arguments: Any) -> Any:
        loss = original(*arguments)
        calls.append(loss)  # one per batch, from the second on
        return loss * float("inf") if len(calls) == 3 else loss

    calls: list[Any] = []
    assert small_run(path, tmp_path / "whole", "trainer.max_epochs=3") == 0
    with monkeypatch.context() as patch:
        patch.setattr(module_file, "generator_gan_loss", ruined)
        assert small_run(path, folder, "trainer.max_epochs=3") == 2
    shown = capsys.readouterr().err
    assert (
        "loss_g_gan (of the generator) is inf, loss_g (of the generator) is inf in epoch 1, batch 1; the last" in shown
    )
    assert f"checkpoint is kept: {folder / 'checkpoints' / 'last.ckpt'}; resume= continues from it" in shown
    assert "a lower gan.noise.lr or gan.noise.clip" in shown
    assert all(torch.isfinite(v).all() for v in weights(folder).values())
    assert run("train", f"resume={folder}") == 0
    assert_equal(weights(tmp_path / "whole"), weights(folder))


def test_a_weight_that_is_no_number_enters_no_checkpoint(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = ConfounderGAN.training_step

    def ruined(self: ConfounderGAN, batch: Any, batch_idx: int) -> Any:
        losses = original(self, batch, batch_idx)
        if batch_idx == 1:  # the last step of the epoch: all of its losses are numbers
            next(self.surrogates.parameters()).data.fill_(float("nan"))
        return losses

    monkeypatch.setattr(ConfounderGAN, "training_step", ruined)
    assert small_run(tiny(), tmp_path / "run") == 2
    shown = capsys.readouterr().err
    assert re.search(r"error: surrogates\.\S+: a weight of the surrogates is not finite after epoch 0", shown)
    assert "gan.surrogates.lr or gan.surrogates.clip" in shown
    assert "there is no checkpoint yet" in shown
    assert not list((tmp_path / "run").rglob("*.ckpt"))


def test_run_folders_that_cannot_be_used(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = tiny(), tmp_path / "run"
    folder.mkdir()
    (folder / "precious").write_text("mine")
    assert small_run(path, folder) == 2
    assert f"run_dir: {folder} exists and is not empty" in capsys.readouterr().err
    assert [p.name for p in folder.iterdir()] == ["precious"]
    assert small_run(path, folder / "precious" / "deeper") == 2
    assert "cannot be made (Not a directory)" in capsys.readouterr().err
    monkeypatch.setattr(
        "experiments.folder.os.access", lambda *_: False
    )  # the tests may run as root, who may write anywhere
    assert small_run(path, tmp_path / "locked") == 2
    assert "is read-only" in capsys.readouterr().err


def test_bad_data_leave_no_run_folder(
    tiny: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert small_run(tiny({"train_labels": None}), tmp_path / "run") == 2
    assert "has no array 'train_labels'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert small_run(tiny(), tmp_path / "run", "data.batch_size=500") == 2
    assert "data.batch_size: is 500, but there are only 27 training images" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_full_disk_says_so_and_the_run_can_be_resumed(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = tiny(), tmp_path / "run"
    original = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name.startswith(".000020"):
            raise OSError(28, "No space left on device", str(self))
        return original(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert small_run(path, folder) == 2
    shown = capsys.readouterr().err
    assert "No space left on device; make room, then: confoundergan train resume=" in shown
    assert not list(folder.rglob("*.tmp"))
    assert run("train", f"resume={folder}") == 0
    assert len(ProtectedDataset(folder / "protected" / "standard").load()) == 27


def test_bad_checkpoints(tiny: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, folder = tiny(), tmp_path / "run"
    small_run(path, folder)
    checkpoint = folder / "checkpoints" / "last.ckpt"
    whole = checkpoint.read_bytes()
    torch.load(checkpoint, weights_only=True)  # holds plain values alone
    for damaged in (whole[: len(whole) // 2], b"", b"text"):
        checkpoint.write_bytes(damaged)
        assert run("train", f"resume={folder}") == 2
        assert "last.ckpt: damaged checkpoint" in capsys.readouterr().err
        assert checkpoint.read_bytes() == damaged
    checkpoint.write_bytes(whole)
    rng = np.random.default_rng(7)
    tiny({"train_images": rng.integers(0, 255, (60, 16, 16, 1)).astype(np.uint8)})  # other images under the same name
    assert run("train", f"resume={folder}") == 2
    assert "resume: the checkpoint was trained on other images" in capsys.readouterr().err


def test_resume_refuses_changes(tiny: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    small_run(tiny(), folder)
    assert run("train", f"resume={folder}", "gan.epsilon=4", "seed=3") == 2
    shown = capsys.readouterr().err
    assert "gan.epsilon: cannot change in an existing run; resume continues unchanged" in shown
    assert "seed: cannot change" in shown
    config, place = folder / "config.yaml", folder / "environment.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"code": "0123"}))
    assert run("train", f"resume={folder}") == 2
    assert "error: resume: code 0123 → " in capsys.readouterr().err
    config.write_text(config.read_text().replace("  devices: 1\n", "  devices: 2\n"))
    assert run("train", f"resume={folder}", "any_code=true", "trainer.devices=1") == 0
    assert "resume: 1 instead of 2 processes. The order of images, the optimizers" in capsys.readouterr().out
    assert "any_code: false" in config.read_text()
    (folder / "config.yaml").write_text("gan: [")
    assert run("train", f"resume={folder}") == 2
    assert "config.yaml: not readable" in capsys.readouterr().err


def test_validate_checks_without_training(
    tiny: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tiny()
    assert run("validate", "data=npz", f"data.path={path}", "data.batch_size=16", "logger=wandb") == 0
    shown = capsys.readouterr().out
    assert "3 classes, 16×16×1; " in shown
    assert "W&B offline" in shown
    assert "ready to train" in shown
    assert not (tmp_path / "runs").exists()
    assert run("validate", "data=npz", f"data.path={path}", "data.batch_size=64") == 2
    assert "data.batch_size: is 64, but there are only 27 training images" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert run("validate", "trainer.accelerator=gpu") == 2
        assert "trainer.accelerator: gpu, but this machine has none" in capsys.readouterr().out
    assert run("validate", "data=npz", "data.path=nothing.npz") == 2


def test_evaluate_takes_the_newest_run(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("evaluate") == 2
    assert "no finished run under runs/" in capsys.readouterr().err
    assert run("train", "data=npz", f"data.path={tiny()}", *SMALL, "trainer.max_epochs=1") == 0
    made = next((tmp_path / "runs").iterdir())
    assert made.name.startswith("npz-")
    assert run("evaluate", "victim.arch=linear") == 0
    assert (made / "evaluations" / "1" / "summary.md").exists()
    assert (made / "evaluations" / "1" / "report.html").exists()


def test_evaluate_refuses_a_run_whose_data_changed(
    tiny: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_run(tiny(), tmp_path / "run", "trainer.max_epochs=1")
    tiny({"train_images": np.random.default_rng(7).integers(0, 255, (60, 16, 16, 1)).astype(np.uint8)})
    assert run("evaluate", f"run={tmp_path / 'run'}") == 2
    assert "protects other images than those at hand; restore the data" in capsys.readouterr().err


def test_a_signal_after_training_keeps_what_is_done(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import experiments.evaluate as evaluation

    folder, original = tmp_path / "run", evaluation.score_victim
    calls: list[int] = []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return original(*args, **kwargs)

    monkeypatch.setattr(evaluation, "score_victim", interrupted)
    assert small_run(tiny(), folder) == 143
    assert (
        f"stopped by SIGTERM outside of training; resume with: confoundergan train resume={folder}"
        in capsys.readouterr().err
    )
    assert [p.name for p in (folder / "victims").iterdir()] == ["clean.json"]
    assert run("train", f"resume={folder}") == 0
    assert (folder / "results.json").exists()


def test_a_signal_while_images_are_read_leaves_no_run_to_resume(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import experiments.train as training

    monkeypatch.setattr(training, "make_data", lambda config: signal.raise_signal(signal.SIGINT))
    assert small_run(tiny(), tmp_path / "run") == 130
    assert "stopped by SIGINT outside of training; resume with: the same command" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_steps_in_the_metrics_are_batches(tiny: Callable[..., Path], tmp_path: Path) -> None:
    small_run(tiny(), tmp_path / "run")  # 27 images in batches of 16: two an epoch, two epochs, three networks
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    assert sorted({int(row["step"]) for row in rows if row["loss_s_step"]}) == [0, 1, 2, 3]


def test_periodic_evaluation_measures_on_the_validation_part(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    import callbacks.periodic_evaluation as periodic

    original = periodic.train_victim

    def noted(train: Any, test: Any, *rest: Any) -> Any:
        sizes.append(len(test))
        return original(train, test, *rest)

    monkeypatch.setattr(periodic, "train_victim", noted)
    small_run(tiny(), tmp_path / "run", "victim.check_every=1", "victim.check_epochs=1")
    assert sizes == [6] * 5  # clean once, standard and fast in both epochs, never the 15 test images
    assert PeriodicVictimEvaluation is periodic.PeriodicVictimEvaluation


@pytest.mark.parametrize(
    "key", ["victim.arch=levit_128", "gan.classifier.arch=levit_128", "gan.surrogates.kinds=levit_128@16"]
)
def test_networks_that_cannot_be_built_are_refused_before_anything_runs(
    key: str, tiny: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert main(["train", "data=npz", f"data.path={tiny()}", *SMALL, key, f"run_dir={folder}"]) == 2
    name = key.partition("=")[0]
    assert re.search(f"^error: {name}: 'levit_128' (cannot be built|is too large) .*$", capsys.readouterr().err, re.M)
    assert not folder.exists()
