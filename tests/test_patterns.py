"""Chosen patterns: the textures and tints, what reads the class, the fit as a whole, and files of the first build."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from baselines.config import BaselinesConfig, PatternsConfig
from baselines.patterns.files import load_patterns
from baselines.patterns.network import PatternGenerator, TileField, build_pattern_generator
from baselines.patterns.protection import Patterns, calibrate, learn_head, read
from baselines.patterns.textures import (
    colour_patterns,
    period_2_patterns,
    period_3_patterns,
    textures,
    zone_means,
    zones,
)
from datamodules.augment import isolated_rng
from datamodules.config import DataError
from datamodules.images import ImageSet, to_float
from gan.protection import GeneratorFileError, quantise
from victims.passes import PassCounter

CPU = torch.device("cpu")
EPSILON = 8 / 255
QUICK = PatternsConfig(auxiliary_classifier="narrow", auxiliary_epochs=2, head_epochs=6, hidden=16)


def make(channels: int = 3, classes: int = 3, **options: Any) -> PatternGenerator:
    torch.manual_seed(0)
    chosen = {"encoder": "conv", "auxiliary_classifier": "none", "width": 8, "hidden": 16} | options
    return build_pattern_generator(PatternsConfig(**chosen), channels, classes, EPSILON, (16, 16))


def blobs(count: int = 60, channels: int = 1, seed: int = 0, width: int = 12) -> ImageSet:
    """Images of three classes, told by brightness; nothing of them is clipped."""
    generator, labels = torch.Generator().manual_seed(seed), torch.arange(count) % 3
    noise = torch.randint(20, 60, (count, channels, 16, width), generator=generator)
    return ImageSet((noise + 60 * labels[:, None, None, None]).to(torch.uint8), labels)


def fitted(options: PatternsConfig = QUICK, train: ImageSet | None = None, seed: int = 0) -> Patterns:
    patterns = Patterns(options, 8.0)
    patterns.fit(train or blobs(), 3, seed, CPU, lambda _: None)
    return patterns


def coloured(channels: int = 3) -> PatternGenerator:
    random = torch.Generator().manual_seed(0)
    generator = make(channels, pattern="tints", amplitude=0.5)
    generator.choose_colour_patterns(120 + 9 * torch.randn(90, 2 * channels, generator=random), torch.arange(90) % 3)
    return generator


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (33, 17), (1, 1), (5, 40)])
def test_noise_has_the_images_shape_and_keeps_the_bound(channels: int, size: tuple[int, int]) -> None:
    generator = make(channels)
    with torch.no_grad():
        generator.strength.mul_(1000)  # saturated: the bound must hold there too
        noise = generator(torch.rand(2, channels, *size))
    assert noise.shape == (2, channels, *size)
    assert noise.abs().max() <= EPSILON
    assert noise.abs().max() > EPSILON / 2


def test_bound_holds_under_bf16() -> None:
    generator = make()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        generator.strength.mul_(1000)
        noise = generator(torch.rand(2, 3, 16, 16))
    assert noise.dtype == torch.float32
    assert noise.abs().max() <= EPSILON


@pytest.mark.parametrize("encoder", ["conv", "efficientnet_lite0"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_images_noise_does_not_depend_on_its_batch(encoder: str, channels: int) -> None:
    # in training mode: no statistics of the batch there either
    generator = make(channels, encoder=encoder, auxiliary_classifier="narrow", dropout=0.0).train()
    images = torch.rand(5, channels, 16, 16)
    with torch.no_grad():
        together, alone = generator(images), torch.cat([generator(image[None]) for image in images])
        among_others = generator(torch.cat([images[:1], torch.ones(5, channels, 16, 16)]))
    assert torch.allclose(together, alone, atol=1e-6)
    assert torch.allclose(together[:1], among_others[:1], atol=1e-6)


def test_noise_is_the_class_texture_repeated() -> None:
    generator = make(3, amplitude=0.75)
    sure = 100 * torch.eye(3)
    noise = generator.noise(sure, torch.rand(3, 3, 10, 7))
    assert torch.allclose(noise.abs(), torch.full_like(noise, 0.75 * EPSILON), atol=1e-6)
    assert generator.tiles.shape == (3, 3, 3, 3)
    assert torch.equal(noise[..., 3:, :], noise[..., :7, :])
    assert torch.equal(noise[..., :, 3:], noise[..., :, :4])
    assert not torch.equal(noise[0], noise[1])


COUNTS = [(1, 3), (1, 10), (1, 120), (3, 2), (3, 12), (3, 100), (3, 180)]


@pytest.mark.parametrize("family", ["waves", "thirds"])
@pytest.mark.parametrize(("channels", "classes"), COUNTS)
def test_textures_differ_in_every_phase_and_flip(family: str, channels: int, classes: int) -> None:
    tiles = textures(classes, channels, family)
    assert len(tiles) == classes
    assert set(tiles.unique().tolist()) == {-1.0, 1.0}
    # what is left of a texture when crops and flips have moved it about: which waves it has, in which colours
    spectra = torch.fft.fft2(tiles).abs()
    spectra = (spectra + spectra.flip(3).roll(1, 3)).flatten(1)
    signs = (tiles[:, :1] * tiles).flatten(1)
    exact = "donot_use_mm_for_euclid_dist"
    same = torch.cdist(spectra, spectra, compute_mode=exact) < 1e-3
    same &= torch.cdist(signs, signs, compute_mode=exact) < 1e-3
    assert same.sum() == classes
    assert tiles.mean((2, 3)).abs().max() < 0.34, "a texture is no shift of colour alone"


@pytest.mark.parametrize("stride", [2, 4, 8])
@pytest.mark.parametrize(("channels", "classes"), [(1, 3), (3, 12)])
def test_strides_of_powers_of_two_meet_every_phase_of_thirds(stride: int, channels: int, classes: int) -> None:
    def strided(family: str) -> torch.Tensor:
        tiles = textures(classes, channels, family)
        return tiles.repeat(1, 1, stride, stride)[..., ::stride, ::stride].flatten(2).sort(2)[0]

    assert torch.equal(strided("thirds"), textures(classes, channels, "thirds").flatten(2).sort(2)[0])
    assert (strided("waves").std(2) == 0).all(), "patterns of period 2 are flat behind it"


def test_more_classes_than_textures() -> None:
    assert [len(period_2_patterns(side)) for side in (2, 4, 8, 16, 32)] == [3, 5, 16, 45, 145]
    assert [len(period_3_patterns(side)) for side in (3, 9, 15, 21, 63)] == [3, 15, 24, 35, 288]
    for family in ("waves", "thirds"):
        with pytest.raises(ValueError, match="5000 classes are more than there are textures"):
            textures(5000, 1, family)


def test_a_doubtful_code_mixes_textures() -> None:
    for mixing, share in (("linear", 1 / 2), ("root", 2**-0.5)):
        generator = make(3, temperature=2.0, mixing=mixing)
        doubt = generator.noise(torch.tensor([[5.0, 5.0, -50.0]]), torch.rand(1, 3, 6, 6))
        mixed = EPSILON * torch.tanh(math.atanh(0.75) * (generator.tiles[0] + generator.tiles[1]) * share)
        assert torch.allclose(doubt[0], mixed.repeat(1, 2, 2), atol=1e-6)
    code = torch.tensor([[1.0, 0.0, 0.0]])
    cold, warm = (
        make(3, temperature=t, mixing="linear").noise(code, torch.rand(1, 3, 4, 4)).abs().mean() for t in (0.1, 10.0)
    )
    assert cold > warm


def test_zones_share_the_image_and_survive_flips() -> None:
    for size in ((64, 64), (32, 48), (7, 5)):
        masks = zones(size)
        assert torch.equal(masks.sum(0), torch.ones(size))
        assert torch.equal(masks, masks.flip(1))
        assert torch.equal(masks, masks.flip(2))
    assert 0.4 < zones((64, 64))[0].mean() < 0.6
    image = (zones((32, 32))[0] * 100 + zones((32, 32))[1] * 30)[None, None]
    assert torch.allclose(zone_means(image), torch.tensor([[100.0, 30.0]]))


@pytest.mark.parametrize(("channels", "classes"), [(1, 3), (1, 10), (3, 2), (3, 8), (3, 70)])
def test_colour_patterns_differ_and_oppose_their_class(channels: int, classes: int) -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(40 * classes) % classes
    centres = 40 * torch.rand(classes, 2 * channels, generator=random)
    means = 100 + centres[labels] + 5 * torch.randn(len(labels), 2 * channels, generator=random)
    found = colour_patterns(means, labels, classes)
    assert found.shape == (classes, 2, channels)
    assert found.abs().max() == 1
    assert len(found.flatten(1).unique(dim=0)) == classes
    assert (found == 0).all(2).all(1).sum() == 1, "one class's is none"
    precision = torch.linalg.inv(torch.cov(means.T))
    own = (centres - centres.mean(0)) @ precision @ found.flatten(1).T
    assert own.diagonal().mean() < own.mean(), "a class's tint resembles its own pictures less than others'"


def test_colour_patterns_replace_periodic_ones_and_level_quiet_colours() -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    means = 120 + torch.randn(90, 6, generator=random) * torch.tensor([40.0, 40, 40, 2, 2, 2])
    generator = make(3, pattern="tints", amplitude=0.5)
    generator.choose_colour_patterns(means, labels)
    assert (generator.tiles.flatten(1).abs().amax(1) > 0).sum() == 1
    sure, usual = 100 * torch.eye(3), means.mean(0)[:, None, None] / 255
    masks = zones((16, 16))
    image = (usual[:3] * masks[0] + usual[3:] * masks[1]).expand(3, 3, 16, 16)
    noise = generator.noise(sure, image)
    plain = int((generator.tints == 0).all(2).all(1).nonzero())
    for k in range(3):
        values = zone_means(noise[k : k + 1])[0]
        expected = torch.zeros(6) if k == plain else 0.5 * EPSILON * generator.tints[k].flatten()
        assert torch.allclose(values, expected, atol=2e-3)
    # what an image's rim has of its own is taken back there, and its middle, whose colours vary, is left alone
    for start, share in ((3, 1.0), (0, 0.0)):
        moved = image + torch.tensor(2 / 255) * masks[start // 3]
        change = zone_means(generator.noise(sure, moved) - noise)[plain]
        slope = 1 - 0.5**2  # of tanh, where the plain class's waves are
        assert change[start : start + 3].mean().item() == pytest.approx(-share * slope * 2 / 255, abs=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pattern", ["waves", "thirds", "tints"])
def test_a_pictures_field_is_its_noise_however_rows_are_cut(pattern: str, channels: int) -> None:
    generator = coloured(channels) if pattern == "tints" else make(channels, pattern=pattern)
    generator.eval().requires_grad_(False)
    image = torch.rand(1, channels, 37, 22)
    code = generator.code(image)
    field = generator.field(code, image)
    whole = field.rows(37, 22, slice(0, 37))
    assert whole.dtype == np.float32
    assert whole.shape == (37, 22, channels)
    assert np.abs(whole).max() <= EPSILON
    noise = generator(image)
    assert np.allclose(whole.transpose(2, 0, 1), noise[0].numpy(), atol=1e-8)
    for step in (1, 5, 36):
        cut = [field.rows(37, 22, slice(top, min(top + step, 37))) for top in range(0, 37, step)]
        assert np.array_equal(np.concatenate(cut), whole)
    # another size: the same tile, the same zones of it
    other = field.rows(64, 64, slice(0, 64))
    assert np.array_equal(other[:2, :2], whole[:2, :2])
    side = field.tiles.shape[1]
    assert np.array_equal(other[32, 32], field.tiles[0][32 % side, 32 % side])
    assert len(field.tiles) == (2 if pattern == "tints" else 1)


def test_a_field_of_two_zones_by_hand() -> None:
    tiles = np.array([[[[0.01]]], [[[-0.02]]]], np.float32)
    found = TileField(tiles).rows(10, 10, slice(4, 6))[..., 0]
    # the ellipse reaches to 0.8 of the half side: pixels whose centre lies nearer are of the middle
    middle = np.abs(np.linspace(-1, 1, 10)) ** 2 + (1 / 9) ** 2 < 0.8**2
    expected = np.where(middle, np.float32(0.01), np.float32(-0.02))
    assert np.array_equal(found, np.stack([expected, expected]))


def test_the_temperature_is_the_likeliest() -> None:
    """Logits that are right half the time and always sure of it ask for a high temperature; sound ones for 1."""
    images = ImageSet(torch.randint(0, 256, (200, 1, 16, 16), dtype=torch.uint8), torch.arange(200) % 2)
    generator = make(1, 2, temperature=0)
    sure = torch.tensor([[6.0, 0.0]]).expand(200, 2)
    generator.code = lambda images: sure[: len(images)]  # type: ignore[method-assign]
    calibrate(generator, images)
    assert generator.temperature == 8
    right = torch.where(images.labels[:, None] == torch.arange(2), 1.0, -1.0)
    wrong = (torch.arange(200) % 5 < 1)[:, None]  # right four times in five, and odds of four to one
    sound = torch.where(wrong, -right, right) * (math.log(4) / 2)
    pieces = iter(sound.split(64))
    generator.code = lambda images: next(pieces)  # type: ignore[method-assign]
    calibrate(generator, images)
    assert generator.temperature == 1


def test_the_auxiliary_classifier_is_trained_and_decides_half_of_the_code() -> None:
    options = replace(QUICK, auxiliary_classifier="narrow_vgg", auxiliary_epochs=8)
    generator = fitted(options, blobs(120, width=16)).generator
    assert generator is not None
    second = generator.second
    assert second is not None
    unseen = blobs(seed=1, width=16)
    images = to_float(unseen.images)
    read_by_it = second(images)
    assert (read_by_it.argmax(1) == unseen.labels).float().mean() > 0.6  # chance 1/3
    assert torch.allclose(read_by_it, second(images.flip(3)), atol=1e-5)
    own = generator.head(generator.scaled(generator.encoder(images))).log_softmax(1)
    assert torch.allclose(generator.code(images), (own + read_by_it) / 2, atol=1e-5)
    assert second(images[:, :, :8]).shape == read_by_it.shape  # of any size: it is shown the size it was trained at
    generator.train()
    assert not second.net.training
    assert not any(p.requires_grad for p in second.parameters())


def test_the_head_learns_from_features_that_are_read_once_and_in_their_places() -> None:
    generator, train = make(1, encoder="efficientnet_lite0").eval(), blobs(100)
    features = read(generator, train, lambda _: None)
    assert features.shape == (100, generator.encoder.width)
    rows = torch.tensor([7, 0, 71])
    assert torch.allclose(features[rows], generator.encoder(to_float(train.pixels(rows))), atol=1e-4)
    generator.standardise(features)
    assert torch.allclose(generator.scaled(features).mean(0), torch.zeros(features.shape[1]), atol=1e-3)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    counter = PassCounter()
    options = replace(QUICK, head_epochs=8)
    with isolated_rng(0, CPU):
        learn_head(generator, features, train.labels, options, counter, lambda _: None)
    changed = {name for name, value in generator.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.1.weight", "head.1.bias", "head.4.weight", "head.4.bias"}
    assert (counter.forward, counter.backward) == (800, 800)
    with torch.no_grad():
        assert (generator.code(to_float(train.images)).argmax(1) == train.labels).float().mean() > 0.9
    assert counter.forward == 800  # nothing is counted any longer


@pytest.mark.parametrize(
    "options",
    [
        QUICK,
        replace(QUICK, auxiliary_classifier="none", pattern="waves", temperature=0),
        replace(QUICK, auxiliary_classifier="linear", pattern="tints"),
    ],
)
def test_a_fit_keeps_the_bound_repeats_itself_and_needs_no_label_to_protect(options: PatternsConfig) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    with torch.no_grad():
        patterns = fitted(options)
    assert torch.equal(before, torch.random.get_rng_state())
    unseen = blobs(30, seed=1)
    protected = patterns.protect(unseen)
    change = protected.int() - unseen.images.int()
    assert change.abs().max() <= 8
    assert (change != 0).float().mean() > 0.5
    torch.manual_seed(2)
    assert torch.equal(protected, fitted(options).protect(unseen))
    assert not torch.equal(protected, fitted(options, seed=1).protect(unseen))
    nobody = ImageSet(unseen.images, torch.full((30,), -1))
    assert torch.equal(protected, patterns.protect(nobody))
    alone = torch.cat([patterns.protect(nobody.subset(torch.tensor([i]))) for i in range(30)])
    assert torch.equal(protected, alone)
    assert patterns.generator is not None
    field = patterns.generator.field(
        patterns.generator.code(to_float(unseen.images[:1])), to_float(unseen.images[:1])
    ).rows(16, 12, slice(0, 16))
    noise = torch.from_numpy(field.copy()).permute(2, 0, 1)[None]
    assert torch.equal(quantise(unseen.images[:1], noise, 8.0), protected[:1])
    assert patterns.protect(ImageSet(unseen.images[..., :3, :1], nobody.labels)).shape == (30, 1, 3, 1)


def test_noise_is_the_pattern_of_the_class_that_is_read() -> None:
    patterns = fitted(replace(QUICK, auxiliary_classifier="none", head_epochs=20, temperature=0.1), blobs(90))
    assert patterns.generator is not None
    unseen = blobs(30, seed=1)
    change = patterns.protect(unseen).int() - unseen.images.int()
    tiles = patterns.generator.tiles.repeat(1, 1, 6, 4)[:, :, :16, :12]
    answers = (change[:, None] * tiles).sum((2, 3, 4))
    assert (answers.argmax(1) == unseen.labels).float().mean() > 0.9


def test_progress_never_falls_and_passes_are_counted_as_they_happen() -> None:
    for options in (QUICK, replace(QUICK, auxiliary_classifier="none"), replace(QUICK, head_epochs=0, temperature=0)):
        shares: list[float] = []
        patterns = Patterns(options, 8.0)
        patterns.fit(blobs(), 3, 0, CPU, shares.append)
        assert shares == sorted(shares)
        assert shares[0] > 0
        assert shares[-1] == 1
        assert shares.count(1) == 1
        # of 60 images 6 are kept; of the other 54 (18 per class) the auxiliary classifier keeps 2 per class
        auxiliary_passes = 48 * options.auxiliary_epochs if options.auxiliary_classifier != "none" else 0
        assert patterns.passes.backward == (auxiliary_passes + 54 * options.head_epochs) / 60
        # beside these: features; after each epoch a look at 6 images by both; where calibrated, the code of the kept
        # ones: by the encoder, and of them and their mirror images by the classifier
        looks = 12 * options.auxiliary_epochs if auxiliary_passes else 0
        calibrated = 0 if options.temperature else 6 + 2 * 6
        assert patterns.passes.forward == (auxiliary_passes + 54 * options.head_epochs + 54 + looks + calibrated) / 60


def test_what_cannot_be_fitted_or_protected_is_named() -> None:
    with pytest.raises(RuntimeError, match="patterns: protect was called before fit"):
        Patterns(QUICK, 8.0).protect(blobs())
    with pytest.raises(DataError, match="patterns: expected images of 1 channels, as it was fitted on, found 3"):
        fitted(replace(QUICK, auxiliary_classifier="none", head_epochs=0)).protect(blobs(channels=3))
    with pytest.raises(DataError, match="class 3 has no image"):
        Patterns(QUICK, 8.0).fit(blobs(), 4, 0, CPU, lambda _: None)
    with pytest.raises(DataError, match="patterns: no class has two images"):
        Patterns(QUICK, 8.0).fit(blobs(3), 3, 0, CPU, lambda _: None)
    with pytest.raises(ValueError, match="conv reads old files alone; fit with efficientnet_lite0"):
        fitted(replace(QUICK, encoder="conv"))
    with pytest.raises(ValueError, match="neither one of narrow"):
        fitted(replace(QUICK, auxiliary_classifier="narow_vgg"))


def test_options_reach_the_whole_programs() -> None:
    config = BaselinesConfig(patterns=replace(QUICK, auxiliary_classifier="none"))
    assert "baselines.patterns.auxiliary_classifier" not in config.archs()
    assert BaselinesConfig().archs()["baselines.patterns.auxiliary_classifier"] == "narrow"
    short = BaselinesConfig().shortened().patterns
    assert (short.auxiliary_epochs, short.head_epochs) == (1, 2)
    assert PatternsConfig().faults() == []


OLD_OPTIONS = {
    "optimizer": "adamw", "lr": 0.001, "beta1": 0.9, "weight_decay": 0.1, "schedule": "cosine", "warmup": 0.0,
    "clip": 1.0, "compile": False, "encoder": "conv", "width": 8, "levels": 2, "blocks": 1, "second_reader": "linear",
    "second_epochs": 30, "hidden": 16, "dropout": 0.3, "pattern": "waves", "amplitude": 0.75, "mixing": "root",
    "temperature": 0.5, "head_epochs": 60,
}  # fmt: skip
OLD_CARD = {
    "format": 4, "method": "confoundergan", "channels": 1, "epsilon": 8.0, "generator": OLD_OPTIONS, "data": "digits",
    "fingerprint": "", "class_names": ["a", "b", "c"], "images": 60, "size": [16, 16], "seed": 0, "epochs": 1,
    "versions": {},
}  # fmt: skip
# every tensor that the first build stored with these options
OLD_SHAPES: dict[str, tuple[int, ...]] = {
    "strength": (3,), "centre": (16,), "spread": (16,), "temperature": (), "tiles": (3, 1, 2, 2), "tints": (3, 2, 1),
    "usual": (2,), "quiet": (2, 2),
    "encoder.body.1.weight": (8, 4, 3, 3), "encoder.body.1.bias": (8,),
    "encoder.body.2.body.0.weight": (8,), "encoder.body.2.body.0.bias": (8,),
    "encoder.body.2.body.2.weight": (8, 8, 3, 3), "encoder.body.2.body.2.bias": (8,),
    "encoder.body.2.body.3.weight": (8,), "encoder.body.2.body.3.bias": (8,),
    "encoder.body.2.body.5.weight": (8, 8, 3, 3), "encoder.body.2.body.5.bias": (8,),
    "encoder.body.3.weight": (16, 8, 3, 3), "encoder.body.3.bias": (16,),
    "encoder.body.4.body.0.weight": (16,), "encoder.body.4.body.0.bias": (16,),
    "encoder.body.4.body.2.weight": (16, 16, 3, 3), "encoder.body.4.body.2.bias": (16,),
    "encoder.body.4.body.3.weight": (16,), "encoder.body.4.body.3.bias": (16,),
    "encoder.body.4.body.5.weight": (16, 16, 3, 3), "encoder.body.4.body.5.bias": (16,),
    "encoder.body.5.weight": (16,), "encoder.body.5.bias": (16,),
    "second.net.net.1.weight": (3, 256), "second.net.net.1.bias": (3,),
    "head.1.weight": (16, 16), "head.1.bias": (16,), "head.4.weight": (3, 16), "head.4.bias": (3,),
}  # fmt: skip


def old_tensors() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=random) / 4 for name, shape in OLD_SHAPES.items()}
    tensors |= {"spread": torch.ones(16), "temperature": torch.tensor(0.7), "strength": torch.tensor([1.0, 0.8, 1.2])}
    waves = [[[1, -1], [-1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]]]
    return tensors | {"tiles": torch.tensor(waves, dtype=torch.float32)[:, None]}


def test_files_of_the_first_build_give_their_noise(tmp_path: Path) -> None:
    """What the classifiers say of brightness alone is worked out by hand here: the file's numbers are all read."""
    tensors = old_tensors()
    for name in ("head.4.weight", "second.net.net.1.weight"):
        tensors[name].zero_()
    tensors["second.net.net.1.weight"][0] = 1 / 256  # the mean of the picture, less a half, times four
    path = tmp_path / "generator.safetensors"
    path.write_bytes(save(tensors))
    generator = load_patterns(path, path.read_bytes(), OLD_CARD)
    assert not generator.training
    assert {name: tuple(value.shape) for name, value in generator.state_dict().items()} == OLD_SHAPES
    assert all(torch.equal(value, tensors[name]) for name, value in generator.state_dict().items())
    images = torch.rand(4, 1, 16, 16) * torch.tensor([0.2, 0.5, 0.8, 1.0])[:, None, None, None]
    with torch.no_grad():
        noise = generator(images)
    brightness = 4 * (images.double().mean((1, 2, 3)) - 0.5)
    auxiliary = torch.stack([brightness, torch.zeros(4), torch.zeros(4)], 1) + tensors["second.net.net.1.bias"]
    code = (auxiliary.log_softmax(1) + tensors["head.4.bias"].double().log_softmax(0)) / 2
    weights = (code / 0.7).softmax(1).sqrt() * torch.tensor([1.0, 0.8, 1.2])
    tile = EPSILON * (weights[:, :, None, None] * tensors["tiles"][:, 0]).sum(1).tanh()
    assert torch.allclose(noise[:, 0].double(), tile.repeat(1, 8, 8), atol=1e-7)


def test_a_files_encoder_decides_its_noise_too(tmp_path: Path) -> None:
    path, images = tmp_path / "generator.safetensors", torch.rand(6, 1, 16, 16)
    found = []
    for name in ("", "encoder.body.1.weight", "encoder.body.4.body.5.bias", "centre", "head.1.weight"):
        tensors = old_tensors()
        if name:
            tensors[name][0] += 0.5
        with torch.no_grad():
            found.append(load_patterns(path, save(tensors), OLD_CARD)(images))
    assert all(not torch.equal(noise, found[0]) for noise in found[1:])


@pytest.mark.parametrize(
    "faulty",
    [
        {"class_names": ["a", "b"]},
        {"size": [8, 8]},
        {"size": 16},
        {"channels": 3},
        {"generator": OLD_OPTIONS | {"encoder": "efficientnet_lite0"}},
        {"generator": None},
    ],
)
def test_files_that_do_not_fit_their_card_are_named(faulty: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(GeneratorFileError, match="generator.safetensors: weights and card do not fit"):
        load_patterns(tmp_path / "generator.safetensors", save(old_tensors()), OLD_CARD | faulty)
    with pytest.raises(GeneratorFileError, match="weights and card do not fit"):
        load_patterns(tmp_path / "generator.safetensors", b"torn", OLD_CARD)
