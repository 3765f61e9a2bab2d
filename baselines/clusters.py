"""Unlearnable Clusters: one pattern for each cluster of a surrogate's features, which leads it to another cluster."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.checkpoint import FitCheckpoint, ResumableFit
from baselines.config import ClustersConfig
from baselines.generator import NoiseGenerator, check_size, noised
from baselines.noise import check_shape, unfitted
from baselines.surrogate import train_surrogate
from datamodules.augment import draws, isolated_rng
from datamodules.config import DataError
from datamodules.images import ImageSet, to_float
from datamodules.protection import Norm, Passes
from gan.protection import quantise
from victims.classifier import Normalised
from victims.loop import make_optimizer
from victims.passes import PassCounter

CHUNK = 256  # images read together, which decides nothing
STARTS, LONGEST = 10, 100  # of k-means: starts, of which the best counts, and rounds of each


class UnlearnableClusters(ResumableFit):
    """Zhang et al., "Unlearnable Clusters: Towards Label-Agnostic Unlearnable Examples", CVPR 2023 (2301.01217).

    A surrogate's features F of all images are divided by k-means into p clusters with centres μ_1, …, μ_p. Every
    cluster i has a generator, which makes one pattern δ_i from noise σ that stays the same, and learns to carry the
    features of all images, read as a distribution, to the centre of another cluster, the next one (published: an
    offset of 1):

        min_{ξ_i} E_x KL(softmax μ_{i+1 modulo p} ‖ softmax F(x + δ_i)),   δ_i = g_{ξ_i}(σ), ‖δ_i‖∞ ≤ ε

    Images of a cluster become alike (uniformity goes) and sit where others belong (discrepancy goes), whatever classes
    somebody will train on.

    Published: p = 10, 50 epochs of all images for each generator in batches of 256, Adam with a rate that falls from
    1e-4 as a cosine and a weight decay of 5e-4; ε = 16/255 at 224×224, here ``gan.epsilon``. These, the loss and that
    each generator sees all images are those of the program that its authors published. An image gets the pattern of the
    centre that its features are nearest to: ``protect`` needs no label and takes unseen images of the fitted shape.

    Bound: L∞ at ε rounded down to whole grey levels, in crafting as in what is stored.

    Deviations: the published surrogate is a pretrained ResNet-50 (ImageNet or CLIP), which needs large images and a
    GPU; ours is ``narrow``, trained on the clean images with their labels, so ``fit`` is not label-agnostic though
    ``protect`` is. The generator is that of baselines/generator.py, bounded by a tanh (published: a ResNet's output,
    cut off at ±ε). Crafting neither crops nor flips. The rate falls with each epoch (published: each step). Black and
    white pixels are clipped with the slope of the unclipped sum.

    Args:
        options: of this method.
        epsilon: bound in grey levels.

    Attributes:
        centres: float p×D; patterns: float p×C×H×W in [0, 1] pixel units; set by ``fit``.
        divergences: for each epoch, the mean divergence of all images' features from the centres aimed at.
    """

    name = "clusters"
    norm: Norm = "linf"
    label_free = True

    def __init__(self, options: ClustersConfig, epsilon: float) -> None:
        self.options, self.epsilon, self.passes = options, epsilon, Passes()
        self.features: nn.Module | None = None
        self.centres: Tensor | None = None
        self.patterns: Tensor | None = None
        self.divergences: list[float] = []

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Trains the surrogate, divides its features, and trains a generator for each cluster; see Protection.

        Raises:
            DataError: fewer images than clusters, or smaller ones than 4×4.
            ValueError: the surrogate's architecture is unknown or cannot take these images.
        """
        check_size(self.name, train)
        options, (channels, _, _) = self.options, train.shape
        if len(train) < options.count:
            raise DataError(f"baselines.clusters.count: {options.count} clusters of {len(train)} images; choose less")
        bound, counter = int(self.epsilon) / 255, PassCounter()
        with isolated_rng(seed, device), torch.enable_grad():
            model = train_surrogate(
                options.surrogate, train, classes, seed, device, lambda share: progress(share / 2), counter=counter
            )
            self.features = headless(model)
            found = self._features(train)
            self.centres = k_means(found, options.count, draws(seed, 1))
            start = torch.rand(1, *train.shape).to(device)
            makers = [NoiseGenerator(channels, options.width, bound).to(device) for _ in range(options.count)]
            for maker in makers:
                counter.attach(maker)
            optimizers = [
                make_optimizer(maker.parameters(), "adam", options.lr, weight_decay=options.weight_decay)
                for maker in makers
            ]
            saved, first = FitCheckpoint(self.checkpoint_path, options, train, seed, device), 0
            self.divergences = []
            if saved.state:
                for maker, optimizer, state in zip(makers, optimizers, saved.state["makers"], strict=True):
                    maker.load_state_dict(state[0])
                    optimizer.load_state_dict(state[1])
                first, self.divergences = saved.state["epoch"], saved.state["divergences"]
                counter.forward, counter.backward = saved.state["passes"]
            aims = self.centres.roll(-1, 0).softmax(1).to(device)
            for epoch in range(first, options.epochs):
                total = torch.zeros((), device=device)
                for maker, optimizer, aim in zip(makers, optimizers, aims, strict=True):
                    for group in optimizer.param_groups:
                        group["lr"] = options.lr * (1 + math.cos(math.pi * epoch / options.epochs)) / 2
                    for rows in torch.randperm(len(train)).split(options.batch_size):
                        batch = to_float(train.pixels(rows)).to(device)
                        loss = divergence(self.features(noised(batch, maker(start))), aim)
                        optimizer.zero_grad(set_to_none=True)
                        loss.backward()
                        optimizer.step()
                        total += loss.detach() * len(rows) / len(train) / options.count
                self.divergences.append(total.item())
                progress(0.5 + (epoch + 1) / options.epochs / 2)
                saved.save(
                    {
                        "makers": [[m.state_dict(), o.state_dict()] for m, o in zip(makers, optimizers, strict=True)],
                        "epoch": epoch + 1,
                        "divergences": self.divergences,
                        "passes": [counter.forward, counter.backward],
                    }
                )
            with torch.no_grad():
                self.patterns = torch.cat([maker(start) for maker in makers]).cpu()
        self.passes = counter.passes(len(train))

    def protect(self, images: ImageSet) -> Tensor:
        """Protected images, uint8 N×C×H×W.

        Raises:
            DataError: images of another shape than it was fitted on.
            RuntimeError: not fitted.
        """
        if self.patterns is None or self.centres is None:
            raise unfitted(self.name)
        channels, height, width = self.patterns.shape[1:]
        check_shape(self.name, (channels, height, width), images)
        return quantise(images.images, self.patterns[self.clusters(images)], self.epsilon)

    def clusters(self, images: ImageSet) -> Tensor:
        """The cluster that each image's features are nearest to, int64 N on the CPU."""
        if self.centres is None:
            raise unfitted(self.name)
        return nearest(self._features(images), self.centres)

    @torch.no_grad()
    def _features(self, images: ImageSet) -> Tensor:
        """The surrogate's features, float N×D on the CPU."""
        assert self.features is not None
        device = next(iter(self.features.parameters()), torch.zeros(0)).device
        parts = [to_float(images.pixels(rows)).to(device) for rows in torch.arange(len(images)).split(CHUNK)]
        return torch.cat([self.features(part).flatten(1).cpu() for part in parts])


def divergence(features: Tensor, aim: Tensor) -> Tensor:
    """Mean Kullback–Leibler divergence of softmax(features), float B×D, from a distribution, float D."""
    return F.kl_div(features.log_softmax(1), aim.expand_as(features), reduction="batchmean")


def headless(model: nn.Module) -> nn.Module:
    """A classifier of victims/classifier.py without its last layer: images to features, float B×D."""
    assert isinstance(model, Normalised)
    net = model.net
    if isinstance(net, nn.Sequential):
        net[-1] = nn.Identity()
    else:
        net.reset_classifier(0)  # type: ignore[operator]
    return model


def nearest(features: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre (float p×D) of each row (float N×D), int64 N."""
    return torch.cdist(features, centres, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)


def k_means(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Centres, float p×D, of the division with the least squared distances among several starts (k-means++).

    Args:
        points: float N×D, N ≥ p.
        count: p.
        generator: CPU generator of the starts.
    """
    best: tuple[float, Tensor] | None = None
    for _ in range(STARTS):
        centres = points[torch.randint(len(points), (1,), generator=generator)]
        while len(centres) < count:
            weights = torch.cdist(points, centres).amin(1).square() + 1e-12  # equal points, too, can be drawn
            centres = torch.cat([centres, points[torch.multinomial(weights, 1, generator=generator)]])
        before = torch.full((len(points),), -1)
        for _ in range(LONGEST):
            labels = nearest(points, centres)
            if torch.equal(labels, before):
                break
            before = labels
            for k in range(count):
                if (labels == k).any():  # an empty cluster keeps its centre
                    centres[k] = points[labels == k].mean(0)
        cost = (points - centres[nearest(points, centres)]).square().sum().item()
        if best is None or cost < best[0]:
            best = cost, centres
    assert best is not None
    return best[1]
