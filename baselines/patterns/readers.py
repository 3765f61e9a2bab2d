"""What reads an image for the pattern generator: a frozen network with ImageNet weights, or that of old files."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from baselines.config import PatternsConfig
from gan.encoder import PretrainedEncoder, Residual, group_norm


class ConvEncoder(nn.Module):
    """A small convolutional network; any height and width, no batch statistics. Old files have it; none is fitted.

    Args:
        channels: 1 or 3.
        width: channels at half resolution; doubled at every further halving.
        levels: number of halvings; the first is a rearrangement of pixels (space to depth).
        blocks: residual blocks per level.
    """

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
        found: Tensor = self.body(x).mean((2, 3))
        return found


def build_encoder(options: PatternsConfig, channels: int, load: bool = True) -> ConvEncoder | PretrainedEncoder:
    """The encoder that the options name.

    Args:
        options: of the method.
        channels: 1 or 3.
        load: read a pretrained encoder's weights; without it they come with the generator's file.
    """
    if options.encoder == "conv":
        return ConvEncoder(channels, options.width, options.levels, options.blocks)
    return PretrainedEncoder(load)
