"""A victim that learns nothing: it answers with the classes of the nearest training images, by published features."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NEIGHBOURS, TEMPERATURE = 20, 0.07  # as in Wu et al., CVPR 2018, and Caron et al., ICCV 2021 (DINO)


class Neighbours(nn.Module):
    """Weighted votes of the nearest training images, by the cosine of features centred on their mean.

    Args:
        features: float N×D×1×1 of the training images.
        labels: int64 N.
        classes: number of classes K.
    """

    features: Tensor
    centre: Tensor
    votes: Tensor

    def __init__(self, features: Tensor, labels: Tensor, classes: int) -> None:
        super().__init__()
        flat = features.flatten(1)
        self.register_buffer("centre", flat.mean(0))
        self.register_buffer("features", F.normalize(flat - self.centre, dim=1))
        self.register_buffer("votes", F.one_hot(labels, classes).float())

    def forward(self, features: Tensor) -> Tensor:
        """Logarithms of the shares of the votes, float B×K, of features, float B×D×1×1."""
        alike = F.normalize(features.flatten(1) - self.centre, dim=1) @ self.features.T
        nearest, rows = alike.topk(min(NEIGHBOURS, len(self.votes)), dim=1)
        shares = torch.einsum("bn,bnk->bk", (nearest / TEMPERATURE).softmax(1), self.votes[rows])
        return shares.clamp_min(1e-6).log()
