"""TAP: adversarial examples of a classifier trained on the clean images."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.checkpoint import FitCheckpoint, ResumableFit
from baselines.config_crafted import TapConfig
from baselines.noise import CraftedByImage, NoiseByImage
from baselines.surrogate import craft, train_surrogate
from datamodules.augment import augment, draws, isolated_rng
from datamodules.config import DataError
from datamodules.images import ImageSet, to_float
from victims.passes import PassCounter


class Targeted(CraftedByImage, ResumableFit):
    """Fowl et al., "Adversarial Examples Make Strong Poisons", NeurIPS 2021 (arXiv 2106.10807).

    Against a classifier f trained on the clean images, in evaluation mode, the noise of every image minimises, from
    δ = clip_ε(ε·z), z ~ N(0, I), over T signed steps on differentiably augmented images t(x + δ),

        goal=targeted:    ℓ(f(t(x + δ)), g(y)),    g(y) = y + 1 modulo K
        goal=untargeted:  −ℓ(f(t(x + δ)), y)

    The published label stays y: the victim takes features of class g(y) for those of y. Published: T = 250, α = ε/20,
    crops and flips for t, the best of 8 restarts by its last mean loss. Needs labels; there is noise for the images of
    ``fit`` alone, which are known again by the sha256 of their pixels.

    Bound: L∞ at ε rounded down to whole grey levels, in crafting as in what is stored.

    Deviations: the default surrogate is ``narrow``, for CPUs (published: ResNet-18), and its training is ours. A
    restart works batch by batch, all steps of a batch in turn; the published program takes each step on all batches.

    Args:
        options: of this method.
        epsilon: bound in grey levels.

    Attributes:
        losses: mean objective of every restart at its end, on images without augmentation.
    """

    name = "tap"

    def __init__(self, options: TapConfig, epsilon: float) -> None:
        super().__init__(epsilon)
        self.options = options
        self.losses: list[float] = []

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Trains the classifier and crafts the noise; see Protection.

        Raises:
            DataError: there is no other class to aim at.
            ValueError: the surrogate's architecture is unknown or cannot take these images.
        """
        if classes < 2:
            raise DataError("tap: there is one class only, and no other to aim at")
        options, bound = self.options, int(self.epsilon) / 255
        work = 1.0 + options.restarts
        best: tuple[float, Tensor] | None = None
        self.losses, counter = [], PassCounter()
        with isolated_rng(seed, device), torch.enable_grad():
            model = train_surrogate(
                options.surrogate, train, classes, seed, device, lambda s: progress(s / work), counter=counter
            )
            steps, first, begun = 0, 0, None
            saved = FitCheckpoint(self.checkpoint_path, options, train, seed, device)
            if saved.state:
                first, steps, begun = (saved.state[key] for key in ("restart", "steps", "made"))
                self.losses, found = saved.state["losses"], saved.state["best"]
                best = found and (found[0], found[1])
                counter.forward, counter.backward = saved.state["passes"]

            def goal(logits: Tensor, labels: Tensor) -> Tensor:
                if options.goal == "targeted":
                    return F.cross_entropy(logits, targets(labels, classes))
                return -F.cross_entropy(logits, labels)

            def objective(images: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
                nonlocal steps
                steps += 1
                return goal(model(augment(images + noise, options.augment, draws(seed, 0, 0, steps))), labels)

            def start(shape: tuple[int, ...]) -> Tensor:
                return bound * torch.randn(shape)

            for restart in range(first, options.restarts):

                def advance(share: float, done: int = restart + 1) -> None:
                    progress((done + share) / work)

                schedule = (bound, options.steps, options.step_size * bound)

                def save(
                    made: list[Tensor], at: int = restart, so_far: list[float | Tensor] | None = best and [*best]
                ) -> None:
                    state = {"restart": at, "steps": steps, "made": made, "losses": self.losses, "best": so_far}
                    saved.save(state | {"passes": [counter.forward, counter.backward]})

                noise = craft(
                    objective, train, start, schedule, options.batch_size, device, advance, made=begun, save=save
                )
                begun = None
                loss = 0.0
                with torch.no_grad():
                    for rows in torch.arange(len(train)).split(options.batch_size):
                        logits = model((to_float(train.pixels(rows)) + noise[rows]).to(device))
                        loss += len(rows) / len(train) * goal(logits, train.labels[rows].to(device)).item()
                self.losses.append(loss)
                if best is None or loss < best[0]:
                    best = loss, noise
        progress(1.0)
        self.passes = counter.passes(len(train))
        assert best is not None
        self.own = NoiseByImage(train.images, best[1])


def targets(labels: Tensor, classes: int) -> Tensor:
    """The class that the noise of each label aims at, int64 like the labels: the next one, of the last the first."""
    return (labels + 1) % classes
