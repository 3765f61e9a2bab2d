"""What every protection offers, the units of its bound, and what fitting it cost."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from datamodules.images import ImageSet

# the size of a change, as bounds measure it: its largest value in grey levels; its Euclidean length, pixels in [0, 1];
# how many pixels (of whatever channel) it touches
Norm = Literal["linf", "l2", "l0"]
UNITS: dict[Norm, str] = {"linf": "grey levels", "l2": "of Euclidean length", "l0": "pixels"}


@dataclass(frozen=True)
class Passes:
    """What fitting a protection cost, in passes through a network for each image that it was fitted on.

    Attributes:
        forward: forward passes per image, those in training, crafting and checking together.
        backward: backward passes per image.
    """

    forward: float = 0.0
    backward: float = 0.0


class Protection(Protocol):
    """What every protection offers, so that all of them take the same way to disk.

    Attributes:
        name: under which it is registered.
        norm: what its bound measures, on stored images; None for methods without a bound.
        epsilon: the bound, in the unit of ``norm``, known after ``fit``; None for none. An L∞ bound is the one asked
            for; the others are the method's own.
        label_free: ``protect`` also works on images that ``fit`` never saw, and looks at no label.
        passes: cost of ``fit``.
    """

    name: str
    label_free: bool
    passes: Passes

    @property
    def norm(self) -> Norm | None: ...  # read, not set, from outside

    @property
    def epsilon(self) -> float | None: ...

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Learns, or draws, what ``protect`` needs; global random state is neither read nor changed.

        Args:
            train: labelled images.
            classes: number of classes K.
            seed: decides every random draw.
            device: of the networks, if there are any.
            progress: called with the share that is done, in [0, 1], never falling, 1 at the end.
        """

    def protect(self, images: ImageSet) -> Tensor:
        """Protected images, uint8 N×C×H×W on the CPU; a function of the image and of ``fit`` alone.

        Args:
            images: N images; methods that are not label-free read their labels.

        Raises:
            DataError: the method has no noise for one of these images.
        """


def change_sizes(before: Tensor, after: Tensor, norm: Norm) -> Tensor:
    """How much each image was changed, float64 N in the unit of the norm; before and after: uint8 N×C×H×W."""
    change = after.int() - before.int()
    if norm == "linf":
        return change.abs().flatten(1).amax(1).double()
    if norm == "l2":
        found: Tensor = change.double().flatten(1).norm(dim=1) / 255
        return found
    return (change != 0).any(1).flatten(1).sum(1).double()
