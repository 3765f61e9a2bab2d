"""The base of every data module: fetch, decode into the cache, split, load."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.batches import Batch, EpochBatches, Labelled, Rows
from datamodules.cache import CacheSpec, cached
from datamodules.config import DataConfig, DataError, path_of
from datamodules.download import RemoteFile, ensure
from datamodules.images import ImageSet, balanced_weights, folder_name, to_float
from datamodules.source import PARTS, DatasetInfo, Listing, drop_leaking_groups, identity_of
from datamodules.split import stratified_group_split

SHOWN = 5


class ImageDataModule(pl.LightningDataModule):
    """A source states its ``DatasetInfo``, its files and how they are listed; the base does the rest.

    Parts after ``setup``: ``train`` (A: the generator learns on it and, in the standard setting, protects it),
    ``unseen`` (B: the fast setting; the generator never sees it, protection never sees its labels), ``val`` (clean
    images to watch a run by) and ``test`` (clean; nothing is chosen by it). No image is in two parts, nor is a group
    (lesion, patient) or, where the base divides, one of two copies of an image.

    Args:
        config: the options.
        seed: of the order of batches.

    Attributes:
        info: about the source.
        class_names: in label order, after ``setup``.
        parts: the image sets, after ``setup``.
        skipped: name and reason of every image that was left out, after ``setup``.
    """

    info: ClassVar[DatasetInfo]
    class_names: tuple[str, ...]

    def __init__(self, config: DataConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, self.seed = config, seed
        self.parts: dict[str, ImageSet] = {}
        self.skipped: list[tuple[str, str]] = []
        self.fingerprints: dict[str, str] = {}

    def files(self) -> list[RemoteFile]:
        """What must lie under the root before ``listing`` can read it."""
        return []

    def identity(self) -> Any:
        """Anything JSON holds that changes whenever the listing might."""
        return identity_of([self.root / file.name for file in self.files()], self.root)

    def listing(self) -> Listing:
        """The source's images, once ``files`` are there.

        Raises:
            DataError: the source is unusable.
        """
        raise NotImplementedError(f"{type(self).__name__} must list its images")

    @property
    def root(self) -> Path:
        """Where the source's files lie."""
        return path_of(self.config.root or f"data/{self.config.name}")

    @property
    def title(self) -> str:
        """The data set in messages."""
        return f"data={self.config.name}"

    def prepare_data(self) -> None:
        """Fetches what is missing; Lightning calls this before ``setup``, in one process of each machine.

        Raises:
            DataError: a file is wrong or cannot be had.
        """
        if not self.parts and (files := self.files()):
            ensure(files, self.root, self.config.download, self.title, self.info.page)

    def setup(self, stage: str | None = None) -> None:
        """Fetches, decodes and divides the images once.

        Raises:
            DataError: the source is missing or unusable, or a class would be missing from a part.
        """
        if self.parts:
            return
        config = self.config
        self.prepare_data()  # whoever calls ``setup`` alone has not done so
        wanted = CacheSpec(config.size, config.aspect, {"own": 0, "gray": 1, "rgb": 3}[config.color])
        with self._readable():
            identity = [config.name, self.identity()]  # two names may read one file, and name its classes differently
        found = cached(identity, self._checked_listing, wanted, path_of(config.cache), self.title)
        self.skipped, self.class_names = found.skipped, found.class_names
        if len(found.skipped) > config.max_bad * found.total:
            raise DataError(
                f"{self.left_out()} of {found.total}; at most {config.max_bad:.0%} may be: repair them, or raise "
                "data.max_bad"
            )
        labels, groups = found.labels, found.groups
        rows = {name: torch.from_numpy(np.flatnonzero(found.parts == side)) for side, name in enumerate(PARTS)}

        def cut(part: Tensor, *fractions: float) -> list[Tensor]:
            return [
                part[chosen]
                for chosen in stratified_group_split(labels[part], fractions, config.split_seed, groups[part.numpy()])
            ]

        train = rows["train"]
        if not len(rows["test"]):
            rows["test"], train = cut(train, config.test_fraction)
        if config.limit and config.limit < len(train):
            train = cut(train, config.limit / len(train))[0]
        val = 0.0 if len(rows["val"]) else config.val_fraction
        rows_val, unseen, train = cut(train, val, (1 - val) * config.fast_fraction)
        rows = {"train": train, "val": rows["val"] if len(rows["val"]) else rows_val, "test": rows["test"]}
        if config.fast_fraction:
            rows["unseen"] = unseen
        cut_here = {"unseen", *(name for side, name in enumerate(PARTS) if not (found.parts == side).any())}
        parts = {name: ImageSet(found.images, labels[chosen], chosen) for name, chosen in rows.items()}
        for name, part in parts.items():
            absent = sorted(set(range(self.classes)) - set(part.labels.tolist()))
            if absent:
                own = (labels == absent[0]).numpy()
                bound = len(np.unique(groups[own]))
                held = f"{own.sum()} images" + (f" in {bound} groups that stay together" if bound < own.sum() else "")
                if name not in cut_here and name != "train":
                    raise DataError(
                        f"{self.title}: the source's own {name} part has no image of class "
                        f"{self.class_names[absent[0]]!r}; add some to it, or leave the class out with data.classes "
                        f"(the class has {held}; {len(found.skipped)} of all images were left out)"
                    )
                raise DataError(
                    f"data.{'limit' if config.limit else 'val_fraction'}: the {name} part has no image of class "
                    f"{self.class_names[absent[0]]!r}; every part needs every class: give more images or other shares "
                    f"(the class has {held}; {len(found.skipped)} of all images were left out)"
                )
            # of the pixels, not of the files: the same images from other files are the same data
            content = repr(part.shape).encode() + found.digests[rows[name].numpy()].tobytes()
            self.fingerprints[name] = hashlib.sha256(content + part.labels.numpy().tobytes()).hexdigest()
        EpochBatches(len(parts["train"]), config.batch_size, self.seed)  # raises what is wrong with the batch size
        self.parts = parts

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turns the system's errors into one that names the file."""
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{error.filename or self.title}: cannot be read ({error.strerror or error}); check its permissions "
                "and the disk"
            ) from error

    def _checked_listing(self) -> Listing:
        """The listing, with what no data set can do without, and no group in two parts."""
        with self._readable():
            listing = drop_leaking_groups(self.listing())
        names = listing.class_names
        if not len(listing.labels):
            reason = f" ({': '.join(listing.skipped[0])}, …)" if listing.skipped else ""
            raise DataError(f"{self.title}: has no image with a label{reason}; give each image a label")
        if len(names) < 2:
            raise DataError(f"{self.title}: has one class ({names[0]!r}); a classifier needs two or more")
        if len(listing.labels) < 2 * len(names):
            raise DataError(
                f"{self.title}: {len(listing.labels)} images for {len(names)} classes; at least two a class are "
                "needed, some hundreds for a result"
            )
        folders: dict[str, str] = {}
        for name in names:
            if names.count(name) > 1:
                raise DataError(f"{self.title}: two classes are called {name!r}; give each its own name, once")
            if (other := folders.setdefault(folder_name(name), name)) != name:
                raise DataError(
                    f"{self.title}: classes {other!r} and {name!r} would both be stored in the folder "
                    f"{folder_name(name)!r}; rename one"
                )
        return listing

    def left_out(self) -> str:
        """How many images were left out, and the first of them with their reasons."""
        listed = ", ".join(f"{name} ({reason})" for name, reason in self.skipped[:SHOWN])
        more = f" and {len(self.skipped) - SHOWN} more" if len(self.skipped) > SHOWN else ""
        return f"{self.title}: left out {len(self.skipped)} images: {listed}{more}"

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """1 (gray) or 3 (RGB)."""
        return self.parts["train"].shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.parts["train"].shape[1:]

    @property
    def majority(self) -> float:
        """Share of the largest class in the test part: what guessing it scores."""
        labels = self.parts["test"].labels
        return labels.bincount().max().item() / len(labels)

    @property
    def class_weights(self) -> Tensor:
        """Float K: weights by which every class of part A counts the same."""
        return balanced_weights(self.parts["train"].labels, self.classes)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of part A in the order of (seed, epoch), after a resume from where it was left."""
        trainer = self.trainer
        assert trainer is not None
        sampler = EpochBatches(
            len(self.parts["train"]), self.config.batch_size, self.seed, trainer.global_rank, trainer.world_size
        )
        # Lightning tells the sampler the epoch only after workers have drawn their first batches (its issue 21938)
        loop = trainer.fit_loop
        sampler.set_epoch(loop.epoch_progress.current.processed)  # type: ignore[attr-defined]
        if loop.restarting:  # within an epoch
            sampler.skip(loop.epoch_loop.batch_progress.current.processed)  # type: ignore[attr-defined]
        workers = self.config.workers
        return DataLoader(
            Rows(self.parts["train"]),
            sampler=sampler,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=trainer.strategy.root_device.type == "cuda",
        )

    def val_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """Batches (images float B×C×H×W in [0, 1], labels int64 B) of the part ``val``, in order, not augmented."""
        return self._plain("val")

    def test_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """The same of the part ``test``."""
        return self._plain("test")

    def predict_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """The same of part A, the images that are to be protected."""
        return self._plain("train")

    def _plain(self, part: str) -> DataLoader[tuple[Tensor, int]]:
        trainer, workers = self.trainer, self.config.workers
        return DataLoader(
            Labelled(self.parts[part]),
            batch_size=self.config.batch_size,  # by name: Lightning makes it anew for several processes
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Pixels of a ``Batch`` become float on the device: a quarter of the bytes travel."""
        if not isinstance(batch, Batch):
            return batch
        return batch._replace(images=to_float(batch.images), others=to_float(batch.others))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint remembers of its data."""
        return {"name": self.config.name, "fingerprint": self.fingerprints["train"]}

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
