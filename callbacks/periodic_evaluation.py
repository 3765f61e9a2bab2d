"""Periodic evaluation while the generator is trained: pictures, and victims trained briefly on its current noise."""

import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image

from datamodules.base import ImageDataModule
from datamodules.images import ImageSet
from datamodules.protected import ProtectedDataset
from evaluation.export import SETTINGS, MadeBy, protect_part
from evaluation.jobs import SharedJobs
from evaluation.pictures import PictureGrid, save_picture
from gan.config import NAME
from gan.module import ConfounderGAN
from gan.protection import TrainedGenerator
from victims.config import Recipe
from victims.train import train_victim


class PeriodicVictimEvaluation(pl.Callback):
    """Every so many epochs, and after the last: a picture grid, and victims (clean, standard, fast) on a small budget.

    The victims are measured on the clean validation part, so nothing that one decides by them has seen the test part.
    They train from files, as always; the files are deleted afterwards. The weights of the run are the same with and
    without this callback.

    Args:
        folder: the run folder.
        data: of the run.
        recipe: of the victims, with the small budget's epochs.
        every: epochs between checks.
        seed: of the victims.
    """

    def __init__(self, folder: Path, data: ImageDataModule, recipe: Recipe, every: int, seed: int) -> None:
        self.folder, self.data, self.recipe, self.every, self.seed = folder, data, recipe, every, seed
        self.clean: dict[str, Any] = {}

    @property
    def state_key(self) -> str:
        """Its key in checkpoints: the class's first name, so that earlier checkpoints are still read."""
        return "Watch"

    def state_dict(self) -> dict[str, Any]:
        return self.clean

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.clean = state_dict

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ConfounderGAN)
        epoch = trainer.current_epoch + 1
        if epoch % self.every and epoch != trainer.max_epochs:
            return
        training = pl_module.generator.training
        trained = TrainedGenerator(pl_module.generator, pl_module.config.epsilon)
        device = trainer.strategy.root_device

        def job(setting: str) -> dict[str, Any]:
            part = SETTINGS.get(setting, "train")
            stored = self.data.parts[part] if setting == "clean" else self._stored(setting, trained, part)
            report = train_victim(stored, self.data.parts["val"], self.data.classes, self.recipe, self.seed, device)
            return {"accuracy": report.curve[-1]["accuracy"]}

        settings = [s for s in SETTINGS if SETTINGS[s] in self.data.parts] + ([] if self.clean else ["clean"])
        results = self.clean | SharedJobs(None).run({setting: partial(job, setting) for setting in settings})
        pl_module.generator.train(training)
        self.clean = {"clean": results["clean"]}
        scores = {f"check/{setting}": result["accuracy"] for setting, result in results.items()}
        shown = scores | {"check/chance": 1 / self.data.classes, "epoch": epoch - 1}
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        for logger in trainer.loggers:
            logger.log_metrics(shown, step=step)
        if trainer.is_global_zero:
            few = self.data.parts["train"]
            firsts = [rows[:1] for label in few.labels.unique() if len(rows := (few.labels == label).nonzero()[:, 0])]
            few = few.subset(torch.cat(firsts))  # what the grid shows, in its order: others wait meanwhile
            grid = PictureGrid(self.data.class_names, trained.epsilon).run(
                few, ImageSet(trained.protect(few.images), few.labels)
            )
            path = self.folder / "pictures" / f"epoch-{epoch:04d}.png"
            save_picture(grid, path)
            log_pictures(trainer.loggers, "pictures", [path], step)
            text = ", ".join(f"{name.removeprefix('check/')} {100 * value:.0f} %" for name, value in scores.items())
            print(f"epoch {epoch}: victims of {self.recipe.epochs} epochs, clean validation images: {text}", flush=True)

    def _stored(self, setting: str, trained: TrainedGenerator, part: str) -> ImageSet:
        folder = self.folder / "check" / setting
        shutil.rmtree(folder, ignore_errors=True)
        made_by = MadeBy(NAME, self.seed, trained.epsilon)
        protect_part(folder, lambda images: trained.protect(images.images), self.data, part, made_by)
        stored = ProtectedDataset(folder).load()
        shutil.rmtree(folder)
        with suppress(OSError):  # another process may still have its own set there
            folder.parent.rmdir()
        return stored


def log_pictures(loggers: list[Any], key: str, paths: list[Path], step: int = 0) -> None:
    """Pictures into every logger that takes some; they are PNG files in the run folder already.

    Under one key in W&B, with the file's name as caption; in TensorBoard one as ``key`` and several as ``key/name``.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [str(path) for path in paths], caption=[path.stem for path in paths])
        elif isinstance(logger, TensorBoardLogger):
            for path in paths:
                pixels = np.asarray(Image.open(path).convert("RGB"))
                tag = key if len(paths) == 1 else f"{key}/{path.stem}"
                logger.experiment.add_image(tag, pixels, step, dataformats="HWC")
