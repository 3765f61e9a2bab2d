"""Images smoothed where they are flat and kept where they have edges: purification that learns nothing."""

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 80  # of the dual's ascent; with 400 hardly a pixel differs by a grey level
PATCH, REACH = 3, 4  # pixels per side of the patches compared; how far away, in rows and in columns, they may lie


def total_variation(images: Tensor, weight: float) -> Tensor:
    """The images u with the least ½‖u − x‖² + weight · TV(u) (Rudin, Osher and Fatemi, 1992), by Chambolle's dual.

    TV is the sum over pixels of the length of the gradient in all channels together: edges of different channels lie
    on each other.

    Args:
        images: float N×C×H×W in [0, 1].
        weight: above 0; the larger, the smoother.

    Returns:
        float N×C×H×W.
    """
    dual = torch.zeros(2, *images.shape)
    for _ in range(STEPS):
        dual = dual + _gradient(images + _divergence(dual)) / 8
        dual = dual / (dual.square().sum((0, 2), keepdim=True).sqrt() / weight).clamp_min(1)
    return images + _divergence(dual)


def _gradient(images: Tensor) -> Tensor:
    """Differences to the pixel below and to that on the right, 2×N×C×H×W; 0 at the edges."""
    return torch.stack([F.pad(images.diff(dim=2), (0, 0, 0, 1)), F.pad(images.diff(dim=3), (0, 1))])


def _divergence(field: Tensor) -> Tensor:
    """Minus the adjoint of the gradient."""
    down, right = field
    return F.pad(down[..., :-1, :], (0, 0, 1, 1)).diff(dim=2) + F.pad(right[..., :-1], (1, 1)).diff(dim=3)


def nonlocal_means(images: Tensor, strength: float) -> Tensor:
    """Each pixel as the mean of those nearby, weighted by how like their surroundings are (Buades et al., CVPR 2005).

    Args:
        images: float N×C×H×W in [0, 1].
        strength: difference of two patches (root of the mean square) at which the weight is 1/e.

    Returns:
        float N×C×H×W in [0, 1].
    """
    height, width = images.shape[2:]
    wide = F.pad(images, (REACH,) * 4, mode="replicate")
    total, weights = torch.zeros_like(images), torch.zeros_like(images[:, :1])
    for top in range(2 * REACH + 1):
        for left in range(2 * REACH + 1):
            other = wide[:, :, top : top + height, left : left + width]
            unlike = F.pad((images - other).square().mean(1, keepdim=True), (PATCH // 2,) * 4, mode="replicate")
            weight = torch.exp(-F.avg_pool2d(unlike, PATCH, 1) / strength**2)
            total, weights = total + weight * other, weights + weight
    return total / weights
