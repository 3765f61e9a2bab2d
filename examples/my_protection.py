"""A protection of one's own, compared with others by one command:

confoundergan grid grid=examples/compare.yaml
"""

from collections.abc import Callable

import torch
from torch import Tensor

from datamodules.images import ImageSet
from datamodules.protection import Norm, Passes


class Stripes:
    """Each class gets stripes of a width and a direction of its own, at the bound; it reads the labels."""

    name = "stripes"
    norm: Norm = "linf"
    label_free = False
    passes = Passes()

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Draws one pattern per class, K×1×H×W."""
        _, height, width = train.shape
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        steps = [(rows if k % 2 else columns) // (1 + k // 2) % 2 for k in range(classes)]
        self.patterns = int(self.epsilon) * (2 * torch.stack(steps)[:, None] - 1)
        progress(1.0)

    def protect(self, images: ImageSet) -> Tensor:
        """Protected images, uint8 N×C×H×W."""
        return (images.images.int() + self.patterns[images.labels]).clamp(0, 255).to(torch.uint8)
