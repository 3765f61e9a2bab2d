"""What makes the noise: codes of classes, the network, the field on the picture, the generator around them."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.images import to_float
from datamodules.procedural import leaves
from gan.codes import class_codes
from gan.config import ClassifierConfig, NoiseConfig
from gan.field import GridField, enlarged, grid_field, reduced
from gan.networks import Generator, build_generator
from gan.noise import SIDE, NoiseNetwork, luma, texture_gate

EPSILON = 8 / 255
ROUNDING = 1e-8  # of sums in float32; stored pixels are clipped after it (gan.protection.quantise)


def pictures(count: int = 4, channels: int = 3, seed: int = 0) -> Tensor:
    return to_float(leaves(count, SIDE, seed))[:, :channels]


def network(**options: Any) -> NoiseNetwork:
    torch.manual_seed(0)
    return NoiseNetwork(NoiseConfig(**({"width": 8, "code": 8, "gain": 1.0} | options))).eval().requires_grad_(False)


def make(channels: int = 3, classes: int = 3, noise: dict[str, Any] | None = None, **classifier: Any) -> Generator:
    torch.manual_seed(0)
    options = ClassifierConfig(**({"pretrained": "none", "arch": "linear", "hidden": 16} | classifier))
    chosen = NoiseConfig(**({"width": 8, "code": 8} | (noise or {})))
    return build_generator(options, chosen, channels, classes, EPSILON, (16, 16)).requires_grad_(False)


@pytest.mark.parametrize("classes", [2, 32, 100, 1000])
def test_codes_are_as_long_as_asked_and_far_apart(classes: int) -> None:
    codes = class_codes(classes, 32)
    assert codes.shape == (classes, 32)
    assert torch.allclose(codes.norm(dim=1), torch.full((classes,), 32**0.5), atol=1e-4)
    near = codes @ codes.T / 32
    assert near.fill_diagonal_(-1).max() < 0.6
    assert torch.equal(codes, class_codes(classes, 32)), "the same for everybody, at any time"


def test_the_first_codes_are_the_same_whatever_the_number_of_classes() -> None:
    """A network that was trained with few knows those of many: as far as a code has places of its own."""
    most = class_codes(1000, 32)
    for classes in (2, 10, 32, 100):
        own = min(classes, 32)
        assert torch.equal(class_codes(classes, 32)[:own], most[:own])


@pytest.mark.parametrize("size", [(32, 32), (33, 32), (40, 57), (224, 300), (32, 500)])
def test_a_field_is_the_same_for_a_picture_and_for_a_batch(size: tuple[int, int]) -> None:
    noise = EPSILON * torch.rand(1, 3, SIDE, SIDE) * 2 - EPSILON
    whole = enlarged(noise, size)[0].permute(1, 2, 0).numpy()
    field = grid_field(noise)
    rows = field.rows(*size, slice(0, size[0]))
    assert rows.dtype == np.float32
    assert rows.shape == (*size, 3)
    assert np.abs(rows - whole).max() < 1e-6


@pytest.mark.parametrize("cuts", [(0, 1, 2, 77), (0, 33, 34, 77), (0, 50, 77)])
def test_rows_are_the_same_bits_however_they_are_cut(cuts: tuple[int, ...]) -> None:
    field = GridField(np.random.default_rng(0).normal(size=(SIDE, SIDE, 3)))
    whole = field.rows(77, 91, slice(0, 77))
    parts = [field.rows(77, 91, slice(a, b)) for a, b in pairwise(cuts)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_a_field_smaller_than_its_cells_is_averaged() -> None:
    columns = torch.tensor([-1.0, 1, 1, -1]).repeat(8)  # picking the cells in the middle of a pixel would give 1
    field = columns.expand(1, 1, SIDE, SIDE)
    small = enlarged(field, (8, 8))
    assert small.shape == (1, 1, 8, 8)
    assert small[..., 1:-1].abs().max() < 0.2
    assert enlarged(torch.full((1, 1, SIDE, SIDE), 0.3), (5, 9)).sub(0.3).abs().max() < 1e-6


def test_pictures_are_reduced_as_a_whole() -> None:
    image = torch.zeros(1, 1, 64, 96)
    image[..., 48:] = 1
    small = reduced(image, SIDE)
    assert small.shape == (1, 1, SIDE, SIDE)
    assert small.mean().item() == pytest.approx(0.5, abs=1e-3)
    assert (small[..., :14].max(), small[..., 18:].min()) == (0, 1)
    assert reduced(small, SIDE) is small


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (33, 17), (1, 1), (100, 40)])
def test_a_field_is_bounded_for_pictures_of_any_size(channels: int, size: tuple[int, int]) -> None:
    codes = class_codes(2, 8)
    field = network(gain=1000)(torch.rand(2, channels, *size), codes)
    assert field.shape == (2, channels, SIDE, SIDE)
    assert field.dtype == torch.float32
    assert 0.9 < field.abs().max() <= 1


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_luma_and_colour_have_their_shares_of_the_energy(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    net, codes = network(luma=share, gate=0.3), class_codes(4, 8)
    bounded = torch.tanh
    totals: list[Tensor] = []

    def noted(total: Tensor) -> Tensor:
        totals.append(total)
        return bounded(total)

    monkeypatch.setattr(torch, "tanh", noted)
    net(pictures(), codes)
    light = luma(totals[0])
    assert torch.allclose(light.square().mean((1, 2, 3)), torch.full((4,), share), atol=1e-3)
    colour = (totals[0] - light).square().mean((1, 2, 3)) / (1 - share)
    assert luma(totals[0] - light).abs().max() < 1e-5
    assert (colour <= 1.001).all()
    assert (colour > 0.3).all(), "enlarging a coarse map of colours takes some of it"
    net(pictures(channels=1), codes)
    assert torch.allclose(totals[1].square().mean((1, 2, 3)), torch.ones(4), atol=1e-3), "gray has luma alone"
    for layer in (net.book["colour"], net.colour):
        torch.nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
    net.colour.bias.copy_(torch.tensor([1.0, 0, 0]))  # type: ignore[union-attr]
    net(pictures(), codes)
    colour = (totals[2] - luma(totals[2])).square().mean((1, 2, 3))
    assert torch.allclose(colour, torch.full((4,), 1 - share), atol=1e-3), "a colour that is the same everywhere"


def test_the_noise_is_strong_and_not_saturated() -> None:
    field = network()(pictures(16), class_codes(8, 8).repeat(2, 1))
    assert (field.abs() > 0.99).float().mean() < 0.02
    assert 0.3 < field.square().mean().sqrt() < 0.8
    stronger = network(gain=3)(pictures(16), class_codes(8, 8).repeat(2, 1))
    assert stronger.square().mean() > 1.5 * field.square().mean()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_pictures_field_does_not_depend_on_its_batch(channels: int) -> None:
    net, images, codes = network(gate=0.5).train(), pictures(5, channels), class_codes(5, 8)
    together = net(images, codes)
    alone = torch.cat([net(image[None], code[None]) for image, code in zip(images, codes, strict=True)])
    among_others = net(torch.cat([images[:1], torch.ones_like(images)]), torch.cat([codes[:1], 9 * codes]))
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(together[:1], among_others[:1], atol=1e-5)


@pytest.mark.parametrize("size", [(32, 32), (50, 37)])
def test_every_pixel_of_the_picture_matters(size: tuple[int, int]) -> None:
    image = torch.rand(1, 1, *size, requires_grad=True)
    network()(image, class_codes(1, 8))[0, 0, 0, 0].backward()
    assert image.grad is not None
    assert (image.grad != 0).float().mean() > 0.99


@pytest.mark.parametrize("channels", [1, 3])
def test_codes_give_pictures_noise_of_their_own(channels: int) -> None:
    net, images = network(), pictures(2, channels)
    fields = torch.stack([net(images, code.expand(2, -1)) for code in class_codes(8, 8)]).flatten(2)
    unit = fields / fields.norm(dim=2, keepdim=True)
    alike = torch.einsum("kid,lid->ikl", unit, unit) - torch.eye(8)
    assert alike.max() < 0.8, "of one picture with two codes"
    assert (fields[:, 0] - fields[:, 1]).abs().mean() > 0.05, "of two pictures with one code"


def test_a_gate_spares_flat_places_and_no_textured_ones() -> None:
    images = torch.full((1, 3, SIDE, SIDE), 0.5)
    images[..., SIDE // 2 :] = (torch.arange(SIDE)[:, None] + torch.arange(SIDE // 2)) % 2 * 0.5 + 0.25
    gate = texture_gate(images, 0.2)
    assert gate.shape == (1, 1, SIDE, SIDE)
    assert torch.allclose(gate[..., :13], torch.tensor(0.2), atol=0.01)
    assert torch.allclose(gate[..., 19:], torch.tensor(1.0))
    assert (gate >= 0.2).all()
    assert (gate <= 1).all()
    codes = class_codes(1, 8)
    assert torch.allclose(network(gate=0.2)(images, codes), network()(images, codes) * gate, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (33, 17), (1, 1), (100, 40)])
def test_noise_has_the_images_shape_and_keeps_the_bound(channels: int, size: tuple[int, int]) -> None:
    noise = make(channels, noise={"gain": 1000.0})(torch.rand(2, channels, *size))
    assert noise.shape == (2, channels, *size)
    assert noise.abs().max() <= EPSILON + ROUNDING
    assert noise.abs().max() > (EPSILON / 2 if min(size) >= 8 else 1e-5)


def test_the_bound_holds_under_bf16() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        noise = make(noise={"gain": 1000.0})(torch.rand(2, 3, 40, 40))
    assert noise.dtype == torch.float32
    assert EPSILON / 2 < noise.abs().max() <= EPSILON + ROUNDING


@pytest.mark.parametrize("classifier", [{"arch": "narrow"}, {"pretrained": "efficientnet_lite0", "arch": "none"}])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_images_noise_does_not_depend_on_its_batch(classifier: dict[str, str], channels: int) -> None:
    generator = make(channels, **classifier).train()  # no statistics of the batch in training mode either
    images = pictures(4, channels)
    together, alone = generator(images), torch.cat([generator(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-5 * EPSILON + 1e-6)
    assert together.abs().mean() > EPSILON / 10


def test_the_code_is_the_classes_mixture() -> None:
    for mixing, odds in (("linear", 3.0), ("root", 3**0.5)):
        generator = make(mixing=mixing, temperature=2.0)
        doubt = generator.vector(torch.tensor([[2 * math.log(3), 0.0, -99.0]]))
        expected = odds * generator.vectors[0] + generator.vectors[1]
        assert torch.allclose(doubt[0], expected / expected.norm() * 8**0.5, atol=1e-3)
        sure = generator.vector(100 * torch.eye(3))
        assert torch.allclose(sure, generator.vectors, atol=1e-3)
    sharp, blunt = (make(temperature=t).vector(torch.tensor([[1.0, 0.0, 0.0]]))[0] for t in (0.1, 10.0))
    assert sharp[0] / sharp.norm() > 0.99
    assert blunt[0] / blunt.norm() < 0.7


def test_a_generator_makes_the_same_noise_for_batches_and_for_photos() -> None:
    generator, images = make(), pictures(3)
    logits = generator.code(images)
    noise = generator.noise(logits, images)
    assert torch.equal(generator(images), noise)
    assert torch.allclose(noise, generator.field_of(images, generator.vector(logits)))
    for i in range(3):
        field = generator.field(logits[i : i + 1], images[i : i + 1])
        rows = field.rows(SIDE, SIDE, slice(0, SIDE))
        assert np.abs(rows - noise[i].permute(1, 2, 0).numpy()).max() < 1e-6
        large = field.rows(320, 200, slice(0, 320))
        assert np.abs(large).max() <= EPSILON + ROUNDING
        again = torch.from_numpy(large).permute(2, 0, 1)[None]
        at_training = enlarged(noise[i][None], (2 * SIDE, 2 * SIDE))
        off = (reduced(again, 2 * SIDE) - at_training).abs().mean()
        assert off < 0.2 * noise[i].abs().mean(), "reducing gives what a picture of that size gets"
