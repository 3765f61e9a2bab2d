"""Augmentation: what each operation does to pixels, and that its draws are a function of the key alone."""

import pytest
import torch

from datamodules.augment import OPERATIONS, augment, draws, step_seed
from datamodules.config import AUGMENTATIONS, augment_fault


def batch(size: int = 16, channels: int = 3) -> torch.Tensor:
    return torch.rand(64, channels, size, size, generator=torch.Generator().manual_seed(1)) * 0.9 + 0.1


def test_names_of_the_options_are_those_of_the_operations() -> None:
    assert tuple(OPERATIONS) == AUGMENTATIONS


@pytest.mark.parametrize("name", [*AUGMENTATIONS, "crop+flip+cutout", "turn+brightness+contrast"])
@pytest.mark.parametrize("shape", [(16, 16), (12, 20), (3, 3)])
def test_draws_decide_everything_and_images_differ(name: str, shape: tuple[int, int]) -> None:
    one = torch.rand(1, 2, *shape, generator=torch.Generator().manual_seed(1)) * 0.9 + 0.1
    images = one.expand(64, -1, -1, -1).contiguous()
    before = images.clone()
    moved = augment(images, name, draws(0, 1, 2))
    assert moved.shape == images.shape
    assert moved.dtype == torch.float32
    assert torch.equal(images, before), "the batch itself must stay as it is"
    assert torch.equal(moved, augment(images, name, draws(0, 1, 2)))
    if shape != (3, 3) or name != "crop":  # three pixels are too few to move by an eighth
        assert len({image.numpy().tobytes() for image in moved}) > 1, "each image needs its own draw"
        assert not torch.equal(moved, augment(images, name, draws(0, 1, 3)))
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_draws_differ_by_every_part_of_the_key() -> None:
    seeds = {step_seed(s, e, t, r) for s in range(3) for e in range(4) for t in range(5) for r in range(2)}
    assert len(seeds) == 3 * 4 * 5 * 2


def test_none_is_the_identity() -> None:
    images = batch()
    assert augment(images, "none", draws(0)) is images


def test_crop_shifts_by_up_to_an_eighth_and_fills_with_zero() -> None:
    images = batch()
    moved = augment(images, "crop", draws(0))
    centre = images[:, :, 2:14, 2:14]
    found = [
        any(torch.equal(c, m[:, i : i + 12, j : j + 12]) for i in range(5) for j in range(5))
        for c, m in zip(centre, moved, strict=True)
    ]
    assert all(found)
    assert len({tuple((m != 0).nonzero().amin(0).tolist()) for m in moved}) > 3


def test_the_way_back_through_a_crop_is_right_and_does_not_hold_all_windows() -> None:
    images = torch.rand(3, 2, 8, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: augment(x, "crop", draws(3)), images)
    assert torch.autograd.gradgradcheck(lambda x: augment(x, "crop", draws(3)).square(), images)
    many = torch.rand(64, 3, 64, 64, requires_grad=True)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        augment(many, "crop", draws(4)).square().sum().backward()
    assert max(event.self_cpu_memory_usage for event in seen.key_averages()) < 10 * 4 * many.numel()  # was 289 times


@pytest.mark.parametrize(
    ("name", "possible"),
    [
        ("flip", [lambda x: x, lambda x: x.flip(2)]),
        ("vflip", [lambda x: x, lambda x: x.flip(1)]),
        ("turn", [lambda x, k=k: torch.rot90(x, k, (1, 2)) for k in range(4)]),
    ],
)
def test_flips_and_turns_are_exact_and_all_occur(name: str, possible: list) -> None:  # type: ignore[type-arg]
    images = batch()
    moved = augment(images, name, draws(0))
    which = [
        next(i for i, change in enumerate(possible) if torch.equal(change(x), m))
        for x, m in zip(images, moved, strict=True)
    ]
    assert set(which) == set(range(len(possible)))


def test_turn_of_images_that_are_not_square_keeps_their_shape() -> None:
    images = batch()[:, :, :, :12]
    moved = augment(images, "turn", draws(0))
    same = [torch.equal(x, m) for x, m in zip(images, moved, strict=True)]
    half = [torch.equal(x.flip(1, 2), m) for x, m in zip(images, moved, strict=True)]
    assert all(a or b for a, b in zip(same, half, strict=True))
    assert any(same)
    assert any(half)


def test_cutout_hides_one_square_and_nothing_else() -> None:
    images = batch()
    moved = augment(images, "cutout", draws(0))
    for x, m in zip(images, moved, strict=True):
        hidden = (m == 0).all(0)
        rows, columns = hidden.any(1).nonzero(), hidden.any(0).nonzero()
        height, width = (int(r.max() - r.min() + 1) for r in (rows, columns))
        assert hidden.sum() == height * width
        assert 4 <= height <= 8
        assert 4 <= width <= 8
        assert torch.equal(m[:, ~hidden], x[:, ~hidden])


def test_zoom_shows_a_part_of_the_stated_area_anywhere() -> None:
    ramp = torch.linspace(0, 1, 64).expand(400, 1, 64, 64)
    images = torch.cat([ramp, ramp.transpose(2, 3)], 1)  # where a pixel comes from, across and down
    changed = augment(images, "zoom", draws(0))
    across, down = changed[:, 0, 32], changed[:, 1, :, 32]
    sides = [part.amax(1) - part.amin(1) for part in (across, down)]
    assert torch.allclose(sides[0], sides[1], atol=0.02), "the proportions stay"
    area = sides[0].square()
    assert 0.25 < area.min() < 0.36
    assert 0.9 < area.max() <= 1
    assert area.mean().item() == pytest.approx(0.65, abs=0.04)
    assert (across.diff(dim=1) >= 0).all()
    lefts, tops = across.amin(1), down.amin(1)
    assert lefts.max() > 0.3
    assert tops.max() > 0.3
    assert abs(torch.corrcoef(torch.stack([lefts, tops]))[0, 1]) < 0.7, "places across and down are drawn apart"


def test_brightness_scales_and_contrast_keeps_the_mean() -> None:
    images = batch() * 0.5 + 0.1  # nothing reaches the limits
    ratio = augment(images, "brightness", draws(0)) / images
    assert torch.allclose(ratio.flatten(1).amax(1), ratio.flatten(1).amin(1), atol=1e-4)
    assert ratio.min() < 0.75
    assert ratio.max() > 1.25
    spread = augment(images, "contrast", draws(0))
    assert torch.allclose(spread.mean((1, 2, 3)), images.mean((1, 2, 3)), atol=1e-4)
    assert (spread.std((1, 2, 3)) / images.std((1, 2, 3))).max() > 1.2


def test_unknown_augmentations_are_named() -> None:
    assert augment_fault("victim.augment", "crop+flip") == []
    assert augment_fault("victim.augment", "none") == []
    for text in ("crop_flip", "crop+", "", "none+flip"):
        (fault,) = augment_fault("victim.augment", text)
        assert fault.startswith("victim.augment: no augmentation")
