"""The codes of classes: vectors far apart, for any number of classes. Ours."""

import torch
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
    return axes * dimensions**0.5
