"""Generator and discriminator. Both are fully convolutional and free of batch statistics.

Sizes, normalisation and the global branch are our choice: the published abstract names the parts, not their layers.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalises within one image, so that an image's noise never depends on what shares its batch."""
    return nn.GroupNorm(min(8, channels // 4), channels)


class Residual(nn.Module):
    """Pre-activation residual block, B×C×H×W → B×C×H×W."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            group_norm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            group_norm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class GlobalContext(nn.Module):
    """Adds to every place what the whole image says: pooled features through a small MLP, B×C×H×W → B×C×H×W.

    The label is a property of the whole image; without this branch a pixel's noise can only know its neighbourhood.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(x.mean((2, 3)))[:, :, None, None]


class Generator(nn.Module):
    """g: an image gives its noise, n = ε·tanh(g(x)), in one forward pass and without a label.

    An encoder–decoder with skip connections; any height and width (edges are replicated up to a multiple of
    2^levels and cut off again).

    Args:
        channels: 1 (gray) or 3 (RGB), of the images.
        epsilon: the bound ε of the noise, in [0, 1] pixel units (8/255 for eight grey levels).
        width: channels at half resolution, where the finest features live; doubled at every further halving.
        levels: number of halvings; the first is a rearrangement of pixels (space to depth), which quarters the
            cost of a network that works at full resolution and still sets every pixel's noise by itself.
        blocks: residual blocks a level.
    """

    def __init__(self, channels: int, epsilon: float, width: int = 32, levels: int = 3, blocks: int = 1) -> None:
        super().__init__()
        self.epsilon, self.levels = epsilon, levels
        widths = [width * 2**i for i in range(levels)]
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 3, padding=1))
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), *(Residual(b) for _ in range(blocks)))
            for a, b in pairwise(widths)
        )
        self.context = GlobalContext(widths[-1])
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(b + a, a, 3, padding=1), *(Residual(a) for _ in range(blocks)))
            for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        to_pixels = (nn.Conv2d(width, 4 * channels, 3, padding=1), nn.PixelShuffle(2))
        self.head = nn.Sequential(group_norm(width), nn.SiLU(), *to_pixels)

    def forward(self, images: Tensor) -> Tensor:
        """Noise for images.

        Args:
            images: float B×C×H×W in [0, 1].

        Returns:
            The noise n, float B×C×H×W in [-ε, ε]; adding and clipping is the caller's.
        """
        height, width = images.shape[-2:]
        step = 2**self.levels
        x = F.pad(images, (0, -width % step, 0, -height % step), mode="replicate")
        x = self.stem(x * 4 - 2)  # pixels to about unit variance around zero
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        x = self.context(x)
        for up in self.up:
            x = up(torch.cat([F.interpolate(x, scale_factor=2.0), skips.pop()], 1))
        # float() so that the bound holds exactly under bf16 too, whose steps near ε are coarse
        return self.epsilon * torch.tanh(self.head(x)[..., :height, :width].float())


class Discriminator(nn.Module):
    """D: gives every patch of an image a score, high for clean ones; spectrally normalised, no batch statistics.

    Args:
        channels: 1 or 3.
        width: channels of the first layer.
        levels: strided layers; the scores are for patches, H/2^levels × W/2^levels of them.
    """

    def __init__(self, channels: int, width: int = 32, levels: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = [spectral_norm(nn.Conv2d(channels, width, 3, padding=1)), nn.LeakyReLU(0.2)]
        for i in range(levels):
            conv = nn.Conv2d(width * 2**i, width * 2 ** (i + 1), 3, stride=2, padding=1)
            layers += [spectral_norm(conv), nn.LeakyReLU(0.2)]
        layers.append(spectral_norm(nn.Conv2d(width * 2**levels, 1, 3, padding=1)))
        self.net = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Scores, float B×1×h×w, of images, float B×C×H×W in [0, 1]."""
        return self.net(images * 4 - 2)
