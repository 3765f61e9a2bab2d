"""Lightning's Trainer of a run: where it computes, what it writes, and the checkpoint that it resumes from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler, PyTorchProfiler, SimpleProfiler

from callbacks.periodic_evaluation import PeriodicVictimEvaluation
from callbacks.seeding import SeedEveryStep
from callbacks.stopping import StopOnNan, StopOnSignal, WholeCheckpoints
from callbacks.throughput import Throughput
from datamodules.base import ImageDataModule
from datamodules.imported import first_line, imported
from datamodules.protection import TrainerContext
from experiments.config import Config, ConfigError, TrainerConfig
from experiments.folder import RunError, is_main
from experiments.launch import WaitingDDP, started_by

LAST = "last.ckpt"
PROFILE = "profile"
PRECISIONS: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def trainer_context(
    config: Config, data: ImageDataModule, folder: Path, seed: int, loggers: list[Logger]
) -> TrainerContext:
    """What a run gives to a protection that the Trainer fits; arguments as of ``make_trainer``.

    Raises:
        ConfigError: a callback of the user's cannot be had.
        RunError, DataError: there is a checkpoint, and it is damaged or of other data.
    """
    checkpoint = folder / "checkpoints" / LAST
    if checkpoint.exists():
        check_checkpoint(checkpoint, data)
    epochs = epochs_of(config, len(data.parts["train"]))
    trainer = make_trainer(config, data, folder, seed, epochs, loggers)
    return TrainerContext(trainer, data, checkpoint if checkpoint.exists() else None)


def epochs_of(config: Config, images: int) -> int:
    """Epochs of the game on so many training images."""
    own = config.gan.epochs(images, config.data.batch_size)
    return own and (config.trainer.max_epochs or own)


def make_trainer(
    config: Config, data: ImageDataModule, folder: Path, seed: int, epochs: int, loggers: list[Logger]
) -> pl.Trainer:
    """Lightning's Trainer with our callbacks.

    Args:
        config: of the run.
        data: of the run, set up.
        folder: of the seed.
        seed: of the callbacks that draw.
        epochs: to train.
        loggers: of the seed.

    Raises:
        ConfigError: a callback that ``trainer.callbacks`` names cannot be had.
    """
    options = config.trainer
    several = options.devices != 1 or options.num_nodes > 1 or "ddp" in options.strategy
    environment = started_by(options)
    plugins: list[Any] = [WholeCheckpoints(), *([environment] if environment else [])]
    checkpoints = folder / "checkpoints"
    periodic = PeriodicVictimEvaluation(
        folder,
        data,
        replace(config.victim.resolved(), epochs=config.victim.check_epochs),
        config.victim.check_every,
        seed,
    )
    callbacks: list[pl.Callback] = [
        SeedEveryStep(seed),
        StopOnSignal(checkpoints / LAST, options.checkpoint_every),
        StopOnNan(checkpoints / LAST, options.log_every),
        Throughput(),
        *([periodic] if config.victim.check_every else []),
        # at whole epochs alone: under manual optimization Lightning miscounts steps and time (its issues 17958, 21699)
        ModelCheckpoint(
            checkpoints, filename=LAST.removesuffix(".ckpt"), enable_version_counter=False, save_on_train_epoch_end=True
        ),
        *user_callbacks(options),
    ]
    return pl.Trainer(
        accelerator=options.accelerator,
        devices=options.devices or "auto",
        num_nodes=options.num_nodes,
        strategy=WaitingDDP(options.join_minutes) if several else "auto",
        plugins=plugins,
        precision=PRECISIONS[options.precision],
        max_epochs=epochs,
        limit_train_batches=2 if config.fast_dev_run else None,
        limit_val_batches=0,  # ``PeriodicVictimEvaluation`` looks at the part val, by victims
        enable_autolog_hparams=False,  # the loggers have the whole configuration already
        callbacks=callbacks,
        logger=loggers,
        log_every_n_steps=options.log_every,
        use_distributed_sampler=False,
        enable_model_summary=is_main(),
        profiler=make_profiler(options.profiler, folder / PROFILE),
        default_root_dir=folder,
    )


def user_callbacks(options: TrainerConfig) -> list[pl.Callback]:
    """The callbacks that ``trainer.callbacks`` names; modules are also looked for in the working directory.

    Raises:
        ConfigError: there is no such class, it is no callback of Lightning, or it cannot be made without arguments.
    """
    made: list[pl.Callback] = []

    def refused(name: str, reason: str) -> ConfigError:
        return ConfigError(
            [
                f"trainer.callbacks: {name}: {reason}; expected an importable class of lightning.pytorch.Callback that "
                "takes no arguments"
            ]
        )

    for name in options.callback_list():
        try:
            found = imported(name)
        except ValueError as error:
            raise refused(name, str(error)) from error
        if not (isinstance(found, type) and issubclass(found, pl.Callback)):
            raise refused(name, "is no callback")
        try:
            made.append(found())
        except Exception as error:
            raise refused(name, f"cannot be made ({first_line(error)})") from error
    return made


def make_profiler(kind: str, folder: Path) -> Profiler | None:
    """Lightning's profiler of that kind; each stretch of a run that was resumed leaves a file of its own."""
    if kind == "none":
        return None
    stretch = f"{1 + len(list(folder.glob('*.txt')))}-{kind}"
    if kind == "simple":
        return SimpleProfiler(folder, stretch)
    return PyTorchProfiler(folder, stretch, export_to_chrome=False, row_limit=40)  # of three steps, after two others


def check_checkpoint(path: Path, data: ImageDataModule) -> None:
    """Refuses a checkpoint that is damaged or of other data, before anything is built on it.

    Raises:
        RunError: it cannot be read.
        DataError: it was trained on other images.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = content[type(data).__qualname__]
        content["state_dict"], content["optimizer_states"], content["loops"]
    except Exception as error:
        reason = first_line(error)
        raise RunError(
            f"{path}: damaged checkpoint ({reason}); delete it to start this seed over with the same command"
        ) from error
    data.load_state_dict(state)
