"""A folder of photos shared out among devices and machines, on Lightning's ``Trainer.predict``.

Lightning starts the processes (or finds those of torchrun and SLURM), puts the generator on each one's device and deals
the shares. Inside a share a photo's way from disk to disk stays one thread's work: what makes a folder safe to kill and
its memory constant is settled there, not in a loader.
"""

import logging
import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader

from evaluation.jobs import long_timeout_group
from experiments.launch import WaitingDDP, explain_lost_processes, processes, started_by, suppress_known_warnings
from experiments.owner_config import ProtectConfig
from gan.protection import NoiseMaker
from photos.folder import Summary

AGAIN = "what is done is kept; give the same command again"


class Shares(pl.LightningModule):
    """Protects the shares of a folder whose numbers are given.

    Args:
        generator: goes to the process's device.
        begin: called once, by the first process, before any share is worked on.
        work: protects a share, the i-th (from 1) of n.
    """

    def __init__(
        self, generator: NoiseMaker, begin: Callable[[], None], work: Callable[[tuple[int, int]], Summary]
    ) -> None:
        super().__init__()
        self.generator, self.begin, self.work = generator, begin, work

    def on_predict_start(self) -> None:
        if self.trainer.is_global_zero:
            self.begin()
        self.trainer.strategy.barrier()

    def predict_step(self, batch: Tensor, batch_idx: int) -> Summary:
        return self.work((int(batch.item()) + 1, self.trainer.world_size))


def predict(
    config: ProtectConfig, generator: NoiseMaker, begin: Callable[[], None], work: Callable[[tuple[int, int]], Summary]
) -> Summary:
    """Shares a folder out as the options say; what became of all of it, the same in every process.

    Args:
        config: ``accelerator``, ``devices``, ``num_nodes``, ``join_minutes``.
        generator: of Shares, likewise ``begin`` and ``work``.

    Raises:
        ConfigError: the launcher does not fit the options.
        RunError: another process has ended or has not come.
    """
    suppress_known_warnings()
    # what devices there are is a researcher's business, not an owner's
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    environment, several = started_by(config, ""), processes(config) > 1
    trainer = pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices or "auto",
        num_nodes=config.num_nodes,
        strategy=WaitingDDP(config.join_minutes) if several else "auto",
        plugins=[environment] if environment else [],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True  # the same bytes at every call
    with explain_lost_processes(AGAIN):
        try:
            # one number per process: Lightning's sampler deals them
            [own] = _predictions(trainer, Shares(generator, begin, work), DataLoader(range(processes(config))))  # type: ignore[arg-type]
        except BaseException:
            if launcher := trainer.strategy.launcher:  # those that Lightning started would continue alone
                launcher.kill(signal.SIGTERM)
            raise
        if not dist.is_initialized():
            return own
        shares: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(shares, own, group=long_timeout_group())
    return Summary(
        **{key: sum(getattr(share, key) for share in shares) for key in ("protected", "kept", "skipped", "left")},
        others=Counter(own.others),
        mode=own.mode,
    )


def _predictions(trainer: pl.Trainer, shares: Shares, numbers: DataLoader[int]) -> list[Summary]:
    return trainer.predict(shares, numbers)  # type: ignore[return-value]


def threads(config: ProtectConfig) -> int:
    """How many a process takes: all cores, shared among the processes of this machine."""
    return config.workers or max(1, (os.cpu_count() or 1) * config.num_nodes // processes(config))
