"""What each network is trained for. All losses are means over the batch, so they add up across processes."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

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


def psnr(images: Tensor, protected: Tensor) -> Tensor:
    """Each image's peak signal-to-noise ratio in dB, float B; inputs float B×C×H×W in [0, 1].

    At most 100, which equal images have: means and JSON take no infinity.
    """
    found = peak_signal_noise_ratio(protected, images, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return found.clamp_max(100)


def correctly_read(logits: Tensor, codes: Tensor) -> Tensor:
    """Whether each one's code (int64 B) is the likeliest by the logits (float B×K): float B of 0 and 1."""
    return (logits.argmax(1) == codes).float()
