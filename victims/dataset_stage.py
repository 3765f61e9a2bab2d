"""What an attacker does to the whole collected set before training: change its pixels, or choose among its images."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.augment import draws
from datamodules.images import ImageSet, to_float
from victims.config import RECIPES, Recipe
from victims.defences import Operation
from victims.denoise import autoencoder
from victims.input_stage import CHUNK, PURIFIERS, Purifier, apply_input_stage, rounded
from victims.pairs import Pairs, restorer

BriefTraining = Callable[
    [ImageSet, Recipe], nn.Module
]  # trains a classifier on all of a set, by a recipe, without a defence
PROBE = replace(RECIPES["quick"], arch="linear", lr=0.02, augment="none")


def apply_dataset_stage(
    operations: list[Operation],
    images: ImageSet,
    recipe: Recipe,
    brief: BriefTraining,
    seed: int,
    device: torch.device,
    pairs: Pairs | None = None,
) -> tuple[ImageSet, list[Purifier]]:
    """The set that a victim trains on, by the operations in their order; those that act on batches are passed over.

    Args:
        operations: of the defence.
        images: as collected.
        recipe: of the victim.
        brief: for what has to be learned on the way.
        seed: of the networks from images to images.
        device: of them.
        pairs: of the attacker's own pictures, of the images' size; None: he has none.

    Raises:
        ValueError: an operation needs pairs, and there are none.

    Returns:
        The changed set, and the changes of pixels, for every image that the victim will be measured on.
    """
    purifiers: list[Purifier] = []
    for name, values in operations:
        if name == "filter":
            images = without_lowest_loss(images, values[0], brief(images, replace(recipe, epochs=int(values[1]))))
            continue
        if name in PURIFIERS:
            change = _fixed(PURIFIERS[name], values)
        elif name == "project":
            change = projection(brief(images, replace(PROBE, epochs=int(values[0]))))
        elif name == "subspace":
            change = subspace(brief(images, replace(PROBE, arch="two_layer", epochs=int(values[1]))), int(values[0]))
        elif name == "pairs":
            change = restorer(_chosen(pairs, int(values[0]), purifiers, seed), int(values[1]), seed, device)
        elif name == "denoise":
            change = autoencoder(images.images, values[0], int(values[1]), seed, device)
        else:
            continue
        purifiers.append(change)
        images = ImageSet(apply_input_stage([change], images.images), images.labels)
    return images, purifiers


def _fixed(change: Callable[..., Tensor], values: tuple[float, ...]) -> Purifier:
    return lambda images: change(images, *values)


def _chosen(pairs: Pairs | None, most: int, purifiers: list[Purifier], seed: int) -> Pairs:
    """Pairs drawn at random, after what is done to every image before."""
    if pairs is None:
        raise ValueError(
            "victim.defence: 'pairs' needs other pictures that the same protection protected, and there are none here; "
            "it is for the victims of train, evaluate and grid"
        )
    rows = torch.randperm(len(pairs.clean), generator=draws(seed, most))[:most]
    clean, protected = (apply_input_stage(purifiers, part[rows]) for part in (pairs.clean, pairs.protected))
    return Pairs(clean, protected)


def projection(probe: nn.Module) -> Purifier:
    """Takes from every image its part in the span of a linear classifier's weights (of its one linear layer)."""
    weights = next(m.weight for m in probe.modules() if isinstance(m, nn.Linear)).detach().cpu()
    return _without(torch.linalg.qr(weights.T.double()).Q.float())


def subspace(classifier: nn.Module, directions: int) -> Purifier:
    """Takes from every image its part in the leading directions of a two-layer classifier's first layer."""
    first, second = (m.weight.detach().cpu().double() for m in classifier.modules() if isinstance(m, nn.Linear))
    weighed = first * second.norm(dim=0)[:, None]
    return _without(torch.linalg.svd(weighed, full_matrices=False).Vh[:directions].T.float())


def _without(basis: Tensor) -> Purifier:
    """Takes from every image its part in the span of orthonormal columns, pixels × directions."""

    def project(images: Tensor) -> Tensor:
        flat = to_float(images).flatten(1)
        return rounded((flat - flat @ basis @ basis.T).reshape(images.shape))

    return project


def without_lowest_loss(images: ImageSet, share: float, model: nn.Module) -> ImageSet:
    """The set without the ``share`` (rounded down) of images that a model finds easiest; the others in their order."""
    losses = losses_of(model, images)
    easiest = losses.argsort(stable=True)[: int(share * len(images))]
    stays = torch.ones(len(images), dtype=torch.bool)
    stays[easiest] = False
    return images.subset(stays.nonzero()[:, 0])


def losses_of(model: nn.Module, images: ImageSet) -> Tensor:
    """Cross-entropy of each image, float N on the CPU, of a model in evaluation mode."""
    device = next(model.parameters()).device
    model.eval()
    with torch.no_grad():
        logits = [model(to_float(part.to(device))).cpu() for part in images.images.split(CHUNK)]
    return F.cross_entropy(torch.cat(logits), images.labels, reduction="none")
