"""What reads an image for the pattern generator: an encoder under its head, and an auxiliary classifier beside them."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.config import PatternsConfig
from datamodules.images import ImageSet
from gan.encoder import PretrainedEncoder, Residual, group_norm
from victims.classifier import build_classifier
from victims.config import RECIPES
from victims.train import train_victim

SEED = 104729  # added to the fit's, so that no victim of the evaluation starts from this network's weights


class ConvEncoder(nn.Module):
    """A small convolutional network; any height and width, no batch statistics. Old files have it; none is fitted.

    Args:
        channels: 1 or 3.
        width: channels at half resolution; doubled at every further halving.
        levels: number of halvings; the first is a rearrangement of pixels (space to depth).
        blocks: residual blocks a level.
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
        return self.body(x).mean((2, 3))


class AuxiliaryClassifier(nn.Module):
    """A classifier taught from scratch on the owner's images, as a thief's would be, and frozen but for ``teach``.

    Reads an image and its mirror image, at the size it was taught at. A class code that is worse than what a victim
    learns from the pictures protects nothing: where victims tell the classes of unseen images better than a head on
    ImageNet's features does (stained cells), what they learn is to be in the code too.

    Args:
        arch: a name that victims/classifier.py knows.
        classes: number of classes K.
        channels: 1 or 3.
        size: height and width of the images it is taught on.

    Raises:
        ValueError: the architecture is unknown or cannot take these images.
    """

    def __init__(self, arch: str, classes: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.arch, self.classes, self.size = arch, classes, size
        self.net = build_classifier(arch, classes, channels, size)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "AuxiliaryClassifier":
        """Stays in evaluation mode: an image's noise must not depend on what shares its batch."""
        return super().train(False)

    def teach(
        self,
        images: ImageSet,
        val: ImageSet,
        epochs: int,
        seed: int,
        device: torch.device,
        progress: Callable[[], None],
    ) -> None:
        """Trains it alone, by the recipe ``quick``; global random state is neither read nor changed.

        Args:
            images: that it learns from, but for a tenth that the recipe keeps.
            val: that it is measured on as it learns, which decides nothing.
            epochs: of the training.
            seed: of the fit.
            device: that it is trained on.
            progress: called after every epoch.
        """
        recipe = replace(RECIPES["quick"], arch=self.arch, epochs=epochs)
        report = train_victim(images, val, self.classes, recipe, SEED + seed, device, progress)
        self.net.load_state_dict(report.model.state_dict())

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Log-probabilities of the classes, float B×K, of images, float B×C×H×W in [0, 1]."""
        if images.shape[-2:] != self.size:
            images = F.interpolate(images, size=self.size, mode="bicubic", align_corners=False).clamp(0, 1)
        both = [self.net(view.contiguous(memory_format=torch.channels_last)) for view in (images, images.flip(3))]
        return sum(logits.float().log_softmax(1) for logits in both) / 2


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
