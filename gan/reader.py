"""The second reader: a classifier taught from scratch on the owner's images before the game, as a thief's would be.

A code that is worse than what a victim learns from the pictures protects nothing: where victims name unseen images
better than a head on ImageNet's features does (stained cells), what they learn is to be in the code too.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.images import ImageSet
from victims.classifier import build_classifier
from victims.config import RECIPES
from victims.train import train_victim

SEED = 104729  # added to the run's, so that no victim of the evaluation starts from this network's weights


class SecondReader(nn.Module):
    """A classifier, frozen but for ``teach``; reads an image and its mirror image, at the size it was taught at.

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
        self.arch, self.width, self.size = arch, classes, size
        self.net = build_classifier(arch, classes, channels, size)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "SecondReader":
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
        """Trains it alone, by the recipe ``quick``; global random state is neither read nor changed."""
        recipe = replace(RECIPES["quick"], arch=self.arch, epochs=epochs)
        report = train_victim(images, val, self.width, recipe, SEED + seed, device, progress)
        self.net.load_state_dict(report.model.state_dict())

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Log-probabilities of the classes, float B×K, of images, float B×C×H×W in [0, 1]."""
        if images.shape[-2:] != self.size:
            images = F.interpolate(images, size=self.size, mode="bicubic", align_corners=False).clamp(0, 1)
        both = [self.net(view.contiguous(memory_format=torch.channels_last)) for view in (images, images.flip(3))]
        return sum(logits.float().log_softmax(1) for logits in both) / 2
