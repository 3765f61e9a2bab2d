"""BAIT: noise bound to labels, against a network that knows images already."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from baselines.checkpoint import FitCheckpoint, ResumableFit
from baselines.config_crafted import BaitConfig
from baselines.generator import NoiseGenerator, check_size, noised
from baselines.noise import check_classes, protect_by_class
from datamodules.augment import isolated_rng
from datamodules.config import DataError
from datamodules.images import ImageSet, to_float
from datamodules.protection import Norm, Passes
from victims.classifier import build_classifier
from victims.loop import make_optimizer
from victims.passes import PassCounter
from victims.pretrained import Unavailable, build_pretrained

STAGES = 3


class LabelBinding(ResumableFit):
    """BAIT, ICLR 2026: noise that overrules what a pretrained network reads in an image.

    A generator g makes noise of images; δ_c is the mean of g over the images of class c, and what is added to all of
    them. A surrogate f starts from ImageNet weights. An iteration: f tries one step on a protected batch, which gives
    f′; g learns, batch by batch over all images, that with the noise of *another* class j the tried f′ reads j,

        min_ξ E ℓ(f′(x_i + δ_j), j)   (δ_j from the images of class j in the same batch)

    so that the noise binds the label whatever the image shows; then f learns from one batch x_i + δ_{y_i}. Over the
    iterations j is harder and harder to reach, a third each:

        1. the class other than y that f′ finds likeliest in x;  2. another class at random;  3. the least likely class

    Published: 90 iterations in batches of 512, Adam 1e-3 for g, SGD 0.1 for f, of which one step is tried; a ResNet-18
    with ImageNet weights. All this is of the program that its authors published; the paper's text was not at hand. In
    it, too, noise is averaged over each class: images of the fitted shape get the pattern of their label.

    Bound: L∞ at ε rounded down to whole grey levels, in crafting as in what is stored.

    Deviations: the surrogate is EfficientNet-Lite0, whose ImageNet weights come as a package, and sees small images
    enlarged (victims/pretrained.py); g is the small network of baselines/generator.py. Pixels are clipped with the
    slope of the unclipped sum. A class that a batch lacks keeps the pattern of the iteration before (published: none).
    Patterns are means over all images (published: over the last batch). The tried step is without momentum. The last,
    smaller batch is spread over the others.

    Args:
        options: of this method.
        epsilon: bound in grey levels.

    Attributes:
        patterns: float K×C×H×W in [0, 1] pixel units, on the CPU; set by ``fit``.
        bound_shares: for each iteration, the share of images that f′ read as the class whose noise they had.
    """

    name = "bait"
    norm: Norm = "linf"
    label_free = False

    def __init__(self, options: BaitConfig, epsilon: float) -> None:
        self.options, self.epsilon, self.passes = options, epsilon, Passes()
        self.patterns: Tensor | None = None
        self.bound_shares: list[float] = []

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Trains the generator and takes its classes' means; see Protection.

        Raises:
            DataError: one class only, a class without images, images smaller than 4×4, or no pretrained weights.
            ValueError: the surrogate's architecture is unknown or cannot take these images.
        """
        if classes < 2:
            raise DataError("bait: there is one class only, and no other to bind")
        check_classes(self.name, train, classes)
        check_size(self.name, train)
        options, channels = self.options, train.shape[0]
        images, labels = train.images.to(device), train.labels.to(device)
        counts = labels.bincount(minlength=classes)[:, None, None, None]
        with isolated_rng(seed, device), torch.enable_grad():
            model = self._surrogate(train, classes).to(device).to(memory_format=torch.channels_last).train()
            generator = NoiseGenerator(channels, options.width, int(self.epsilon) / 255).to(device)
            networks: dict[str, Any] = {
                "model": model,
                "generator": generator,
                "optimizer": make_optimizer(
                    model.parameters(), "sgd", options.classifier_lr, options.momentum, options.weight_decay
                ),
                "steps": make_optimizer(generator.parameters(), "adam", options.lr),
            }
            patterns, counter = torch.zeros(classes, *train.shape, device=device), PassCounter(model, generator)
            first, self.bound_shares = 0, []
            saved = FitCheckpoint(self.checkpoint_path, options, train, seed, device)
            if saved.state:
                for name, network in networks.items():
                    network.load_state_dict(saved.state[name])
                first, self.bound_shares = saved.state["iteration"], saved.state["bound_shares"]
                patterns = saved.state["patterns"].to(device)
                counter.forward, counter.backward = saved.state["passes"]
            binding = Binding(model, options)
            # equal batches of at least batch_size: no small last batch for batch normalisation
            parts = max(1, len(train) // options.batch_size)
            for iteration in range(first, options.iterations):
                rows = torch.randperm(len(train)).to(device).tensor_split(parts)[0]
                seen, of = to_float(images[rows]), labels[rows]
                binding.try_step(noised(seen, patterns[of]), of)
                total, right, stage = torch.zeros_like(patterns), 0, STAGES * iteration // options.iterations
                for number, batch in enumerate(torch.randperm(len(train)).to(device).tensor_split(parts)):
                    x, y = to_float(images[batch]), labels[batch]
                    noise = generator(x)
                    aims = binding.aims(x, y, stage, classes)
                    logits = binding.read(noised(x, class_means(noise, y, patterns)[aims]))
                    networks["steps"].zero_grad(set_to_none=True)
                    F.cross_entropy(logits, aims).backward(inputs=list(generator.parameters()))
                    networks["steps"].step()
                    total.index_add_(0, y, noise.detach())
                    right += int((logits.argmax(1) == aims).sum())
                    progress((iteration + (number + 1) / parts) / options.iterations)
                patterns = total / counts
                binding.learn(noised(seen, patterns[of]), of, networks["optimizer"])
                self.bound_shares.append(right / len(train))
                saved.save(
                    {name: network.state_dict() for name, network in networks.items()}
                    | {"iteration": iteration + 1, "bound_shares": self.bound_shares, "patterns": patterns}
                    | {"passes": [counter.forward, counter.backward]}
                )
        self.passes = counter.passes(len(train))
        self.patterns = patterns.cpu()

    def protect(self, images: ImageSet) -> Tensor:
        """Protected images, uint8 N×C×H×W.

        Raises:
            DataError: images of another shape, or labels of other classes, than it was fitted on.
            RuntimeError: not fitted.
        """
        return protect_by_class(self.name, self.patterns, images, self.epsilon)

    def _surrogate(self, train: ImageSet, classes: int) -> nn.Module:
        channels, height, width = train.shape
        if not self.options.pretrained:
            return build_classifier(self.options.arch, classes, channels, (height, width))
        try:
            return build_pretrained(self.options.arch, classes)
        except Unavailable as error:
            raise DataError(
                f"baselines.bait.arch: no pretrained weights of {self.options.arch!r} ({error}); choose another, or "
                "set baselines.bait.pretrained=false"
            ) from error


class Binding:
    """The surrogate, and the step of it that is tried.

    Args:
        model: the surrogate, in training mode.
        options: of the method.
    """

    def __init__(self, model: nn.Module, options: BaitConfig) -> None:
        self.model, self.options = model, options
        self.tried: dict[str, Tensor] = {}

    def try_step(self, images: Tensor, labels: Tensor) -> None:
        """f′: the weights after one plain step on these images (float B×C×H×W in [0, 1]); f stays as it is."""
        weights = dict(self.model.named_parameters())
        statistics = {name: value.clone() for name, value in self.model.named_buffers()}
        logits = functional_call(self.model, statistics, (images,))
        slopes = torch.autograd.grad(F.cross_entropy(logits, labels), list(weights.values()))
        moved = {
            name: (weight - self.options.classifier_lr * slope).detach()
            for (name, weight), slope in zip(weights.items(), slopes, strict=True)
        }
        self.tried = moved | statistics

    def read(self, images: Tensor) -> Tensor:
        """What f′ reads in images, float B×C×H×W in [0, 1]: logits, float B×K."""
        found: Tensor = functional_call(self.model, self.tried, (images,))
        return found

    @torch.no_grad()
    def aims(self, images: Tensor, labels: Tensor, stage: int, classes: int) -> Tensor:
        """The class j whose noise each image gets in a stage (0, 1 or 2), int64 B, never its own."""
        if stage == 1:
            step = torch.randint(1, classes, labels.shape).to(labels.device)
            return (labels + step) % classes
        logits = self.read(images)
        own = F.one_hot(labels, classes).bool()
        if stage == 0:
            return logits.masked_fill(own, float("-inf")).argmax(1)
        return logits.masked_fill(own, float("inf")).argmin(1)

    def learn(self, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """One step of f on images, float B×C×H×W in [0, 1]."""
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(self.model(images), labels).backward()
        if self.options.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
        optimizer.step()


def class_means(noise: Tensor, labels: Tensor, otherwise: Tensor) -> Tensor:
    """The mean noise of each class in a batch, float K×C×H×W, differentiable.

    Args:
        noise: float B×C×H×W.
        labels: int64 B.
        otherwise: float K×C×H×W, of the classes that the batch lacks.
    """
    counts = labels.bincount(minlength=len(otherwise))[:, None, None, None]
    total = torch.zeros_like(otherwise).index_add(0, labels, noise)
    return torch.where(counts > 0, total / counts.clamp_min(1), otherwise)
