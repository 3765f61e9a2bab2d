"""NTGA: noise against networks of infinite width, whose training has a closed form."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.checkpoint import FitCheckpoint, ResumableFit
from baselines.config_crafted import NtgaConfig
from baselines.noise import CraftedByImage, NoiseByImage
from baselines.surrogate import craft
from datamodules.augment import draws, isolated_rng
from datamodules.config import DataError
from datamodules.images import ImageSet, to_float

WEIGHTS, BIASES = 1.76, 0.18  # variances of the network's weights and biases, as published
RIDGE = 1e-4  # added to the kernel's diagonal, as a share of its mean


class NeuralTangent(CraftedByImage, ResumableFit):
    """Yuan and Wu, "Neural Tangent Generalization Attacks", ICML 2021.

    A fully connected network of infinite width, trained by gradient descent on a block X of images with labels Y, is
    after time t, in the mean, the function

        f_t(x) = K(x, X) K(X, X)⁻¹ (I − e^{−t K(X, X)/(N K)}) Y

    of its neural tangent kernel K. The noise of the block is to make it wrong on other, clean images:

        max_{‖δ‖∞ ≤ ε} E ℓ(f_t(x′; X + δ, Y), y′)

    in T signed steps from 0, the gradient going through the kernel: no network is ever trained.

    Published: 5 layers, each a linear one and an error function, variances 1.76 and 0.18; t = 64, blocks of 512, T =
    10, α = 1.1·ε/T; judged on 10,000 training images held out; cross-entropy. These are of the program that its authors
    published. Needs labels; there is noise for the images of ``fit`` alone, which are known again by the sha256 of
    their pixels.

    Bound: L∞ at ε rounded down to whole grey levels, in crafting as in what is stored.

    Deviations: the infinitely wide convolutional network, the paper's second surrogate, is left out: its kernel takes
    all pairs of pixels of all pairs of images, 1,024 times as much at 32×32. A block is judged on other images of
    the set, drawn anew for each, so that all images get noise. The last, smaller block is spread over the others.

    Memory: kernels in float64, N² and N·M numbers for each layer of a block of N and M images that it is judged on.

    Args:
        options: of this method.
        epsilon: bound in grey levels.

    Attributes:
        losses: for each block, ℓ before the first step and before the last; the second should be larger.
    """

    name = "ntga"

    def __init__(self, options: NtgaConfig, epsilon: float) -> None:
        super().__init__(epsilon)
        self.options = options
        self.losses: list[list[float]] = []

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Crafts the noise, block by block; see Protection.

        Raises:
            DataError: there are no images besides a block to judge it on.
        """
        options, bound = self.options, int(self.epsilon) / 255
        blocks = [len(rows) for rows in torch.arange(len(train)).tensor_split(max(1, len(train) // options.block))]
        if len(blocks) < 2:
            raise DataError(
                f"baselines.ntga.block: {options.block} of {len(train)} images leave none to judge a block on; choose "
                f"at most {len(train) // 2}"
            )
        with isolated_rng(seed, device), torch.enable_grad():
            saved = FitCheckpoint(self.checkpoint_path, options, train, seed, device)
            self.losses = saved.state["losses"] if saved.state else []
            made: list[Tensor] = saved.state["made"] if saved.state else []
            begin = sum(blocks[: len(made)])
            for number in range(len(made), len(blocks)):
                rows = torch.arange(begin, begin + blocks[number])
                begin += blocks[number]
                others = torch.cat([torch.arange(int(rows[0])), torch.arange(begin, len(train))])
                judged = others[torch.randperm(len(others), generator=draws(seed, number))[: options.validation]]
                judge = Judge(train.subset(judged), classes, options, device)
                schedule = (bound, options.steps, options.step_size * bound)
                noise = craft(
                    judge, train.subset(rows), torch.zeros, schedule, len(rows), device, lambda _: None, stay=True
                )
                made.append(noise)
                self.losses.append([judge.losses[0], judge.losses[-1]])
                progress((number + 1) / len(blocks))
                saved.save({"made": made, "losses": self.losses})
        self.own = NoiseByImage(train.images, torch.cat(made))


class Judge:
    """How well the trained network does on clean images: an objective of ``craft``.

    Args:
        images: that it is judged on.
        classes: number of classes K.
        options: of the method.
        device: of everything.

    Attributes:
        losses: mean cross-entropy on them, for each call.
    """

    def __init__(self, images: ImageSet, classes: int, options: NtgaConfig, device: torch.device) -> None:
        self.options, self.classes = options, classes
        self.images = to_float(images.images).to(device).double().flatten(1)
        self.labels = images.labels.to(device)
        self.losses: list[float] = []

    def __call__(self, images: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        """Minus the loss, of a network trained on images with noise (float N×C×H×W) and labels (int64 N)."""
        block = (images + noise).double().flatten(1)
        logits = predicted(block, F.one_hot(labels, self.classes).double(), self.images, self.options)
        loss = F.cross_entropy(logits, self.labels)
        self.losses.append(loss.item())
        return -loss


def predicted(block: Tensor, wanted: Tensor, others: Tensor, options: NtgaConfig) -> Tensor:
    """f_t at ``others``, float64 M×K, after training on a block.

    Args:
        block: float64 N×D.
        wanted: Y, float64 N×K.
        others: float64 M×D.
        options: layers and time.
    """
    within = tangent_kernel(block, block, options.layers)
    identity = torch.eye(len(block), dtype=within.dtype, device=within.device)
    within = within + RIDGE * within.diagonal().mean() * identity
    learned = wanted - torch.linalg.matrix_exp(-options.time / wanted.numel() * within) @ wanted
    answers: Tensor = tangent_kernel(others, block, options.layers) @ torch.linalg.solve(within, learned)
    return answers


def tangent_kernel(first: Tensor, second: Tensor, layers: int) -> Tensor:
    """The neural tangent kernel of a network of ``layers`` linear layers, each before an error function; float A×B.

    The recursion is that of Jacot et al., NeurIPS 2018, with the error function's integrals of Williams, 1998.

    Args:
        first: float A×D.
        second: float B×D.
        layers: at least 1.
    """
    inputs = first.shape[1]
    covariance = first @ second.T / inputs
    of_first, of_second = (one.square().sum(1) / inputs for one in (first, second))
    tangent = torch.zeros_like(covariance)
    for _ in range(layers):
        covariance, of_first, of_second = (WEIGHTS * c + BIASES for c in (covariance, of_first, of_second))
        tangent = covariance + WEIGHTS * tangent
        scale = (1 + 2 * of_first)[:, None] * (1 + 2 * of_second)
        tangent = tangent * (4 / math.pi) / (scale - 4 * covariance.square()).sqrt()
        covariance = (2 / math.pi) * (2 * covariance / scale.sqrt()).asin()
        of_first, of_second = ((2 / math.pi) * (2 * c / (1 + 2 * c)).asin() for c in (of_first, of_second))
    return tangent
