"""Several owners who protect each their own images of one set: what somebody collects from many sources."""

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.noise import image_draws, pixel_hashes, unfitted
from datamodules.config import DataError
from datamodules.images import ImageSet
from datamodules.protection import Norm, Passes, Protection


class Mixed:
    """Every image belongs to one of several owners, each with a protection that is fitted on the owner's images alone.

    Ours. Owners have equal shares in expectation: an image's owner is drawn from the seed and its pixels, so equal
    images have one owner, and an unseen image has one too. Two owners with the same protection fit it with seeds of
    their own: other generators, codes or patterns.

    Bound: L∞ at the largest of the owners'.

    Args:
        owners: their protections, still to be fitted; two at least, all with an L∞ bound.

    Raises:
        ValueError: there are fewer, or one has another bound.

    Attributes:
        owners: as given.
    """

    name = "mixed"
    norm: Norm = "linf"

    def __init__(self, owners: list[Protection]) -> None:
        if len(owners) < 2:
            raise ValueError(f"baselines.mixed.methods: expected two owners at least, found {len(owners)}")
        for owner in owners:
            if owner.norm != "linf":
                raise ValueError(f"baselines.mixed.methods: {owner.name} has no L∞ bound; choose another")
        self.owners = owners
        self.passes: Passes | None = Passes()
        self.epsilon = max(owner.epsilon or 0.0 for owner in owners)
        self.label_free = all(owner.label_free for owner in owners)
        self.seed: int | None = None

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Fits each owner's protection on the owner's images; see Protection.

        Raises:
            DataError: an owner has no images, or as the owners' protections say.
        """
        self.seed = seed
        numbers, forward, backward = self.owner_of(train.images), 0.0, 0.0
        for number, owner in enumerate(self.owners):
            rows = (numbers == number).nonzero()[:, 0]
            if not len(rows):
                raise DataError(f"mixed: owner {number} ({owner.name}) has none of {len(train)} images; give more")

            def advance(share: float, done: int = number) -> None:
                progress((done + share) / len(self.owners))

            owner.fit(train.subset(rows), classes, seed + number, device, advance)
            if owner.passes:
                forward += owner.passes.forward * len(rows) / len(train)
                backward += owner.passes.backward * len(rows) / len(train)
        self.passes = Passes(forward, backward) if all(owner.passes for owner in self.owners) else None

    def protect(self, images: ImageSet) -> Tensor:
        """Protected images, uint8 N×C×H×W.

        Raises:
            DataError: as the owners' protections say.
            RuntimeError: not fitted.
        """
        pixels = images.images
        protected, numbers = pixels.clone(), self.owner_of(pixels)
        for number, owner in enumerate(self.owners):
            rows = (numbers == number).nonzero()[:, 0]
            if len(rows):
                protected[rows] = owner.protect(images.subset(rows))
        return protected

    def owner_of(self, images: Tensor) -> Tensor:
        """The owner's number of each image, uint8 N×C×H×W: int64 N.

        Raises:
            RuntimeError: not fitted.
        """
        if self.seed is None:
            raise unfitted(self.name)
        count, seed = len(self.owners), self.seed
        drawn = [torch.randint(count, (), generator=image_draws(seed, key)) for key in pixel_hashes(images)]
        return torch.stack(drawn)
