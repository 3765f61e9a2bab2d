"""OPS: one pixel of every image, the same for all images of a class."""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from baselines.config import OpsConfig
from baselines.noise import check_classes, check_labels, check_shape, unfitted
from datamodules.augment import draws
from datamodules.config import DataError
from datamodules.images import ImageSet, to_float
from datamodules.protection import Norm, Passes

FLOOR = 1e-6  # of a variance: pixels that are alike in all images have none


class OnePixel:
    """Wu et al., "One-Pixel Shortcut: on the Learning Preference of Deep Neural Networks", ICLR 2023 (2205.12141).

    In all images of class k the pixel at σ_k gets the colour ξ_k, both searched among all places and all colours with
    channels 0 or 1, so that the images are far from it, and all about equally far:

        (σ_k, ξ_k) = argmax_{σ, ξ} E[d] / Var[d],   d = Σ_c |x_c(σ) − ξ_c|,   over the images x of class k

    Classes choose one after another, and no choice is made twice. Needs labels; protects any image of the shape.

    Bound: L0 of ``pixels`` in an image (published: 1). L∞ is not bounded, whatever is asked for.

    Deviations: the published program divides by the standard deviation over images and channels; this is the paper's
    variance, with a floor of 1e-6. Where choices are equally good (the dark rim of all digits), the seed decides;
    elsewhere nothing depends on it. With more pixels, a class takes the best places, one colour each.

    Args:
        options: of this method.
    """

    name = "ops"
    norm: Norm = "l0"
    label_free = False

    def __init__(self, options: OpsConfig) -> None:
        self.options, self.passes, self.epsilon = options, Passes(), float(options.pixels)
        self.shape = (0, 0, 0)
        self.places: Tensor | None = None  # int64 K×P, row · W + column
        self.colours: Tensor | None = None  # uint8 K×P×C

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Searches; see Protection.

        Raises:
            DataError: a class without images, or more choices to make than there are places and colours.
        """
        check_classes(self.name, train, classes)
        channels, height, width = train.shape
        colours = torch.tensor(list(product((0.0, 1.0), repeat=channels)))
        count, area = self.options.pixels, height * width
        if count > area or classes * count > area * len(colours):
            raise DataError(
                f"baselines.ops.pixels: {count} a class are more than images of {height}×{width} have for {classes} "
                "classes; choose less"
            )
        free = torch.ones(area, len(colours), dtype=torch.bool)
        order = torch.randperm(free.numel(), generator=draws(seed))
        places, chosen = [], []
        for label in range(classes):
            score = self._scores(train.subset((train.labels == label).nonzero()[:, 0]), colours)
            score[~free] = -1.0
            taken = torch.zeros(area, dtype=torch.bool)
            for _ in range(count):
                score[taken] = -1.0
                place, colour = divmod(int(order[score.flatten()[order].argmax()]), len(colours))
                free[place, colour], taken[place] = False, True
                places.append(place)
                chosen.append(colours[colour])
            progress((label + 1) / classes)
        self.shape = train.shape
        self.places = torch.tensor(places).reshape(classes, count)
        self.colours = (255 * torch.stack(chosen)).to(torch.uint8).reshape(classes, count, channels)

    def _scores(self, images: ImageSet, colours: Tensor) -> Tensor:
        """E[d] / Var[d] of every place and colour, float64 (H·W)×colours, over images of one class."""
        total, squares = (torch.zeros(images.shape[1] * images.shape[2], len(colours)).double() for _ in range(2))
        for rows in torch.arange(len(images)).split(256):
            pixels = to_float(images.pixels(rows)).double().flatten(2)  # B×C×(H·W)
            for number, colour in enumerate(colours):
                distance = (pixels - colour[:, None]).abs().sum(1)
                total[:, number] += distance.sum(0)
                squares[:, number] += distance.square().sum(0)
        mean = total / len(images)
        return mean / (squares / len(images) - mean.square()).clamp_min(FLOOR)

    def protect(self, images: ImageSet) -> Tensor:
        """Protected images, uint8 N×C×H×W.

        Raises:
            DataError: images of another shape, or labels of other classes, than it was fitted on.
            RuntimeError: not fitted.
        """
        if self.places is None or self.colours is None:
            raise unfitted(self.name)
        check_shape(self.name, self.shape, images)
        check_labels(self.name, len(self.places), images)
        protected = images.images.clone().flatten(2)
        rows = torch.arange(len(images))[:, None]
        protected[rows, :, self.places[images.labels]] = self.colours[images.labels]
        return protected.reshape(len(images), *self.shape)
