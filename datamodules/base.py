"""Image sets, stratified division, and the base of every data module."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from datamodules.config import DataConfig, DataError


@dataclass(frozen=True)
class ImageSet:
    """Labelled images as they are stored.

    Attributes:
        images: uint8 N×C×H×W, C = 1 or 3.
        labels: int64 N, from 0.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Tensor) -> "ImageSet":
        """The rows at ``indices`` (int64 M), in that order."""
        return ImageSet(self.images[indices], self.labels[indices])

    def fingerprint(self) -> str:
        """sha256 over shape, pixels and labels: equal for equal content alone."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        digest.update(self.images.contiguous().numpy().data)
        digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()


class Batch(NamedTuple):
    """What a training step receives.

    Attributes:
        images: float B×C×H×W in [0, 1] on the uint8 grid (uint8 until it is on the device).
        labels: int64 B.
        others: another image for each, shaped and scaled like ``images``: its neighbour in the joined batch.
        share: this process's images over its fair share of the joined batch; losses multiplied by it average, over
            processes, to the loss of the joined batch even when it does not divide evenly.
    """

    images: Tensor
    labels: Tensor
    others: Tensor
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
        self.epoch = 0

    def __len__(self) -> int:
        return self.steps

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next pass; Lightning calls this before each one."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, float]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.images)
        for joined in np.array_split(order, self.steps):
            mine = slice(self.rank, None, self.world)
            rows, others = joined[mine], np.roll(joined, -1)[mine]
            yield torch.from_numpy(rows), torch.from_numpy(others), len(rows) * self.world / len(joined)


class Rows(Dataset[Batch]):
    """An image set indexed by a whole batch at once, which spares a collation of single images."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __getitem__(self, index: Any) -> Batch:
        rows, others, share = index
        pixels = self.images.images
        return Batch(pixels[rows], self.images.labels[rows], pixels[others], share)


def divide(labels: Tensor, fractions: list[float], seed: int) -> list[Tensor]:
    """Divides rows into parts, every class in the same proportions.

    Args:
        labels: int64 N.
        fractions: share of each part but the last, which takes the rest; their sum is below 1.
        seed: of the draw.

    Returns:
        Row numbers (int64, ascending) of each of the ``len(fractions) + 1`` parts.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in range(len(fractions) + 1)]
    for label in labels.unique().tolist():
        rows = rng.permutation(np.flatnonzero(labels.numpy() == label))
        cuts = np.round(np.cumsum(fractions) * len(rows)).astype(int)
        for part, piece in zip(parts, np.split(rows, cuts), strict=True):
            part.append(piece)
    return [torch.from_numpy(np.sort(np.concatenate(part))) for part in parts]


def folder_name(class_name: str) -> str:
    """A class's folder: its name without what file systems forbid."""
    return "".join(c if c.isalnum() or c in "-_. " else "_" for c in class_name).strip(" .") or "_"


def to_float(images: Tensor) -> Tensor:
    """uint8 pixels to float32 in [0, 1]."""
    return images.float() / 255


def resize(images: Tensor, size: int) -> Tensor:
    """Images (uint8 N×C×H×W) at size×size by Pillow's Lanczos filter, uint8 again; unchanged if they are that size."""
    if tuple(images.shape[-2:]) == (size, size):
        return images
    gray = images.shape[1] == 1
    resized = [
        np.asarray(
            Image.fromarray(image[..., 0] if gray else image).resize((size, size), Image.Resampling.LANCZOS)
        ).reshape(size, size, -1)
        for image in images.permute(0, 2, 3, 1).numpy()
    ]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).contiguous()


class ImageDataModule(pl.LightningDataModule):
    """The base: a source gives its images, the base divides, loads and describes them.

    Parts after ``setup``: ``train`` (A: the generator learns on it and, in the standard setting, protects it),
    ``unseen`` (B: the fast setting; the generator never sees it, protection never sees its labels), ``val`` (clean
    images to watch a run by) and ``test`` (clean; nothing is chosen by it). No image is in two parts.

    Args:
        config: the options.
        seed: of the order of batches.
    """

    class_names: tuple[str, ...]

    def __init__(self, config: DataConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, self.seed = config, seed
        self.parts: dict[str, ImageSet] = {}

    def load(self) -> tuple[ImageSet, ImageSet | None]:
        """The source's training images and its test images (None: the base cuts a test part); sets class_names.

        Raises:
            DataError: the source is missing or unusable.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how its images are read")

    def setup(self, stage: str | None = None) -> None:
        """Reads and divides the images once.

        Raises:
            DataError: the source is unusable, or a class would be missing from a part.
        """
        if self.parts:
            return
        config = self.config
        rest, test = self.load()
        folders: dict[str, str] = {}
        for name in self.class_names:
            if (other := folders.setdefault(folder_name(name), name)) != name:
                raise DataError(
                    f"data.name: classes {other!r} and {name!r} would both be stored in the folder "
                    f"{folder_name(name)!r}; rename one"
                )
        if test is None:
            rows, kept = divide(rest.labels, [config.test_fraction], config.split_seed)
            rest, test = rest.subset(kept), rest.subset(rows)
        if config.limit and config.limit < len(rest):
            rest = rest.subset(divide(rest.labels, [config.limit / len(rest)], config.split_seed)[0])
        val, unseen = config.val_fraction, (1 - config.val_fraction) * config.fast_fraction
        rows_val, rows_unseen, rows_train = divide(rest.labels, [val, unseen], config.split_seed)
        named = {"train": rest.subset(rows_train), "val": rest.subset(rows_val), "test": test}
        if config.fast_fraction:
            named["unseen"] = rest.subset(rows_unseen)
        if config.size:
            named = {k: ImageSet(resize(p.images, config.size), p.labels) for k, p in named.items()}
        for part, images in named.items():
            absent = sorted(set(range(self.classes)) - set(images.labels.tolist()))
            if absent:
                raise DataError(
                    f"data.{'limit' if config.limit else 'val_fraction'}: the {part} part has no image of class "
                    f"{self.class_names[absent[0]]!r}; every part needs every class: give more images or other shares"
                )
        EpochBatches(len(named["train"]), config.batch_size, self.seed)  # raises what is wrong with the batch size
        self.parts = named

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """1 (gray) or 3 (RGB)."""
        return self.parts["train"].images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.parts["train"].images.shape[-2:]
        return height, width

    @property
    def majority(self) -> float:
        """Share of the largest class in the test part: what guessing it scores."""
        labels = self.parts["test"].labels
        return labels.bincount().max().item() / len(labels)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of part A in the order of (seed, epoch), the restored epoch first after a resume."""
        trainer = self.trainer
        assert trainer is not None
        sampler = EpochBatches(
            len(self.parts["train"]), self.config.batch_size, self.seed, trainer.global_rank, trainer.world_size
        )
        # Lightning tells the sampler the epoch only after workers have drawn their first batches (its issue 21938)
        sampler.set_epoch(trainer.fit_loop.epoch_progress.current.processed)  # type: ignore[attr-defined]
        workers = self.config.workers
        return DataLoader(
            Rows(self.parts["train"]),
            sampler=sampler,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=trainer.strategy.root_device.type == "cuda",
        )

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Pixels become float on the device: a quarter of the bytes travel."""
        return batch._replace(images=to_float(batch.images), others=to_float(batch.others))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint remembers of its data."""
        return {"name": self.config.name, "fingerprint": self.parts["train"].fingerprint()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuses a checkpoint of other data.

        Raises:
            DataError: the checkpoint was made on other images.
        """
        if state_dict != self.state_dict():
            raise DataError(
                f"resume: the checkpoint was trained on other images (data {state_dict.get('name')!r}, fingerprint "
                f"{state_dict.get('fingerprint', '')[:12]}) than those at hand ({self.config.name!r}, "
                f"{self.state_dict()['fingerprint'][:12]}); restore the data or start a new run"
            )
