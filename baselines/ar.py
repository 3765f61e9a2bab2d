"""AR: autoregressive perturbations, drawn from a process of each class's own."""

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.config import ArConfig
from baselines.noise import check_labels, check_shape, image_draws, pixel_hashes, quantise_l2, unfitted
from datamodules.augment import draws
from datamodules.config import DataError
from datamodules.images import ImageSet
from datamodules.protection import Norm, Passes

WINDOW = 3  # side of the causal window; its last value is the one that is made
MARGIN = 4  # first rows and columns, made and then cut off, so that little is left of the random start
CANDIDATES = 256  # processes tried together
ROUNDS = 16  # of candidates before giving up, and one more for 16 processes wanted; some 50 in a round are stable
TRIALS = 3  # starts on which a process must be stable


class Autoregressive:
    """Sandoval-Segura et al., "Autoregressive Perturbations for Data Poisoning", NeurIPS 2022 (arXiv 2206.03693).

    Every class k and channel c has eight coefficients β, for the other values of a 3×3 window that ends at the value to
    be made; row by row, from a random start,

        n[i, j] = Σ_{(a, b) ≠ (2, 2)} β_{k,c}[a, b] · n[i − 2 + a, j − 2 + b]

    so that one 3×3 filter a class answers its noise with 0. Two rows and two columns of independent N(0, 1) start it;
    four rows and columns are cut off; all channels together are scaled to an L2 length.

    The coefficients are drawn from N(0, 1) and divided by their sum. Kept are those whose noise, over images of the
    size at hand and several starts, never exceeds ``largest``: neither do such processes overflow (the published ones
    for CIFAR-100 gave NaN in one class), nor does all of the noise gather in a corner.

    Published: L2 = 1 for 32×32 in colour, 3 for 96×96; that is ``radius``·√(H·W)/32, which we use for all sizes and
    channels. Needs labels; an image's start is drawn from the seed and its pixels, so it protects any image of the
    shape it was fitted on.

    Bound: L2 of what is stored, nearly reached where nothing is clipped at black or white. L∞ is not bounded, whatever
    is asked for.

    Deviations: diagonals of the image are made together, which changes nothing. Stability is asked of each channel by
    itself. The published search also wants the processes of different classes to answer each other's filters strongly;
    ours are independent draws.

    Args:
        options: of this method.
    """

    name = "ar"
    norm: Norm = "l2"
    label_free = False

    def __init__(self, options: ArConfig) -> None:
        self.options, self.passes, self.epsilon = options, Passes(), options.radius
        self.seed, self.shape = 0, (0, 0, 0)
        self.coefficients: Tensor | None = None  # float K×C×3×3, the last of each 0

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Finds stable coefficients for every class; see Protection.

        Raises:
            DataError: too few were found.
        """
        channels, height, width = train.shape
        self.seed, self.shape = seed, train.shape
        self.epsilon = self.options.radius * (height * width) ** 0.5 / 32
        kept: list[Tensor] = []
        wanted, found = classes * channels, 0
        for attempt in range(ROUNDS + wanted // 16):
            drawn = candidates(CANDIDATES, draws(seed, attempt))
            good = drawn[stable(drawn, (height, width), self.options.largest, draws(seed, attempt, 1))]
            kept.append(good)
            found += len(good)
            progress(min(1.0, found / wanted))
            if found >= wanted:
                self.coefficients = torch.cat(kept)[:wanted].reshape(classes, channels, WINDOW, WINDOW)
                return
        raise DataError(
            f"ar: found {found} stable processes of {wanted} for images of {height}×{width}; raise baselines.ar.largest"
        )

    def protect(self, images: ImageSet) -> Tensor:
        """Protected images, uint8 N×C×H×W.

        Raises:
            DataError: images of another shape, or labels of other classes, than it was fitted on.
            RuntimeError: not fitted.
        """
        if self.coefficients is None:
            raise unfitted(self.name)
        check_shape(self.name, self.shape, images)
        check_labels(self.name, len(self.coefficients), images)
        channels, height, width = self.shape
        pixels, size = images.images, (channels, height + MARGIN, width + MARGIN)
        starts = torch.stack([torch.randn(size, generator=image_draws(self.seed, key)) for key in pixel_hashes(pixels)])
        noise = continued(starts, self.coefficients[images.labels])[..., MARGIN:, MARGIN:]
        length = noise.flatten(1).norm(dim=1)[:, None, None, None].clamp_min(1e-12)
        return quantise_l2(pixels, self.epsilon * noise / length, self.epsilon)


def candidates(count: int, generator: torch.Generator) -> Tensor:
    """Random coefficients that sum to 1, float count×3×3, the last of each 0."""
    drawn = torch.randn(count, WINDOW, WINDOW, generator=generator, dtype=torch.float64)
    drawn[:, -1, -1] = 0
    return (drawn / drawn.sum((1, 2), keepdim=True)).float()


def continued(start: Tensor, coefficients: Tensor) -> Tensor:
    """Autoregressive noise.

    Args:
        start: float …×H×W, of which the first two rows and columns count.
        coefficients: float …×3×3, the last of each 0.

    Returns:
        float …×H×W; the first two rows and columns are those of the start.
    """
    made = start.clone()
    height, width = start.shape[-2:]
    places = [(a, b) for a in range(WINDOW) for b in range(WINDOW)][:-1]
    # values of one diagonal need only those of earlier ones
    for diagonal in range(4, height + width - 1):
        rows = torch.arange(max(2, diagonal - width + 1), min(height, diagonal - 1))
        columns = diagonal - rows
        terms = [coefficients[..., a, b, None] * made[..., rows - 2 + a, columns - 2 + b] for a, b in places]
        made[..., rows, columns] = torch.stack(terms).sum(0)
    return made


def stable(coefficients: Tensor, size: tuple[int, int], largest: float, generator: torch.Generator) -> Tensor:
    """Whether processes (float P×3×3) stay within ±largest on images of a size, for all trial starts: bool P."""
    height, width = size
    starts = torch.randn(len(coefficients), TRIALS, height + MARGIN, width + MARGIN, generator=generator)
    made = continued(starts, coefficients[:, None])[..., MARGIN:, MARGIN:]
    return made.abs().flatten(1).amax(1) <= largest  # false for NaN
