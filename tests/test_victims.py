"""Victims: pure functions that learn, report honestly, and leave everything else alone."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from datamodules.images import ImageSet
from victims.classifier import NARROW, build_classifier
from victims.config import RECIPES, VictimConfig
from victims.train import CHECKS, VictimReport, measure, measured, train_victim

FAST = replace(RECIPES["quick"], epochs=3, batch_size=16)


def blobs(count: int = 90, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 60, (count, 1, 16, 16), generator=generator) + labels[:, None, None, None] * 60
    return ImageSet(images.to(torch.uint8), labels)


def test_a_victim_learns_and_reports_every_epoch() -> None:
    calls: list[int] = []
    report = train_victim(blobs(), blobs(30, 1), 3, replace(FAST, epochs=6), 0, progress=lambda: calls.append(1))
    assert len(calls) == len(report.curve) == 6
    assert report.images == 90
    assert report.scores()["accuracy"]["last"] == 1
    assert not report.model.training
    assert set(report.scores()) == {"accuracy", "balanced_accuracy", "macro_auroc"}


def test_long_trainings_are_measured_now_and_then_and_at_the_end() -> None:
    for epochs in (1, 10, 11, 60, 200):
        at = [epoch for epoch in range(1, epochs + 1) if measured(epoch, epochs)]
        assert len(at) == min(epochs, CHECKS)
        assert at[-1] == epochs
        assert max(np.diff([0, *at])) <= -(-epochs // CHECKS)


def test_transformers_train_by_their_own_recipe() -> None:
    recipe = replace(RECIPES["quick_adamw"], epochs=6, batch_size=16)
    assert train_victim(blobs(), blobs(30, 1), 3, recipe, 0).scores()["accuracy"]["last"] > 0.6


def test_global_randomness_is_neither_read_nor_changed() -> None:
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
        states.append(train_victim(blobs(), blobs(30, 1), 3, FAST, 0).model.state_dict())
        assert torch.equal(before[0], torch.random.get_rng_state())
        assert (before[1] == np.random.get_state()[1]).all()
        assert before[2] == random.getstate()
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    other = train_victim(blobs(), blobs(30, 1), 3, FAST, 1).model.state_dict()
    assert any(not torch.equal(states[0][k], other[k]) for k in other)


def test_a_victim_trains_inside_no_grad_and_leaves_it_on() -> None:
    with torch.no_grad():
        report = train_victim(blobs(), blobs(30, 1), 3, FAST, 0)
        assert not torch.is_grad_enabled()
    assert report.curve[-1]["loss"] < report.curve[0]["loss"]


def test_last_peak_and_selected() -> None:
    values = [(0.5, 0.2), (0.9, 0.6), (0.4, 0.9), (0.3, 0.9)]
    curve = [
        {"accuracy": a, "balanced_accuracy": a / 2, "macro_auroc": a, "val_accuracy": v, "loss": 0.0} for a, v in values
    ]
    scores = VictimReport(curve, 1, 0.0, torch.nn.Identity()).scores()
    assert scores["accuracy"] == {"last": 0.3, "peak": 0.9, "selected": 0.4}  # the first of equally good epochs
    assert scores["balanced_accuracy"]["peak"] == 0.45


def test_measures_of_an_imbalanced_set_by_hand() -> None:
    labels = torch.tensor([0] * 8 + [1] * 2)
    always = torch.tensor([[0.9, 0.1]] * 10)
    scores = measure(always, labels, 2)
    assert scores == pytest.approx({"accuracy": 0.8, "balanced_accuracy": 0.5, "macro_auroc": 0.5})


@pytest.mark.parametrize("augment", ["crop", "crop+flip+cutout"])
def test_augmentation_changes_the_training(augment: str) -> None:
    plain = train_victim(blobs(), blobs(30, 1), 3, replace(FAST, epochs=1, augment="none"), 0)
    moved = train_victim(blobs(), blobs(30, 1), 3, replace(FAST, epochs=1, augment=augment), 0)  # type: ignore[arg-type]
    assert plain.curve[0]["loss"] != moved.curve[0]["loss"]


def test_options_change_the_recipe() -> None:
    assert VictimConfig().resolved() == RECIPES["quick"]
    changed = VictimConfig(recipe="emn60", arch="vgg11", epochs=3, batch_size=5, lr=0.5, augment="none").resolved()
    assert changed == replace(RECIPES["emn60"], arch="vgg11", epochs=3, batch_size=5, lr=0.5, augment="none")


def test_sets_smaller_than_a_batch_still_train() -> None:
    report = train_victim(blobs(30), blobs(30, 1), 3, replace(FAST, batch_size=128), 0)
    assert np.isfinite(report.curve[-1]["loss"])


def test_unknown_architecture() -> None:
    with pytest.raises(ValueError, match="neither one of narrow"):
        train_victim(blobs(), blobs(), 3, replace(FAST, arch="nothing"), 0)


@pytest.mark.parametrize("arch", NARROW)
@pytest.mark.parametrize(("channels", "size"), [(1, (16, 16)), (3, (32, 40)), (3, (64, 64))])
def test_narrow_networks_take_images_of_many_sizes(arch: str, channels: int, size: tuple[int, int]) -> None:
    logits = build_classifier(arch, 5, channels, size)(torch.rand(2, channels, *size))
    assert logits.shape == (2, 5)
    assert torch.isfinite(logits).all()


def test_images_too_small_for_a_network_are_named() -> None:
    assert build_classifier("narrow", 3, 1, (16, 10))(torch.rand(2, 1, 16, 10)).shape == (2, 3)
    with pytest.raises(ValueError, match="'narrow_vgg' cannot be built for 16×10 images; at least 16 pixels a side"):
        build_classifier("narrow_vgg", 3, 1, (16, 10))


def test_a_victim_whose_loss_is_no_number_is_no_protection() -> None:
    with pytest.raises(FloatingPointError, match=r"the victim's loss is nan in its epoch \d; lower victim.lr"):
        train_victim(blobs(), blobs(30, 1), 3, replace(FAST, lr=1e30, epochs=3), 0)
