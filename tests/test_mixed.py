"""Sets of several owners: who owns what, that each owner's noise is the owner's own, and what a grid knows of it."""

import pytest
import torch

from baselines.config import BaselinesConfig, HypoConfig, LspConfig, MixedConfig
from baselines.config_crafted import SurrogateConfig
from baselines.mixed import Mixed
from baselines.registry import make_protection
from datamodules.config import DataError
from datamodules.images import ImageSet
from datamodules.protection import change_sizes
from experiments.config import compose
from experiments.grid.cells import _deciding
from gan.config import GanConfig
from tests.pictures import pictures

CPU = torch.device("cpu")
HYPO = HypoConfig(steps=4, step_size=0.4, batch_size=16, surrogate=SurrogateConfig("linear", epochs=3, batch_size=16))


def mixed(methods: str, train: ImageSet, seed: int = 0, epsilon: float = 8.0) -> Mixed:
    config = BaselinesConfig(mixed=MixedConfig(methods), hypo=HYPO, lsp=LspConfig(block=4))
    made = make_protection("mixed", config, epsilon)
    assert isinstance(made, Mixed)
    made.fit(train, 4, seed, CPU, lambda _: None)
    return made


def test_each_image_has_one_owner_whose_protection_alone_it_gets() -> None:
    train = pictures(80, low=50, high=200)
    both = mixed("lsp+hypo", train)
    owners = both.owner_of(train.images)
    assert 25 < owners.sum() < 55
    assert torch.equal(owners[:10], both.owner_of(train.images[:10]))
    protected = both.protect(train)
    for number, owner in enumerate(both.owners):
        rows = (owners == number).nonzero()[:, 0]
        assert torch.equal(protected[rows], owner.protect(train.subset(rows)))
    with pytest.raises(DataError, match="hypo: expected images among the"):
        both.owners[1].protect(train.subset((owners == 0).nonzero()[:, 0]))  # fitted on its own images alone
    assert change_sizes(train.images, protected, "linf").max() == 8
    part = len(train.subset((owners == 1).nonzero()[:, 0])) / 80
    assert both.passes.backward == pytest.approx(part * both.owners[1].passes.backward)
    assert torch.equal(protected, mixed("lsp+hypo", train).protect(train))
    assert not torch.equal(protected, mixed("lsp+hypo", train, seed=1).protect(train))


def test_two_owners_of_one_protection_have_patterns_of_their_own() -> None:
    train = pictures(80, low=50, high=200)
    both = mixed("lsp+lsp", train)
    noise, owners = both.protect(train).int() - train.images.int(), both.owner_of(train.images)
    for label in range(4):
        of_class = train.labels == label
        assert len(noise[of_class].unique(dim=0)) == 2
        assert len(noise[of_class & (owners == 0)].unique(dim=0)) == 1
    unseen = pictures(20, low=50, high=200, seed=1)
    assert both.protect(unseen).shape == unseen.images.shape
    assert not both.label_free
    assert mixed("random+random", train).label_free


def test_what_cannot_be_mixed_is_named() -> None:
    with pytest.raises(ValueError, match="baselines.mixed.methods: ops has no L∞ bound"):
        mixed("lsp+ops", pictures())
    assert MixedConfig("lsp").faults() == [
        "baselines.mixed.methods: expected two owners at least, such as lsp+lsp, found 'lsp'"
    ]
    assert MixedConfig("lsp+mixed").faults()[0].startswith("baselines.mixed.methods: no protection 'mixed'; known: con")
    with pytest.raises(RuntimeError, match="mixed: protect was called before fit"):
        make_protection("mixed", BaselinesConfig(), 8).protect(pictures())
    with pytest.raises(DataError, match=r"mixed: owner \d \(lsp\) has none of 1 images"):
        mixed("lsp+lsp+lsp", pictures(1))


def test_a_mixture_is_decided_by_its_owners_options_and_by_no_others() -> None:
    def deciding(*options: str) -> object:
        return _deciding(compose(["method=mixed", "baselines.mixed.methods=lsp+hypo", *options])[0])

    assert deciding() != deciding("baselines.lsp.block=4")
    assert deciding() != deciding("baselines.hypo.steps=7")
    assert deciding() == deciding("baselines.emn.steps=7")
    ours = ("baselines.mixed.methods=confoundergan+lsp", "gan.start=none")
    assert deciding(*ours) != deciding(*ours, "gan.noise.width=24")
    assert deciding() == deciding("gan.noise.width=24", "trainer.max_epochs=3")
    lsp = compose(["method=lsp"])[0]
    assert _deciding(lsp) == {"method": "lsp", "precision": lsp.trainer.precision, "epsilon": 8.0} | {
        "lsp": {"norm": "linf", "block": 8, "radius": 6.0, "spread": 0.25}
    }


@pytest.mark.slow
def test_two_owners_with_generators_of_their_own_need_no_label() -> None:
    train, options = pictures(120, low=50, high=200), GanConfig(start="none")
    both = make_protection("mixed", BaselinesConfig(mixed=MixedConfig("confoundergan+confoundergan")), 8, options)
    assert isinstance(both, Mixed)
    both.fit(train, 4, 0, CPU, lambda _: None)
    first, second = (owner.protect(train) for owner in both.owners)
    assert both.label_free
    assert not torch.equal(first, second)
    unseen = pictures(20, low=50, high=200, seed=1)
    unlabelled = ImageSet(unseen.images, torch.full((20,), -1))
    assert torch.equal(both.protect(unseen), both.protect(unlabelled))
