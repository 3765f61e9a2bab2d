"""What an attacker changes in every step of the training: the batch, its labels, or what it is chosen by.

Each takes the model, images (float B×C×H×W in [0, 1]), soft labels (float B×K), a CPU generator of the step's draws and
its parameters (``defences``), and returns images and soft labels. The draws are the same on every device.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from datamodules.images import to_float
from victims.defences import Operation
from victims.input_stage import rounded
from victims.loop import signed_descent

ImagesAndTargets = tuple[Tensor, Tensor]


def apply_batch_stage(
    operations: list[Operation],
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    classes: int,
    generator: torch.Generator,
) -> ImagesAndTargets:
    """A batch as the model learns from it.

    Args:
        operations: of the defence, in order; those that do not act on batches are passed over.
        model: in training mode, and left so.
        images: float B×C×H×W in [0, 1], augmented.
        labels: int64 B.
        classes: number of classes K.
        generator: CPU generator of the step's draws.

    Returns:
        Images, float B×C×H×W in [0, 1], and what cross-entropy takes: without such operations the labels as they are,
        else soft ones, float B×K.
    """
    mine = [operation for operation in operations if operation.name in BATCH_STAGE]
    if not mine:
        return images, labels
    targets = F.one_hot(labels, classes).float()
    for name, values in mine:
        images, targets = BATCH_STAGE[name](model, images, targets, generator, *values)
    return images, targets


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, so that looking at it changes no statistics of its batch norms."""
    model.eval()
    try:
        yield
    finally:
        model.train()


@contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """The CPU's global random state, which torchvision draws from, is given by the step's own draws inside."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        yield


def mixup(
    model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator, alpha: float
) -> ImagesAndTargets:
    """Mixed with the batch's previous image (Zhang et al., 2018)."""
    with seeded(generator):
        mixed: ImagesAndTargets = v2.MixUp(alpha=alpha)(images, targets)
    return mixed


def cutmix(
    model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator, alpha: float
) -> ImagesAndTargets:
    """A box from the batch's previous image (Yun et al., 2019)."""
    with seeded(generator):
        mixed: ImagesAndTargets = v2.CutMix(alpha=alpha)(images, targets)
    return mixed


def noise(
    model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator, sigma: float
) -> ImagesAndTargets:
    """Gaussian noise; ``sigma`` in grey levels."""
    drawn = torch.randn(images.shape, generator=generator).to(images.device)
    return (images + drawn * sigma / 255).clamp(0, 1), targets


def randaugment(
    model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator, count: int, magnitude: int
) -> ImagesAndTargets:
    """RandAugment (Cubuk et al., 2020) on whole grey levels, each image by its own draws."""
    return _each(v2.RandAugment(count, magnitude), images, generator), targets


def _each(change: Callable[[Tensor], Tensor], images: Tensor, generator: torch.Generator) -> Tensor:
    with seeded(generator):
        return to_float(torch.stack([change(image) for image in rounded(images)]))


def ueraser(
    model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator, count: int
) -> ImagesAndTargets:
    """Of ``count`` strong augmentations of each image, the one that the model errs on most (after Qin et al., 2023)."""
    tried = torch.stack([strong(images, generator) for _ in range(count)])
    with evaluating(model), torch.no_grad():
        losses = torch.stack([F.cross_entropy(model(one), targets, reduction="none") for one in tried])
    return tried[losses.argmax(0), torch.arange(len(images), device=images.device)], targets


def strong(images: Tensor, generator: torch.Generator) -> Tensor:
    """Smooth random brightness, contrast, shuffled channels, each for every second image or so; then TrivialAugment.

    Args:
        images: float B×C×H×W in [0, 1].
        generator: CPU generator of the draws.

    Returns:
        float B×C×H×W in [0, 1].
    """
    batch, channels = images.shape[:2]
    device = images.device
    coins = (torch.rand(3, batch, 1, 1, 1, generator=generator) < 0.5).to(device)
    depth = (0.5 + torch.rand(batch, 1, 1, 1, generator=generator) / 2).to(device)
    brighter = (images + depth * (cloud(images, generator) - 0.5)).clamp(0, 1)
    images = torch.where(coins[0], brighter, images)
    harder = (0.5 + (images - 0.5) * 2 * cloud(images, generator)).clamp(0, 1)
    images = torch.where(coins[1], harder, images)
    order = torch.rand(batch, channels, generator=generator).argsort(1).to(device)
    shuffled = images.gather(1, order[:, :, None, None].expand_as(images))
    images = torch.where(coins[2], shuffled, images)
    return _each(v2.TrivialAugmentWide(), images, generator)


def cloud(images: Tensor, generator: torch.Generator) -> Tensor:
    """A smooth random field for each image, float B×1×H×W from 0 to 1: noise of 2×2, 4×4, … cells, ever fainter."""
    batch, _, height, width = images.shape
    field = torch.zeros(batch, 1, height, width)
    cells, strength = 2, 1.0
    while cells < 2 * max(height, width):
        drawn = torch.rand(batch, 1, cells, cells, generator=generator)
        field += strength * F.interpolate(drawn, (height, width), mode="bilinear", align_corners=True)
        cells, strength = 2 * cells, strength / 2
    low, high = field.amin((2, 3), keepdim=True), field.amax((2, 3), keepdim=True)
    return ((field - low) / (high - low).clamp_min(1e-6)).to(images.device)


def adversarial(
    model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator, epsilon: float, steps: int
) -> ImagesAndTargets:
    """Projected gradient ascent of the loss within ``epsilon`` grey levels of each pixel (Madry et al., 2018)."""
    bound = epsilon / 255
    start = (2 * torch.rand(images.shape, generator=generator) - 1).to(images.device)
    changed = (images + bound * start).clamp(0, 1)

    def gain(changed: Tensor) -> Tensor:
        return -F.cross_entropy(model(changed), targets, reduction="sum")

    def limit(changed: Tensor) -> Tensor:
        return changed.clamp(images - bound, images + bound).clamp(0, 1)

    with evaluating(model):
        return signed_descent(gain, changed, steps, 2.5 * bound / steps, limit), targets


BATCH_STAGE: dict[str, Callable[..., ImagesAndTargets]] = {
    f.__name__: f for f in (mixup, cutmix, noise, randaugment, ueraser, adversarial)
}
