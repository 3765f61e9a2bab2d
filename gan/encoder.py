"""What reads an image for the generator: a small network learned with it, or a frozen one with ImageNet weights."""

from typing import Any, Protocol

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from victims.pretrained import packaged_weights

PRETRAINED = "efficientnet_lite0"
SIDE = 128  # pixels per side that the pretrained encoder is shown
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
        found: Tensor = x + self.body(x)
        return found


class PretrainedEncoder(nn.Module):
    """EfficientNet-Lite0 with ImageNet weights, frozen; any height and width, gray or RGB.

    Features are the mean and the standard deviation over places of four stages, and the mean of the last layer: colours
    and textures tell cells and lesions apart, things photos. The weights come from a Python package, since a model
    hub may be out of reach; they are stored with the generator.

    Args:
        load: read the package's weights; without it the weights are to be loaded from a generator's file.
    """

    frozen = True
    last = 1280  # features of the last layer, which come last
    width = 2 * (40 + 112 + 192 + 320) + last

    def __init__(self, load: bool = True) -> None:
        super().__init__()
        self.net: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
        if load:
            self.net.load_state_dict(packaged_weights(self.net))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "PretrainedEncoder":
        """Stays in evaluation mode: its batch statistics are part of the ImageNet weights."""
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
