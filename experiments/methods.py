"""A method at work on a run's data: fitted, exported, its protected sets on disk. ConfounderGAN is one among them."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler, PyTorchProfiler, SimpleProfiler
from torch import Tensor

from baselines.capabilities import capabilities
from baselines.checkpoint import ResumableFit
from baselines.passes import PassCounter
from baselines.registry import make_protection
from baselines.trained import load_trained
from callbacks.periodic_evaluation import PeriodicVictimEvaluation
from callbacks.seeding import SeedEveryStep
from callbacks.stopping import StopOnNan, StopOnSignal, WholeCheckpoints
from callbacks.throughput import Throughput
from datamodules.base import ImageDataModule
from datamodules.images import ImageSet
from datamodules.imported import first_line, imported
from datamodules.protected import MANIFEST, ManifestHeader, write_protected
from datamodules.protection import Passes, Protection
from evaluation.export import SETTINGS, Export, describe_part, protect_part
from evaluation.jobs import default_device
from experiments.config import Config, ConfigError, TrainerConfig
from experiments.folder import RunError, is_main, progress_bar, versions, write_json
from experiments.launch import WaitingDDP, started_by
from experiments.logs import make_loggers
from gan.encoder import PretrainedEncoder
from gan.module import ConfounderGAN
from gan.networks import Discriminator
from gan.noise import NoiseNetwork
from gan.protection import GENERATOR, GeneratorCard, TrainedGenerator, start_network
from victims.classifier import Normalised

LAST = "last.ckpt"
COST = "cost.json"  # what fitting and protecting cost
STATE = "fit.ckpt"  # of a baseline's fit that is under way
NETWORKS = (PretrainedEncoder, NoiseNetwork, Discriminator, Normalised)  # that ConfounderGAN's images go through
SAMPLE, WARM_UP = 128, 8  # images by which the speed of protecting is measured, and before that
PROFILE = "profile"
PRECISIONS: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class MadeProtection:
    """What is left of making a protection.

    Attributes:
        seconds: of ``training`` and ``export``.
        device: of this process.
        loggers: of the seed, still open.
    """

    seconds: dict[str, float]
    device: torch.device
    loggers: list[Logger] = field(default_factory=list)


def protect_seed(config: Config, data: ImageDataModule, folder: Path, seed: int) -> MadeProtection:
    """Fits the method on part A and stores the protected sets in ``folder``; resumes where it was stopped.

    A method that needs labels, or the very images it was fitted on, has no ``fast`` set.

    Raises:
        DataError, RunError: as their messages say.
    """
    make = _by_trainer if capabilities(config.method).uses_trainer else _in_process
    return make(config, data, folder, seed)


def transfer(run: Path, data: ImageDataModule, folder: Path, seed: int) -> MadeProtection:
    """Stores protected sets of other data, in ``folder``, made by a run's generator, to which all of it is new.

    Args:
        run: whose generator.
        data: of as many channels as the run's; sizes and classes may differ.
        folder: gets the sets.
        seed: of the run.
    """
    clock, device = time.perf_counter(), default_device()
    trained, _, sha256 = load_trained(run / GENERATOR)
    trained.generator.to(device)
    for setting, part in SETTINGS.items():
        if part in data.parts:
            protect_part(folder / "protected" / setting, trained, data, part, sha256, seed)
    return MadeProtection({"training": 0.0, "export": time.perf_counter() - clock}, device)


def protection_of(config: Config) -> Protection:
    """The baseline, or the user's own protection, that a configuration names; still to be fitted.

    Raises:
        ConfigError: it cannot be had.
    """
    try:
        return make_protection(config.method, config.baselines, config.gan.epsilon)
    except ValueError as error:
        raise ConfigError([str(error)]) from error


def _in_process(config: Config, data: ImageDataModule, folder: Path, seed: int) -> MadeProtection:
    protection = protection_of(config)
    device, seconds = default_device(), {"training": 0.0, "export": 0.0}
    loggers = make_loggers(config, folder, seed)
    settings = {
        setting: part
        for setting, part in SETTINGS.items()
        if part in data.parts and (setting == "standard" or protection.label_free)
    }
    if is_main() and not all((folder / "protected" / setting / MANIFEST).exists() for setting in settings):
        clock = time.perf_counter()
        with progress_bar() as bar:
            task = bar.add_task(f"fitting {config.method}", total=100)

            def advance(share: float) -> None:
                bar.update(task, completed=round(100 * share))

            if isinstance(protection, ResumableFit):
                protection.checkpoint_path = folder / STATE
            protection.fit(data.parts["train"], data.classes, seed, device, advance)
        seconds["training"] = time.perf_counter() - clock
        write_cost(folder, seconds["training"], len(data.parts["train"]), protection.passes)
        clock = time.perf_counter()
        for setting, part in settings.items():
            header = ManifestHeader(
                method=config.method,
                checkpoint="",
                epsilon=protection.epsilon,
                norm=protection.norm,
                seed=seed,
                data=describe_part(data, part),
                class_names=list(data.class_names),
                images=len(data.parts[part]),
            )
            write_protected(folder / "protected" / setting, data.parts[part], protection.protect, header)
        seconds["export"] = time.perf_counter() - clock
        write_speed(folder, protection.protect, data.parts["train"])
        (folder / STATE).unlink(missing_ok=True)
    return MadeProtection(seconds, device, loggers)


def write_cost(folder: Path, seconds: float, images: int, passes: Passes | None) -> None:
    """Writes what fitting cost.

    Args:
        folder: of the run.
        seconds: that it took; of a resumed baseline those since.
        images: that it was fitted on.
        passes: None where they were not all counted.
    """
    counted = {} if passes is None else asdict(passes)
    write_json(folder / COST, {"fit_seconds": seconds, "images": images, **counted})


def write_speed(folder: Path, protect: Callable[[ImageSet], Tensor], images: ImageSet) -> None:
    """Adds to the costs how many images per second are protected, without encoding and writing them."""
    some = images.subset(torch.arange(min(SAMPLE, len(images))))
    protect(some.subset(torch.arange(min(WARM_UP, len(some)))))
    clock = time.perf_counter()
    protect(some)
    speed = len(some) / max(1e-9, time.perf_counter() - clock)
    write_json(folder / COST, (cost_of(folder) or {}) | {"images_per_second": speed})


def cost_of(folder: Path) -> dict[str, float] | None:
    """What making a protection cost: ``fit_seconds``, ``images`` fitted on, ``forward`` and ``backward`` passes through
    networks for each of these (absent where not all were counted), ``images_per_second`` protected; None if unknown.
    """
    path = folder / COST
    return json.loads(path.read_text()) if path.exists() else None


def _by_trainer(config: Config, data: ImageDataModule, folder: Path, seed: int) -> MadeProtection:
    batches = -(-len(data.parts["train"]) // config.data.batch_size)
    epochs = epochs_of(config, len(data.parts["train"]))
    start = start_network(config.gan.start, config.gan.noise)
    module = ConfounderGAN(config.gan, data.classes, data.channels, data.size, epochs * batches, seed, start)
    trainer = make_trainer(config, data, folder, seed, epochs)
    checkpoint = folder / "checkpoints" / LAST
    if checkpoint.exists():
        check_checkpoint(checkpoint, data)
    counter, resumed = PassCounter(), checkpoint.exists()
    with counter.count_all(*NETWORKS):
        trainer.fit(module, data, ckpt_path=str(checkpoint) if resumed else None, weights_only=True)
    module.to(trainer.strategy.root_device)
    seconds = {"training": module.seconds}
    if is_main() and not (resumed and cost_of(folder)):
        partly = resumed or trainer.world_size > 1  # each process counts its own
        passes = None if partly else counter.passes(len(data.parts["train"]))
        write_cost(folder, module.seconds, len(data.parts["train"]), passes)
    clock = time.perf_counter()
    card = GeneratorCard(
        channels=data.channels,
        epsilon=config.gan.epsilon,
        generator={"classifier": asdict(config.gan.classifier), "noise": asdict(config.gan.noise)},
        data=config.data.name,
        fingerprint=data.fingerprints["train"],
        class_names=list(data.class_names),
        images=len(data.parts["train"]),
        size=list(data.size),
        seed=seed,
        epochs=epochs,
        versions=versions(),
    )
    trained = TrainedGenerator(module.generator.to(trainer.strategy.root_device), config.gan.epsilon)
    Export(folder).run(trained, card, data, lambda setting: print(f"protecting: {setting}", flush=True))
    seconds["export"] = time.perf_counter() - clock
    if is_main():
        write_speed(folder, lambda part: trained.protect(part.images), data.parts["train"])
    return MadeProtection(seconds, trainer.strategy.root_device, trainer.loggers)


def epochs_of(config: Config, images: int) -> int:
    """Epochs of the game on so many training images."""
    if not config.gan.refine:
        return 0
    return config.trainer.max_epochs or -(-config.gan.refine // -(-images // config.data.batch_size))


def make_trainer(config: Config, data: ImageDataModule, folder: Path, seed: int, epochs: int) -> pl.Trainer:
    """Lightning's Trainer with our callbacks and loggers.

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
        logger=make_loggers(config, folder, seed),
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
