"""ConfounderGAN as a protection: fitted, protecting and saved like any other, with a plain Trainer of its own."""

from pathlib import Path

import pytest
import torch
from test_gan import tiny

from baselines.capabilities import capabilities
from baselines.config import METHODS, BaselinesConfig
from baselines.registry import make_protection
from datamodules.config import DataError
from datamodules.images import ImageSet
from datamodules.protection import Classifying, FittedByTrainer, Passes, Transferable
from gan.config import NAME
from gan.confounder import Confounder
from gan.protection import load_generator

CPU = torch.device("cpu")


def pictures(count: int = 60, seed: int = 0) -> ImageSet:
    """Gray pictures of three classes, told by brightness."""
    labels = torch.arange(count) % 3
    noise = torch.randint(60, (count, 1, 16, 16), generator=torch.Generator().manual_seed(seed))
    return ImageSet((noise + 60 * labels[:, None, None, None]).to(torch.uint8), labels)


def fitted(seed: int = 0, told: list[float] | None = None) -> Confounder:
    protection = Confounder(tiny(refine=3, epsilon=6.5))
    protection.fit(pictures(), 3, seed, CPU, (told if told is not None else []).append)
    return protection


def test_it_is_fitted_and_protects_like_others() -> None:
    told: list[float] = []
    before = torch.random.get_rng_state()
    protection, new = fitted(told=told), pictures(12, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert told == sorted(told)
    assert told[-1] == 1
    assert len(told) >= 3
    assert isinstance(protection.passes, Passes)
    assert min(protection.passes.forward, protection.passes.backward, protection.seconds) > 0
    once = protection.protect(new)
    change = once.int() - new.images.int()
    assert change.abs().max() == 6
    unlabelled = ImageSet(new.images, torch.zeros(12, dtype=torch.int64))
    assert torch.equal(once, protection.protect(unlabelled)), "it looks at no label"
    assert torch.equal(once, torch.cat([protection.protect(new.subset(torch.tensor([i]))) for i in range(12)]))
    torch.manual_seed(7)
    assert torch.equal(once, fitted().protect(new))
    assert not torch.equal(once, fitted(seed=1).protect(new))


def test_what_it_saves_protects_and_classifies_the_same(tmp_path: Path) -> None:
    protection, new = fitted(), pictures(12, seed=1)
    path = tmp_path / "generator.safetensors"
    sha256 = protection.save(path)
    trained, card, found = load_generator(path)
    assert found == sha256
    assert torch.equal(trained.protect(new.images), protection.protect(new))
    assert torch.equal(trained.classify(new.images), protection.classify(new.images))
    assert (card.method, card.epsilon, card.images, card.class_names) == (NAME, 6.5, 54, ["0", "1", "2"])
    assert card.size == [16, 16]


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(RuntimeError, match="confoundergan: protect was called before fit"):
        Confounder(tiny()).protect(pictures())
    single = pictures(3)
    with pytest.raises(DataError, match="no class has two images"):
        Confounder(tiny()).fit(single, 3, 0, CPU, lambda _: None)
    colour = ImageSet(single.images.repeat(1, 3, 1, 1), single.labels)
    with pytest.raises(DataError, match="expected images of 1 channels, as it was fitted on, found 3"):
        fitted().protect(colour)


def test_without_a_game_the_classifier_alone_is_trained() -> None:
    """``refine=0``: the noise network is used as it is."""
    protection = Confounder(tiny(refine=0))
    protection.fit(pictures(), 3, 0, CPU, lambda _: None)
    assert protection.seconds > 0
    assert isinstance(protection.passes, Passes)
    assert protection.passes.backward > 0
    assert (protection.classify(pictures(30, seed=1).images) == pictures(30).labels).float().mean() > 0.6


@pytest.mark.parametrize("name", [NAME, *METHODS])
def test_capabilities_are_those_of_the_class(name: str) -> None:
    """What is stated of a protection before it is built is what its class offers."""
    protection, stated = make_protection(name, BaselinesConfig(), 8.0), capabilities(name)
    assert isinstance(protection, FittedByTrainer) == stated.uses_trainer
    assert isinstance(protection, Transferable) == stated.transferable
    assert isinstance(protection, Classifying) == stated.classifies
    if stated.transferable:
        assert protection.label_free
