"""How fast a run trains."""

import time
from typing import Any

import lightning.pytorch as pl
import torch


class Throughput(pl.Callback):
    """Logs, after every epoch, images per second over all processes, seconds, and the largest GPU memory so far in MiB.

    The checks and checkpoints between epochs do not count. After a resumption within an epoch it is the rest of it.

    Lightning's ``ThroughputMonitor`` does not serve: it waits for the GPU after every batch, tells a moving window and
    not the epoch, and writes past ``log_dict``, so that no callback or progress bar sees its figures.
    """

    def __init__(self) -> None:
        self.images, self.start = 0, 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.images, self.start = 0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += len(batch.labels)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        on_gpu = trainer.strategy.root_device.type == "cuda"
        if on_gpu:  # what was asked for is not what is done
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self.start
        found = {"images_per_second": self.images * trainer.world_size / seconds, "seconds_per_epoch": seconds}
        if on_gpu:
            found["gpu_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
        # the processes go in step, so the first one's clock is everyone's
        pl_module.log_dict(found, rank_zero_only=True)
