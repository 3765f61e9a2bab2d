"""Pictures that may be used freely, and the noise network that is trained on them to be given away."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.photographs import crops
from datamodules.procedural import GRAY, leaves
from experiments import pretrain
from gan.config import NoiseConfig
from gan.module import ConfounderGAN
from gan.protection import FORMAT, start_network


@pytest.mark.parametrize("make", [leaves, crops])
def test_pictures_are_decided_by_seed_and_place_alone(make: Callable[[int, int, int], Tensor]) -> None:
    many = make(12, 32, 3)
    assert many.dtype == torch.uint8
    assert many.shape == (12, 3, 32, 32)
    assert torch.equal(many[:5], make(5, 32, 3))
    assert not torch.equal(many, make(12, 32, 4))
    assert len(many.flatten(1).unique(dim=0)) == 12


def test_pictures_have_what_pictures_have() -> None:
    pictures = leaves(400, 16, 0).float()
    gray = (pictures == pictures[:, :1]).flatten(1).all(1).float().mean()
    assert gray.item() == pytest.approx(GRAY, abs=0.06)
    assert 100 < pictures.mean() < 155
    deviation = pictures.flatten(1).std(1)
    assert (deviation < 25).any(), "smooth ones"
    assert (deviation > 60).any(), "and busy ones"
    power = torch.fft.rfft2(pictures.mean(1)).abs().square().mean(0)
    assert power[1:3, 1:3].mean() > 20 * power[6:8, 5:7].mean(), "spectra fall"


def test_stretched_pictures_are_cut_off_at_black_and_white() -> None:
    pictures = crops(40, 16, 0)
    shown = pretrain.stretched(pictures, 0)
    assert torch.equal(shown, pretrain.stretched(pictures, 0))
    cut = [((images == 0) | (images == 255)).float().mean().item() for images in (pictures, shown)]
    assert cut[1] > cut[0] + 0.2, cut


SHORT = (
    "steps=8", "pictures=40", "gan.noise.width=8", "gan.noise.code=8", "gan.surrogates.kinds=linear@8+narrow@8",
    "gan.surrogates.life=2", "gan.discriminator.width=8", "gan.curriculum.rate=0.3", "gan.curriculum.high=0.02",
    "gan.curriculum.low=0.01",
)  # fmt: skip


def test_a_network_is_trained_to_be_given_away_and_resumes_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain, "STRETCH", 2)
    monkeypatch.setattr(pretrain, "BATCH", 8)
    whole, cut = tmp_path / "whole" / "noise.safetensors", tmp_path / "cut" / "noise.safetensors"
    pretrain.main([f"out={whole}", *SHORT])

    class Killed(Exception):
        pass

    def stop(self: Any, trainer: Any, module: ConfounderGAN) -> None:
        if trainer.current_epoch == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(pretrain.Lines, "on_train_epoch_end", stop)
        with pytest.raises(Killed):
            pretrain.main([f"out={cut}", *SHORT])
    assert not cut.exists()
    pretrain.main([f"out={cut}", *SHORT])
    assert cut.read_bytes() == whole.read_bytes()
    card = json.loads(whole.with_suffix(".json").read_text())
    assert card["format"] == FORMAT
    assert (card["steps"], card["seed"], card["classes"], card["epsilon"]) == (8, 0, 8, 8.0)
    assert card["level"] > 0
    assert card["noise"]["width"] == 8
    assert card["command"].startswith("python -m experiments.pretrain out=")
    options = NoiseConfig(width=8, code=8)
    network = start_network(str(whole), options)
    assert network is not None
    torch.manual_seed(0)
    pretrain.main([f"out={tmp_path / 'other.safetensors'}", *SHORT, "seed=1"])
    assert (tmp_path / "other.safetensors").read_bytes() != whole.read_bytes()
