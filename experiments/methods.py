"""A method at work on a run's data: fitted, exported, its protected sets on disk; one way for all."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor

from baselines.checkpoint import ResumableFit
from baselines.registry import make_protection
from baselines.trained import load_trained
from datamodules.base import ImageDataModule
from datamodules.images import ImageSet
from datamodules.protected import MANIFEST
from datamodules.protection import FittedByTrainer, Passes, Protection
from evaluation.export import MadeBy, export, protect_part, protectable
from evaluation.jobs import default_device
from experiments.config import Config, ConfigError
from experiments.folder import is_main, progress_bar, write_json
from experiments.logs import make_loggers
from experiments.trainer import trainer_context
from gan.protection import GENERATOR

COST = "cost.json"  # what fitting and protecting cost
STATE = "fit.ckpt"  # of a fit that is under way, of methods that the Trainer does not fit
SAMPLE, WARM_UP = 128, 8  # images by which the speed of protecting is measured, and before that


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
    protection, device = protection_of(config), default_device()
    loggers, train = make_loggers(config, folder, seed), data.parts["train"]
    if isinstance(protection, FittedByTrainer):
        protection.context = trainer_context(config, data, folder, seed, loggers)
        device = protection.context.trainer.strategy.root_device
    elif all((folder / "protected" / s / MANIFEST).exists() for s in protectable(data, protection.label_free)):
        return MadeProtection({"training": 0.0, "export": 0.0}, device, loggers)
    if isinstance(protection, ResumableFit):
        protection.checkpoint_path = folder / STATE
    seconds = {"training": fit(protection, config.method, data, seed, device)}
    if is_main() and not (protection.passes is None and cost_of(folder)):  # what was counted before it was resumed
        write_cost(folder, seconds["training"], len(train), protection.passes)
    clock = time.perf_counter()
    export(folder, protection, config.method, data, seed)
    seconds["export"] = time.perf_counter() - clock
    if is_main():
        write_speed(folder, protection.protect, train)
    (folder / STATE).unlink(missing_ok=True)
    return MadeProtection(seconds, device, loggers)


def fit(protection: Protection, method: str, data: ImageDataModule, seed: int, device: torch.device) -> float:
    """Fits a protection on part A and shows how far it is, unless its Trainer does; returns the seconds it took."""
    clock, train = time.perf_counter(), data.parts["train"]
    if isinstance(protection, FittedByTrainer):
        protection.fit(train, data.classes, seed, device, lambda _: None)
        return protection.seconds
    with progress_bar() as bar:
        task = bar.add_task(f"fitting {method}", total=100)
        protection.fit(train, data.classes, seed, device, lambda share: bar.update(task, completed=round(100 * share)))
    return time.perf_counter() - clock


def transfer(run: Path, data: ImageDataModule, folder: Path, seed: int) -> MadeProtection:
    """Stores protected sets of other data, in ``folder``, made by a run's generator, to which all of it is new.

    Args:
        run: whose generator.
        data: of as many channels as the run's; sizes and classes may differ.
        folder: gets the sets.
        seed: of the run.
    """
    clock, device = time.perf_counter(), default_device()
    trained, card, sha256 = load_trained(run / GENERATOR)
    trained.generator.to(device)
    made_by = MadeBy(card.method, seed, trained.epsilon, checkpoint=sha256)
    for setting, part in protectable(data, label_free=True).items():
        protect_part(folder / "protected" / setting, lambda part: trained.protect(part.images), data, part, made_by)
    return MadeProtection({"training": 0.0, "export": time.perf_counter() - clock}, device)


def protection_of(config: Config) -> Protection:
    """The protection that a configuration names; still to be fitted.

    Raises:
        ConfigError: it cannot be had.
    """
    try:
        return make_protection(config.method, config.baselines, config.gan.epsilon, config.gan)
    except ValueError as error:
        raise ConfigError([str(error)]) from error


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
