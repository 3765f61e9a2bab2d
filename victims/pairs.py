"""A small U-Net that takes a protection's noise off, learned from pairs of clean and protected pictures.

Whoever can call a public generator has such pairs: of any pictures of his own. After BridgePure (Wang et al., 2024,
arXiv 2412.21061), whose network is a diffusion bridge; here it is one regression in one pass, so what it leaves is an
upper bound of what such an attacker leaves.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.augment import flip
from datamodules.images import to_float
from victims.denoise import learned
from victims.input_stage import Purifier

WIDTH, LEVELS = 16, 3  # ours: channels at full size, doubled at each of the sizes below


@dataclass(frozen=True)
class Pairs:
    """Pictures of the attacker's own, uint8 N×C×H×W each: as they are, and as the generator gave them back."""

    clean: Tensor
    protected: Tensor


class UNet(nn.Module):
    """What is added to a picture: convolutions at its size, half and a quarter of it, and up again beside the way down.

    Args:
        channels: of the images.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [WIDTH * 2**level for level in range(LEVELS)]
        self.down = nn.ModuleList(_block(a, b) for a, b in zip([channels, *widths], widths, strict=False))
        self.up = nn.ModuleList(_block(a + b, b) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.out = nn.Conv2d(WIDTH, channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Float B×C×H×W around [0, 1] to the same shape."""
        hidden, beside = images - 0.5, []
        for level, block in enumerate(self.down):
            hidden = block(F.avg_pool2d(hidden, 2, ceil_mode=True) if level else hidden)
            beside.append(hidden)
        for block in self.up:
            above = beside[-2]
            hidden = block(torch.cat([F.interpolate(hidden, above.shape[2:], mode="nearest"), above], 1))
            beside.pop()
        found: Tensor = images + self.out(hidden)
        return found


def _block(before: int, after: int) -> nn.Sequential:
    layers = [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.Conv2d(after, after, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def restorer(pairs: Pairs, epochs: int, seed: int, device: torch.device) -> Purifier:
    """Learns to give back the clean picture of a protected one.

    Args:
        pairs: of the attacker's own pictures.
        epochs: passes over them; half of the pictures of each are mirrored.
        seed: of the initialisation, the order and the mirroring.
        device: of the training.
    """
    channels = pairs.clean.shape[1]

    def pair(rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        both = to_float(torch.cat([pairs.protected[rows], pairs.clean[rows]], 1))
        given, wanted = flip(both, generator).split(channels, 1)
        return given, wanted

    return learned(lambda: UNet(channels), len(pairs.clean), pair, epochs, seed, device)
