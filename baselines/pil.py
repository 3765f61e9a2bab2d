"""PIL: noise of a linear classifier, which makes networks behave like one."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.config import PilConfig
from baselines.config_crafted import SurrogateConfig
from baselines.noise import CraftedByImage, NoiseByImage
from baselines.surrogate import craft, train_surrogate
from datamodules.augment import isolated_rng
from datamodules.images import ImageSet
from victims.passes import PassCounter


class Linearising(CraftedByImage):
    """Liu et al., "Perturbation-Induced Linearization: Constructing Unlearnable Data with Solely Linear Classifiers",
    ICLR 2026 (arXiv 2601.19967).

    Against a linear classifier f without bias, trained on the clean images, with u the uniform distribution over
    classes, the perturbation δ of every image minimises

        λ·ℓ(f(δ), y) + (1 − λ)·KL(u ‖ softmax f(x − δ))

    over T signed steps from U(−ε, ε), and x − δ is published: what f reads in the image is taken out, and the label can
    be read from −δ by a linear function. In our terms the noise added is n = −δ.

    Published: λ = 0.9, T = 30, α = ε/10; SGD 0.003, momentum 0.9, no decay, 30 epochs, half a cosine, batches of 512.
    On sets of a few hundred images that is a handful of steps: choose smaller batches. Needs labels; there is noise for
    the images of ``fit`` alone, which are known again by the sha256 of their pixels.

    A matrix has nearly the same gradient for all images of a class, so most of their noise is the same: the method is
    close to class-wise.

    Bound: L∞ at ε rounded down to whole grey levels, in crafting as in what is stored.

    Deviations: the last, smaller batch of an epoch is spread over the others. Its passes go through one linear layer.

    Args:
        options: of this method.
        epsilon: bound in grey levels.
    """

    name = "pil"

    def __init__(self, options: PilConfig, epsilon: float) -> None:
        super().__init__(epsilon)
        self.options = options

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Trains the linear classifier and crafts the noise; see Protection."""
        options, bound, counter = self.options, int(self.epsilon) / 255, PassCounter()
        with isolated_rng(seed, device), torch.enable_grad():
            model = linear_classifier(options, train, classes, seed, device, lambda s: progress(s / 2), counter)
            uniform = torch.full((classes,), 1 / classes, device=device)

            def objective(images: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
                read = model(images + noise).log_softmax(1)
                left = F.kl_div(read, uniform.expand_as(read), reduction="batchmean")
                return options.weight * F.cross_entropy(model(-noise), labels) + (1 - options.weight) * left

            def start(shape: tuple[int, ...]) -> Tensor:
                return bound * (2 * torch.rand(shape) - 1)

            schedule = (bound, options.steps, options.step_size * bound)
            noise = craft(
                objective, train, start, schedule, options.batch_size, device, lambda s: progress((1 + s) / 2), False
            )
        self.passes = counter.passes(len(train))  # a step looks at the image and at the noise alone
        self.own = NoiseByImage(train.images, noise)


def linear_classifier(
    options: PilConfig,
    train: ImageSet,
    classes: int,
    seed: int,
    device: torch.device,
    progress: Callable[[float], None],
    counter: PassCounter | None = None,
) -> nn.Module:
    """Logits of pixels in [0, 1] by one matrix, without bias, trained on clean images; arguments as of ``fit``."""
    learning = SurrogateConfig(
        epochs=options.epochs, batch_size=options.batch_size, lr=options.lr, weight_decay=0.0, augment="none"
    )
    linear = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(train.shape), classes, bias=False))
    return train_surrogate(learning, train, classes, seed, device, progress, linear, counter)
