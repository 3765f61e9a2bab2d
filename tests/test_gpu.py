"""The programs for a GPU: what they would run is accepted, and what they choose is what their rule says."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_rows import victim

from evaluation.rows import Row, write_row
from experiments.config import ConfigError, compose
from experiments.gpu import pretraining, reference
from experiments.grid.cells import cells_of
from experiments.grid.spec import read_grid

CUTS = Path(__file__).parents[2] / "shared" / "data" / "cifar10_exact_6k.npz"


@pytest.mark.parametrize("name", pretraining.CANDIDATES)
def test_every_candidate_s_command_is_accepted(name: str, tmp_path: Path) -> None:
    python, dash, module, *arguments = pretraining.command_of(tmp_path, name, 100)
    assert [python, dash, module] == [sys.executable, "-m", "experiments.pretrain"]
    options = [a for a in arguments if a.partition("=")[0] not in ("out", "steps", "classes")]
    config, _ = compose(["gan.start=none", "gan.classifier.pretrained=none", "gan.classifier.arch=linear", *options])
    assert config.gan.start == "none"


def test_candidates_have_files_of_their_own(tmp_path: Path) -> None:
    names = list(pretraining.CANDIDATES)
    assert len({pretraining.file_of(tmp_path, name) for name in names}) == len(names)


def test_two_candidates_are_trained_and_none_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Processes as on a GPU, at a hundredth of the size; what measures and chooses has tests of its own."""
    monkeypatch.setattr(pretraining, "COMMON", [*pretraining.COMMON, "pictures=64", "gan.noise.width=8"])
    names, measured = ["base", "both, longer"], []
    monkeypatch.setattr(pretraining, "measure", lambda folder, names, options: measured.append(names))
    monkeypatch.setattr(pretraining, "choose", lambda folder, names: names[0])
    for _ in range(2):
        pretraining.main([f"run_dir={tmp_path}", "steps=100", "only=base+both, longer"])
    assert measured == [["base"], names] * 2
    assert capfd.readouterr().out.count("trained,") == 2
    cards = [json.loads(pretraining.file_of(tmp_path, name).with_suffix(".json").read_text()) for name in names]
    assert [card["steps"] for card in cards] == [100, 100]
    assert "steps=8000" in pretraining.command_of(tmp_path, "both, longer", 5700)
    assert "gan.mixtures=0.5" in cards[1]["command"]
    assert "gan.mixtures" not in cards[0]["command"]


def test_a_candidate_that_fails_says_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pretraining.CANDIDATES, "base", ["gan.mixtures=2"])
    with pytest.raises(SystemExit, match=r"base: training failed; see .*base\.log"):
        pretraining.main([f"run_dir={tmp_path}", "steps=100", "only=base"])


def test_unknown_options_and_candidates_are_named() -> None:
    with pytest.raises(ConfigError, match="step: no such option"):
        pretraining.main(["step=1"])
    with pytest.raises(ConfigError, match="only: no candidate 'bass'"):
        pretraining.main(["only=bass"])


@pytest.mark.skipif(not CUTS.is_file(), reason="needs shared/data")
def test_the_grid_of_candidates_is_laid_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.gpu.pretraining.subprocess.run", lambda *a, **k: None)
    names = ["base", "both, gain 8"]
    for name in names:
        pretraining.file_of(tmp_path, name).write_bytes(name.encode())
    pretraining.measure(tmp_path, names, pretraining.OPTIONS | {"seeds": "0,1"})
    spec = read_grid(str(tmp_path / "grid.yaml"))
    cells = cells_of(spec, "pretraining")
    made = [cell for cell in cells if not cell.is_victim]
    assert len(made) == 2 * 2 * 2
    assert {cell.config.gan.noise.gain for cell in made} == {3.0, 8.0}
    assert len(cells) == len(made) + 2 * 2 * (2 * 4 + 2 * 2 * 4), "clean victims are those of all candidates"


def test_the_choice_is_the_least_left_over(tmp_path: Path) -> None:
    def row(data: str, variant: str, setting: str, name: str, last: float) -> Row:
        return victim(setting, 0, last, data=data, variant=variant, victim=name)

    rows: list[Row] = []
    for data in pretraining.DATA:
        for name in pretraining.VICTIMS:
            rows += [row(data, "", setting, name, 0.5) for setting in ("clean", "clean_fast")]
            rows += [row(data, "base", setting, name, 0.3) for setting in ("standard", "fast")]
            rows += [row(data, "mixtures", "standard", name, 0.1), row(data, "mixtures", "fast", name, 0.5)]
    (tmp_path / "cells.jsonl").write_text("".join(write_row(r) + "\n" for r in rows))
    assert pretraining.choose(tmp_path, ["base", "mixtures"]) == "mixtures"
    found = json.loads((tmp_path / "chosen.json").read_text())
    assert found["left_over"] == {"mixtures": pytest.approx(2 / 6), "base": pytest.approx(0.5)}


SMALL = {"data": "data=digits", "images": "200", "epochs": "1", "arch": "narrow", "precision": "fp32", "seeds": "0"}


def test_the_reference_has_all_methods_and_a_clean_twin_of_each_victim() -> None:
    asked = [("pictures", reference.PICTURES, [0, 1, 2]), ("attackers", reference.ATTACKERS, [0])]
    for name, victims, seeds in asked:
        options = reference.OPTIONS | SMALL
        spec = reference.spec_of(options | {"epochs": "60", "arch": "resnet18", "precision": "bf16"}, victims, seeds)
        assert set(spec["variants"]) == set(read_grid("compare_cifar10")["variants"])
        spec["data"]["reference"]["data.size"] = 32
        cells = [cell for cell in cells_of(spec, name) if cell.is_victim]
        places = {c.place for c in cells}
        paired = [victim for victim in victims if victim == "pairs"]
        clean = len(victims) - len(paired) + len(paired) * len(spec["variants"])
        assert len(places) == len(cells) == len(seeds) * (clean + len(spec["variants"]) * len(victims))
        for cell in cells:
            recipe = cell.config.victim.resolved()
            if cell.place.victim in (*reference.PICTURES, *reference.TRAINED):
                assert (recipe.arch, recipe.epochs, recipe.lr, recipe.batch_size) == ("resnet18", 60, 0.1, 128)
            else:
                assert recipe.arch == "efficientnet_lite0"
            assert recipe.precision == "bf16"


def test_a_stage_that_fails_or_runs_out_of_time_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[Any] = [1, 0, subprocess.TimeoutExpired("grid", 1), 2]

    def run(command: list[str], check: bool, timeout: float) -> Any:
        assert command[1:4] == ["-m", "experiments", "grid"]
        assert 0 < timeout <= 60
        code = codes.pop(0)
        if isinstance(code, Exception):
            raise code
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(reference.subprocess, "run", run)
    monkeypatch.setattr(reference, "throughput", lambda folder, options: None)
    arguments = [f"run_dir={tmp_path}", "minutes=1", "only=lsp, L2"]
    assert reference.main(arguments) == 1
    assert not reference.main(arguments)
    with pytest.raises(SystemExit, match="2"):
        reference.main(arguments)
    shown = capsys.readouterr().out
    assert "pictures: some cells failed" in shown
    assert "attackers: done" in shown
    assert "time is over in the stage pictures; the same command continues" in shown
    with pytest.raises(ConfigError, match="minute: no such option"):
        reference.main(["minute=1"])
    with pytest.raises(ConfigError, match="only: no method 'lps'"):
        reference.main(["only=lps"])


def test_operations_of_the_reference_are_counted() -> None:
    # 0.56 10^9 multiplications with additions of one forward pass at 32 pixels, and twice that backward
    assert reference.operations_per_image("resnet18") == pytest.approx(3 * 2 * 0.556e9, rel=0.02)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # minutes by itself; half an hour where others compute, too
def test_the_reference_runs_on_a_cpu_at_a_hundredth_of_its_size_and_resumes(tmp_path: Path) -> None:
    script = Path(reference.__file__).with_suffix(".sh")
    small = [f"{key}={value}" for key, value in SMALL.items()]
    small += [f"run_dir={tmp_path}", f"store={tmp_path / 'cells'}", "jobs=1", "only=lsp, L∞"]
    for minutes in ("0", "30", "30"):
        done = subprocess.run(
            ["bash", str(script), *small, f"minutes={minutes}"],
            env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "PYTHONPATH": str(script.parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        if minutes == "0":
            assert "time is over in the stage pictures" in done.stdout
    assert "0 to do" in done.stdout, "nothing is computed twice"
    assert "images of 32 pixels per second" not in done.stdout
    assert json.loads((tmp_path / "throughput.json").read_text())["images_per_second"] > 0
    for stage, victims in (("pictures", reference.PICTURES), ("attackers", reference.ATTACKERS)):
        rows = [json.loads(line) for line in (tmp_path / stage / "cells.jsonl").read_text().splitlines()]
        assert not [row["error"] for row in rows if "error" in row]
        assert {row["place"]["victim"] for row in rows if "victim" in row["place"]} == set(victims)
        assert (tmp_path / stage / "report.html").is_file()
