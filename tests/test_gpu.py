"""The programs for a GPU: what they would run is accepted, and what they choose is what their rule says."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.config import ConfigError, compose
from experiments.gpu import pretraining
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
    def row(data: str, variant: str, setting: str, victim: str, last: float) -> dict[str, Any]:
        place = {"data": data, "seed": 0, "setting": setting, "victim": victim}
        place |= {"variant": variant} if "clean" not in setting else {}
        return {"place": place, "chance": 0.1, "scores": {"balanced_accuracy": {"last": last}}}

    rows = []
    for data in pretraining.DATA:
        for victim in pretraining.VICTIMS:
            rows += [row(data, "", setting, victim, 0.5) for setting in ("clean", "clean_fast")]
            rows += [row(data, "base", setting, victim, 0.3) for setting in ("standard", "fast")]
            rows += [row(data, "mixtures", "standard", victim, 0.1), row(data, "mixtures", "fast", victim, 0.5)]
    (tmp_path / "cells.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert pretraining.choose(tmp_path, ["base", "mixtures"]) == "mixtures"
    found = json.loads((tmp_path / "chosen.json").read_text())
    assert found["left_over"] == {"mixtures": pytest.approx(2 / 6), "base": pytest.approx(0.5)}
