"""The peers of 2021 to 2026 (SEM, SEP, MI-UE, BAIT, NTGA): each does to a classifier what its paper is after."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, one_hot

from baselines.bait import Binding, LabelBinding, class_means
from baselines.clusters import headless
from baselines.config import BaselinesConfig
from baselines.config_crafted import (
    BaitConfig,
    MiueConfig,
    NtgaConfig,
    RemConfig,
    SemConfig,
    SepConfig,
    SurrogateConfig,
)
from baselines.miue import MutualInformation, unlikeness
from baselines.ntga import NeuralTangent, predicted, tangent_kernel
from baselines.registry import make_protection
from baselines.rem import Robust
from baselines.sem import Stable, StableErrorMinimising
from baselines.sep import Ensemble, SelfEnsemble
from baselines.surrogate import signed_steps
from datamodules.augment import isolated_rng
from datamodules.config import DataError
from datamodules.images import ImageSet
from tests.pictures import pictures, told
from victims.classifier import build_classifier, last_layer
from victims.config import RECIPES
from victims.train import train_victim

CPU = torch.device("cpu")
SURROGATE = SurrogateConfig("two_layer", epochs=8, batch_size=16, lr=0.01, augment="none")


def learned(images: Tensor, train: ImageSet, of: str = "accuracy") -> float:
    """What a linear victim reaches on its own training images, of images with the labels of ``train``."""
    recipe = replace(RECIPES["quick"], arch="linear", epochs=6, lr=0.1, augment="none")
    return float(train_victim(ImageSet(images, train.labels), train, 4, recipe, 3).curve[-1][of])


def test_sem_puts_random_changes_where_rem_has_an_adversary() -> None:
    options = SemConfig("linear", samples=1, adversary=0.5, augment="none")
    torch.manual_seed(0)
    model, train = build_classifier("linear", 4, 3, (16, 10)), pictures(8, low=50, high=200)
    x = train.images / 255
    stable, robust = (kind(options, 8 / 255, model, torch.Generator()) for kind in (Stable, Robust))
    with isolated_rng(0, CPU):
        changes = [(stable.disturbed(x, train.labels) - x) * 255 for _ in range(2)]
        worst = (robust.disturbed(x, train.labels) - x) * 255
    for change in changes:
        assert change.abs().max() <= 4 + 1e-4
        assert change.std() == pytest.approx(8 / math.sqrt(12), rel=0.05)  # of U(−4, 4)
    assert not torch.equal(*changes)
    assert cross_entropy(model(x + worst / 255), train.labels) > cross_entropy(
        model(x + changes[0] / 255), train.labels
    )
    assert isinstance(StableErrorMinimising(options, 8).crafting(8 / 255, model, torch.Generator()), Stable)


def test_sem_saves_the_adversarys_passes_in_crafting_alone() -> None:
    rem = RemConfig("linear", iterations=3, steps=3, samples=2, adversary_steps=2, batch_size=16, lr=0.01)
    config = BaselinesConfig(rem=rem, sem=SemConfig(**vars(rem)))
    found = []
    for name in ("rem", "sem"):
        protection = make_protection(name, config, 8)
        protection.fit(pictures(), 4, 0, CPU, lambda _: None)
        found.append(protection.passes.backward * 40)
    noise, own = 3 * 2, 2 + 1  # K steps of J samples; the surrogate's adversary and its own step
    assert found == [3 * 20 * (noise * 3 + own) + 40 * noise * 3, 3 * 20 * (noise + own) + 40 * noise]


def test_sep_keeps_states_of_the_training_and_leads_all_of_them_to_the_next_class() -> None:
    train = told()
    options = SepConfig(4, steps=10, inner_steps=4, step_size=0.2, batch_size=32, surrogate=SURROGATE)
    sep = SelfEnsemble(options, 8.0)
    sep.fit(train, 4, 0, CPU, lambda _: None)
    assert sep.own is not None
    counted = 8 + 10 * (4 + 4)
    assert sep.passes.backward == counted
    assert sep.passes.forward == counted + 4  # the classes' means in each state
    with isolated_rng(0, CPU):
        model, states = sep._trained(train, 4, 0, CPU, lambda _: None, CountNothing())
    assert len(states) == 4
    last = dict(model.state_dict())
    assert all(torch.equal(value, last[name]) for name, value in states[-1].items())
    assert not torch.equal(states[0]["net.1.weight"], states[1]["net.1.weight"])
    ensemble = Ensemble(headless(model), states, train, 4, CPU)
    x, aims = train.images / 255, (train.labels + 1) % 4
    with torch.no_grad():
        for number in range(4):
            clean, protected = (ensemble.features(number, images) for images in (x, x + sep.own.noise))
            aim = ensemble.means[number][aims]
            assert ((protected - aim).norm(dim=1) < (clean - aim).norm(dim=1)).float().mean() > 0.9
            assert torch.allclose(ensemble.means[number][2], clean[train.labels == 2].mean(0), atol=1e-5)


class CountNothing:
    """In a pass counter's place."""

    def attach(self, network: nn.Module) -> None:
        """Counts nothing."""


def test_sep_with_one_state_follows_its_plain_gradient() -> None:
    """With one state its gradient has no variance: each inner step's correction leaves the gradient where it is."""
    train = told(8)
    torch.manual_seed(0)
    model = build_classifier("two_layer", 4, 3, (16, 10))
    ensemble = Ensemble(headless(model), [dict(model.state_dict())], train, 4, CPU)
    x, noise = train.images / 255, torch.zeros(8, 3, 16, 10)
    plain = ensemble.slope(0, x, noise, train.labels)
    assert torch.equal(ensemble.direction(x, noise, train.labels, 8 / 255, 1 / 255, 0), plain)
    assert torch.allclose(ensemble.direction(x, noise, train.labels, 8 / 255, 1 / 255, 1), plain, atol=1e-6)


def test_sep_wants_a_checkpoint_per_epoch_at_most_and_another_class() -> None:
    faults = SepConfig(9, surrogate=SURROGATE).faults()
    assert faults == [
        "baselines.sep.checkpoints: expected at most one per epoch (8), found 9; choose less, or raise "
        "baselines.sep.surrogate.epochs"
    ]
    train = pictures()
    alone = ImageSet(train.images, torch.zeros(40, dtype=torch.int64))
    for name in ("sep", "bait"):
        with pytest.raises(DataError, match=f"{name}: there is one class only"):
            make_protection(name, BaselinesConfig(), 8).fit(alone, 1, 0, CPU, lambda _: None)
        with pytest.raises(DataError, match=f"{name}: class 4 has no image"):
            make_protection(name, BaselinesConfig(), 8).fit(train, 5, 0, CPU, lambda _: None)


def cosines(features: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean cosine of the features of different images: of the same class, and of different classes."""
    directions = normalize(features.flatten(1), dim=1)
    found, same = directions @ directions.T, labels[:, None] == labels
    others = ~torch.eye(len(labels), dtype=torch.bool)
    return found[same & others].mean().item(), found[~same].mean().item()


def test_miue_objective_makes_classes_alike_within_and_different_between() -> None:
    torch.manual_seed(0)
    train, labels = pictures(32, low=50, high=200), torch.arange(32) % 4
    body = headless(build_classifier("two_layer", 4, 3, (16, 10))).eval()

    def objective(images: Tensor, noise: Tensor, of: Tensor) -> Tensor:
        return unlikeness(body(images + noise), of, 1.0, 0.1)

    x, zero = train.images / 255, torch.zeros(32, 3, 16, 10)
    noise = signed_steps(objective, x, labels, zero, 8 / 255, 20, 1 / 255, True)
    with torch.no_grad():
        before, after = (cosines(body(x + change), labels) for change in (zero, noise))
    assert after[0] > before[0] + 0.1
    assert after[0] - after[1] > before[0] - before[1] + 0.2
    features = torch.tensor([[1.0, 0], [0, 2], [2, 0], [0, 1]]), torch.tensor([0, 1, 0, 1])
    good = unlikeness(*features, 0.1, 0.0)
    assert good < 1e-3 < 0.6 < unlikeness(features[0], torch.tensor([0, 0, 1, 1]), 0.1, 0.0)
    # each image is 1 from the other of its class, of 2 features: log(1 + 1/2)
    assert (unlikeness(*features, 0.1, 1.0) - good).item() == pytest.approx(math.log(1.5), rel=1e-4)


def test_miue_losses_fall_and_a_fresh_network_learns_its_noise() -> None:
    train = pictures(160, channels=1, low=100, high=156)
    options = MiueConfig("two_layer", 6, 6, 0.2, 0.2, batch_size=32, craft_batch_size=80, lr=0.01)
    miue = MutualInformation(options, 8.0)
    miue.fit(train, 4, 0, CPU, lambda _: None)
    assert miue.losses[-1] < 0.7 * miue.losses[0]
    assert miue.passes.forward == miue.passes.backward == 6 * (1 + 6)
    control = make_protection("random", BaselinesConfig(), 8)
    control.fit(train, 4, 0, CPU, lambda _: None)
    loss = learned(miue.protect(train), train, "loss")
    assert loss < 0.7 * learned(train.images, train, "loss")
    assert loss < 0.7 * learned(control.protect(train), train, "loss")


def test_headless_and_last_layer_are_the_two_halves_of_a_classifier() -> None:
    for arch in ("narrow", "narrow_vit", "resnet18"):
        torch.manual_seed(0)
        model = build_classifier(arch, 5, 3, (32, 32)).eval()
        x = torch.rand(2, 3, 32, 32)
        with torch.no_grad():
            whole = model(x)
            head = last_layer(model)
            assert torch.allclose(head(headless(model)(x)), whole, atol=1e-5)


BAIT = BaitConfig("two_layer", pretrained=False, iterations=60, batch_size=32, lr=0.02, classifier_lr=0.02, width=8)


def test_bait_noise_of_a_class_overrules_the_image() -> None:
    train = told()
    bait = LabelBinding(BAIT, 8.0)
    bait.fit(train, 4, 0, CPU, lambda _: None)
    assert bait.patterns is not None
    assert len(bait.bound_shares) == 60
    assert bait.passes.backward == 60 * (2 * 32 / 64 + 2)
    assert bait.passes.forward == 60 * (2 * 32 / 64 + 2) + 40  # and what f′ reads in the clean images, in two stages
    recipe = replace(RECIPES["quick"], arch="two_layer", epochs=10, lr=0.05, augment="none")
    victim = train_victim(ImageSet(bait.protect(train), train.labels), train, 4, recipe, 3).model.eval()
    other = ImageSet(train.images, (train.labels + 2) % 4)
    with torch.no_grad():
        read = victim(bait.protect(other) / 255).argmax(1)
        plain = victim(train.images / 255).argmax(1)
    assert (read == other.labels).float().mean() > 0.6  # another class's noise, and the victim reads that class
    assert (plain == other.labels).float().mean() < 0.4


def test_bait_aims_at_the_likeliest_a_random_and_the_least_likely_other_class() -> None:
    torch.manual_seed(0)
    model, train = build_classifier("linear", 4, 3, (16, 10)).train(), pictures(40, low=50, high=200)
    binding, x = Binding(model, BAIT), train.images / 255
    before = {name: value.clone() for name, value in model.state_dict().items()}
    binding.try_step(x, train.labels)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())  # only tried
    taken = build_classifier("linear", 4, 3, (16, 10)).train()
    taken.load_state_dict(before)
    optimizer = torch.optim.SGD(taken.parameters(), BAIT.classifier_lr)
    cross_entropy(taken(x), train.labels).backward()
    optimizer.step()
    assert torch.allclose(binding.read(x), taken(x), atol=1e-5)
    logits = binding.read(x).detach()
    aims = [binding.aims(x, train.labels, stage, 4) for stage in range(3)]
    assert all((aim != train.labels).all() for aim in aims)
    assert set(aims[1].tolist()) == {0, 1, 2, 3}
    for i, label in enumerate(train.labels.tolist()):
        others = [k for k in range(4) if k != label]
        assert int(aims[0][i]) == max(others, key=lambda k: logits[i, k].item())
        assert int(aims[2][i]) == min(others, key=lambda k: logits[i, k].item())


def test_bait_class_means_are_of_the_batch_and_of_before_where_it_has_none() -> None:
    noise, labels = torch.arange(4.0).reshape(4, 1, 1, 1).requires_grad_(), torch.tensor([0, 2, 2, 0])
    means = class_means(noise, labels, torch.full((3, 1, 1, 1), 9.0))
    assert means.flatten().tolist() == [1.5, 9.0, 1.5]
    means[0].sum().backward()
    assert noise.grad is not None
    assert noise.grad.flatten().tolist() == [0.5, 0, 0, 0.5]


def test_bait_starts_from_imagenet_weights_or_says_that_there_are_none() -> None:
    train = ImageSet(torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8), torch.arange(8) % 2)
    model = LabelBinding(BaitConfig(), 8)._surrogate(train, 2)
    weights = [p for p in model.parameters() if p.ndim == 4]
    assert len(weights) > 40
    fresh = LabelBinding(BaitConfig(pretrained=False), 8)._surrogate(train, 2)
    assert not any(torch.equal(a, b) for a, b in zip(weights, fresh.parameters(), strict=False) if a.shape == b.shape)
    with pytest.raises(DataError, match=r"baselines.bait.arch: no pretrained weights of 'narrow' .*pretrained=false"):
        LabelBinding(BaitConfig("narrow"), 8)._surrogate(train, 2)


def test_ntga_kernel_is_that_of_a_wide_network() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(3, 12, generator=generator).double(), torch.rand(2, 12, generator=generator).double()
    width = 200_000
    weights = math.sqrt(1.76 / 12) * torch.randn(12, width, generator=generator).double()
    biases = math.sqrt(0.18) * torch.randn(width, generator=generator).double()
    slopes = [2 / math.sqrt(math.pi) * torch.exp(-((x @ weights + biases) ** 2)) for x in (first, second)]
    expected = (slopes[0] @ slopes[1].T / width) * (1.76 * first @ second.T / 12 + 0.18)
    assert torch.allclose(tangent_kernel(first, second, 1), expected, rtol=0.02)
    deep = tangent_kernel(first, first, 5)
    assert torch.allclose(deep, deep.T)
    assert torch.linalg.eigvalsh(deep).min() > 0


def test_ntga_predicts_what_gradient_descent_on_the_kernel_does() -> None:
    generator = torch.Generator().manual_seed(0)
    block, others = (torch.rand(n, 6, generator=generator).double() for n in (10, 4))
    wanted = one_hot(torch.arange(10) % 3, 3).double()
    options, steps = NtgaConfig(layers=2, time=20.0), 4000
    within = tangent_kernel(block, block, 2)
    within = within + 1e-4 * within.diagonal().mean() * torch.eye(10)
    weights = torch.zeros(10, 3).double()
    for _ in range(steps):  # small steps: the flow's path
        weights += 20.0 / steps / 30 * (wanted - within @ weights)
    expected = tangent_kernel(others, block, 2) @ weights
    assert torch.allclose(predicted(block, wanted, others, options), expected, atol=2e-3)


def test_ntga_noise_spoils_what_the_kernel_learns_and_needs_other_images() -> None:
    train = told(96)
    options = NtgaConfig(layers=3, steps=8, step_size=0.3, block=32, validation=32)
    ntga = NeuralTangent(options, 8.0)
    ntga.fit(train, 4, 0, CPU, lambda _: None)
    assert len(ntga.losses) == 3
    assert all(after > before + 0.005 for before, after in ntga.losses)

    def right(images: Tensor) -> float:
        """How much of the other images a kernel gets right that learned from the first block."""
        x = images.double().flatten(1) / 255
        y = one_hot(train.labels, 4).double()
        clean = train.images.double().flatten(1) / 255
        found = predicted(x[:32], y[:32], clean[32:], replace(options, time=1e4))
        return (found.argmax(1) == train.labels[32:]).float().mean().item()

    assert right(ntga.protect(train)) < right(train.images) - 0.1
    with pytest.raises(DataError, match=r"baselines.ntga.block: 512 of 96 images .* choose at most 48"):
        NeuralTangent(NtgaConfig(), 8).fit(train, 4, 0, CPU, lambda _: None)
