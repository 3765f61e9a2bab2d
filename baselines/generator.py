"""A network that makes noise, and protecting with one: what DeepConfuse, GUE and Unlearnable Clusters share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.noise import unfitted
from datamodules.config import DataError
from datamodules.images import ImageSet, to_float
from datamodules.protection import Norm, Passes
from gan.encoder import Residual, group_norm
from gan.protection import quantise

SMALLEST = 4  # pixels per side: the network halves twice
CHUNK = 256  # images protected together, which decides nothing: there are no batch statistics


class NoiseGenerator(nn.Module):
    """Encoder and decoder: images, float B×C×H×W in [0, 1], to noise, float B×C×H×W in [−ε, ε]; any H, W ≥ 4.

    Three resolutions with sums across, group normalisation (an image's noise depends on no other image), and
    n = ε·tanh. The peers' papers name an auto-encoder or a U-Net; this small one is ours, for CPUs.

    Args:
        channels: C.
        width: channels at full resolution; doubled at every halving.
        bound: ε in [0, 1] pixel units.
    """

    def __init__(self, channels: int, width: int, bound: float) -> None:
        super().__init__()
        self.bound = bound
        self.full = nn.Conv2d(channels, width, 3, padding=1)
        self.to_half, self.to_quarter = _halving(width), _halving(2 * width)
        self.middle = Residual(4 * width)
        self.back_half, self.back_full = _narrowing(4 * width), _narrowing(2 * width)
        self.out = nn.Sequential(group_norm(width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        full = self.full(images * 4 - 2)
        half = self.to_half(full)
        x = self.middle(self.to_quarter(half))
        x = half + F.interpolate(self.back_half(x), size=half.shape[-2:], mode="nearest")
        x = full + F.interpolate(self.back_full(x), size=full.shape[-2:], mode="nearest")
        return self.bound * torch.tanh(self.out(x))


def _halving(width: int) -> nn.Module:
    return nn.Sequential(group_norm(width), nn.SiLU(), nn.Conv2d(width, 2 * width, 3, stride=2, padding=1))


def _narrowing(width: int) -> nn.Module:
    return nn.Sequential(group_norm(width), nn.SiLU(), nn.Conv2d(width, width // 2, 1))


def noised(images: Tensor, noise: Tensor) -> Tensor:
    """x + n as it can be stored, in [0, 1], with the slope of x + n: what is clipped keeps its gradient."""
    total = images + noise
    return total + (total.clamp(0, 1) - total).detach()


def check_size(name: str, train: ImageSet, smallest: int = SMALLEST) -> None:
    """Raises DataError unless the images are large enough; the default is what a NoiseGenerator takes."""
    _, height, width = train.shape
    if min(height, width) < smallest:
        raise DataError(
            f"{name}: expected images of at least {smallest}×{smallest}, found {height}×{width}; enlarge them"
        )


class ProtectsByGenerator:
    """What methods share whose trained network makes the noise of any image, without a label.

    Args:
        epsilon: L∞ bound in grey levels.

    Attributes:
        generator: images, float B×C×H×W in [0, 1], to noise; in evaluation mode, set by ``fit``.
        smallest: pixels per side that it takes at least.
    """

    name: str
    norm: Norm = "linf"
    label_free = True
    smallest = SMALLEST

    def __init__(self, epsilon: float) -> None:
        self.epsilon, self.passes = epsilon, Passes()
        self.generator: nn.Module | None = None
        self.channels = 0

    @torch.no_grad()
    def protect(self, images: ImageSet) -> Tensor:
        """Protected images, uint8 N×C×H×W, of any size from the smallest.

        Raises:
            DataError: images with other channels than it was fitted on, or too small ones.
            RuntimeError: not fitted.
        """
        if self.generator is None:
            raise unfitted(self.name)
        if images.shape[0] != self.channels:
            raise DataError(
                f"{self.name}: expected images of {self.channels} channels, as it was fitted on, found "
                f"{images.shape[0]}; fit on such images"
            )
        check_size(self.name, images, self.smallest)
        device = next(self.generator.parameters()).device
        protected = []
        for rows in torch.arange(len(images)).split(CHUNK):
            pixels = images.pixels(rows)
            noise = self.generator(to_float(pixels).to(device)).cpu()
            protected.append(quantise(pixels, noise, self.epsilon))
        return torch.cat(protected)
