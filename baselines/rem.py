"""REM: error-minimising noise that survives transformations and adversarial training."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.checkpoint import FitCheckpoint, ResumableFit
from baselines.config_crafted import RemConfig
from baselines.noise import CraftedByImage, NoiseByImage
from baselines.surrogate import signed_steps
from datamodules.augment import augment, draws, isolated_rng
from datamodules.images import ImageSet, to_float
from victims.classifier import build_classifier
from victims.loop import make_optimizer
from victims.passes import PassCounter


class RobustErrorMinimising(CraftedByImage, ResumableFit):
    """Fu et al., "Robust Unlearnable Examples: Protecting Data Against Adversarial Learning", ICLR 2022 (2203.14533).

    Noise δ, an adversary ρ within, and transformations t of the distribution T:

        min_θ Σ_i min_{‖δ_i‖∞ ≤ ε} E_{t ∼ T} max_{‖ρ‖∞ ≤ ε_a} ℓ(f_θ(t(x_i + δ_i) + ρ), y_i)

    An iteration draws a batch, makes δ by K signed steps from U(−ε, ε), each against the mean gradient over J drawn
    transformations, each of these with an adversary of its own (K_a signed steps from U(−ε_a, ε_a)); then SGD on θ with
    one more transformation and adversary. After all iterations δ is made once more, for every image, against the θ that
    was learned.

    Published for CIFAR-10: ε_a = ε/2, K = K_a = 10, α = ε/5, α_a = ε_a/5, J = 5; 5,000 iterations of 128 images; SGD
    0.1, a tenth of it every 2,000, momentum 0.9, weight decay 5e-4; t: crops and flips. An image then costs thousands
    of passes; on CPUs take few iterations, steps and samples. Needs labels; there is noise for the images of ``fit``
    alone, which are known again by the sha256 of their pixels.

    Bound: L∞ at ε rounded down to whole grey levels, in crafting as in what is stored.

    Deviations: the default surrogate is ``narrow``, for CPUs (published: ResNet-18); it is in evaluation mode whenever
    noise is made. All images get their noise at the end (the published program leaves out the last, smaller batch). The
    last, smaller batch of an epoch is spread over the others.

    Args:
        options: of this method.
        epsilon: bound in grey levels.
    """

    name = "rem"

    def __init__(self, options: RemConfig, epsilon: float) -> None:
        super().__init__(epsilon)
        self.options = options

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Trains the surrogate and crafts the noise; see Protection.

        Raises:
            ValueError: the surrogate's architecture is unknown or cannot take these images.
        """
        options = self.options
        channels, height, width = train.shape
        with isolated_rng(seed, device), torch.enable_grad():
            model = build_classifier(options.arch, classes, channels, (height, width))
            model.to(device).to(memory_format=torch.channels_last)
            counter = PassCounter(model)
            crafting = self.crafting(int(self.epsilon) / 255, model, draws(seed, 0))
            images, labels = train.images.to(device), train.labels.to(device)
            optimizer = make_optimizer(model.parameters(), "sgd", options.lr, options.momentum, options.weight_decay)
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, options.decay_every)
            parts: list[Tensor] = []
            made: list[Tensor] = []
            first = 0
            saved = FitCheckpoint(self.checkpoint_path, options, train, seed, device)
            if saved.state:
                first, parts, made = (saved.state[key] for key in ("iteration", "parts", "made"))
                model.load_state_dict(saved.state["model"])
                optimizer.load_state_dict(saved.state["optimizer"])
                schedule.load_state_dict(saved.state["schedule"])
                crafting.generator.set_state(saved.state["generator"])
                counter.forward, counter.backward = saved.state["passes"]

            def save(iteration: int) -> None:
                networks: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule}
                saved.save(
                    {name: network.state_dict() for name, network in networks.items()}
                    | {"iteration": iteration, "parts": parts, "made": made}
                    | {"generator": crafting.generator.get_state(), "passes": [counter.forward, counter.backward]}
                )

            batches = -(-len(train) // options.batch_size)
            work = options.iterations + batches
            for iteration in range(first, options.iterations):
                if not parts:
                    # equal batches of at least batch_size: no small last batch for batch normalisation
                    count = max(1, len(train) // options.batch_size)
                    parts = list(torch.randperm(len(train)).to(device).tensor_split(count))
                rows = parts.pop()
                batch, of = to_float(images[rows]), labels[rows]
                noised = crafting.attacked(crafting.transformed(batch + crafting.noise(batch, of)), of)
                model.train()
                loss = F.cross_entropy(model(noised.contiguous(memory_format=torch.channels_last)), of)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                progress((iteration + 1) / work)
                save(iteration + 1)
            everything = torch.arange(len(train), device=device).split(options.batch_size)
            for number, rows in list(enumerate(everything))[len(made) :]:
                made.append(crafting.noise(to_float(images[rows]), labels[rows]).cpu())
                progress((options.iterations + number + 1) / work)
                save(options.iterations)
        self.passes = counter.passes(len(train))
        self.own = NoiseByImage(train.images, torch.cat(made))

    def crafting(self, bound: float, model: nn.Module, generator: torch.Generator) -> "Robust":
        """What makes noise against the surrogate; arguments as of Robust."""
        return Robust(self.options, bound, model, generator)


class Robust:
    """Noise against an adversary, in expectation over transformations, for one state of a classifier.

    Args:
        options: of the method.
        bound: ε in [0, 1] pixel units.
        model: the classifier; put in evaluation mode by each call.
        generator: CPU generator of the transformations.
    """

    def __init__(self, options: RemConfig, bound: float, model: nn.Module, generator: torch.Generator) -> None:
        self.options, self.bound, self.model, self.generator = options, bound, model, generator

    def noise(self, images: Tensor, labels: Tensor) -> Tensor:
        """δ, float B×C×H×W, of images (float B×C×H×W in [0, 1]) with labels (int64 B)."""
        length, start = self.options.step_size * self.bound, uniform(images, self.bound)
        return signed_steps(self.expected, images, labels, start, self.bound, self.options.steps, length, True)

    def expected(self, images: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        """A value with the gradient in δ of the mean loss over transformations of x + δ; the adversary is held fixed.

        It is that gradient times δ: so each sample's pass ends before the next begins, and one's activations are held
        at a time.
        """
        gradient = torch.zeros_like(images)
        for _ in range(self.options.samples):
            seen = self.transformed(images + noise)
            noised = seen + (self.disturbed(seen.detach(), labels) - seen.detach())
            gradient += torch.autograd.grad(F.cross_entropy(self._logits(noised), labels), noise)[0]
        return (gradient / self.options.samples * noise).sum()

    def transformed(self, images: Tensor) -> Tensor:
        """t(x), differentiable, another t for every image."""
        return augment(images, self.options.augment, self.generator)

    def disturbed(self, images: Tensor, labels: Tensor) -> Tensor:
        """What stands between a transformed image and the classifier while noise is made: here the adversary."""
        return self.attacked(images, labels)

    def attacked(self, images: Tensor, labels: Tensor) -> Tensor:
        """The worst images within ε_a that the adversary finds, float B×C×H×W in [0, 1]."""
        bound = self.options.adversary * self.bound
        if bound == 0:
            return images

        def worse(x: Tensor, change: Tensor, y: Tensor) -> Tensor:
            return -F.cross_entropy(self._logits(x + change), y)

        length, start = self.options.adversary_step_size * bound, uniform(images, bound)
        steps = self.options.adversary_steps
        return images + signed_steps(worse, images, labels, start, bound, steps, length, True)

    def _logits(self, images: Tensor) -> Tensor:
        self.model.eval()
        logits: Tensor = self.model(images.contiguous(memory_format=torch.channels_last))
        return logits


def uniform(images: Tensor, bound: float) -> Tensor:
    """Independent draws from U(−bound, bound), shaped and placed like images, and keeping them in [0, 1]."""
    noise = bound * (2 * torch.rand(images.shape) - 1).to(images.device)
    return (images + noise).clamp(0, 1) - images
