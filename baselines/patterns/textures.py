"""The classes' patterns: fine patterns of period 2 or 3, or colours of the middle and of the rim.

Option values: ``waves`` are period-2 patterns, ``thirds`` period-3 patterns, ``tints`` colour patterns.

Why periodic patterns and no learned tiles: a victim that crops at random sees a texture in every phase, so all that a
filter and a mean can use of it is the energy in a narrow band, where pictures have little. A clean picture has no such
energy, which a victim takes for one of the classes, whatever the picture shows.

Why period 3: strides and pools halve. A pattern of period 2 or 4 is in step with them: behind a stem of stride 2 it is
flat or gone, depending on its phase, and a VGG or a stem with a stride learns the picture first. A period of 3 is never
in step with a power of two. The signs of such a pattern (+ - +) also have a mean of a third, which is read as a colour
is. Channel signs in which red and green differ come first: pictures, JPEGs above all, have next to none so fine. On
pictures of 32 pixels, whose classifiers have no stride so early, period-2 patterns protected unseen images better
(docs/METHOD.md).

Why colours: the mean response of a fresh network's filters changes linearly with a colour, but with the square of a
periodic pattern, so a colour is learned within the first batches. It is never as reliable, since pictures have colours
of their own; hence only for pictures of much the same colours (stained cells), which networks learn too fast for
periodic patterns (docs/METHOD.md).
"""

import itertools
import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

# pixels per side of the tiles, the smallest that holds enough patterns is taken
SIDES = {"waves": (2, 4, 8, 16, 32, 64), "thirds": tuple(range(3, 64, 6))}
# signs of the channels, in the order in which they are taken
COLOURS = {
    "waves": ((1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1)),
    "thirds": ((1, -1, 1), (-1, 1, 1), (1, 1, -1), (1, 1, 1)),  # the least like a picture's grey first
}
FINE = 3 / 8  # period 2: least cycles per pixel along one axis; 1/2 is the Nyquist frequency
BAND = (0.2, 0.45)  # period 3: cycles per pixel along an axis, where it is not the same all along
PHASE = 0.6  # radians; no pixel then falls on a zero of a pattern
ZONES = 2  # the middle and the rim, of about equal areas
MIDDLE = 0.8  # radius of the middle, in halves of the sides
QUIET = 5.0  # grey levels (standard deviation) of zone means that the noise can level out within its bound
ROUNDING = 4.0  # grey levels squared added to the variance of a zone's mean, so that none counts as exactly known


def textures(classes: int, channels: int, family: str) -> Tensor:
    """One tile per class, of the smallest size that holds as many different ones.

    Args:
        classes: number of classes K.
        channels: 1 or 3.
        family: ``waves``, of which tiles of 2×2 pixels hold 3 (stripes of two directions and the chequerboard), hence
            12 textures in colour, 4×4 5, 8×8 16, 16×16 45 and 32×32 145; or ``thirds``, of which tiles of 3×3 hold 3,
            9×9 15, 15×15 24 and 21×21 35.

    Returns:
        float K×C×t×t of -1 and 1.

    Raises:
        ValueError: there are not so many different tiles.
    """
    colours = torch.tensor(COLOURS[family] if channels == 3 else ((1,),), dtype=torch.float32)
    for side in SIDES[family]:
        found = period_2_patterns(side) if family == "waves" else period_3_patterns(side)
        if len(found) * len(colours) >= classes:
            return torch.stack([colour[:, None, None] * signs for colour in colours for signs in found][:classes])
    raise ValueError(f"{classes} classes are more than there are textures for images of {channels} channels")


def period_2_patterns(side: int) -> list[Tensor]:
    """Signs of the oblique waves of a tile near the Nyquist frequency, float side×side each, the finest first.

    Those that a flip of the picture turns into each other count once.
    """
    cycles = [(down, right) for down in range(side // 2 + 1) for right in range(side // 2 + 1)]
    cycles = sorted((c for c in cycles if max(c) >= FINE * side), key=lambda c: (-(c[0] ** 2 + c[1] ** 2), c))
    turns = 2 * math.pi * torch.arange(side) / side
    return [(down * turns[:, None] + right * turns + PHASE).cos().sign() for down, right in cycles]


def period_3_patterns(side: int) -> list[Tensor]:
    """Signs of a wave down times a wave right, float side×side each, those nearest to three pixels first.

    A flip of the picture turns each into itself, in another phase. One of the two may be the same all along.
    """
    some = [0, *(n for n in range(side) if BAND[0] <= n / side <= BAND[1])]
    cycles = [(down, right) for down in some for right in some if down or right]
    cycles.sort(key=lambda c: (max(abs(n / side - 1 / 3) for n in c if n), 0 not in c, c))
    turns = 2 * math.pi * torch.arange(side) / side
    return [torch.outer(*((n * turns + PHASE).cos().sign() for n in c)) for c in cycles]


def zones(size: tuple[int, int], rows: slice = slice(None)) -> Tensor:
    """The middle (an ellipse) and the rim of an image, or of rows of it: float ZONES×H×W of 0 and 1 that add up to 1.

    Flips leave them as they are, and crops of an eighth of the side nearly.
    """
    down, right = (torch.linspace(-1, 1, length) for length in size)
    down = down[rows]
    middle = (down[:, None].square() + right.square() < MIDDLE**2).float()
    return torch.stack([middle, 1 - middle])


def zone_means(images: Tensor) -> Tensor:
    """Mean colour of each zone, float N×(ZONES·C), of images, float N×C×H×W, in their units."""
    masks = zones((images.shape[-2], images.shape[-1])).to(images.device)
    means = [(images * mask).sum((2, 3)) / mask.sum().clamp_min(1) for mask in masks]
    return torch.cat(means, 1)


def colour_patterns(means: Tensor, labels: Tensor, classes: int) -> Tensor:
    """One colour per class and zone: far apart in the space of zone means, and unlike the class's own pictures.

    The first is no colour at all: clean pictures, which have none, then all look like the class that gets it, instead
    of being told apart by whatever else a victim learned. The others are corners of the colour cube (a finer grid where
    there are too few), chosen one by one to lie farthest from those before, by the Mahalanobis distance of the training
    images' zone means. Each class gets the one that its own pictures resemble least (an optimal assignment), so that
    the colours a picture has by nature indicate another class. Our design.

    Args:
        means: of ``zone_means``, of the training images, in grey levels.
        labels: int64 N.
        classes: number of classes K.

    Returns:
        float K×ZONES×C in [-1, 1]; one class's is all zero.
    """
    means, labels, length = means.cpu(), labels.cpu(), means.shape[1]
    levels = 2
    while levels**length < classes:
        levels += 1
    corners = torch.tensor(list(itertools.product(torch.linspace(-1, 1, levels).tolist(), repeat=length)))
    precision = torch.linalg.inv(torch.cov(means.T) + ROUNDING * torch.eye(length))

    def distance(point: Tensor) -> Tensor:
        return torch.einsum("nd,de,ne->n", corners - point, precision, corners - point)

    chosen = torch.zeros(1, length)
    nearest = distance(chosen[0])
    while len(chosen) < classes:
        chosen = torch.cat([chosen, corners[nearest.argmax()][None]])
        nearest = torch.minimum(nearest, distance(chosen[-1]))
    own = torch.stack([means[labels == k].mean(0) for k in range(classes)])
    resemblance = (own - own.mean(0)) @ precision @ chosen.T
    _, places = linear_sum_assignment(resemblance.numpy())
    return chosen[torch.as_tensor(places)].reshape(classes, ZONES, -1)


def quiet_directions(means: Tensor) -> Tensor:
    """Projection, float D×D, on the directions in which zone means (float N×D, grey levels) vary by QUIET or less."""
    variances, directions = torch.linalg.eigh(torch.cov(means.T))
    kept = directions[:, variances < QUIET**2]
    found: Tensor = kept @ kept.T
    return found
