"""The verb ``train``: one run a seed — fit, export, measure, retrain victims, sum up."""

import logging
import os
import time
import warnings
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy

from callbacks.export import Export
from callbacks.seeding import SeedEveryStep
from callbacks.stopping import StopOnNan, StopOnSignal
from callbacks.watching import Watch
from datamodules.base import ImageDataModule
from experiments.config import Config, ConfigError
from experiments.data import make_data
from experiments.evaluate import barrier, evaluate_seed, finish, reopen, summed_up
from experiments.folder import RunError, choose, describe, is_main, say, versions
from experiments.logs import log_end, make_loggers
from gan.classifier import check_arch
from gan.module import ConfounderGAN
from gan.protection import Card, TrainedGenerator

LAST = "last.ckpt"
WHERE = ("accelerator", "devices", "num_nodes", "strategy", "log_every")  # may differ when a run goes on


def train(config: Config, arguments: list[str]) -> dict[str, Any]:
    """Trains, protects, and shows what victims make of it.

    Args:
        config: composed from ``arguments``; with ``resume`` the run's own configuration takes its place.
        arguments: of the command line.

    Returns:
        The content of results.json.

    Raises:
        ConfigError, DataError, RunError: as their messages say.
        Stopped: by Ctrl-C or SIGTERM; the run can be resumed.
    """
    folder = choose(config) if config.resume else None
    if folder:
        config = reopen(
            folder,
            arguments,
            ("resume", "logger", "project", *(f"trainer.{key}" for key in WHERE)),
            f"resume goes on unchanged, but for logger and trainer.{', trainer.'.join(WHERE)}",
        )
    if config.fast_dev_run:
        config = shortened(config)
    if fault := check_classifiers(config):
        raise ConfigError(fault)
    data = make_data(config)  # before the folder is made: bad data leave nothing behind
    folder = folder or choose(config)
    if is_main():
        describe(folder, replace(config, resume="", run_dir=str(folder)))
    say(f"run folder: {folder}")
    quieten()
    entries = []
    for seed in range(config.seed, config.seed + config.seeds):
        own = folder / f"seed-{seed}" if config.seeds > 1 else folder
        own.mkdir(exist_ok=True)
        data.seed = seed
        entries.append(train_seed(config, data, own, seed))
    return finish(config, data, entries, folder)


def check_classifiers(config: Config) -> list[str]:
    """What is wrong with the architectures' names."""
    named = {"gan.surrogate.arch": config.gan.surrogate.arch, "victim.arch": config.victim.resolved().arch}
    return [f"{key}: {fault}" for key, arch in named.items() if (fault := check_arch(arch))]


def shortened(config: Config) -> Config:
    """Everything once, over few images: what fast_dev_run runs."""
    return replace(
        config,
        seeds=min(config.seeds, 2),
        data=replace(config.data, limit=config.data.limit or 400),
        victim=replace(config.victim, epochs=1, check_every=1, check_epochs=1),
        trainer=replace(config.trainer, max_epochs=1, log_every=1),
    )


def train_seed(config: Config, data: ImageDataModule, folder: Path, seed: int) -> dict[str, Any]:
    """One seed: fit the generator, export it and its sets, evaluate. Stages that are done are not done again."""
    batches = -(-len(data.parts["train"]) // config.data.batch_size)
    steps = config.trainer.max_epochs * batches
    module = ConfounderGAN(config.gan, data.classes, data.channels, data.size, steps, seed)
    trainer = make_trainer(config, data, folder, seed)
    checkpoint = folder / "checkpoints" / LAST
    if checkpoint.exists():
        check_checkpoint(checkpoint, data)
    trainer.fit(module, data, ckpt_path=str(checkpoint) if checkpoint.exists() else None, weights_only=True)
    seconds = {"training": module.seconds}
    clock = time.perf_counter()
    if is_main():
        card = Card(
            channels=data.channels,
            epsilon=config.gan.epsilon,
            generator=asdict(config.gan.generator),
            data=config.data.name,
            fingerprint=data.fingerprints["train"],
            class_names=list(data.class_names),
            images=len(data.parts["train"]),
            size=list(data.size),
            seed=seed,
            epochs=config.trainer.max_epochs,
            versions=versions(),
        )
        trained = TrainedGenerator(module.generator.to(trainer.strategy.root_device), config.gan.epsilon)
        Export(folder).run(trained, card, data, lambda setting: say(f"protecting: {setting}"))
    barrier()
    seconds["export"] = time.perf_counter() - clock
    entry = evaluate_seed(config, data, folder, folder, seed, seconds, trainer.strategy.root_device)
    if is_main():
        log_end(trainer.loggers, folder, summed_up(config, data, [entry]))
    return entry


def make_trainer(config: Config, data: ImageDataModule, folder: Path, seed: int) -> pl.Trainer:
    """Lightning's Trainer with our callbacks and loggers."""
    options = config.trainer
    several = options.devices != 1 or options.num_nodes > 1 or "ddp" in options.strategy
    # three backward passes a batch, each using some of the parameters: plain ddp fails at the second (Lightning
    # issue 20328). Victims are trained by single processes while others may wait, hence the long timeout.
    strategy = DDPStrategy(find_unused_parameters=True, timeout=timedelta(days=7)) if several else "auto"
    watch = Watch(
        folder,
        data,
        replace(config.victim.resolved(), epochs=config.victim.check_epochs),
        config.victim.check_every,
        seed,
    )
    callbacks: list[pl.Callback] = [
        SeedEveryStep(seed),
        StopOnSignal(),
        StopOnNan(),
        *([watch] if config.victim.check_every else []),
        # at whole epochs alone: under manual optimization Lightning miscounts steps and time (its issues 17958, 21699)
        ModelCheckpoint(
            folder / "checkpoints", filename="last", enable_version_counter=False, save_on_train_epoch_end=True
        ),
    ]
    return pl.Trainer(
        accelerator=options.accelerator,
        devices=options.devices or "auto",
        num_nodes=options.num_nodes,
        strategy=strategy,
        precision={"fp32": "32-true", "bf16": "bf16-mixed"}[options.precision],  # type: ignore[arg-type]
        max_epochs=options.max_epochs,
        limit_train_batches=2 if config.fast_dev_run else None,
        callbacks=callbacks,
        logger=make_loggers(config, folder, seed),
        log_every_n_steps=options.log_every,
        use_distributed_sampler=False,
        enable_model_summary=is_main(),
        default_root_dir=folder,
    )


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
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(
            f"{path}: damaged checkpoint ({reason}); delete it to start this seed over with the same command"
        ) from error
    data.load_state_dict(state)


def quieten() -> None:
    """Silences what is known and harmless; each line says what and why."""
    # advertising of other products at every start
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "Tip:" not in record.getMessage()
    )
    # Lightning calls a function of torch that torch has renamed
    warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated.*")
    # batches are prepared from memory in the main process by choice
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    # resuming a run: the folder is meant to hold its checkpoints
    warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
    # fewer batches than log_every: the epoch's means are there all the same
    warnings.filterwarnings("ignore", ".*The number of training batches.*is smaller than the logging interval.*")
    os.environ.setdefault("WANDB_SILENT", "true")
