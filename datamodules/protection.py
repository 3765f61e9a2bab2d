"""What every protection offers, the units of its bound, what fitting it cost, and what some can do beyond."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import lightning.pytorch as pl
import torch
from torch import Tensor

from datamodules.base import ImageDataModule
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
        passes: cost of ``fit``; None where not all were counted: of a fit in several processes, or a resumed one that
            does not remember them.
    """

    name: str
    label_free: bool

    # read, not set, from outside
    @property
    def norm(self) -> Norm | None: ...

    @property
    def epsilon(self) -> float | None: ...

    @property
    def passes(self) -> Passes | None: ...

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


@dataclass(frozen=True)
class TrainerContext:
    """What a run gives to a protection that Lightning's Trainer fits.

    Attributes:
        trainer: with devices, loggers, callbacks and profiler; its ``max_epochs`` says how long is trained.
        data: of the run, set up; its part ``train`` is what is fitted on.
        checkpoint: to resume from; None to begin.
    """

    trainer: pl.Trainer
    data: ImageDataModule
    checkpoint: Path | None


@runtime_checkable
class FittedByTrainer(Protocol):
    """A protection that Lightning's Trainer fits: on several devices, with loggers, a profiler and users' callbacks.

    A run always has it fit, also when it has been fitted: its Trainer starts the processes that share what follows.

    Attributes:
        context: set by a run before ``fit``; None: a plain Trainer of the protection's own, on the device of ``fit``.
        seconds: that fitting took, those before an interruption included; known after ``fit``.
    """

    context: TrainerContext | None
    seconds: float


@runtime_checkable
class Transferable(Protocol):
    """A protection that leaves a generator's file, by which it protects other data without their labels."""

    def save(self, path: Path) -> str:
        """Writes the fitted generator (.safetensors) and its card (.json); returns the sha256 of the former."""


@runtime_checkable
class Classifying(Protocol):
    """A protection that states the class that it reads from an image."""

    def classify(self, images: Tensor) -> Tensor:
        """The likeliest class, int64 N on the CPU, of images, uint8 N×C×H×W."""


def change_sizes(before: Tensor, after: Tensor, norm: Norm) -> Tensor:
    """How much each image was changed, float64 N in the unit of the norm; before and after: uint8 N×C×H×W."""
    change = after.int() - before.int()
    if norm == "linf":
        return change.abs().flatten(1).amax(1).double()
    if norm == "l2":
        found: Tensor = change.double().flatten(1).norm(dim=1) / 255
        return found
    return (change != 0).any(1).flatten(1).sum(1).double()
