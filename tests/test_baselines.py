"""Baselines: bounds after decoding, determinism, what is constant and what differs, and that EMN does what it says."""

import math
import random
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from baselines.ar import Autoregressive, candidates, continued, stable
from baselines.capabilities import DEFAULT_METHOD
from baselines.clusters import UnlearnableClusters, k_means, nearest
from baselines.config import (
    METHODS,
    ArConfig,
    BaselinesConfig,
    ClustersConfig,
    CudaConfig,
    DeepConfuseConfig,
    GueConfig,
    Kind,
    LspConfig,
    OpsConfig,
    PatternsConfig,
    PilConfig,
    RandomConfig,
)
from baselines.config_crafted import (
    BaitConfig,
    EmnConfig,
    HypoConfig,
    MiueConfig,
    NtgaConfig,
    RemConfig,
    SemConfig,
    SepConfig,
    SurrogateConfig,
    TapConfig,
)
from baselines.cuda import ConvolutionFilters
from baselines.deepconfuse import DeepConfuse, unrolled_loss
from baselines.emn import ErrorMinimising
from baselines.generator import NoiseGenerator, noised
from baselines.gue import move, multiplier, payoff
from baselines.info import method_infos
from baselines.lsp import distinct_vertices
from baselines.ops import OnePixel
from baselines.pil import Linearising, linear_classifier
from baselines.registry import make_protection
from baselines.rem import Robust, RobustErrorMinimising
from baselines.surrogate import train_surrogate
from baselines.tap import Targeted, targets
from datamodules.augment import augment, isolated_rng
from datamodules.config import DataError
from datamodules.images import ImageSet
from datamodules.method import FITTED
from datamodules.protected import ManifestHeader, ProtectedDataset, write_protected
from datamodules.protection import Norm, Protection, change_sizes
from tests.pictures import pictures, told
from victims.classifier import build_classifier
from victims.config import RECIPES
from victims.train import train_victim

CPU = torch.device("cpu")
CHEAP = EmnConfig(surrogate_steps=3, steps=3, step_size=0.4, rounds=2, batch_size=16, lr=0.05)
CLEAN = SurrogateConfig("linear", epochs=5, batch_size=16, lr=0.01, augment="flip")
TAP = TapConfig(steps=6, step_size=0.37, restarts=2, augment="flip", batch_size=16, surrogate=CLEAN)
REM = RemConfig("linear", iterations=3, steps=3, step_size=0.57, samples=2, adversary_steps=2, batch_size=16, lr=0.01)
PIL = PilConfig(steps=8, step_size=0.3, epochs=8, batch_size=16)
HYPO = HypoConfig(steps=8, step_size=0.3, batch_size=16, surrogate=CLEAN)
CONFUSE = DeepConfuseConfig("linear", trials=3, epochs=1, batch_size=16, classifier_lr=0.1, lr=0.02, width=8)
GUE = GueConfig("linear", epochs=3, batch_size=16, steps=2, answer_lr=0.02, classifier_lr=0.1, width=8)
CLUSTERS = ClustersConfig(count=3, epochs=4, batch_size=16, lr=0.02, width=8, surrogate=CLEAN)
SEM = SemConfig("linear", iterations=3, steps=3, step_size=0.57, samples=2, adversary_steps=2, batch_size=16, lr=0.01)
SEP = SepConfig(2, steps=4, inner_steps=2, step_size=0.5, batch_size=16, surrogate=replace(CLEAN, arch="two_layer"))
MIUE = MiueConfig("two_layer", epochs=3, steps=4, step_size=0.2, last_step_size=0.4, batch_size=16, lr=0.01)
BAIT = BaitConfig("linear", pretrained=False, iterations=6, batch_size=16, lr=0.02, classifier_lr=0.01, width=8)
NTGA = NtgaConfig(steps=4, step_size=0.4, block=16, validation=12)
PATTERNS = PatternsConfig(auxiliary_classifier="linear", auxiliary_epochs=2, hidden=16, amplitude=0.95, head_epochs=4)
VARIANTS = {
    "random sample": ("random", BaselinesConfig()),
    "random class": ("random", BaselinesConfig(random=RandomConfig(kind="class"))),
    "lsp linf": ("lsp", BaselinesConfig(lsp=LspConfig(block=4))),
    "lsp l2": ("lsp", BaselinesConfig(lsp=LspConfig(norm="l2", block=4))),
    "emn sample": ("emn", BaselinesConfig(emn=CHEAP)),
    "emn class": ("emn", BaselinesConfig(emn=replace(CHEAP, kind="class"))),
    "ar": ("ar", BaselinesConfig()),
    "cuda": ("cuda", BaselinesConfig()),
    "ops": ("ops", BaselinesConfig()),
    "tap": ("tap", BaselinesConfig(tap=TAP)),
    "tap untargeted": ("tap", BaselinesConfig(tap=replace(TAP, goal="untargeted", restarts=1))),
    "rem": ("rem", BaselinesConfig(rem=REM)),
    "pil": ("pil", BaselinesConfig(pil=PIL)),
    "hypo": ("hypo", BaselinesConfig(hypo=HYPO)),
    "deepconfuse": ("deepconfuse", BaselinesConfig(deepconfuse=CONFUSE)),
    "gue": ("gue", BaselinesConfig(gue=GUE)),
    "clusters": ("clusters", BaselinesConfig(clusters=CLUSTERS)),
    "sem": ("sem", BaselinesConfig(sem=SEM)),
    "sep": ("sep", BaselinesConfig(sep=SEP)),
    "miue": ("miue", BaselinesConfig(miue=MIUE)),
    "bait": ("bait", BaselinesConfig(bait=BAIT)),
    "ntga": ("ntga", BaselinesConfig(ntga=NTGA)),
    "patterns": ("patterns", BaselinesConfig(patterns=PATTERNS)),
}
GENERATED = ["deepconfuse", "gue", "clusters"]  # by networks that hardly learned here
LABEL_FREE = [*GENERATED, "patterns"]
OWN = [
    "tap",
    "tap untargeted",
    "rem",
    "pil",
    "hypo",
    "sem",
    "sep",
    "miue",
    "ntga",
]  # noise of single images, as that of "emn sample"
BY_CLASS = ["random class", "lsp linf", "emn class", "bait"]


BOUNDS: dict[str, tuple[Norm | None, float | None]] = {
    "random": ("linf", 7.5),
    "lsp": ("linf", 7.5),
    "emn": ("linf", 7.5),
    "ar": ("l2", 160**0.5 / 32),
    "cuda": (None, None),
    "ops": ("l0", 1),
    "tap": ("linf", 7.5),
    "rem": ("linf", 7.5),
    "pil": ("linf", 7.5),
    "hypo": ("linf", 7.5),
    "deepconfuse": ("linf", 7.5),
    "gue": ("linf", 7.5),
    "clusters": ("linf", 7.5),
    "sem": ("linf", 7.5),
    "sep": ("linf", 7.5),
    "miue": ("linf", 7.5),
    "bait": ("linf", 7.5),
    "ntga": ("linf", 7.5),
    "patterns": ("linf", 7.5),
}


def fitted(variant: str, train: ImageSet, epsilon: float = 8.0, seed: int = 0) -> Protection:
    name, config = VARIANTS[variant]
    protection = make_protection(name, config, epsilon)
    protection.fit(train, 4, seed, CPU, lambda _: None)
    return protection


def change(protection: Protection, images: ImageSet) -> torch.Tensor:
    return protection.protect(images).int() - images.images.int()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_stored_files_decode_within_the_bound(variant: str, channels: int, tmp_path: Path) -> None:
    source = pictures(channels=channels)
    protection = fitted(variant, source, 7.5)
    header = ManifestHeader(
        protection.name, "", protection.epsilon, 0, "pictures", list("abcd"), len(source), norm=protection.norm
    )
    write_protected(tmp_path, source, protection.protect, header, chunk=7)
    back = ProtectedDataset(tmp_path).load()
    assert torch.equal(back.images, protection.protect(source))  # chunks decide nothing
    norm, bound = BOUNDS[protection.name] if variant != "lsp l2" else ("l2", (channels * 160) ** 0.5 * 6 / 255)
    assert (protection.norm, protection.epsilon) == (norm, bound and pytest.approx(bound))
    assert ProtectedDataset(tmp_path).header.norm == norm
    if norm and bound:
        sizes = change_sizes(source.images, back.images, norm)
        assert sizes.max() <= bound + 1e-9
        assert sizes.max() > (0.25 if variant in GENERATED else 0.85) * bound
    else:
        assert change_sizes(source.images, back.images, "l0").min() > 100


@pytest.mark.parametrize("variant", VARIANTS)
def test_fitting_depends_on_its_seed_alone_and_leaves_randomness_alone(variant: str) -> None:
    source, found = pictures(), []
    if variant == "ops":  # seeds decide between places that are equally good
        source.images[:, :, :, :3] = 0
    for outside in (1, 2):
        torch.manual_seed(outside)
        np.random.seed(outside)
        random.seed(outside)
        before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
        with torch.no_grad():
            found.append(fitted(variant, source).protect(source))
        assert torch.equal(before[0], torch.random.get_rng_state())
        assert (before[1] == np.random.get_state()[1]).all()
        assert before[2] == random.getstate()
    assert torch.equal(*found)
    assert not torch.equal(found[0], fitted(variant, source, seed=1).protect(source))


@pytest.mark.parametrize("variant", BY_CLASS)
def test_class_wise_noise_is_one_pattern_a_class(variant: str) -> None:
    train = pictures(low=50, high=200)  # nothing is clipped
    protection = fitted(variant, train)
    unseen = pictures(low=50, high=200, seed=1)
    for images in (train, unseen):
        noise = change(protection, images)
        patterns = [noise[images.labels == k] for k in range(4)]
        assert all((of_class == of_class[0]).all() for of_class in patterns)
        assert len(torch.stack([of_class[0] for of_class in patterns]).unique(dim=0)) == 4
    assert torch.equal(change(protection, train)[:4], change(protection, unseen)[:4])


@pytest.mark.parametrize("variant", ["random sample", "lsp l2", "emn sample", "ar", "cuda", "deepconfuse", "gue", *OWN])
def test_sample_wise_noise_differs_between_images(variant: str) -> None:
    train = pictures(low=50, high=200)
    different = len(change(fitted(variant, train), train).unique(dim=0))
    if variant in ("pil", "hypo"):  # here of one matrix, which pushes all images of a class nearly the same way
        assert different > 4
    else:
        assert different == len(train)


@pytest.mark.parametrize("variant", ["random sample", "random class", "lsp linf"])
def test_sign_noise_is_at_the_bound_everywhere_up_and_down(variant: str) -> None:
    noise = change(fitted(variant, pictures()), pictures(low=50, high=200))
    assert set(noise.unique().tolist()) == {-8, 8}
    assert abs(noise.float().mean()) < 4


@pytest.mark.parametrize("variant", ["emn sample", "emn class", *OWN])
def test_crafting_changes_nearly_every_pixel_up_and_down(variant: str) -> None:
    train = pictures(low=50, high=200)
    noise = change(fitted(variant, train), train)
    assert (noise != 0).float().mean() > 0.9
    assert (noise > 0).float().mean() > 0.25
    assert (noise < 0).float().mean() > 0.25


@pytest.mark.parametrize("variant", LABEL_FREE)
def test_generated_noise_is_nearly_everywhere_up_and_down_on_unseen_images_too(variant: str) -> None:
    protection = fitted(variant, pictures(low=50, high=200))
    noise = change(protection, pictures(low=50, high=200, seed=1))
    assert (noise != 0).float().mean() > 0.6
    assert (noise > 0).float().mean() > 0.1
    assert (noise < 0).float().mean() > 0.1


def test_label_free_is_what_needs_no_label() -> None:
    free = {name for name, (method, config) in VARIANTS.items() if make_protection(method, config, 8).label_free}
    assert free == {"random sample", *LABEL_FREE}
    unseen, other = pictures(seed=1), pictures(seed=1)
    other.labels = torch.full((40,), -1)
    for variant in free:
        protection = fitted(variant, pictures())
        together = protection.protect(unseen)
        assert torch.equal(together, protection.protect(other))
        alone = [protection.protect(other.subset(torch.tensor([i]))) for i in range(40)]
        assert torch.equal(together, torch.cat(alone))  # an image's noise depends on no other image
        if variant != "clusters":  # whose patterns have a size
            assert protection.protect(ImageSet(unseen.images[..., :5], other.labels)).shape == (40, 3, 16, 5)


def test_lsp_blocks_have_one_colour_and_l2_is_the_radius() -> None:
    grey = pictures(low=100, high=150)
    for variant in ("lsp linf", "lsp l2"):
        noise = change(fitted(variant, grey), grey)
        assert (noise[..., :4, :4] == noise[..., :1, :1]).all()
        assert (noise[..., 8:] == noise[..., 8:9, 8:9].repeat(1, 1, 1, 2)).all(1).any()  # cut off at the edge
    l2 = noise.float().flatten(1).norm(dim=1) / 255
    assert l2.tolist() == pytest.approx([(3 * 16 * 10) ** 0.5 * 6 / 255] * 40, rel=0.04)  # rounded to grey levels
    assert len(noise[grey.labels == 0].unique(dim=0)) == 10


@pytest.mark.parametrize(("count", "dimensions"), [(8, 3), (100, 7), (50, 20)])
def test_every_class_gets_a_vertex_of_its_own(count: int, dimensions: int) -> None:
    vertices = distinct_vertices(count, dimensions, torch.Generator().manual_seed(0))
    assert set(vertices.unique().tolist()) == {-1, 1}
    assert vertices.unique(dim=0).shape == (count, dimensions)


@pytest.mark.parametrize("kind", ["sample", "class"])
def test_emn_makes_a_fresh_network_learn_the_noise(kind: Kind) -> None:
    train = pictures(160, channels=1, low=100, high=156)
    options = EmnConfig(kind, surrogate_steps=10, steps=5, step_size=0.25, rounds=4, batch_size=32)
    emn = ErrorMinimising(options, 8.0)
    emn.fit(train, 4, 0, CPU, lambda _: None)
    assert emn.error < options.stop_error  # steps in the wrong direction would raise it
    recipe = replace(RECIPES["quick"], epochs=2, lr=0.05, augment="none")

    def loss(images: torch.Tensor) -> float:
        """Of the second epoch: later, any network knows 160 images by heart."""
        return train_victim(ImageSet(images, train.labels), train, 4, recipe, 7).curve[-1]["loss"]

    protected = loss(emn.protect(train))
    assert protected < 0.7 * loss(train.images)
    control = fitted("random sample", train)
    assert protected < 0.7 * loss(control.protect(train))  # it is the crafting, not the amplitude


def test_emn_stops_when_the_surrogate_makes_no_errors_and_counts_its_passes() -> None:
    shares: list[float] = []
    train = pictures(low=50, high=200)
    emn = ErrorMinimising(replace(CHEAP, stop_error=1.0), 8.0)
    emn.fit(train, 4, 0, CPU, shares.append)
    assert emn.rounds == 1  # any error is below 100 %
    # 3 batches of 20 images, 3 steps of the noise, and one look at the errors
    assert (emn.passes.forward, emn.passes.backward) == (60 / 40 + 3 + 1, 60 / 40 + 3)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    endless = ErrorMinimising(replace(CHEAP, stop_error=0.0), 8.0)
    endless.fit(train, 4, 0, CPU, lambda _: None)
    assert endless.rounds == CHEAP.rounds


def test_equal_images_share_their_noise() -> None:
    train = pictures(low=50, high=200)
    double = ImageSet(torch.cat([train.images, train.images[:1]]), torch.cat([train.labels, torch.tensor([1])]))
    noise = change(fitted("emn sample", double), double)
    assert torch.equal(noise[0], noise[40])


def test_what_cannot_be_protected_is_named() -> None:
    train, unseen = pictures(), pictures(seed=1)
    mixed = ImageSet(torch.cat([train.images[:3], unseen.images[:1]]), train.labels[:4])
    with pytest.raises(DataError, match=r"found another \(image 3 of these, .*baselines.emn.kind=class"):
        fitted("emn sample", train).protect(mixed)
    for variant in OWN:
        with pytest.raises(DataError, match=r"found another \(image 3 of these, .*; fit on it too"):
            fitted(variant, train).protect(mixed)
    for variant in (*BY_CLASS, "lsp l2", "ar", "cuda", "ops"):
        protection = fitted(variant, train)
        with pytest.raises(DataError, match=r"expected images of 3×16×10.*found 3×10×16"):
            protection.protect(ImageSet(train.images.transpose(2, 3), train.labels))
        with pytest.raises(DataError, match="expected labels from 0 to 3, found 4 at image 3"):
            protection.protect(ImageSet(train.images, torch.arange(40) + 1))
    with pytest.raises(DataError, match=r"clusters: expected images of 3×16×10.*found 3×10×16"):
        fitted("clusters", train).protect(ImageSet(train.images.transpose(2, 3), train.labels))
    for variant in ("deepconfuse", "gue"):
        protection = fitted(variant, train)
        with pytest.raises(DataError, match="expected images of 3 channels, as it was fitted on, found 1"):
            protection.protect(pictures(channels=1))
        with pytest.raises(DataError, match="expected images of at least 4×4, found 16×3"):
            protection.protect(ImageSet(train.images[..., :3], train.labels))
    for name, config in VARIANTS.values():
        with pytest.raises(RuntimeError, match="call fit first"):
            make_protection(name, config, 8).protect(train)


def test_what_cannot_be_fitted_is_named() -> None:
    train = pictures(channels=1)
    lsp = make_protection("lsp", BaselinesConfig(lsp=LspConfig(block=16)), 8)
    with pytest.raises(DataError, match=r"baselines.lsp.block: 16 leaves 1 blocks .* too few for 4 classes"):
        lsp.fit(train, 4, 0, CPU, lambda _: None)
    emn = make_protection("emn", VARIANTS["emn class"][1], 8)
    with pytest.raises(DataError, match="class 4 has no image"):
        emn.fit(train, 5, 0, CPU, lambda _: None)
    with pytest.raises(ValueError, match="at least 1 grey level"):
        make_protection("random", BaselinesConfig(), 0.5)
    with pytest.raises(ValueError, match=r"expected one of confoundergan, random, lsp, emn, .*, found 'enm'"):
        make_protection("enm", BaselinesConfig(), 8)
    assert "no augmentation 'crap'" in EmnConfig(augment="crap").faults()[0]
    for variant in GENERATED:
        with pytest.raises(DataError, match=f"{variant}: expected images of at least 4×4, found 16×3; enlarge them"):
            fitted(variant, ImageSet(train.images[..., :3], train.labels))
    with pytest.raises(DataError, match="baselines.clusters.count: 41 clusters of 40 images; choose less"):
        UnlearnableClusters(ClustersConfig(count=41), 8).fit(train, 4, 0, CPU, lambda _: None)


@pytest.mark.parametrize("channels", [1, 3])
def test_ar_noise_follows_its_class_and_no_other(channels: int) -> None:
    train = pictures(channels=channels, low=100, high=156)
    ar = Autoregressive(ArConfig(radius=2))  # far above rounding, far below clipping
    ar.fit(train, 4, 0, CPU, lambda _: None)
    assert ar.coefficients is not None
    noise, filters = change(ar, train).double(), ar.coefficients.double().clone()
    assert noise.abs().flatten(1).amax(1).min() > 10
    filters[..., 2, 2] = -1
    answers = (
        torch.nn.functional.conv2d(noise.flatten(0, 1)[:, None], filters.flatten(0, 1)[:, None]).abs().mean((2, 3))
    )
    answers = answers.reshape(40, channels, 4, channels)
    left = 0.6 * filters.abs().sum((2, 3))  # what rounding to whole levels leaves
    for i, label in enumerate(train.labels):
        by_class = answers[i].diagonal(dim1=0, dim2=2)  # of each channel to its own filters: K×C
        assert (by_class[label] < left[label]).all()
        assert by_class[label].sum() < 0.5 * by_class[torch.arange(4) != label].sum(1).min()


def test_ar_made_by_diagonals_is_ar_made_value_by_value() -> None:
    generator = torch.Generator().manual_seed(3)
    start, coefficients = torch.randn(2, 7, 5, generator=generator), candidates(2, generator)
    assert torch.allclose(coefficients.sum((1, 2)), torch.ones(2), atol=1e-4)
    assert coefficients[:, 2, 2].tolist() == [0, 0]
    made = start.clone()
    for n in range(2):
        for i in range(2, 7):
            for j in range(2, 5):
                made[n, i, j] = (coefficients[n] * made[n, i - 2 : i + 1, j - 2 : j + 1]).sum()
    assert torch.allclose(continued(start, coefficients), made, rtol=1e-4, atol=1e-4)


def test_ar_keeps_stable_processes_alone_and_reaches_every_corner(monkeypatch: pytest.MonkeyPatch) -> None:
    explosive = torch.tensor([[[0, 0, 0], [0, 0, 3.0], [0, 3.0, 0]], [[0, 0, 0], [0, 0, 0.5], [0, 0.5, 0]]])
    for largest in (5.0, 1e30):  # the second overflows to infinity or NaN
        good = stable(explosive, (64, 64), largest, torch.Generator().manual_seed(0))
        assert good.tolist() == [False, True]
    ar = Autoregressive(ArConfig())
    train = ImageSet(torch.full((36, 3, 48, 36), 128, dtype=torch.uint8), torch.arange(36) % 12)
    ar.fit(train, 12, 0, CPU, lambda _: None)
    assert ar.epsilon == pytest.approx((48 * 36) ** 0.5 / 32)
    noise = change(ar, train).float()
    corners = torch.stack(
        [noise[..., a, b] for a in (slice(16), slice(-16, None)) for b in (slice(16), slice(-16, None))]
    )
    assert corners.square().mean((2, 3, 4)).sqrt().min() > 0.3  # of an image's corner, in grey levels
    assert corners.square().mean((1, 2, 3, 4)).sqrt().min() > 1
    monkeypatch.setattr("baselines.ar.CANDIDATES", 1)
    with pytest.raises(DataError, match=r"ar: found \d+ stable processes of 36 .*raise baselines.ar.largest"):
        Autoregressive(ArConfig()).fit(train, 12, 0, CPU, lambda _: None)


@pytest.mark.parametrize("channels", [1, 3])
def test_cuda_is_one_convolution_a_class(channels: int) -> None:
    train = pictures(channels=channels)
    cuda = ConvolutionFilters(CudaConfig(side=5, blur=0.2))
    cuda.fit(train, 4, 0, CPU, lambda _: None)
    assert cuda.filters is not None
    assert (cuda.filters[:, 2, 2] == 1).all()
    assert 0 < cuda.filters.flatten(1).sort().values[:, :-1].min() < cuda.filters.flatten(1).median() < 0.2
    protected = cuda.protect(train)
    for i in (0, 3, 17):
        clean, kernel = train.images[i].double() / 255, cuda.filters[train.labels[i]].double()
        padded = torch.nn.functional.pad(clean, (2, 2, 2, 2))
        z = torch.stack(
            [(padded[:, a : a + 5, b : b + 5] * kernel).sum((1, 2)) for a in range(16) for b in range(10)], 1
        )
        expected = (z / z.max() * 255).reshape(channels, 16, 10)
        assert (protected[i] - expected).abs().max() < 0.51
        assert protected[i].max() == 255
    dark = ImageSet(torch.full((4, channels, 16, 10), 10, dtype=torch.uint8), torch.arange(4))
    assert (cuda.protect(dark).amax((1, 2, 3)) == 255).all()  # brightened, as published
    assert not cuda.protect(ImageSet(torch.zeros_like(dark.images), dark.labels)).any()
    with pytest.raises(DataError, match="baselines.cuda.side: 17 is more than images of 16×10 have"):
        ConvolutionFilters(CudaConfig(side=17)).fit(train, 4, 0, CPU, lambda _: None)
    assert "expected an odd number, found 4" in CudaConfig(side=4).faults()[0]


@pytest.mark.parametrize("channels", [1, 3])
def test_ops_puts_one_colour_at_one_place_of_a_class(channels: int) -> None:
    train, unseen = pictures(channels=channels, low=60, high=200), pictures(channels=channels, low=60, high=200, seed=1)
    ops = OnePixel(OpsConfig(pixels=2))
    ops.fit(train, 4, 0, CPU, lambda _: None)
    chosen = set()
    for images in (train, unseen):
        protected = ops.protect(images)
        differs = (protected != images.images).any(1)
        assert (differs.flatten(1).sum(1) == 2).all()
        for label in range(4):
            of_class = images.labels == label
            places = differs[of_class]
            assert (places == places[0]).all()
            colours = protected[of_class][:, :, places[0]]
            assert (colours == colours[0]).all()
            assert set(colours.unique().tolist()) <= {0, 255}
            chosen.add((tuple(places[0].nonzero().flatten().tolist()), tuple(colours[0].flatten().tolist())))
    assert len(chosen) == 4  # the same for both, another for each class


def test_ops_finds_the_place_that_is_far_from_its_colour_and_steady() -> None:
    images = pictures(channels=3, low=60, high=200).images
    images[::2, :, 5, 6] = torch.tensor([20, 10, 250], dtype=torch.uint8)  # of classes 0 and 2
    images[:, 0, 5, 6] = 20
    train = ImageSet(images, torch.arange(40) % 2)
    ops = OnePixel(OpsConfig())
    ops.fit(train, 2, 0, CPU, lambda _: None)
    assert ops.places is not None
    assert ops.colours is not None
    assert ops.places[0].tolist() == [5 * 10 + 6]
    assert ops.colours[0].tolist() == [[255, 255, 0]]
    many = OnePixel(OpsConfig(pixels=200))
    with pytest.raises(DataError, match="baselines.ops.pixels: 200 a class are more than images of 16×10 have"):
        many.fit(train, 2, 0, CPU, lambda _: None)
    with pytest.raises(DataError, match="class 2 has no image"):
        ops.fit(train, 3, 0, CPU, lambda _: None)


def surrogate(train: ImageSet) -> torch.nn.Module:
    """The classifier that methods train on clean images with these options and seed 0."""
    with isolated_rng(0, CPU):
        return train_surrogate(CLEAN, train, 4, 0, CPU, lambda _: None)


def test_crafting_makes_a_clean_classifier_answer_what_it_aims_at() -> None:
    train = told()
    model = surrogate(train)
    assert targets(torch.arange(4), 4).tolist() == [1, 2, 3, 0]

    def read(variant: str, labels: torch.Tensor) -> tuple[float, float]:
        """How often the classifier answers these labels, and its loss on them."""
        images = train.images if variant == "clean" else fitted(variant, train).protect(train)
        logits = model(images / 255)
        return (logits.argmax(1) == labels).float().mean().item(), cross_entropy(logits, labels).item()

    clean, aim = read("clean", train.labels), targets(train.labels, 4)
    assert clean[0] > 0.9
    assert read("clean", aim)[0] < 0.1
    assert read("tap", aim)[0] > 0.6
    assert read("tap untargeted", train.labels)[0] < 0.4
    assert read("hypo", train.labels)[1] < 0.5 * clean[1]


def test_tap_keeps_its_best_restart_and_counts_its_passes() -> None:
    train = told()
    tap = Targeted(replace(TAP, steps=2, restarts=3), 8.0)
    tap.fit(train, 4, 0, CPU, lambda _: None)
    assert tap.own is not None
    assert len(set(tap.losses)) == 3
    logits = surrogate(train)(train.images / 255 + tap.own.noise)
    loss = cross_entropy(logits, targets(train.labels, 4)).item()
    assert loss == pytest.approx(min(tap.losses), rel=1e-4)
    assert (tap.passes.forward, tap.passes.backward) == (5 + 3 * 2 + 3, 5 + 3 * 2)
    with pytest.raises(DataError, match="one class only"):
        Targeted(TAP, 8.0).fit(ImageSet(train.images, torch.zeros(64, dtype=torch.int64)), 1, 0, CPU, lambda _: None)


def test_pil_noise_is_read_by_the_linear_classifier_and_hides_the_image_from_it() -> None:
    train = told()
    pil = fitted("pil", train)
    with isolated_rng(0, CPU):
        model = linear_classifier(PIL, train, 4, 0, CPU, lambda _: None)
    noise = change(pil, train) / 255
    clean, protected = model(train.images / 255).log_softmax(1), model(train.images / 255 + noise).log_softmax(1)
    assert (model(-noise).argmax(1) == train.labels).float().mean() > 0.95
    picked = train.labels[:, None]
    assert protected.gather(1, picked).mean() < clean.gather(1, picked).mean()  # it reads less of the right class
    assert (pil.passes.forward, pil.passes.backward) == (8 + 2 * 8, 8 + 2 * 8)
    alone = Linearising(replace(PIL, weight=0.0, steps=30, step_size=0.05), 8.0)  # the hiding by itself
    alone.fit(train, 4, 0, CPU, lambda _: None)
    assert alone.own is not None
    hidden = model(train.images / 255 + alone.own.noise).log_softmax(1)
    assert hidden.mean() > clean.mean()  # nearer to uniform


def robust(**options: Any) -> tuple[Robust, torch.nn.Module]:
    torch.manual_seed(0)
    model = build_classifier("linear", 4, 3, (16, 10))
    return Robust(replace(REM, **options), 8 / 255, model, torch.Generator().manual_seed(5)), model


def test_rem_gradients_go_through_the_expectation() -> None:
    crafting, model = robust(samples=3, adversary=0.0, augment="crop+flip")
    train, generator = pictures(8), torch.Generator().manual_seed(5)
    x, noise = train.images / 255, torch.zeros(8, 3, 16, 10, requires_grad=True)
    with isolated_rng(0, CPU):
        (found,) = torch.autograd.grad(crafting.expected(x, noise, train.labels), noise)
    single = []
    for _ in range(3):  # the same three draws, one by one
        loss = cross_entropy(model(augment(x + noise, "crop+flip", generator)), train.labels)
        single.append(torch.autograd.grad(loss, noise)[0])
    assert torch.allclose(found, torch.stack(single).mean(0), atol=1e-7)
    assert not torch.allclose(found, single[0], atol=1e-4)
    (plain,) = torch.autograd.grad(cross_entropy(model(x + noise), train.labels), noise)
    assert not torch.allclose(found, plain, atol=1e-4)


def test_rem_noise_helps_against_an_adversary_that_hurts() -> None:
    crafting, model = robust(samples=2, adversary=0.5, augment="none", steps=6)
    train = pictures(8)
    x = train.images / 255

    def loss(images: torch.Tensor) -> float:
        return cross_entropy(model(images), train.labels).item()

    with isolated_rng(0, CPU):
        worst, noise = crafting.attacked(x, train.labels), crafting.noise(x, train.labels)
        assert (worst - x).abs().max() <= 4 / 255 + 1e-6
        assert noise.abs().max() <= 8 / 255 + 1e-6
        assert min(worst.min(), (x + noise).min()) >= 0
        assert max(worst.max(), (x + noise).max()) <= 1
        assert loss(worst) > loss(x) > loss(x + noise)
        assert loss(crafting.attacked(x + noise, train.labels)) < loss(worst)


def test_rem_counts_the_passes_of_its_loops() -> None:
    train, shares = pictures(), []
    rem = RobustErrorMinimising(REM, 8.0)
    rem.fit(train, 4, 0, CPU, shares.append)
    made = 3 * 2 * (2 + 1)  # K steps, J transformations of each, K_a steps and one look at each of these
    # 3 iterations of 20 images: noise, an adversary, the surrogate's own step; then noise for all 40
    assert rem.passes.forward == rem.passes.backward == (3 * 20 * (made + 2 + 1) + 40 * made) / 40
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.parametrize("arch", ["linear", "narrow"])
def test_deepconfuse_tries_the_step_that_is_taken_and_sees_through_it(arch: str) -> None:
    torch.manual_seed(0)
    model, generator = build_classifier(arch, 4, 3, (16, 10)).double().train(), NoiseGenerator(3, 8, 8 / 255).double()
    train, before = pictures(12, low=50, high=200), deepcopy(model.state_dict())  # nothing is clipped
    x = train.images.double() / 255

    def value() -> torch.Tensor:
        return unrolled_loss(model, generator, x, train.labels, 0.01)

    loss = value()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())  # only tried
    taken = deepcopy(model)
    optimizer = torch.optim.SGD(taken.parameters(), 0.01)
    cross_entropy(taken(noised(x, generator(x))), train.labels).backward()
    optimizer.step()
    assert loss.item() == pytest.approx(cross_entropy(taken(x), train.labels).item(), rel=1e-4)
    if arch != "linear":  # rectified units make the tried step jump: there is no slope to compare with
        return
    bias = list(generator.parameters())[-1]  # the brightness of all noise
    (slope,) = torch.autograd.grad(loss, bias)
    start, ends = bias.detach().clone(), []
    for sign in (1, -1):
        bias.data = start + sign * 1e-4 * slope / slope.norm()
        ends.append(value().item())
    assert (ends[0] - ends[1]) / 2e-4 == pytest.approx(slope.norm().item(), rel=0.05)


def test_deepconfuse_leads_a_classifier_astray() -> None:
    train = told()
    confuse = DeepConfuse(replace(CONFUSE, trials=12, epochs=3), 8.0)
    confuse.fit(train, 4, 0, CPU, lambda _: None)
    assert confuse.losses[-1] > confuse.losses[0] + 0.01
    recipe = replace(RECIPES["quick"], arch="linear", epochs=6, lr=0.1, augment="none")

    def learned(images: torch.Tensor) -> float:
        return train_victim(ImageSet(images, train.labels), train, 4, recipe, 3).curve[-1]["accuracy"]

    assert learned(confuse.protect(train)) < learned(train.images) - 0.2


def test_gue_payoff_is_bounded_and_its_multiplier_keeps_the_answer_in_sight() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = 5 * torch.randn(20, 4, generator=generator).double(), torch.arange(20) % 4
    others = torch.stack([(labels + step) % 4 for step in (1, 2, 3)])
    worst = torch.stack([cross_entropy(logits, other, reduction="none") for other in others]).amax(0)
    assert payoff(logits, labels).item() == pytest.approx(-worst.mean().item(), rel=1e-4)
    most = -math.log(3)  # the three wrong classes share all probability
    assert payoff(torch.eye(4)[:2] * -100, torch.tensor([0, 1])).item() == pytest.approx(most, rel=1e-4)
    assert payoff(logits, labels) < most
    assert payoff(torch.eye(4)[:2] * 100, torch.tensor([0, 1])).isfinite()
    for eta in (0.5, 1.5):
        slopes, wanted = ([torch.randn(6, generator=generator) for _ in range(2)] for _ in range(2))
        wanted[0] = -2 * slopes[0]  # would undo the answer
        share = multiplier(slopes, [wanted[0], None], eta)
        step = [wanted[0] + share * slopes[0], share * slopes[1]]
        square = sum(float(s.square().sum()) for s in slopes)
        assert sum(float((a * b).sum()) for a, b in zip(step, slopes, strict=True)) == pytest.approx(
            eta * square, rel=1e-4
        )
    assert multiplier(slopes, [9 * s for s in slopes], 0.5) == 0  # what is wanted already nears the answer


def test_gue_moves_both_players_and_the_generator_towards_the_leader() -> None:
    torch.manual_seed(0)
    train = told()
    model, generator = build_classifier("linear", 4, 3, (16, 10)).train(), NoiseGenerator(3, 8, 8 / 255)
    x = train.images / 255
    losses = [move(model, generator, x, train.labels, replace(GUE, steps=5, lr=1.0)) for _ in range(60)]
    assert losses[-1][0] < losses[0][0]  # the follower learns what it is shown
    blind = NoiseGenerator(3, 8, 8 / 255)
    with torch.no_grad():
        shown = cross_entropy(model(noised(x, generator(x))), train.labels)
        assert shown < cross_entropy(model(noised(x, blind(x))), train.labels)  # the noise carries some of it
        assert shown < cross_entropy(model(x), train.labels)


def test_clusters_wear_one_pattern_each_that_leads_to_the_next_cluster() -> None:
    train = told()
    clusters = UnlearnableClusters(replace(CLUSTERS, epochs=30), 8.0)
    clusters.fit(train, 4, 0, CPU, lambda _: None)
    assert clusters.patterns is not None
    assert clusters.centres is not None
    own, noise = clusters.clusters(train), change(clusters, train)
    assert own.unique().tolist() == [0, 1, 2]
    for k in range(3):
        assert (noise[own == k] == noise[own == k][0]).all()
    assert len(clusters.patterns.unique(dim=0)) == 3
    assert clusters.divergences[-1] < clusters.divergences[0]
    assert clusters.features is not None
    with torch.no_grad():
        clean, protected = (clusters.features(images / 255) for images in (train.images, clusters.protect(train)))
    aim = clusters.centres[(own + 1) % 3]
    assert ((protected - aim).norm(dim=1) < (clean - aim).norm(dim=1)).float().mean() > 0.9
    unseen = pictures(seed=1, low=100, high=150)
    assert torch.equal(
        change(clusters, unseen)[0], (clusters.patterns * 255).round().int()[clusters.clusters(unseen)[0]]
    )


def test_k_means_finds_what_is_apart_and_bears_equal_points() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0], [10, 0], [0, 10]])
    points = centres.repeat(20, 1) + 0.1 * torch.randn(60, 2, generator=generator)
    found = k_means(points, 3, generator)
    assert torch.cdist(centres, found).amin(1).max() < 0.2
    assert nearest(points, found).reshape(20, 3).unique(dim=0).shape == (1, 3)
    assert k_means(torch.ones(5, 2), 3, generator).shape == (3, 2)


class Killed(Exception):
    """A fit that is cut off."""


@pytest.mark.parametrize(
    "variant", ["emn sample", "tap", "rem", "hypo", "sem", "sep", "miue", "bait", "ntga", *GENERATED]
)
def test_a_killed_fit_resumes_and_ends_the_same(variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baselines.checkpoint.EVERY", 0.0)
    name, config = VARIANTS[variant]
    train, whole = pictures(), fitted(variant, pictures())

    def kill(share: float) -> None:
        if share > 0.8:
            raise Killed

    for progress in (kill, lambda _: None):
        protection: Any = make_protection(name, config, 8)
        protection.checkpoint_path = tmp_path / "fit.ckpt"
        if progress is kill:
            with pytest.raises(Killed):
                protection.fit(train, 4, 0, CPU, progress)
            assert protection.checkpoint_path.exists()
            other: Any = make_protection(name, config, 8)
            other.checkpoint_path = protection.checkpoint_path
            with pytest.raises(DataError, match="state of another fit"):
                other.fit(train, 4, 1, CPU, progress)
        else:
            protection.fit(train, 4, 0, CPU, progress)
    assert torch.equal(protection.protect(train), whole.protect(train))
    assert protection.passes == whole.passes
    (tmp_path / "fit.ckpt").write_bytes(b"torn")
    with pytest.raises(DataError, match="damaged state of a fit"):
        protection.fit(train, 4, 0, CPU, lambda _: None)


@pytest.mark.parametrize(
    "variant", [v for v, (name, _) in VARIANTS.items() if BaselinesConfig().methods()[name].implied(40)]
)
def test_methods_take_no_more_passes_than_the_published_algorithms_imply(variant: str) -> None:
    name, config = VARIANTS[variant]
    protection: Any = fitted(variant, pictures())
    least = config.methods()[name].implied(40) * getattr(protection, "rounds", 1)
    assert 0.95 * least <= protection.passes.backward <= 1.2 * least


def test_every_registered_name_is_its_protections_own() -> None:
    for name in METHODS:
        assert make_protection(name, BaselinesConfig(), 8.0).name == name


def test_facts_are_of_every_method_and_true() -> None:
    known = {row.method: row for row in method_infos()}
    assert list(known) == [DEFAULT_METHOD, *METHODS]
    assert [name for name, row in known.items() if not row.labels] == [DEFAULT_METHOD, "random", *LABEL_FREE]
    assert {name: row.norm for name, row in known.items() if row.norm != "L∞"} == {
        "ar": "L2",
        "cuda": "none",
        "ops": "L0",
    }
    assert known["rem"].cost == "7731"  # 5,000 · 128 / 50,000 · 561 + 550
    train, unseen = pictures(), pictures(seed=1)
    for variant, (name, _) in VARIANTS.items():
        if variant.endswith("class") or known[name].images != FITTED:
            assert fitted(variant, train).protect(unseen).shape == unseen.images.shape


def test_options_load_no_torch() -> None:
    code = "import sys, baselines, baselines.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False).returncode == 0
