"""Defences: each does to images, labels or gradients what its name says, and nothing is left to chance."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from datamodules.augment import augment, draws, isolated_rng
from datamodules.config import AUGMENTATIONS
from datamodules.images import ImageSet, to_float
from datamodules.split import stratified_group_split
from experiments.config import ConfigError, compose
from experiments.results import summary_lines
from experiments.train import check_pairs, train
from victims.batch_stage import BATCH_STAGE, apply_batch_stage, cloud, strong
from victims.classifier import build_classifier
from victims.config import RECIPES, Recipe, VictimConfig
from victims.dataset_stage import apply_dataset_stage, losses_of, projection, subspace, without_lowest_loss
from victims.defences import DEFENCES, Parameter, defence_fault, example, operations, passes, written
from victims.denoise import autoencoder
from victims.input_stage import PURIFIERS, Purified, apply_input_stage
from victims.model_stage import MODEL_STAGE, Mean, apply_model_stage
from victims.pairs import Pairs, UNet, restorer
from victims.schedule import make_schedule
from victims.smoothing import nonlocal_means, total_variation
from victims.train import VAL_FRACTION, epochs_of, predict, train_victim, victim_optimizer

CPU = torch.device("cpu")
SHAPES = [(3, 33, 21), (1, 17, 8), (3, 5, 5), (1, 32, 32)]
TINY = replace(RECIPES["quick"], epochs=2, batch_size=16)


def pictures(channels: int, height: int, width: int, count: int = 6) -> Tensor:
    """uint8: smooth shades with noise on them, some pixels black or white."""
    generator = torch.Generator().manual_seed(5)
    shades = F.interpolate(torch.rand(count, channels, 3, 3, generator=generator), (height, width), mode="bilinear")
    noise = torch.randn(shades.shape, generator=generator) * 0.08
    return ((1.2 * shades - 0.1 + noise).clamp(0, 1) * 255).round().to(torch.uint8)


def done(defence: str, images: Tensor) -> Tensor:
    ((name, values),) = operations(defence)
    return apply_input_stage([lambda batch: PURIFIERS[name](batch, *values)], images)


def blobs(count: int = 45, channels: int = 1, seed: int = 0, size: int = 16) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 60, (count, channels, size, size), generator=generator) + labels[:, None, None, None] * 60
    return ImageSet(images.to(torch.uint8), labels)


# names, parameters, errors


def test_every_name_has_its_code() -> None:
    stages = ("input", "dataset", "batch", "model")
    staged = {stage: {n for n, d in DEFENCES.items() if d.stage == stage} for stage in stages}
    assert set(PURIFIERS) == staged["input"]
    assert set(BATCH_STAGE) == staged["batch"]
    assert set(MODEL_STAGE) == staged["model"]
    assert staged["dataset"] == {"project", "subspace", "filter", "denoise", "pairs"}
    assert not set(DEFENCES) & {*AUGMENTATIONS, "none"}, "what victim.augment does is not done twice"


@pytest.mark.parametrize("name", DEFENCES)
def test_examples_and_bounds(name: str) -> None:
    assert written(operations(example(name))) == example(name)
    for number, parameter in enumerate(DEFENCES[name].parameters):
        values = example(name).split(":")[1:]
        bounds = isinstance(parameter, Parameter)
        for outside in (parameter.least - 1, parameter.most + 1) if bounds else ("telegraph",):
            values[number] = f"{outside:g}" if bounds else outside
            (fault,) = defence_fault("victim.defence", ":".join([name, *values]))
            assert f"expected {parameter.name}" in fault
        for inside in (parameter.least, parameter.most) if bounds else parameter.words:
            values[number] = f"{inside:g}" if bounds else inside
            assert defence_fault("victim.defence", ":".join([name, *values])) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jpg:10", "no defence 'jpg'; did you mean 'jpeg:10'?; expected none, or some of gray, blur, "),
        ("nothing", "no defence 'nothing'; expected none, or some of gray, blur, "),
        ("", "no defence ''; expected none"),
        ("blur:1+", "no defence ''; expected none"),
        ("none+blur:1", "none is combined with other defences; leave it out"),
        ("cutout", "no defence 'cutout': it is an operation of victim.augment"),
        ("jpeg", "'jpeg': jpeg takes quality; write 'jpeg:10'"),
        ("median:3", "'median:3': median takes no parameters; write 'median'"),
        (
            "adversarial:8",
            "'adversarial:8': adversarial takes bound in grey levels and steps; write 'adversarial:8:10'",
        ),
        ("jpeg:0", "'jpeg:0': expected quality, whole, 1 to 95, found '0'"),
        ("jpeg:ten", "'jpeg:ten': expected quality, whole, 1 to 95, found 'ten'"),
        ("bits:2.5", "'bits:2.5': expected bits per channel, whole, 1 to 7, found '2.5'"),
        ("blur:nan", "'blur:nan': expected standard deviation in pixels, 0.3 to 10, found 'nan'"),
        ("blur:0.1", "'blur:0.1': expected standard deviation in pixels, 0.3 to 10, found '0.1'"),
    ],
)
def test_faults_are_one_line_before_anything_starts(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([f"victim.defence={text}"])
    (fault,) = caught.value.faults
    assert fault.startswith(f"victim.defence: {expected}")
    assert "\n" not in fault
    with pytest.raises(ValueError, match="."):
        train_victim(blobs(), blobs(), 3, replace(TINY, defence=text), 0)


def test_one_way_to_write_a_defence_so_that_cells_are_shared() -> None:
    assert VictimConfig().resolved().defence == "none"
    assert VictimConfig(defence="blur:1.0+jpeg:010").resolved().defence == "blur:1+jpeg:10"


def test_work_of_a_step() -> None:
    assert passes(operations("none")) == 1
    assert passes(operations("jpeg:10+adversarial:8:7")) == 8
    assert passes(operations("ueraser:6")) == 3


# pixels


@pytest.mark.parametrize("name", PURIFIERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_purifiers_take_any_size_change_pixels_and_treat_each_image_alone(
    name: str, shape: tuple[int, int, int]
) -> None:
    images = pictures(*shape)
    before = images.clone()
    changed = done(example(name), images)
    assert (changed.dtype, changed.shape) == (torch.uint8, images.shape)
    assert torch.equal(images, before), "the set itself must stay as it is"
    assert torch.equal(changed, torch.cat([done(example(name), one[None]) for one in images]))
    assert torch.equal(changed, images) == (name == "gray" and shape[0] == 1)


def energy(images: Tensor, share: float) -> Tensor:
    """Of frequencies above a share of Nyquist's, mean square, an image."""
    waves = torch.fft.fft2(images.double(), norm="ortho").abs().square()
    rows, columns = (torch.fft.fftfreq(n).abs() * 2 for n in images.shape[2:])
    return (waves * (torch.hypot(rows[:, None], columns) > share)).mean((1, 2, 3))


@pytest.mark.parametrize("defence", ["blur:1", "resize:2", "lowpass:0.5", "median", "jpeg:10"])
def test_smoothing_takes_fine_structure_and_keeps_the_mean(defence: str) -> None:
    images = pictures(3, 32, 40)
    changed = done(defence, images)
    assert (energy(changed, 0.6) < 0.5 * energy(images, 0.6)).all()
    assert (changed.double().mean((1, 2, 3)) - images.double().mean((1, 2, 3))).abs().max() < 1


def test_blur_is_a_gaussian_of_that_many_pixels() -> None:
    point = torch.zeros(1, 1, 41, 41, dtype=torch.uint8)
    point[..., 20, 20] = 255
    for sigma in (0.5, 1.0):
        row = done(f"blur:{sigma}", point)[0, 0, 20].double()
        assert row[21] / row[20] == pytest.approx(np.exp(-0.5 / sigma**2), abs=0.03)
    assert row[20] == pytest.approx(255 / (2 * np.pi), abs=1)


@pytest.mark.parametrize("defence", ["blur:1", "resize:2", "lowpass:0.5"])
def test_patterns_of_period_2_are_taken_away(defence: str) -> None:
    stripes = 128 + 8 * (1 - 2 * (torch.arange(32) % 2))
    images = stripes.expand(2, 3, 32, 32).to(torch.uint8)
    inner = done(defence, images)[..., 4:-4].double()
    assert (inner - 128).abs().max() <= 1


def test_lowpass_cuts_at_the_share_of_the_nyquist_frequency() -> None:
    place = (torch.arange(32) + 0.5) / 32
    for half_waves, stays in ((8, True), (15, True), (17, False), (24, False)):
        wave = 128 + 60 * torch.cos(torch.pi * half_waves * place)
        images = wave.round().expand(1, 1, 32, 32).to(torch.uint8)
        spread = done("lowpass:0.5", images).double().std().item()
        assert (spread > 40) if stays else (spread < 1), half_waves


def test_gray_is_the_luma_in_all_channels() -> None:
    images = pictures(3, 16, 20)
    changed = done("gray", images)
    assert torch.equal(changed[:, 0], changed[:, 1])
    assert torch.equal(changed[:, 0], changed[:, 2])
    luma = np.stack([np.asarray(Image.fromarray(i.permute(1, 2, 0).numpy()).convert("L")) for i in images])
    assert (changed[:, 0].short() - torch.from_numpy(luma).short()).abs().max() <= 1


def test_median_removes_lone_pixels_and_keeps_edges() -> None:
    images = torch.zeros(1, 1, 9, 12, dtype=torch.uint8)
    images[..., 6:] = 200
    speckled = images.clone()
    speckled[..., 4, 2] = 255
    speckled[..., 4, 9] = 0
    assert torch.equal(done("median", speckled), images)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("name", "kind", "options"), [("jpeg", "JPEG", {"subsampling": "4:2:0"}), ("webp", "WEBP", {})]
)
def test_compression_is_pillows(shape: tuple[int, int, int], name: str, kind: str, options: dict[str, str]) -> None:
    images = pictures(*shape, count=2)
    for quality in (10, 75):
        for image, changed in zip(images, done(f"{name}:{quality}", images), strict=True):
            mode = "RGB" if shape[0] == 3 else "L"
            array = image.permute(1, 2, 0).numpy()
            buffer = io.BytesIO()
            Image.fromarray(array if mode == "RGB" else array[..., 0]).save(buffer, kind, quality=quality, **options)
            expected = np.asarray(Image.open(buffer).convert(mode)).reshape(array.shape)
            assert (changed.permute(1, 2, 0).numpy() == expected).all()


def test_bits_leave_that_many_levels() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    for count in range(1, 8):
        changed = done(f"bits:{count}", ramp)
        levels = changed.unique()
        assert len(levels) == 2**count
        assert (levels[0], levels[-1]) == (0, 255)
        assert (changed.short() - ramp.short()).abs().max() <= 128 / (2**count - 1)


def test_resize_and_sharpen_of_what_is_flat_and_of_edges() -> None:
    flat = torch.full((1, 3, 13, 9), 77, dtype=torch.uint8)
    for name in ("resize", "sharpen", "blur", "median", "lowpass", "tv", "nlm"):
        assert torch.equal(done(example(name), flat), flat), name
    edge = torch.full((1, 1, 12, 12), 100, dtype=torch.uint8)
    edge[..., 6:] = 150
    sharp = done("sharpen:2", edge)
    assert sharp.min() < 100 < 150 < sharp.max()
    assert torch.equal(sharp[..., 0, :], edge[..., 0, :])


def test_total_variation_falls_edges_stay_and_no_other_picture_is_better() -> None:
    def variation(images: Tensor) -> Tensor:
        down, right = F.pad(images.diff(dim=2), (0, 0, 0, 1)), F.pad(images.diff(dim=3), (0, 1))
        return (down.square() + right.square()).sum(1).sqrt().sum()

    step = torch.zeros(1, 3, 12, 12)
    step[..., 6:] = 0.8
    noisy = (step + 0.05 * torch.randn(step.shape, generator=draws(1))).clamp(0, 1)
    found = total_variation(noisy, 0.05)
    assert variation(found) - variation(step) < 0.2 * (variation(noisy) - variation(step))
    assert F.mse_loss(found, step) < 0.5 * F.mse_loss(noisy, step)
    assert (found[..., 6:].mean() - found[..., :6].mean()) > 0.75

    def cost(images: Tensor) -> float:
        return (0.5 * (images - noisy).square().sum() + 0.05 * variation(images)).item()

    others = [found + s * torch.randn(found.shape, generator=draws(2, k)) for k in range(5) for s in (1e-3, -1e-2)]
    assert cost(found) < min(cost(noisy), cost(step), *(cost(other) for other in others))


def test_nonlocal_means_take_noise_and_leave_a_pattern_that_repeats() -> None:
    tile = (torch.arange(16) % 4 < 2).float() * 0.5 + 0.25
    pattern = tile.expand(1, 1, 16, 16).contiguous()
    noisy = pattern + 0.03 * torch.randn(pattern.shape, generator=draws(3))
    found = nonlocal_means(noisy, 20 / 255)
    assert F.mse_loss(found, pattern) < 0.3 * F.mse_loss(noisy, pattern)
    assert F.mse_loss(F.avg_pool2d(noisy, 3, 1, 1), pattern) > F.mse_loss(noisy, pattern), "a plain mean does not"


@pytest.mark.parametrize(("first", "second"), [("blur:1", "jpeg:50"), ("gray", "resize:2")])
def test_two_defences_are_one_expression_and_their_order_counts(first: str, second: str) -> None:
    images = ImageSet(pictures(3, 16, 20), torch.arange(6) % 3)
    assert VictimConfig(defence=f"{first}+{second}").resolved().defence == f"{first}+{second}"

    def both(text: str) -> Tensor:
        found, purifiers = apply_dataset_stage(operations(text), images, TINY, lambda *_: nn.Identity(), 0, CPU)
        assert torch.equal(apply_input_stage(purifiers, images.images), found.images)
        return found.images

    assert torch.equal(both(f"{first}+{second}"), done(second, done(first, images.images)))
    assert not torch.equal(both(f"{first}+{second}"), both(f"{second}+{first}"))
    assert not torch.equal(both(f"{first}+{second}"), both(second))


# batches


def changed_batch(
    name: str, model: nn.Module, images: Tensor, labels: Tensor, classes: int = 3, key: int = 0
) -> tuple[Tensor, Tensor]:
    return apply_batch_stage(operations(name), model, images, labels, classes, draws(key))


def learner(channels: int = 1, size: tuple[int, int] = (16, 16)) -> nn.Module:
    with isolated_rng(0, CPU):
        return build_classifier("narrow", 3, channels, size).train()


def state(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def test_without_operations_on_batches_nothing_happens() -> None:
    images, labels = torch.rand(4, 1, 8, 8), torch.arange(4) % 3
    same, targets = changed_batch("jpeg:10", nn.Identity(), images, labels)
    assert same is images
    assert targets is labels


@pytest.mark.parametrize("name", BATCH_STAGE)
@pytest.mark.parametrize("shape", [(3, 21, 13), (1, 16, 16)])
def test_batch_stage_defences_are_decided_by_the_draws_and_leave_the_model_alone(
    name: str, shape: tuple[int, int, int]
) -> None:
    batch, labels = to_float(pictures(*shape, count=9)), torch.arange(9) % 3
    model, before = learner(shape[0], shape[1:]), batch.clone()
    known, random_state = state(model), torch.random.get_rng_state()
    images, targets = changed_batch(example(name), model, batch, labels)
    assert images.shape == batch.shape
    assert 0 <= images.min() <= images.max() <= 1
    assert not images.requires_grad
    assert torch.equal(batch, before)
    assert not torch.equal(images, batch)
    assert torch.allclose(targets.sum(1), torch.ones(9))
    again = changed_batch(example(name), model, batch, labels)
    assert torch.equal(images, again[0])
    assert torch.equal(targets, again[1])
    assert not torch.equal(images, changed_batch(example(name), model, batch, labels, key=1)[0])
    assert torch.equal(random_state, torch.random.get_rng_state())
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(known, state(model), strict=True)), "batch norms saw nothing"
    assert all(p.grad is None for p in model.parameters())


def constant(values: list[float], size: tuple[int, int] = (11, 7)) -> Tensor:
    return torch.tensor(values)[:, None, None, None].expand(-1, 3, *size).contiguous()


def test_mixup_mixes_labels_as_it_mixes_images() -> None:
    values = torch.tensor([0.1, 0.4, 0.9])
    shares = set()
    for key in range(5):
        images, targets = changed_batch("mixup:1", nn.Identity(), constant(values.tolist()), torch.arange(3), key=key)
        assert torch.allclose(images.mean((1, 2, 3)), targets @ values, atol=1e-5)
        assert torch.allclose(targets.diagonal(), targets[0, 0].expand(3))
        shares.add(round(targets[0, 0].item(), 4))
    assert len(shares) == 5


def test_cutmix_labels_are_the_shares_of_the_areas() -> None:
    values = [0.1, 0.4, 0.9]
    seen = set()
    for key in range(12):
        images, targets = changed_batch("cutmix:1", nn.Identity(), constant(values), torch.arange(3), key=key)
        for number, (image, target) in enumerate(zip(images, targets, strict=True)):
            areas = torch.stack([(image == value).float().mean() for value in torch.tensor(values)])
            assert torch.allclose(areas, target, atol=1e-6)
            place = (image[0] != torch.tensor(values[number])).nonzero()
            if len(place):
                height, width = (place.amax(0) - place.amin(0) + 1).tolist()
                assert height * width == len(place), "one box"
        seen.add(round(targets[0, 0].item(), 4))
    assert len(seen) > 5


def test_noise_has_its_deviation() -> None:
    images, _ = changed_batch("noise:16", nn.Identity(), torch.full((8, 3, 32, 32), 0.5), torch.arange(8) % 3)
    assert (images - 0.5).std() * 255 == pytest.approx(16, rel=0.03)
    assert (images - 0.5).mean().abs() * 255 < 0.5


@pytest.mark.parametrize("name", ["randaugment:2:9", "ueraser:2"])
def test_each_image_has_its_own_augmentation(name: str) -> None:
    images = to_float(pictures(3, 16, 16, count=1)).expand(12, -1, -1, -1)
    changed, targets = changed_batch(name, learner(3), images, torch.zeros(12, dtype=torch.int64))
    assert len({image.numpy().tobytes() for image in changed}) > 6
    assert torch.equal(targets.argmax(1), torch.zeros(12, dtype=torch.int64))


def test_ueraser_keeps_the_worst_of_its_augmentations() -> None:
    images, labels, model = to_float(pictures(1, 16, 16, count=12)), torch.arange(12) % 3, learner()
    generator = draws(0)
    tried = [strong(images, generator) for _ in range(5)]
    kept, _ = changed_batch("ueraser:5", model, images, labels)
    model.eval()
    with torch.no_grad():
        losses = torch.stack([F.cross_entropy(model(one), labels, reduction="none") for one in tried])
        assert torch.allclose(F.cross_entropy(model(kept), labels, reduction="none"), losses.amax(0), atol=1e-5)
    assert len(losses.argmax(0).unique()) > 1


def test_clouds_are_smooth_and_differ() -> None:
    field = cloud(torch.zeros(4, 1, 32, 24), draws(0))
    assert field.shape == (4, 1, 32, 24)
    assert torch.equal(field.amin((1, 2, 3)), torch.zeros(4))
    assert torch.allclose(field.amax((1, 2, 3)), torch.ones(4))
    assert field.diff(dim=3).abs().mean() < 0.5 * field.std()
    assert not torch.equal(field[0], field[1])


def test_adversarial_images_stay_within_the_bound_and_raise_the_loss() -> None:
    images, labels, model = to_float(pictures(3, 16, 20, count=16)), torch.arange(16) % 3, learner(3, (16, 20))

    def loss(batch: Tensor) -> float:
        with torch.no_grad():
            return F.cross_entropy(model.eval()(batch), labels).item()

    found = {}
    for name in ("adversarial:4:1", "adversarial:4:10", "adversarial:16:10"):
        changed, _ = changed_batch(name, model.train(), images, labels)
        bound = operations(name)[0].values[0] / 255
        assert (changed - images).abs().max() <= bound + 1e-6
        found[name] = loss(changed)
    assert (changed - images).abs().max() > 0.9 * bound
    plain = loss(images)
    noisy = loss((images + (torch.rand_like(images) * 2 - 1) * 4 / 255).clamp(0, 1))
    assert found["adversarial:4:1"] > max(plain, noisy)
    assert found["adversarial:16:10"] > found["adversarial:4:10"] > plain


# the whole set


def probe(channels: int = 3, size: tuple[int, int] = (17, 19)) -> nn.Module:
    with isolated_rng(3, CPU):
        return build_classifier("linear", 4, channels, size)


@pytest.mark.parametrize("channels", [1, 3])
def test_projection_is_orthogonal_to_the_probes_weights(channels: int) -> None:
    model = probe(channels)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(80, 176, (20, channels, 17, 19), generator=generator).to(torch.uint8)
    changed = projection(model)(images)
    weights = next(m.weight for m in model.modules() if isinstance(m, nn.Linear)).detach()
    rows = weights / weights.norm(dim=1, keepdim=True)
    before, after = (to_float(i).flatten(1) @ rows.T for i in (images, changed))
    rounding = 0.5 / 255 * rows.abs().sum(1).max()
    assert after.abs().max() <= rounding + 1e-5 < 0.2 * before.abs().max()
    # nothing but that span is taken
    taken = (to_float(images) - to_float(changed)).flatten(1)
    basis = torch.linalg.qr(weights.T).Q
    assert (taken - taken @ basis @ basis.T).abs().max() <= 1.5 / 255
    assert (projection(model)(changed).short() - changed.short()).abs().max() <= 1


def test_a_subspace_has_the_directions_that_count_and_no_others() -> None:
    with isolated_rng(3, CPU):
        model = build_classifier("two_layer", 4, 3, (9, 11))
    first, second = (m for m in model.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():  # units 1 and 2 are read, the third says something and nobody listens
        first.weight.zero_()
        second.weight.zero_()
        first.weight[:3] = torch.linalg.qr(torch.randn(297, 3, generator=draws(0))).Q.T
        second.weight[:, 0], second.weight[:, 1] = 2.0, 1.0
    images = torch.randint(80, 176, (20, 3, 9, 11), generator=draws(1)).to(torch.uint8)

    def along(found: Tensor) -> Tensor:
        return (to_float(found).flatten(1) @ first.weight[:3].T).abs().mean(0).detach()

    before, one, two = along(images), along(subspace(model, 1)(images)), along(subspace(model, 2)(images))
    assert (one / before < torch.tensor([0.05, 1.2, 1.2])).all()
    assert (one[1:] / before[1:] > 0.8).all()
    assert (two[:2] / before[:2] < 0.05).all()
    assert two[2] / before[2] > 0.8


def test_a_second_probe_takes_other_directions_than_the_first() -> None:
    images = ImageSet(pictures(1, 16, 16, count=60) // 4 + 96, torch.arange(60) % 3)  # nothing is clipped

    def brief(given: ImageSet, recipe: Recipe) -> nn.Module:
        with isolated_rng(0, CPU):
            model = build_classifier(recipe.arch, 3, 1, (16, 16))
            for _ in epochs_of(model, given, recipe, 3, 0, CPU):
                pass
        return model

    def taken(text: str) -> int:
        found, _ = apply_dataset_stage(operations(text), images, TINY, brief, 0, CPU)
        lost = (to_float(images.images) - to_float(found.images)).flatten(1)
        return int((torch.linalg.svdvals(lost) > 0.1).sum())

    once, twice, many = taken("project:20"), taken("project:20+project:20"), taken("subspace:12:20")
    assert once <= 3 < twice <= 6 < many <= 12


def owner(images: Tensor) -> Tensor:
    """A protection: a checkerboard of ±8 grey levels."""
    rows, columns = (1 - 2 * (torch.arange(side) % 2) for side in images.shape[2:])
    return (images.short() + 8 * rows[:, None] * columns).clamp(0, 255).to(torch.uint8)


def test_a_restorer_takes_off_the_noise_of_pairs_from_pictures_that_it_has_not_seen() -> None:
    own, others = (F.interpolate(torch.rand(n, 3, 4, 4, generator=draws(n)), 16, mode="bicubic") for n in (96, 24))
    own, others = ((images.clamp(0, 1) * 255).round().to(torch.uint8) for images in (own, others))
    restore = restorer(Pairs(own, owner(own)), 15, 0, CPU)
    found = restore(owner(others))
    assert (found.dtype, found.shape) == (torch.uint8, others.shape)
    before, after = (F.mse_loss(to_float(images), to_float(others)) for images in (owner(others), found))
    assert after < 0.2 * before
    odd = torch.zeros(2, 1, 7, 10)
    assert UNet(1)(odd).shape == odd.shape


def test_pairs_are_drawn_and_go_through_what_comes_before() -> None:
    images = ImageSet(pictures(3, 16, 16), torch.arange(6) % 3)
    own = pictures(3, 16, 16, count=30)
    pairs = Pairs(own, owner(own))

    def found(text: str, pairs: Pairs | None) -> Tensor:
        return apply_dataset_stage(operations(text), images, TINY, lambda *_: nn.Identity(), 0, CPU, pairs)[0].images

    def restored(pairs: Pairs, count: int, images: Tensor) -> Tensor:
        rows = torch.randperm(30, generator=draws(0, count))[:count]
        return restorer(Pairs(pairs.clean[rows], pairs.protected[rows]), 1, 0, CPU)(images)

    blurred = Pairs(*(done("blur:1", part) for part in (pairs.clean, pairs.protected)))
    assert torch.equal(found("blur:1+pairs:30:1", pairs), restored(blurred, 30, done("blur:1", images.images)))
    assert torch.equal(found("pairs:12:1", pairs), restored(pairs, 12, images.images))
    assert not torch.equal(found("pairs:12:1", pairs), found("pairs:30:1", pairs))
    with pytest.raises(ValueError, match="'pairs' needs other pictures that the same protection protected, and there"):
        found("pairs:12:1", None)


def test_checks_while_a_protection_is_learned_have_no_pairs_and_grids_make_no_such_checks() -> None:
    asked = ["victim.defence=pairs:500:40", "victim.check_every=1"]
    config, _ = compose(asked)  # a grid composes its cells like that
    [fault] = check_pairs(config)
    assert fault.startswith("victim.defence: 'pairs' learns from a finished protection; give victim.check_every=0")
    assert check_pairs(compose(["victim.defence=pairs:500:40", "victim.check_every=0"])[0]) == []
    assert check_pairs(compose(["victim.check_every=1"])[0]) == []
    with pytest.raises(ConfigError, match="'pairs' learns from a finished protection"):
        train(config, asked)


# the trained network


def test_perturbed_copies_have_noise_of_that_size_on_weights_alone() -> None:
    model = learner(3).eval()
    known = state(model)
    assert apply_model_stage(operations("jpeg:10+mixup:1"), model, 0) is model
    mean = apply_model_stage(operations("perturb:0.3:6"), model, 0)
    assert isinstance(mean, Mean)
    assert all(torch.equal(a, b) for a, b in zip(known, state(model), strict=True))
    assert len(mean.nets) == 6
    for copy in mean.nets:
        for (name, before), after in zip(model.named_parameters(), copy.parameters(), strict=True):
            change = (after - before).detach()
            if before.dim() == 1:
                assert not change.any(), name
            else:
                share = change.square().mean().sqrt() / before.detach().square().mean().sqrt()
                assert share.item() == pytest.approx(0.3, rel=0.25), name
    images = torch.rand(5, 3, 16, 16, generator=draws(0))
    with torch.no_grad():
        answers = torch.stack([copy(images).softmax(1) for copy in mean.nets]).mean(0)
        assert torch.allclose(mean(images).softmax(1), answers, atol=1e-6)
        assert torch.equal(mean(images), apply_model_stage(operations("perturb:0.3:6"), model, 0)(images))
        assert not torch.equal(mean(images), apply_model_stage(operations("perturb:0.3:6"), model, 1)(images))


def test_perturbing_is_of_the_answers_and_not_of_the_training() -> None:
    train, test = blobs(channels=3), blobs(15, 3, 1)
    plain = train_victim(train, test, 3, TINY, 0)
    report = train_victim(train, test, 3, replace(TINY, defence="perturb:1:3"), 0)
    assert [point["loss"] for point in report.curve] == [point["loss"] for point in plain.curve]
    expected = apply_model_stage(operations("perturb:1:3"), plain.model, 0)
    assert torch.equal(predict(report.model, test.images, CPU), predict(expected, test.images, CPU))


def test_filtering_drops_exactly_the_images_of_the_lowest_loss() -> None:
    images = ImageSet(pictures(1, 16, 16, count=25), torch.arange(25) % 3)
    model = learner().eval()
    losses = losses_of(model, images)
    expected = F.cross_entropy(model(to_float(images.images)), images.labels, reduction="none")
    assert torch.allclose(losses, expected, atol=1e-5)
    for share, left in ((0.3, 18), (0.9, 3), (0.01, 25)):
        stays = losses.argsort()[25 - left :] if left == 25 else losses.argsort()[-left:]
        found = without_lowest_loss(images, share, model)
        rows = stays.sort().values
        assert torch.equal(found.images, images.images[rows])
        assert torch.equal(found.labels, images.labels[rows])


def test_the_set_goes_through_the_operations_in_their_order() -> None:
    images, seen = ImageSet(pictures(1, 16, 16, count=20), torch.arange(20) % 3), []

    def brief(given: ImageSet, recipe: object) -> nn.Module:
        seen.append(given)
        return probe(1, (16, 16))

    text = "bits:2+project:3+mixup:1+filter:0.5:1+bits:1"
    found, purifiers = apply_dataset_stage(operations(text), images, TINY, brief, 0, CPU)
    reduced = done("bits:2", images.images)
    assert torch.equal(seen[0].images, reduced)
    assert torch.equal(seen[1].images, projection(probe(1, (16, 16)))(reduced))
    assert len(found) == 10
    assert set(found.images.unique().tolist()) <= {0, 255}
    assert len(purifiers) == 3
    whole = apply_input_stage(purifiers, images.images)
    assert all(any(torch.equal(a, b) for b in whole) for a in found.images)
    alone, nothing = apply_dataset_stage(operations("mixup:1"), images, TINY, brief, 0, CPU)
    assert alone is images
    assert nothing == []


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 10)])
def test_the_autoencoder_takes_noise_off_images_it_has_not_seen(shape: tuple[int, int, int]) -> None:
    def smooth(count: int, seed: int) -> Tensor:
        coarse = torch.rand(count, shape[0], 2, 2, generator=torch.Generator().manual_seed(seed))
        return F.interpolate(coarse, shape[1:], mode="bilinear", align_corners=True)

    denoise = autoencoder(((smooth(128, 0) * 255).round()).to(torch.uint8), 20, 25, 0, CPU)
    clean = smooth(20, 1)
    noisy = clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(2)) * 20 / 255
    noisy = noisy.clamp(0, 1)
    found = denoise((noisy * 255).round().to(torch.uint8))
    assert (found.dtype, found.shape) == (torch.uint8, clean.shape)
    assert F.mse_loss(to_float(found), clean) < 0.7 * F.mse_loss(noisy, clean)


# victims


def test_a_victim_without_defence_is_the_plain_loop_bit_by_bit() -> None:
    train, test, recipe, seed = blobs(), blobs(15, seed=1), replace(TINY, clip=1.0, augment="crop+flip"), 4
    report = train_victim(train, test, 3, recipe, seed)
    _, rows = stratified_group_split(train.labels, [VAL_FRACTION], seed)
    used = train.subset(rows)
    losses = []
    with isolated_rng(seed, CPU):
        model = build_classifier(recipe.arch, 3, 1, (16, 16)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        batches = len(used) // recipe.batch_size
        optimizer = victim_optimizer(model, recipe)
        schedule = make_schedule(optimizer, recipe.epochs * batches, recipe.warmup)
        for epoch in range(recipe.epochs):
            model.train()
            total = torch.zeros(())
            for step, part in enumerate(torch.randperm(len(used)).tensor_split(batches)):
                batch = augment(to_float(used.images[part]), recipe.augment, draws(seed, epoch, step))
                loss = F.cross_entropy(model(batch.contiguous(memory_format=torch.channels_last)), used.labels[part])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
                optimizer.step()
                schedule.step()
                total += loss.detach()
            predict(model, test.images, CPU)
            losses.append(total.item() / batches)
    assert [point["loss"] for point in report.curve] == losses
    assert all(torch.equal(a, b) for a, b in zip(state(report.model), state(model), strict=True))


@pytest.mark.parametrize("name", DEFENCES)
def test_victims_train_with_every_defence_the_same_each_time(name: str) -> None:
    quick = {
        "adversarial": "adversarial:8:2",
        "ueraser": "ueraser:2",
        "denoise": "denoise:24:2",
        "project": "project:2",
        "subspace": "subspace:8:2",
        "pairs": "pairs:20:2",
    }
    recipe = replace(TINY, epochs=1, defence=quick.get(name, example(name)))
    plain = replace(recipe, defence="none")
    for channels in (1, 3):
        before = torch.random.get_rng_state()
        train, test = blobs(channels=channels), blobs(15, channels, 1)
        own = blobs(20, channels, 2).images
        report = train_victim(train, test, 3, recipe, 0, pairs=Pairs(own, owner(own)))
        one = state(report.model)
        if channels == 1:
            again = train_victim(train, test, 3, recipe, 0, pairs=Pairs(own, owner(own)))
            assert report.curve == again.curve
            assert all(torch.equal(a, b) for a, b in zip(one, state(again.model), strict=True))
        assert torch.equal(before, torch.random.get_rng_state())
        assert np.isfinite(report.curve[0]["loss"])
        undefended = state(train_victim(train, test, 3, plain, 0).model)
        same = all(torch.equal(a, b) for a, b in zip(one, undefended, strict=False))
        assert same == (name == "gray" and channels == 1), "it must make a difference"


def test_whoever_measures_a_victim_gives_it_images_as_they_are() -> None:
    test = blobs(30, 3, 1)
    report = train_victim(blobs(channels=3), test, 3, replace(TINY, defence="jpeg:5+bits:1"), 0)
    assert isinstance(report.model, Purified)
    answers = predict(report.model, test.images, CPU)
    purified = done("bits:1", done("jpeg:5", test.images))
    assert torch.equal(answers, predict(report.model.net, purified, CPU))
    assert (answers.argmax(1) == test.labels).float().mean().item() == pytest.approx(report.curve[-1]["accuracy"])
    assert not torch.equal(answers, predict(report.model.net, test.images, CPU))


def test_a_summary_says_that_the_victims_had_a_defence() -> None:
    results = json.loads((Path(__file__).parents[1] / "results" / "digits_3seeds_cpu.json").read_text())
    assert not any("defence" in fact for fact in summary_lines(results))
    results["config"]["victim"]["defence"] = "jpeg:10"
    assert summary_lines(results)[0].startswith("All victims, those of clean images too, with the defence jpeg:10")


def test_reports_count_what_was_left_to_train_on() -> None:
    report = train_victim(blobs(90), blobs(15, seed=1), 3, replace(TINY, defence="filter:0.5:1"), 0)
    assert report.images == 90 - 81 // 2
