"""DeepConfuse: a generator whose noise misleads the training of a classifier, differentiated through its steps."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from baselines.checkpoint import FitCheckpoint, ResumableFit
from baselines.config import DeepConfuseConfig
from baselines.generator import NoiseGenerator, ProtectsByGenerator, check_size, noised
from datamodules.augment import isolated_rng
from datamodules.images import ImageSet, to_float
from victims.classifier import build_classifier
from victims.loop import make_optimizer
from victims.passes import PassCounter


class DeepConfuse(ProtectsByGenerator, ResumableFit):
    """Feng et al., "Learning to Confuse: Generating Training Time Adversarial Data with Auto-Encoder", NeurIPS 2019
    (arXiv 1905.09027).

    A generator g_ξ makes the noise of an image; a classifier f_θ learns from images with it. ξ is to make f wrong on
    clean images, whose training on protected ones is a constraint:

        max_ξ E ℓ(f_θ*(x), y),   θ* = argmin_θ E ℓ(f_θ(x + g_ξ(x)), y)

    A trial trains a new f from its random start, on the noise of a copy g′ of the generator that stays as it was:
    θ_{i+1} = θ_i − α_f·∇_θ ℓ(f_{θ_i}(x_i + g′(x_i)), y_i). At each θ_i of this path and its batch the generator moves

        θ′ = θ_i − α_f·∇_θ ℓ(f_{θ_i}(x_i + g_ξ(x_i)), y_i)        (a step that is only tried: unrolled once)
        ξ ← ξ + α_g·∇_ξ ℓ(f_{θ′}(x_i), y_i)

    the gradient going through the tried step; then g′ becomes g, and the next trial begins. Since g′ and with
    it the path do not depend on ξ, both are computed in one pass, and no θ_i is stored.

    Published for CIFAR-10: L∞ 0.032 (8/255); f a VGG-11; at most 1,000 trials of 20 epochs each in batches of 256,
    α_f = 0.01, α_g = 1e-4 with Adam; five to seven days on one GPU. All this is of the program that its authors
    published, whose order of steps is the one above; the paper's text was not at hand. On CPUs take few trials.
    ``fit`` uses labels, ``protect`` none: any image of the fitted channels, from 4×4 pixels, in one forward pass.

    Bound: L∞ at ε rounded down to whole grey levels, in training as in what is stored.

    Deviations: the default f is ``narrow``, and g the small network of baselines/generator.py, without batch
    statistics (published: a U-Net with them). f is in training mode all along; its statistics are those of its path
    alone. The last generator protects (published: that whose noise a new classifier does worst after, measured on test
    images after each trial). Black and white pixels are clipped with the slope of the unclipped sum (published: with
    none). The label-specific variant is left out. The last, smaller batch of an epoch is spread over the others.

    Args:
        options: of this method.
        epsilon: bound in grey levels.

    Attributes:
        losses: mean loss on clean images of the tried steps, for each trial; it should rise.
    """

    name = "deepconfuse"

    def __init__(self, options: DeepConfuseConfig, epsilon: float) -> None:
        super().__init__(epsilon)
        self.options = options
        self.losses: list[float] = []

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Trains the generator; see Protection.

        Raises:
            DataError: the images are smaller than 4×4.
            ValueError: the classifier's architecture is unknown or cannot take these images.
        """
        check_size(self.name, train)
        options, (channels, height, width) = self.options, train.shape
        images, labels = train.images.to(device), train.labels.to(device)
        counter, self.losses, first = PassCounter(), [], 0
        with isolated_rng(seed, device), torch.enable_grad():
            generator = NoiseGenerator(channels, options.width, int(self.epsilon) / 255).to(device)
            before = NoiseGenerator(channels, options.width, int(self.epsilon) / 255).to(device)
            before.requires_grad_(False)
            optimizer = make_optimizer(generator.parameters(), "adam", options.lr)
            counter.attach(generator)
            counter.attach(before)
            saved = FitCheckpoint(self.checkpoint_path, options, train, seed, device)
            if saved.state:
                generator.load_state_dict(saved.state["generator"])
                optimizer.load_state_dict(saved.state["optimizer"])
                first, self.losses = saved.state["trial"], saved.state["losses"]
                counter.forward, counter.backward = saved.state["passes"]
            parts = max(1, len(train) // options.batch_size)
            for trial in range(first, options.trials):
                before.load_state_dict(generator.state_dict())
                model = build_classifier(options.arch, classes, channels, (height, width)).to(device).train()
                counter.attach(model)
                total = torch.zeros((), device=device)
                for epoch in range(options.epochs):
                    for rows in torch.randperm(len(train)).to(device).tensor_split(parts):
                        batch, of = to_float(images[rows]), labels[rows]
                        loss = unrolled_loss(model, generator, batch, of, options.classifier_lr)
                        optimizer.zero_grad(set_to_none=True)
                        (-loss).backward()
                        optimizer.step()
                        total += loss.detach() * len(rows)
                        follow(model, noised(batch, before(batch)), of, options.classifier_lr)
                    progress((trial + (epoch + 1) / options.epochs) / options.trials)
                self.losses.append(total.item() / options.epochs / len(train))
                saved.save(
                    {
                        "generator": generator.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "trial": trial + 1,
                        "losses": self.losses,
                        "passes": [counter.forward, counter.backward],
                    }
                )
        self.generator, self.channels = generator.eval().requires_grad_(False), channels
        self.passes = counter.passes(len(train))


def unrolled_loss(model: nn.Module, generator: nn.Module, images: Tensor, labels: Tensor, lr: float) -> Tensor:
    """Loss on clean images after one tried step of the classifier on protected ones; differentiable in the generator.

    Args:
        model: the classifier, which is left as it is, its statistics too.
        generator: of the noise.
        images: float B×C×H×W in [0, 1].
        labels: int64 B.
        lr: α_f of the step.
    """
    weights = {name: value.detach().requires_grad_() for name, value in model.named_parameters()}
    statistics = {name: value.clone() for name, value in model.named_buffers()}

    def loss(at: dict[str, Tensor], of: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, {**at, **statistics}, (of,)), labels)

    slopes = torch.autograd.grad(
        loss(weights, noised(images, generator(images))), list(weights.values()), create_graph=True
    )
    tried = {name: value - lr * slope for (name, value), slope in zip(weights.items(), slopes, strict=True)}
    return loss(tried, images)


def follow(model: nn.Module, images: Tensor, labels: Tensor, lr: float) -> None:
    """One plain SGD step of the classifier."""
    weights = list(model.parameters())
    slopes = torch.autograd.grad(F.cross_entropy(model(images), labels), weights)
    with torch.no_grad():
        for weight, slope in zip(weights, slopes, strict=True):
            weight.sub_(lr * slope)
