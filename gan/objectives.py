"""What each network is trained for. All losses are means over the batch, so they add up across processes."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.augment import augment, draws
from gan.config import ViewsConfig

GanLoss = Literal["hinge", "least_squares", "none"]


def apply_noise(images: Tensor, noise: Tensor) -> Tensor:
    """clip(x + n, 0, 1), float B×C×H×W: the protected image before it is stored."""
    return (images + noise).clamp(0, 1)


def discriminator_loss(kind: GanLoss, clean: Tensor, protected: Tensor) -> Tensor:
    """The discriminator's loss from its scores for clean and for protected images (any shape).

    ``hinge``: E[max(0, 1 − D(x))] + E[max(0, 1 + D(x′))] (Lim and Ye, arXiv 1705.02894).
    ``least_squares``: E[(D(x) − 1)²] + E[D(x′)²], halved (Mao et al., arXiv 1611.04076).
    """
    if kind == "hinge":
        return F.relu(1 - clean).mean() + F.relu(1 + protected).mean()
    return ((clean - 1).square().mean() + protected.square().mean()) / 2


def generator_gan_loss(kind: GanLoss, protected: Tensor) -> Tensor:
    """The generator's adversarial loss from the scores of protected images: be taken for clean."""
    return -protected.mean() if kind == "hinge" else (protected - 1).square().mean() / 2


def views(images: Tensor, others: Tensor, noise: Tensor, sees: ViewsConfig) -> list[tuple[float, Tensor]]:
    """The batches that the surrogate sees, each with its weight; the label of row i is always that of noise i.

    ``image_noise`` is what a thief trains on. ``noise`` shows nothing but the noise, on mid-grey. ``swap`` puts
    the noise of image i on another image: an intervention on the picture that leaves the noise as it is, so only noise
    that causes the label by itself is read there.

    Args:
        images: float B×C×H×W in [0, 1].
        others: float B×C×H×W in [0, 1], another image for each.
        noise: float B×C×H×W in [-ε, ε].
        sees: the weights; views of weight 0 are left out.
    """
    made = []
    if sees.image_noise:
        made.append((sees.image_noise, apply_noise(images, noise)))
    if sees.noise:
        made.append((sees.noise, 0.5 + noise))
    if sees.swap:
        made.append((sees.swap, apply_noise(others, noise)))
    return made


def reading_loss(surrogate: nn.Module, seen: list[tuple[float, Tensor]], labels: Tensor) -> tuple[Tensor, list[Tensor]]:
    """How badly the surrogate reads the labels: Σ weight · cross-entropy over the views, and each view's logits."""
    logits = [surrogate(view) for _, view in seen]
    losses = [weight * F.cross_entropy(z, labels) for (weight, _), z in zip(seen, logits, strict=True)]
    return torch.stack(losses).sum(), logits


def augmented(seen: list[tuple[float, Tensor]], operations: str, key: tuple[int, ...]) -> list[tuple[float, Tensor]]:
    """The views as a thief's augmentation would show them; the draws are a function of ``key``.

    Gradients pass through, so the generator learns noise that survives it (expectation over transformations, Athalye et
    al., arXiv 1707.07397).
    """
    return [(weight, augment(view, operations, draws(*key, i))) for i, (weight, view) in enumerate(seen)]


def norm_penalty(noise: Tensor, epsilon: float) -> Tensor:
    """Mean of (n/ε)², in [0, 1]: 1 when every pixel sits at the bound."""
    return (noise / epsilon).square().mean()


def psnr(images: Tensor, protected: Tensor) -> Tensor:
    """Mean over the batch of each image's peak signal-to-noise ratio in dB; inputs in [0, 1]."""
    error = (images - protected).square().flatten(1).mean(1).clamp_min(1e-10)
    return (-10 * torch.log10(error)).mean()
