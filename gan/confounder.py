"""ConfounderGAN as a protection like any other: its LightningModule and Trainer are inside."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from datamodules.augment import isolated_rng
from datamodules.base import ImageDataModule
from datamodules.config import DataConfig, DataError
from datamodules.images import ImageSet
from datamodules.protection import Norm, Passes, TrainerContext
from datamodules.split import stratified_group_split
from datamodules.versions import versions
from gan.config import NAME, GanConfig
from gan.encoder import PretrainedEncoder
from gan.module import VAL_FRACTION, ConfounderGAN
from gan.networks import Discriminator
from gan.noise import NoiseNetwork
from gan.protection import GeneratorCard, TrainedGenerator, save_generator, start_network
from victims.classifier import Normalised
from victims.passes import PassCounter

NETWORKS = (PretrainedEncoder, NoiseNetwork, Discriminator, Normalised)  # that images go through


@dataclass(frozen=True)
class _Fitted:
    """What ``fit`` leaves."""

    trained: TrainedGenerator
    card: GeneratorCard


class Confounder:
    """Tian et al., "ConfounderGAN: Protecting Image Data Privacy with Causal Confounder", NeurIPS 2022.

    ``fit`` trains the auxiliary classifier on the labelled images and plays the game (``ConfounderGAN``); ``protect``
    reads the class from each image and adds the noise of the code that stands for it: any image of the fitted channels,
    of any size, without a label, in one forward pass.

    In a run, Lightning's Trainer and the data module come from outside (``context``), and a killed fit is resumed from
    its checkpoint. Without one, a plain Trainer fits on nine tenths of the images; the others calibrate the classifier.

    Bound: L∞ at ε. Noise is rounded to whole grey levels, and never above ε rounded down.

    Args:
        options: of the method; its ``epsilon`` is the bound in grey levels.

    Attributes:
        context: see ``FittedByTrainer``.
        seconds: that fitting took, those before an interruption included.
    """

    name = NAME
    norm: Norm = "linf"
    label_free = True

    def __init__(self, options: GanConfig) -> None:
        self.options, self.epsilon = options, options.epsilon
        self.context: TrainerContext | None = None
        self.passes: Passes | None = Passes()
        self.seconds = 0.0
        self.fitted: _Fitted | None = None

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Trains the generator; see Protection. The Trainer of a run shows its own progress.

        Args:
            train: labelled images; with a context, the part ``train`` of its data.
            classes: number of classes K.
            seed: decides every random draw.
            device: of the networks; with a context, that of its Trainer in this process.
            progress: called with the share of the game that is done.

        Raises:
            DataError: no context, and no class has two images.
            GeneratorFileError: the network that ``start`` names cannot be read, or has other options.
            ValueError: a classifier cannot be built for these images.
        """
        context = self.context or _plain(self.options, _InMemory(train, classes, seed), device, progress)
        trainer, data = context.trainer, context.data
        images, epochs = len(data.parts["train"]), trainer.max_epochs
        assert epochs is not None
        steps = epochs * -(-images // data.config.batch_size)
        start = start_network(self.options.start, self.options.noise)
        module = ConfounderGAN(self.options, classes, data.channels, data.size, steps, seed, start)
        resumed, counter = context.checkpoint is not None, PassCounter()
        with isolated_rng(seed, device), counter.count_all(*NETWORKS):
            trainer.fit(module, data, ckpt_path=context.checkpoint, weights_only=True)
        partly = resumed or trainer.world_size > 1  # each process counts its own
        self.passes = None if partly else counter.passes(images)
        self.seconds = module.classifier_seconds + module.seconds
        card = GeneratorCard(
            channels=data.channels,
            epsilon=self.epsilon,
            generator={"classifier": asdict(self.options.classifier), "noise": asdict(self.options.noise)},
            data=data.config.name if self.context else "images",
            fingerprint=data.fingerprints["train"],
            class_names=list(data.class_names),
            images=images,
            size=list(data.size),
            seed=seed,
            epochs=epochs,
            versions=versions(),
        )
        self.fitted = _Fitted(TrainedGenerator(module.generator.to(device), self.epsilon), card)
        progress(1.0)

    def protect(self, images: ImageSet) -> Tensor:
        """Protected images, uint8 N×C×H×W, of any size; labels are not looked at.

        Raises:
            DataError: images with other channels than it was fitted on.
            RuntimeError: not fitted.
        """
        fitted = self._fitted()
        if images.shape[0] != fitted.card.channels:
            raise DataError(
                f"{self.name}: expected images of {fitted.card.channels} channels, as it was fitted on, found "
                f"{images.shape[0]}; fit on such images"
            )
        return fitted.trained.protect(images.images)

    def classify(self, images: Tensor) -> Tensor:
        """The class that is read from each image; see Classifying.

        Raises:
            RuntimeError: not fitted.
        """
        return self._fitted().trained.classify(images)

    def save(self, path: Path) -> str:
        """Writes the generator and its card; see Transferable.

        Raises:
            RuntimeError: not fitted.
        """
        fitted = self._fitted()
        return save_generator(path, fitted.trained.generator, fitted.card)

    def _fitted(self) -> _Fitted:
        if self.fitted is None:
            raise RuntimeError(f"{self.name}: protect was called before fit; call fit first")
        return self.fitted


class _InMemory(ImageDataModule):
    """Images at hand as a data module: a tenth of them, stratified, calibrates the auxiliary classifier.

    Raises:
        DataError: no class has two images.
    """

    def __init__(self, images: ImageSet, classes: int, seed: int) -> None:
        kept, used = stratified_group_split(images.labels, [VAL_FRACTION], seed)
        super().__init__(DataConfig(batch_size=min(DataConfig.batch_size, len(used))), seed)
        if not len(kept):
            raise DataError(f"{NAME}: no class has two images, so that none can be kept to calibrate by; add images")
        self.class_names = tuple(map(str, range(classes)))
        self.parts = {"train": images.subset(used), "val": images.subset(kept)}
        content = images.images.numpy().tobytes() + images.labels.numpy().tobytes()
        self.fingerprints = {"train": hashlib.sha256(content).hexdigest()}


class _Progress(pl.Callback):
    def __init__(self, progress: Callable[[float], None]) -> None:
        self.progress = progress

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        done = trainer.fit_loop.epoch_loop.batch_idx + 1 + trainer.current_epoch * trainer.num_training_batches
        self.progress(done / (trainer.max_epochs or 1) / trainer.num_training_batches)


def _plain(
    options: GanConfig, data: ImageDataModule, device: torch.device, progress: Callable[[float], None]
) -> TrainerContext:
    """A Trainer without a run: one device, no loggers, no files."""
    trainer = pl.Trainer(
        accelerator=device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        max_epochs=options.epochs(len(data.parts["train"]), data.config.batch_size),
        callbacks=[_Progress(progress)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )
    return TrainerContext(trainer, data, None)
