"""GUE: a generator and a classifier in a Stackelberg game, solved with first-order gradients alone."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from baselines.checkpoint import FitCheckpoint, ResumableFit
from baselines.config import GueConfig
from baselines.generator import NoiseGenerator, ProtectsByGenerator, check_size, noised
from datamodules.augment import isolated_rng
from datamodules.images import ImageSet, to_float
from victims.classifier import build_classifier
from victims.loop import make_optimizer
from victims.passes import PassCounter

Weights = dict[str, Tensor]


class GameGenerator(ProtectsByGenerator, ResumableFit):
    """Liu et al., "Game-Theoretic Unlearnable Example Generator", AAAI 2024 (arXiv 2401.17523).

    The leader, a generator g_ξ, chooses noise; the follower, a classifier f_θ, answers with θ*(ξ), which minimises the
    loss on protected images. The leader's payoff is how wrong that answer is on clean images, measured so that it
    cannot explode: by the least likely of the wrong classes, with p_k the probability of class k:

        max_ξ E min_{k≠y} log p_k(x; θ*(ξ)),   θ*(ξ) = argmin_θ L(θ, ξ),   L(θ, ξ) = E ℓ(f_θ(x + g_ξ(x)), y)

    For each batch, with F(θ) = −E min_{k≠y} log p_k(x; θ) and θ^T the end of T steps of Adam from θ towards smaller
    L(·, ξ) (ξ fixed):

        q(θ, ξ) = L(θ, ξ) − L(θ^T, ξ)                                  (θ^T held fixed: how far θ is from an answer)
        λ = max(0, (η·‖∇q‖² − ⟨∇F, ∇q⟩) / ‖∇q‖²)
        θ ← θ − β·(∇F + λ·∇_θ q),   ξ ← ξ − α·λ·∇_ξ q

    so that λ makes q fall while F falls with what is left: the value-function method "BOME!" (B. Liu et al., NeurIPS
    2022). No second derivative is needed.

    Published: 50 epochs in batches of 256, η = 1.5, α = 0.1, β = 0.01, T = 10 with a rate of 1e-4. These, the payoff
    and the algorithm are those of the program that its authors published; of the paper's text only the abstract and
    summaries were at hand. ``fit`` uses labels, ``protect`` none: any image of the fitted channels, from 4×4 pixels,
    in one forward pass.

    Bound: L∞ at ε rounded down to whole grey levels, in training as in what is stored.

    Deviations: the default f is ``narrow`` (published: ResNet-18), g the small network of baselines/generator.py
    (published: a U-Net with batch statistics). f is in training mode, and its statistics follow one look per batch, at
    protected images (published: each look). The last generator protects (published: the last, or that whose noise a
    new classifier does worst after, measured on test images every 5 epochs). Black and white pixels are clipped with
    the slope of the unclipped sum. The last, smaller batch of an epoch is spread over the others. The game with
    adversarial training is left out.

    Args:
        options: of this method.
        epsilon: bound in grey levels.

    Attributes:
        history: for each epoch the mean loss L of the follower, and the mean of −F, the leader's payoff.
    """

    name = "gue"

    def __init__(self, options: GueConfig, epsilon: float) -> None:
        super().__init__(epsilon)
        self.options = options
        self.history: list[tuple[float, float]] = []

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
        self.history, first = [], 0
        with isolated_rng(seed, device), torch.enable_grad():
            generator = NoiseGenerator(channels, options.width, int(self.epsilon) / 255).to(device)
            model = build_classifier(options.arch, classes, channels, (height, width)).to(device).train()
            counter = PassCounter(generator, model)
            saved = FitCheckpoint(self.checkpoint_path, options, train, seed, device)
            if saved.state:
                generator.load_state_dict(saved.state["generator"])
                model.load_state_dict(saved.state["model"])
                first, self.history = saved.state["epoch"], [(a, b) for a, b in saved.state["history"]]
                counter.forward, counter.backward = saved.state["passes"]
            parts = max(1, len(train) // options.batch_size)
            for epoch in range(first, options.epochs):
                sums = torch.zeros(2, device=device)
                for rows in torch.randperm(len(train)).to(device).tensor_split(parts):
                    losses = move(model, generator, to_float(images[rows]), labels[rows], options)
                    sums += len(rows) / len(train) * losses
                self.history.append((sums[0].item(), sums[1].item()))
                progress((epoch + 1) / options.epochs)
                saved.save(
                    {
                        "generator": generator.state_dict(),
                        "model": model.state_dict(),
                        "epoch": epoch + 1,
                        "history": [list(pair) for pair in self.history],
                        "passes": [counter.forward, counter.backward],
                    }
                )
        self.generator, self.channels = generator.eval().requires_grad_(False), channels
        self.passes = counter.passes(len(train))


def payoff(logits: Tensor, labels: Tensor) -> Tensor:
    """The leader's payoff, mean min_{k≠y} log p_k ≤ −log(K − 1): there when the wrong classes share all probability."""
    wrong = logits.masked_fill(F.one_hot(labels, logits.shape[1]).bool(), torch.inf)
    return (wrong.amin(1) - logits.logsumexp(1)).mean()


def multiplier(slopes: list[Tensor], wanted: list[Tensor | None], eta: float) -> Tensor:
    """λ of ∇q (slopes) and ∇F (wanted; None is 0): how strongly an answer is asked for beside a good payoff."""
    square = sum((s.square().sum() for s in slopes), torch.zeros((), device=slopes[0].device))
    product = sum(
        ((s * w).sum() for s, w in zip(slopes, wanted, strict=True) if w is not None), torch.zeros_like(square)
    )
    return ((eta * square - product) / square.clamp_min(1e-12)).clamp_min(0)


def move(model: nn.Module, generator: nn.Module, images: Tensor, labels: Tensor, options: GueConfig) -> Tensor:
    """One batch of the game: follower and leader take a step; gives L and the payoff before it, float 2."""
    weights, leading = dict(model.named_parameters()), list(generator.parameters())
    statistics = {name: value.clone() for name, value in model.named_buffers()}

    def loss(at: Weights, of: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, {**at, **statistics}, (of,)), labels)

    protected = noised(images, generator(images))
    fixed = protected.detach()
    answer: Weights = {name: value.detach().clone().requires_grad_() for name, value in weights.items()}
    seeker = make_optimizer(answer.values(), "adam", options.answer_lr)
    for _ in range(options.steps):
        seeker.zero_grad()
        loss(answer, fixed).backward(inputs=list(answer.values()))
        seeker.step()
    follower = F.cross_entropy(model(protected), labels)  # the one look that the statistics follow
    gap = follower - loss({name: value.detach() for name, value in answer.items()}, protected)
    down = list(torch.autograd.grad(gap, [*weights.values(), *leading]))
    clean = payoff(functional_call(model, {**weights, **statistics}, (images,)), labels)
    wanted = list(torch.autograd.grad(-clean, list(weights.values())))
    share = multiplier(down, [*wanted, *([None] * len(leading))], options.eta)
    with torch.no_grad():
        for weight, slope, want in zip(weights.values(), down[: len(weights)], wanted, strict=True):
            weight.sub_(options.classifier_lr * (want + share * slope))
        for weight, slope in zip(leading, down[len(weights) :], strict=True):
            weight.sub_(options.lr * share * slope)
    return torch.stack([follower, clean]).detach()
