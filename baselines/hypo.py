"""HYPO: images made easier for a classifier that was trained on the clean ones."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.checkpoint import FitCheckpoint, ResumableFit
from baselines.config_crafted import HypoConfig
from baselines.noise import CraftedByImage, NoiseByImage
from baselines.surrogate import craft, train_surrogate
from datamodules.augment import isolated_rng
from datamodules.images import ImageSet
from victims.passes import PassCounter


class Hypocritical(CraftedByImage, ResumableFit):
    """Tao et al., "Better Safe Than Sorry: Preventing Delusive Adversaries with Adversarial Training", NeurIPS 2021.

    Against a classifier f trained on the clean images, in evaluation mode, the noise of every image minimises
    ℓ(f(x + δ), y) over T signed steps from 0: the features that f reads are enlarged, and what else is in the images
    need not be learned. Unlike EMN, f does not learn along. Needs labels; there is noise for the images of ``fit``
    alone, which are known again by the sha256 of their pixels. (arXiv 2102.04716.)

    Bound: L∞ at ε rounded down to whole grey levels, in crafting as in what is stored.

    Deviations: the default surrogate is ``narrow``, for CPUs (published: ResNet-18), its training and α = ε/10 are
    ours; T = 100 is that of the published comparisons, some of which craft against an adversarially trained classifier
    instead, for victims that are adversarially trained (Tao et al., NeurIPS 2022).

    Args:
        options: of this method.
        epsilon: bound in grey levels.
    """

    name = "hypo"

    def __init__(self, options: HypoConfig, epsilon: float) -> None:
        super().__init__(epsilon)
        self.options = options

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Trains the classifier and crafts the noise; see Protection.

        Raises:
            ValueError: the surrogate's architecture is unknown or cannot take these images.
        """
        options, bound, counter = self.options, int(self.epsilon) / 255, PassCounter()
        with isolated_rng(seed, device), torch.enable_grad():
            model = train_surrogate(
                options.surrogate, train, classes, seed, device, lambda s: progress(s / 2), counter=counter
            )

            saved = FitCheckpoint(self.checkpoint_path, options, train, seed, device)
            if saved.state:
                counter.forward, counter.backward = saved.state["passes"]

            def save(made: list[Tensor]) -> None:
                saved.save({"made": made, "passes": [counter.forward, counter.backward]})

            def objective(images: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
                return F.cross_entropy(model(images + noise), labels)

            schedule = (bound, options.steps, options.step_size * bound)
            noise = craft(
                objective,
                train,
                torch.zeros,
                schedule,
                options.batch_size,
                device,
                lambda s: progress((1 + s) / 2),
                made=saved.state["made"] if saved.state else None,
                save=save,
            )
        self.passes = counter.passes(len(train))
        self.own = NoiseByImage(train.images, noise)
