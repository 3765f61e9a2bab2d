"""LSP: linearly separable perturbations of blocks of one colour."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from baselines.config import LspConfig
from baselines.noise import (
    check_labels,
    check_shape,
    image_draws,
    pixel_hashes,
    protect_by_class,
    quantise_l2,
    random_signs,
    unfitted,
)
from datamodules.augment import draws
from datamodules.config import DataError
from datamodules.images import ImageSet
from datamodules.protection import Norm, Passes


class LinearlySeparable:
    """Yu et al., "Availability Attacks Create Shortcuts", KDD 2022 (arXiv 2111.00898): noise without any training.

    As published: points of K Gaussian clusters about vertices of a hypercube in d = C·⌈H/b⌉·⌈W/b⌉ dimensions, so that a
    linear classifier separates the classes; each coordinate is repeated over a block of b×b pixels of one channel; the
    noise is scaled to an L2 radius and added to the image. Needs labels; not label-free.

    ``norm=l2``, with v_k ∈ {−1, 1}^d the vertex of class k, B the repetition and z ~ N(0, I) drawn for every image:

        n = r·√(C·H·W) · B(v_y + s·z) / ‖B(v_y + s·z)‖₂,   r = 6/255 (L2 = 1.304 for 32×32 in colour), s = ``spread``

    Bound: L2 = r·√(C·H·W) of what is stored, nearly reached where nothing is clipped at black or white. L∞ is not
    bounded, whatever is asked for; single pixels go beyond 8/255.

    ``norm=linf``: n = ε·B(v_y), for comparison at an equal bound. L∞ at ε rounded down to whole grey levels.

    Deviations: ``norm=linf`` is ours. The published clusters come from scikit-learn's ``make_classification``, whose
    covariances are random and differ between classes; ours are s²·I, and s is our choice. z is drawn from the seed and
    the image's pixels, so that an image's noise depends on no other image (equal images of a class get equal noise).
    Sides that are no multiple of b end in narrower blocks.

    Args:
        options: of this method.
        epsilon: bound in grey levels; ``norm=l2`` does not use it.
    """

    name = "lsp"
    label_free = False

    def __init__(self, options: LspConfig, epsilon: float) -> None:
        self.options, self.passes = options, Passes()
        self.norm: Norm = options.norm
        self.epsilon = epsilon  # norm=l2: known with the images' shape
        self.seed, self.shape = 0, (0, 0, 0)
        self.vertices: Tensor | None = None  # float K×C×⌈H/b⌉×⌈W/b⌉

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Draws a different vertex for every class; see Protection.

        Raises:
            DataError: the hypercube has fewer vertices than there are classes.
        """
        channels, height, width = train.shape
        grid = (channels, math.ceil(height / self.options.block), math.ceil(width / self.options.block))
        if 2 ** min(62, math.prod(grid)) < classes:
            raise DataError(
                f"baselines.lsp.block: {self.options.block} leaves {math.prod(grid)} blocks on images of "
                f"{channels}×{height}×{width}, too few for {classes} classes; choose smaller blocks"
            )
        self.seed, self.shape = seed, train.shape
        if self.norm == "l2":
            self.epsilon = self.options.radius / 255 * math.prod(self.shape) ** 0.5
        self.vertices = distinct_vertices(classes, math.prod(grid), draws(seed)).reshape(classes, *grid)
        progress(1.0)

    def protect(self, images: ImageSet) -> Tensor:
        """Protected images, uint8 N×C×H×W.

        Raises:
            DataError: images of another shape, or labels of other classes, than it was fitted on.
            RuntimeError: not fitted.
        """
        if self.vertices is None:
            raise unfitted(self.name)
        if self.options.norm == "linf":
            return protect_by_class(self.name, self.epsilon / 255 * self._pixels(self.vertices), images, self.epsilon)
        check_shape(self.name, self.shape, images)
        check_labels(self.name, len(self.vertices), images)
        pixels, grid = images.images, self.vertices.shape[1:]
        z = torch.stack([torch.randn(grid, generator=image_draws(self.seed, key)) for key in pixel_hashes(pixels)])
        noise = self._pixels(self.vertices[images.labels] + self.options.spread * z)
        rms = noise.square().mean((1, 2, 3), keepdim=True).sqrt()
        return quantise_l2(pixels, self.options.radius / 255 * noise / rms, self.epsilon)

    def _pixels(self, blocks: Tensor) -> Tensor:
        """Blocks, float B×C×⌈H/b⌉×⌈W/b⌉, as pixels, float B×C×H×W."""
        _, height, width = self.shape
        side = self.options.block
        return blocks.repeat_interleave(side, 2).repeat_interleave(side, 3)[..., :height, :width]


def distinct_vertices(count: int, dimensions: int, generator: torch.Generator) -> Tensor:
    """Different random vertices of the hypercube {−1, 1}^d, float count×d; there must be that many."""
    if dimensions <= 16:  # few enough to shuffle: drawing until all differ could take for ever
        codes = torch.randperm(2**dimensions, generator=generator)[:count, None]
        return (codes >> torch.arange(dimensions) & 1) * 2.0 - 1.0
    while True:
        vertices = random_signs((count, dimensions), generator)
        if len(vertices.unique(dim=0)) == count:
            return vertices
