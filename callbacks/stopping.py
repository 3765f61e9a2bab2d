"""Stopping on request without losing more than the running epoch."""

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """The run was asked to stop and did; ``number`` is the signal's."""

    def __init__(self, number: int, when: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} {when}")
        self.number = number


@contextmanager
def stop_on_request() -> Iterator[None]:
    """Turns Ctrl-C and SIGTERM into Stopped inside; while the generator trains, StopOnSignal takes over."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number, "outside of training")

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopOnSignal(pl.Callback):
    """Ends training at the next batch after Ctrl-C or SIGTERM; the checkpoint of the last whole epoch stays.

    The second signal ends the program at once.
    """

    def __init__(self) -> None:
        self.number = 0
        self.before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for number in SIGNALS:
            self.before[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        signal.signal(number, self.before[number])

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.world_size > 1:  # every process must leave in the same step, whichever got the signal
            self.number = int(
                trainer.strategy.reduce(
                    torch.tensor(float(self.number), device=trainer.strategy.root_device), reduce_op="max"
                ).item()
            )
        if self.number:
            raise Stopped(self.number, f"in epoch {trainer.current_epoch}")

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before.clear()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._restore()


class StopOnNan(pl.Callback):
    """Ends training when a loss is not finite, naming it, before a checkpoint is overwritten with ruins."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for name, value in trainer.callback_metrics.items():
            if name.startswith("loss") and not math.isfinite(value):
                raise FloatingPointError(
                    f"{name} is {value:g} in epoch {trainer.current_epoch}; its last good checkpoint is kept: "
                    "lower gan.generator.lr or set gan.generator.clip, and start a new run"
                )
