"""The order of batches, batches read as a whole, and what plain loaders give."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset, Sampler

from datamodules.config import DataError
from datamodules.images import ImageSet, to_float


class Batch(NamedTuple):
    """What a training step receives.

    Attributes:
        images: float B×C×H×W in [0, 1] on the uint8 grid (uint8 until it is on the device).
        labels: int64 B.
        others: another image for each, shaped and scaled like ``images``: its neighbour in the global_batch batch.
        rows: int64 B, the images' places in part A.
        share: this process's images over its fair share of the global_batch batch; losses multiplied by it average,
            over processes, to the loss of the global_batch batch even when it does not divide evenly.
    """

    images: Tensor
    labels: Tensor
    others: Tensor
    rows: Tensor
    share: float


class EpochBatches(Sampler[tuple[Tensor, Tensor, float]]):
    """Row numbers of each batch, a function of (seed, epoch) alone, so that a resumed run sees what it would have.

    Every image comes once per epoch. The batches are as equal as can be (no small last batch) and none is larger than
    ``batch_size``; rank r of w takes every w-th row of each global_batch batch.

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
        for global_batch in np.array_split(order, self.steps)[skipped:]:
            mine = slice(self.rank, None, self.world)
            rows, others = global_batch[mine], np.roll(global_batch, -1)[mine]
            yield torch.from_numpy(rows), torch.from_numpy(others), len(rows) * self.world / len(global_batch)


class Rows(Dataset[Batch]):
    """An image set indexed by a whole batch at once, which spares a collation of single images."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __getitem__(self, index: Any) -> Batch:
        rows, others, share = index
        return Batch(self.images.pixels(rows), self.images.labels[rows], self.images.pixels(others), rows, share)


class Labelled(Dataset[tuple[Tensor, int]]):
    """An image set one by one, as plain loaders and other people's modules take it: image float C×H×W in [0, 1], label.

    Args:
        images: the set.
    """

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        row = range(len(self.images))[index]  # raises IndexError, which ends an iteration
        return to_float(self.images.pixels(torch.tensor([row]))[0]), int(self.images.labels[row])


def as_batch(batch: Any) -> Batch:
    """What a training step receives, of our own data modules or of a plain loader.

    Args:
        batch: a ``Batch``, or a pair of images (B×C×H×W, float in [0, 1] or uint8) and labels (integer B).

    Returns:
        The batch as it is; of a pair: images as float, and for each the next one as its other.

    Raises:
        DataError: it is neither.
    """
    if isinstance(batch, Batch):
        return batch
    images, labels = pair_of(batch)
    if not images.is_floating_point():
        images = to_float(images)
    return Batch(images, labels, images.roll(-1, 0), torch.arange(len(images), device=images.device), 1.0)


def pair_of(batch: Any) -> tuple[Tensor, Tensor]:
    """Images (B×C×H×W, float or uint8) and labels (int64 B) of a plain loader's batch.

    Raises:
        DataError: the batch is something else.
    """
    if not (isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch)):
        parts = f" of {', '.join(type(part).__name__ for part in batch)}" if isinstance(batch, tuple | list) else ""
        raise DataError(
            f"batch: expected two tensors, images and labels, found {type(batch).__name__}{parts}; let the data set "
            "give (image, label)"
        )
    images, labels = batch
    check_images(images)
    if labels.shape != (len(images),) or labels.is_floating_point() or labels.is_complex():
        raise DataError(
            f"batch: expected {len(images)} labels, one integer for each image, found {labels.dtype} of shape "
            f"{tuple(labels.shape)}; give class numbers from 0"
        )
    return images, labels.long()


def check_images(images: Tensor) -> None:
    """Raises DataError unless images are B×C×H×W, float or uint8."""
    if images.dim() != 4 or not (images.is_floating_point() or images.dtype == torch.uint8):
        raise DataError(
            f"batch: expected images B×C×H×W, float in [0, 1] or uint8, found {images.dtype} of shape "
            f"{tuple(images.shape)}; transforms.ToTensor makes such images"
        )


def to_pixels(images: Tensor) -> Tensor:
    """Images, B×C×H×W, on the uint8 grid; the inverse of ``to_float``.

    Args:
        images: uint8, or float in [0, 1].

    Raises:
        DataError: they are neither.
    """
    check_images(images)
    if images.dtype == torch.uint8:
        return images
    low, high = (images.min().item(), images.max().item()) if images.numel() else (0.0, 1.0)
    if not (low >= 0 and high <= 1):  # so that nan is refused, too
        raise DataError(
            f"batch: expected images float in [0, 1] or uint8, found float from {low:.3g} to {high:.3g}; leave out "
            "what normalises them"
        )
    return (images.float() * 255).round().to(torch.uint8)


def gathered(loader: Any, batches: float, shape: tuple[int, int, int], classes: int) -> ImageSet:
    """All labelled images of one pass of a plain loader, in memory.

    Args:
        loader: gives (images, labels); ``pair_of`` says which. It is read by a loader of its own kind, since Lightning
            holds an iterator of it already; of a set that processes share every process reads the whole.
        batches: read at most so many, of what each process gets; infinity: all.
        shape: channels, height and width that the images must have.
        classes: number of classes K; labels are below it.

    Raises:
        DataError: the images or labels are others.
    """
    images, labels = [], []
    if isinstance(sampler := getattr(loader, "sampler", None), DistributedSampler):
        batches *= sampler.num_replicas
    for count, batch in enumerate(_again(loader)):
        if count >= batches:
            break
        part, own = pair_of(batch)
        if tuple(part.shape[1:]) != shape:
            found, asked = ("×".join(map(str, sides)) for sides in (part.shape[1:], shape))
            raise DataError(
                f"batch: expected images of channels×height×width {asked}, found {found}; give ConfounderGAN the "
                "channels and size of its images"
            )
        if len(own) and not (own.min() >= 0 and own.max() < classes):
            raise DataError(
                f"batch: expected labels from 0 to {classes - 1}, found {own.min()} to {own.max()}; give ConfounderGAN "
                "the number of classes"
            )
        images.append(to_pixels(part).cpu())
        labels.append(own.cpu())
    if not images:
        raise DataError("batch: the loader gives none; expected images and labels")
    return ImageSet(torch.cat(images), torch.cat(labels))


def _again(loader: Any) -> Iterable[Any]:
    """A loader that gives what ``loader`` gives, by an iterator and workers of its own."""
    if not isinstance(loader, DataLoader):
        found: Iterable[Any] = loader
        return found
    options: dict[str, Any] = {"num_workers": loader.num_workers, "collate_fn": loader.collate_fn}
    if isinstance(loader.dataset, IterableDataset):
        return DataLoader(loader.dataset, batch_size=loader.batch_size, drop_last=loader.drop_last, **options)
    if isinstance(loader.sampler, DistributedSampler):
        return DataLoader(loader.dataset, batch_size=loader.batch_size, **options)
    if loader.batch_sampler is None:
        return DataLoader(loader.dataset, batch_size=None, sampler=loader.sampler, **options)
    return DataLoader(loader.dataset, batch_sampler=loader.batch_sampler, **options)
