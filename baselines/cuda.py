"""CUDA: images blurred by a filter of their class's own."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.config import CudaConfig
from baselines.noise import check_labels, check_shape, unfitted
from datamodules.augment import draws
from datamodules.config import DataError
from datamodules.images import ImageSet, to_float
from datamodules.protection import Passes


class ConvolutionFilters:
    """Sadasivan et al., "CUDA: Convolution-based Unlearnable Datasets", CVPR 2023 (arXiv 2303.04278).

    Every class k has a filter F_k of side s, its centre 1, the rest drawn from U(0, p); each channel of an image of the
    class is convolved with it, zeros beyond the edge, and the image scaled so that its largest value is 1:

        x′ = z / max z,   z = F_y ∗ x

    Published: s = 3, p = 0.3 for CIFAR-10 and CIFAR-100; s = 9, p = 0.06 for ImageNet-100. Needs labels; protects any
    image of the shape it was fitted on.

    Bound: none; the change is multiplicative and large, whatever bound is asked for.

    Deviations: none from the paper that we know of. That all channels share a class's filter, and that dark images are
    brightened, is as in the program that its authors published; there the 1 stands at a drawn place of the filter, and
    pixels are rounded down, here to the nearest level.

    Args:
        options: of this method.
    """

    name = "cuda"
    norm = None
    epsilon = None
    label_free = False

    def __init__(self, options: CudaConfig) -> None:
        self.options, self.passes = options, Passes()
        self.shape = (0, 0, 0)
        self.filters: Tensor | None = None  # float K×s×s

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Draws the classes' filters; see Protection.

        Raises:
            DataError: the filter is larger than the images.
        """
        side, (_, height, width) = self.options.side, train.shape
        if side > min(height, width):
            raise DataError(f"baselines.cuda.side: {side} is more than images of {height}×{width} have; choose less")
        filters = self.options.blur * torch.rand(classes, side, side, generator=draws(seed))
        filters[:, side // 2, side // 2] = 1
        self.filters, self.shape = filters, train.shape
        progress(1.0)

    def protect(self, images: ImageSet) -> Tensor:
        """Protected images, uint8 N×C×H×W.

        Raises:
            DataError: images of another shape, or labels of other classes, than it was fitted on.
            RuntimeError: not fitted.
        """
        if self.filters is None:
            raise unfitted(self.name)
        check_shape(self.name, self.shape, images)
        check_labels(self.name, len(self.filters), images)
        clean = to_float(images.images)
        protected = torch.empty_like(images.images)
        for label in images.labels.unique():
            rows = images.labels == label
            noised = F.conv2d(clean[rows].flatten(0, 1)[:, None], self.filters[label][None, None], padding="same")
            noised = noised.reshape(-1, *self.shape)
            noised = noised / noised.amax((1, 2, 3), keepdim=True).clamp_min(1e-6)  # a black image stays black
            protected[rows] = (255 * noised).round().to(torch.uint8)
        return protected
