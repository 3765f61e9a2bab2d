"""Stopping on request without losing a batch, and checkpoints that are whole."""

import io
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from datamodules.files import write_atomic

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # SIGUSR1: from SLURM, before the job's time is up


class Stopped(Exception):
    """The run was asked to stop and did; ``number`` is the signal's."""

    def __init__(self, number: int, when: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} {when}")
        self.number = number


@contextmanager
def stop_on_request() -> Iterator[None]:
    """Turns Ctrl-C, SIGTERM and SIGUSR1 into Stopped inside; while the generator trains, StopOnSignal takes over."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number, "outside of training")

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopOnSignal(pl.Callback):
    """Ends training after the running batch on Ctrl-C, SIGTERM or SIGUSR1, with a checkpoint to resume from.

    The second signal ends the program at once. At an epoch's last batch the epoch ends first, with its own checkpoint.

    Args:
        path: of the checkpoint; the same as that of whole epochs.
        every: batches between checkpoints without any signal; 0: none.
    """

    def __init__(self, path: Path, every: int = 0) -> None:
        self.path, self.every = path, every
        self.number = 0
        self.leaving: Stopped | None = None  # once all processes have agreed
        self.before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for number in SIGNALS:
            self.before[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        signal.signal(number, self.before[number])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        number = self.number
        if trainer.world_size > 1:  # every process must leave in the same step, whichever got the signal
            number = int(
                trainer.strategy.reduce(
                    torch.tensor(float(number), device=trainer.strategy.root_device), reduce_op="max"
                ).item()
            )
        if number:
            self.leaving = Stopped(number, f"in epoch {trainer.current_epoch}")
        due = bool(self.every) and (batch_idx + 1) % self.every == 0
        within = batch_idx + 1 < trainer.num_training_batches
        if (self.leaving or due) and within and all(value.isfinite().all() for value in pl_module.parameters()):
            for logger in trainer.loggers:
                logger.save()  # a killed run repeats what comes after this checkpoint, not what came before
            trainer.save_checkpoint(self.path)

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self._leave()  # here, the last batch's row of metrics is written

    def _leave(self) -> None:
        if self.leaving:
            raise self.leaving

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before.clear()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._leave()
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._restore()


class StopOnNan(pl.Callback):
    """Ends training when a loss or a weight is not finite, and lets no such weight into a checkpoint.

    Losses are the processes' mean, so all of them stop in the same step. On a GPU they are looked at every ``every``
    steps, so that it need not wait for the CPU in each; the step that is named is the right one all the same.

    Args:
        checkpoint: the file that a run resumes from.
        every: steps between two looks on a GPU, and at the most.
    """

    NETWORKS: ClassVar = {"d": "discriminator", "s": "surrogates", "g": "generator"}  # by the letter after loss_
    TRAINED: ClassVar = {"generator": "noise"}  # of it, the options of what is trained

    def __init__(self, checkpoint: Path, every: int) -> None:
        self.checkpoint, self.every = checkpoint, every
        self.unseen: list[tuple[str, dict[str, Tensor]]] = []  # where, and the losses there

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if outputs:
            self.unseen.append((f"epoch {trainer.current_epoch}, batch {batch_idx}", outputs))
        if len(self.unseen) >= (self.every if trainer.strategy.root_device.type == "cuda" else 1):
            self._look()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._look()
        for name, value in checkpoint["state_dict"].items():
            if value.is_floating_point() and not value.isfinite().all():
                raise FloatingPointError(
                    f"{name}: a weight of the {name.partition('.')[0]} is not finite after epoch "
                    f"{trainer.current_epoch}{self._remedy(name.partition('.')[0])}"
                )

    def _look(self) -> None:
        """Raises FloatingPointError for the first step with a loss that is not finite."""
        unseen, self.unseen = self.unseen, []
        if not unseen or torch.stack([value for _, losses in unseen for value in losses.values()]).isfinite().all():
            return
        where, losses = next((w, ls) for w, ls in unseen if not all(value.isfinite() for value in ls.values()))
        bad = {name: value.item() for name, value in losses.items() if not value.isfinite()}
        of = {name: self.NETWORKS[name.split("_")[1]] for name in bad}
        named = ", ".join(f"{name} (of the {of[name]}) is {value:g}" for name, value in bad.items())
        raise FloatingPointError(f"{named} in {where}{self._remedy(*of.values())}")

    def _remedy(self, *networks: str) -> str:
        kept = f"the last good checkpoint is kept: {self.checkpoint}; resume= continues from it the same way"
        if not self.checkpoint.exists():
            kept = "there is no checkpoint yet"
        sections = dict.fromkeys(self.TRAINED.get(name, name) for name in networks)
        changes = ", ".join(f"gan.{name}.lr or gan.{name}.clip" for name in sections)
        return f"; {kept}; for another course start a new run with a lower {changes}"


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or absent under their name.

    Lightning's own are written in the system's temporary folder and moved: on another file system that is a copy, and a
    process killed meanwhile leaves half of one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes it, and removes what killed processes have left half-written."""
        path, content = Path(path), io.BytesIO()
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(checkpoint, content)
        for left in path.parent.glob(f".{path.name}.*.tmp"):
            left.unlink(missing_ok=True)
        write_atomic(path, content.getvalue())
