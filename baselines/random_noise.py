"""Random sign noise: the control that tells what crafting is worth at the same bound."""

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.config import RandomConfig
from baselines.noise import image_draws, pixel_hashes, protect_by_class, random_signs, unfitted
from datamodules.augment import draws
from datamodules.images import ImageSet
from datamodules.protection import Norm, Passes
from gan.protection import quantise


class RandomNoise:
    """n = ε·s, the signs s ∈ {−1, 1}^(C×H×W) independent and fair; there is no paper to it.

    ``kind=sample``: s is drawn anew for every image, from the seed and the image's pixels. Label-free: it protects any
    image of any size; equal images get equal noise. ``kind=class``: one s for every class, for images of one size.

    Bound: L∞ at ε rounded down to whole grey levels, reached in every pixel that is not clipped at black or white.

    Args:
        options: of this method.
        epsilon: bound in grey levels.
    """

    name = "random"
    norm: Norm = "linf"

    def __init__(self, options: RandomConfig, epsilon: float) -> None:
        self.label_free, self.passes = options.kind == "sample", Passes()
        self.epsilon = epsilon
        self.seed: int | None = None
        self.patterns: Tensor | None = None

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Draws the classes' patterns, or keeps the seed; see Protection."""
        self.seed = seed
        if not self.label_free:
            self.patterns = self.epsilon / 255 * random_signs((classes, *train.shape), draws(seed))
        progress(1.0)

    def protect(self, images: ImageSet) -> Tensor:
        """Protected images, uint8 N×C×H×W.

        Raises:
            DataError: ``kind=class`` and images of another shape, or labels of other classes.
            RuntimeError: not fitted.
        """
        if not self.label_free:
            return protect_by_class(self.name, self.patterns, images, self.epsilon)
        if self.seed is None:
            raise unfitted(self.name)
        pixels = images.images
        signs = [random_signs(images.shape, image_draws(self.seed, key)) for key in pixel_hashes(pixels)]
        return quantise(pixels, self.epsilon / 255 * torch.stack(signs), self.epsilon)
