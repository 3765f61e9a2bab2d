"""The order of batches, and batches read as a whole."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from datamodules.config import DataError
from datamodules.images import ImageSet


class Batch(NamedTuple):
    """What a training step receives.

    Attributes:
        images: float B×C×H×W in [0, 1] on the uint8 grid (uint8 until it is on the device).
        labels: int64 B.
        others: another image for each, shaped and scaled like ``images``: its neighbour in the joined batch.
        rows: int64 B, the images' places in part A.
        share: this process's images over its fair share of the joined batch; losses multiplied by it average, over
            processes, to the loss of the joined batch even when it does not divide evenly.
    """

    images: Tensor
    labels: Tensor
    others: Tensor
    rows: Tensor
    share: float


class EpochBatches(Sampler[tuple[Tensor, Tensor, float]]):
    """Row numbers of each batch, a function of (seed, epoch) alone, so that a resumed run sees what it would have.

    Every image comes once an epoch. The batches are as equal as can be (no crumb at the end) and none is larger than
    ``batch_size``; rank r of w takes every w-th row of each joined batch.

    Raises:
        DataError: a batch would be larger than the data or smaller than the number of processes.
    """

    def __init__(self, images: int, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        if batch_size > images:
            raise DataError(
                f"data.batch_size: is {batch_size}, but there are only {images} training images; "
                f"set data.batch_size={images} or less"
            )
        self.steps = -(-images // batch_size)
        if images // self.steps < world:
            raise DataError(f"data.batch_size: {batch_size} is too small to share among {world} processes; raise it")
        self.images, self.seed, self.rank, self.world = images, seed, rank, world
        self.epoch = self.skipped = 0

    def __len__(self) -> int:
        return self.steps

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next pass; Lightning calls this before each one."""
        self.epoch = epoch

    def skip(self, batches: int) -> None:
        """Leaves out the first batches of the next pass alone: an interrupted run has had them."""
        self.skipped = batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, float]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.images)
        skipped, self.skipped = self.skipped, 0
        for joined in np.array_split(order, self.steps)[skipped:]:
            mine = slice(self.rank, None, self.world)
            rows, others = joined[mine], np.roll(joined, -1)[mine]
            yield torch.from_numpy(rows), torch.from_numpy(others), len(rows) * self.world / len(joined)


class Rows(Dataset[Batch]):
    """An image set indexed by a whole batch at once, which spares a collation of single images."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __getitem__(self, index: Any) -> Batch:
        rows, others, share = index
        return Batch(self.images.pixels(rows), self.images.labels[rows], self.images.pixels(others), rows, share)
