"""Random numbers as a function of (seed, epoch, batch, process)."""

from typing import Any

import lightning.pytorch as pl
import torch

from datamodules.augment import step_seed


class SeedEveryStep(pl.Callback):
    """Seeds torch before every batch.

    A resumed run then draws what the uninterrupted one drew, processes draw differently, and whatever else consumes
    random numbers between batches cannot change the training.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        torch.manual_seed(step_seed(self.seed, trainer.current_epoch, batch_idx, trainer.global_rank))
