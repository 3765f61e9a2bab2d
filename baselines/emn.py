"""EMN: error-minimising noise, crafted against a surrogate that learns along."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.checkpoint import FitCheckpoint, ResumableFit
from baselines.config_crafted import EmnConfig
from baselines.noise import NoiseByImage, check_classes, protect_by_class, protect_by_image
from datamodules.augment import augment, draws, isolated_rng
from datamodules.images import ImageSet, to_float
from datamodules.protection import Norm, Passes
from victims.classifier import build_classifier
from victims.loop import make_optimizer
from victims.passes import PassCounter


class ErrorMinimising(ResumableFit):
    """Huang et al., "Unlearnable Examples: Making Personal Data Unexploitable", ICLR 2021 (arXiv 2101.04898).

    The noise δ, zero at the start, and a surrogate f_θ minimise the same loss in turns:

        min_θ (1/N) Σ_i min_{‖δ_i‖∞ ≤ ε} ℓ(f_θ(x_i + δ_i), y_i)

    A round: M batches of SGD on θ (batch norm in training mode), then T steps on δ (batch norm in evaluation mode)

        δ_i ← clip_ε(δ_i − α·sign ∇_x ℓ(f_θ(x_i + δ_i), y_i))

    until f_θ errs on less than λ of the protected images, or ``rounds`` are over: ``error`` and ``rounds`` tell which.
    Published: T = 20, α = ε/10, M = 10, λ = 1 %; SGD 0.1, momentum 0.9, weight decay 5e-4; no augmentation.

    ``kind=sample``: one δ per image, which exists for the images of ``fit`` alone; they are known again by the sha256
    of their pixels, and equal images share the noise of the first of them. ``kind=class``: one δ per class, added to
    any image of that class and size; its gradient is the sum over all images of the class. Neither is label-free.

    Bound: L∞ at ε rounded down to whole grey levels, in crafting as in what is stored.

    Deviations: the default surrogate is ``narrow``, for CPUs (published: ResNet-18). ``rounds`` bounds the run.
    Class-wise noise takes its T steps on whole classes; the published program takes them batch by batch. Noise is
    rounded to grey levels when it is stored, with its sign; the published program drops negative noise there, contrary
    to the paper. The last, smaller batch of an epoch is spread over the others.

    Memory: all images (uint8) and one float32 noise for each image (or class) on the device. On a CPU, the same seed
    gives the same noise; on a GPU up to the order of its sums.

    Args:
        options: of this method.
        epsilon: bound in grey levels.

    Attributes:
        rounds: how many it took.
        error: the surrogate's share of errors on the protected images at the end, in [0, 1].
    """

    name = "emn"
    norm: Norm = "linf"
    label_free = False

    def __init__(self, options: EmnConfig, epsilon: float) -> None:
        self.options, self.epsilon, self.passes = options, epsilon, Passes()
        self.rounds, self.error = 0, 1.0
        self.patterns: Tensor | None = None  # kind=class: float K×C×H×W, on the CPU
        self.own: NoiseByImage | None = None  # kind=sample

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Crafts the noise; see Protection.

        Raises:
            DataError: ``kind=class`` and a class without images, which could get no noise.
            ValueError: the surrogate's architecture is unknown or cannot take these images.
        """
        options, by_class = self.options, self.options.kind == "class"
        if by_class:
            check_classes(self.name, train, classes)
        channels, height, width = train.shape
        with isolated_rng(seed, device), torch.enable_grad():
            model = build_classifier(options.arch, classes, channels, (height, width))
            model.to(device).to(memory_format=torch.channels_last)
            counter = PassCounter(model)
            crafting = _Crafting(options, int(self.epsilon), model, train, classes if by_class else len(train), device)
            saved, done = FitCheckpoint(self.checkpoint_path, options, train, seed, device), 0
            if saved.state:
                done = self.rounds = saved.state["rounds"]
                self.error = saved.state["error"]
                model.load_state_dict(saved.state["model"])
                crafting.optimizer.load_state_dict(saved.state["optimizer"])
                crafting.noise, crafting.left = saved.state["noise"].to(device), saved.state["left"]
                counter.forward, counter.backward = saved.state["passes"]
            for self.rounds in range(done + 1, options.rounds + 1):
                crafting.train_surrogate(draws(seed, self.rounds))
                for step in range(options.steps):
                    crafting.improve_noise()
                    progress((self.rounds - 1 + (step + 1) / options.steps) / options.rounds)
                self.error = crafting.error()
                if self.error < options.stop_error:
                    break
                networks: dict[str, Any] = {"model": model, "optimizer": crafting.optimizer}
                saved.save(
                    {name: network.state_dict() for name, network in networks.items()}
                    | {"rounds": self.rounds, "error": self.error, "noise": crafting.noise, "left": crafting.left}
                    | {"passes": [counter.forward, counter.backward]}
                )
        progress(1.0)
        self.passes = counter.passes(len(train))
        if by_class:
            self.patterns = crafting.noise.cpu()
        else:
            self.own = NoiseByImage(train.images, crafting.noise)

    def protect(self, images: ImageSet) -> Tensor:
        """Protected images, uint8 N×C×H×W.

        Raises:
            DataError: images of another shape, or labels of other classes, than it was fitted on; with ``kind=sample``
                any image that it was not fitted on.
            RuntimeError: not fitted.
        """
        if self.options.kind == "class":
            return protect_by_class(self.name, self.patterns, images, self.epsilon)
        remedy = "fit on it too, or set baselines.emn.kind=class"
        return protect_by_image(self.name, self.own, images, self.epsilon, remedy)


class _Crafting:
    """Surrogate and noise while they are made.

    Args:
        options: of the method.
        levels: bound in whole grey levels.
        model: the surrogate, on the device.
        train: the images.
        count: how many noises: N, one per image, or K, one per class.
        device: of everything.
    """

    def __init__(
        self, options: EmnConfig, levels: int, model: nn.Module, train: ImageSet, count: int, device: torch.device
    ) -> None:
        self.options, self.bound, self.model = options, levels / 255, model
        self.images, self.labels = train.images.to(device), train.labels.to(device)
        self.noise = torch.zeros(count, *train.shape, device=device)
        self.by_class = options.kind == "class"
        self.optimizer = make_optimizer(model.parameters(), "sgd", options.lr, options.momentum, options.weight_decay)
        self.parts = torch.arange(len(train), device=device).split(options.batch_size)
        self.left: list[Tensor] = []  # batches of rows that the epoch under way has left

    def _next(self) -> Tensor:
        """The next shuffled batch of rows, epoch after epoch."""
        count = len(self.images)
        if not self.left:
            # equal batches of at least batch_size: no small last batch for batch normalisation
            self.left = list(torch.randperm(count).tensor_split(max(1, count // self.options.batch_size)))
        return self.left.pop(0).to(self.images.device)

    def _noised(self, rows: Tensor) -> Tensor:
        """The images at ``rows`` (int64 B) with their noise, float B×C×H×W in [0, 1]."""
        noise = self.noise[self.labels[rows] if self.by_class else rows]
        noised = (to_float(self.images[rows]) + noise).clamp(0, 1)
        return noised.contiguous(memory_format=torch.channels_last)

    def train_surrogate(self, generator: torch.Generator) -> None:
        """M batches of SGD on what a victim would see; the generator draws the augmentation."""
        self.model.train()
        for _ in range(self.options.surrogate_steps):
            rows = self._next()
            batch = augment(self._noised(rows), self.options.augment, generator)
            loss = F.cross_entropy(self.model(batch), self.labels[rows])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if self.options.clip:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
            self.optimizer.step()

    def improve_noise(self) -> None:
        """One step of every noise towards a smaller loss; the surrogate stays as it is."""
        self.model.eval()
        step = self.options.step_size * self.bound
        total = torch.zeros_like(self.noise) if self.by_class else None
        for rows in self.parts:
            # by the published attack the gradient is that of the clipped image: black and white pixels keep one
            noised = self._noised(rows).requires_grad_()
            loss = F.cross_entropy(self.model(noised), self.labels[rows], reduction="sum")
            (gradient,) = torch.autograd.grad(loss, noised)
            if total is not None:
                total.index_add_(0, self.labels[rows], gradient)
                continue
            clean = to_float(self.images[rows])
            noise = (self.noise[rows] - step * gradient.sign()).clamp(-self.bound, self.bound)
            self.noise[rows] = (clean + noise).clamp(0, 1) - clean  # what is clipped away would only slow a return
        if total is not None:
            self.noise = (self.noise - step * total.sign()).clamp(-self.bound, self.bound)

    @torch.no_grad()
    def error(self) -> float:
        """The surrogate's share of errors on all protected images, in [0, 1]."""
        self.model.eval()
        wrong = sum(int((self.model(self._noised(rows)).argmax(1) != self.labels[rows]).sum()) for rows in self.parts)
        return wrong / len(self.images)
