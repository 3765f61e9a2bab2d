"""What reads an image for the generator: a small network learned with it, or a frozen one that ImageNet taught."""

from itertools import pairwise
from typing import Any, Protocol

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan.config import GeneratorConfig
from victims.pretrained import packaged_weights

PRETRAINED = "efficientnet_lite0"
SIDE = 128  # pixels a side that the pretrained encoder is shown
STAGES = (2, 4, 5, 6)  # whose mean and spread are features, beside those of the last layer


class Encoder(Protocol):
    """Images, float B×C×H×W in [0, 1], to features, float B×``width``; ``frozen`` ones are never trained."""

    width: int
    frozen: bool

    def __call__(self, images: Tensor) -> Tensor: ...


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


class ConvEncoder(nn.Module):
    """A small convolutional network, learned with the rest; any height and width, no batch statistics.

    Args:
        channels: 1 or 3.
        width: channels at half resolution; doubled at every further halving.
        levels: number of halvings; the first is a rearrangement of pixels (space to depth).
        blocks: residual blocks a level.
    """

    frozen = False

    def __init__(self, channels: int, width: int = 32, levels: int = 3, blocks: int = 1) -> None:
        super().__init__()
        self.levels, self.width = levels, width * 2 ** (levels - 1)
        widths = [width * 2**i for i in range(levels)]
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 3, padding=1)]
        layers += [Residual(width) for _ in range(blocks)]
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), *(Residual(after) for _ in range(blocks))]
        self.body = nn.Sequential(*layers, group_norm(widths[-1]), nn.SiLU())

    def forward(self, images: Tensor) -> Tensor:
        """Features, float B×D, of images, float B×C×H×W in [0, 1]."""
        height, width = images.shape[-2:]
        step = 2**self.levels
        # edges are replicated up to a multiple of 2^levels; pixels to about unit variance around zero
        x = F.pad(images, (0, -width % step, 0, -height % step), mode="replicate") * 4 - 2
        return self.body(x).mean((2, 3))


class PretrainedEncoder(nn.Module):
    """EfficientNet-Lite0 with ImageNet weights, frozen; any height and width, gray or RGB.

    Features are the mean and the standard deviation over places of four stages, and the mean of the last layer: colours
    and textures tell cells and lesions apart, things photos. The weights come from a Python package, since a model
    hub may be out of reach; they are stored with the generator.

    Args:
        load: read the package's weights; without it the weights are to be loaded from a generator's file.
    """

    frozen = True
    width = 2 * (40 + 112 + 192 + 320) + 1280

    def __init__(self, load: bool = True) -> None:
        super().__init__()
        self.net: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
        if load:
            self.net.load_state_dict(packaged_weights(self.net))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "PretrainedEncoder":
        """Stays in evaluation mode: its batch statistics are part of what ImageNet taught."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features, float B×D, of images, float B×C×H×W in [0, 1]."""
        x = F.interpolate(images, size=(SIDE, SIDE), mode="bicubic", align_corners=False).clamp(0, 1)
        x = (x.expand(-1, 3, -1, -1) - 0.498) / 0.502  # the weights' own normalisation
        x = self.net.bn1(self.net.conv_stem(x.contiguous(memory_format=torch.channels_last)))
        features = []
        for stage, blocks in enumerate(self.net.blocks):
            x = blocks(x)
            if stage in STAGES:
                features += [x.mean((2, 3)), x.std((2, 3))]
        features.append(self.net.bn2(self.net.conv_head(x)).mean((2, 3)))
        return torch.cat(features, 1).float()


def build_encoder(options: GeneratorConfig, channels: int, load: bool = True) -> Encoder:
    """The encoder that the options name.

    Args:
        options: of the generator.
        channels: 1 or 3.
        load: see PretrainedEncoder.
    """
    if options.encoder == PRETRAINED:
        return PretrainedEncoder(load)
    return ConvEncoder(channels, options.width, options.levels, options.blocks)
