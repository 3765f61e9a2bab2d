"""The codes of classes: vectors far apart, for any number of classes, and their mixtures. Ours."""

import torch
import torch.nn.functional as F
from torch import Tensor

PUSHES, PUSH = 100, 0.1


def class_codes(classes: int, dimensions: int) -> Tensor:
    """One vector per class, each of length √D; the first D are the same whatever the number of classes.

    The first D are the axes, so that each has noise of its own, learned apart from the others'. Further ones are
    mixtures: drawn at random (the same for the same K), then pushed away from their nearest neighbours.

    Args:
        classes: number of classes K.
        dimensions: D.

    Returns:
        float K×D.
    """
    axes = torch.eye(dimensions)[:classes]
    if classes > dimensions:
        mixtures = torch.randn(classes - dimensions, dimensions, generator=torch.Generator().manual_seed(0))
        mixtures = mixtures / mixtures.norm(dim=1, keepdim=True)
        for _ in range(PUSHES):
            near = mixtures @ torch.cat([axes, mixtures]).T
            near[:, dimensions:].fill_diagonal_(-1)
            mixtures = mixtures - PUSH * torch.cat([axes, mixtures])[near.argmax(1)]
            mixtures = mixtures / mixtures.norm(dim=1, keepdim=True)
        axes = torch.cat([axes, mixtures])
    found: Tensor = axes * dimensions**0.5
    return found


def mixed_code(weights: Tensor, vectors: Tensor) -> Tensor:
    """Code vectors, float B×D of length √D: the classes' vectors (float K×D) mixed by weights, float B×K."""
    mixed = weights @ vectors
    found: Tensor = mixed / (mixed.norm(dim=1, keepdim=True) + 1e-6) * vectors.shape[1] ** 0.5
    return found


def drawn_shares(count: int, classes: int, mixtures: float, random: torch.Generator) -> Tensor:
    """Classes drawn for the game, as shares: float B×K on the CPU, of which each row adds up to 1.

    A row has one class, or, for a part of the rows, a second one of up to a half: what the auxiliary classifier says of
    a doubtful picture, so that its noise says as much.

    Args:
        count: rows B.
        classes: K, 2 or more.
        mixtures: part of the rows that get a second class, in [0, 1].
        random: CPU generator of the draws.
    """
    first = torch.randint(0, classes, (count,), generator=random)
    shares = F.one_hot(first, classes).float()
    if mixtures:
        second = (first + torch.randint(1, classes, (count,), generator=random)) % classes
        weight = torch.rand(count, 1, generator=random) / 2 * (torch.rand(count, 1, generator=random) < mixtures)
        shares = (1 - weight) * shares + weight * F.one_hot(second, classes)
    return shares
