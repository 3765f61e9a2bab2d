"""The verb ``train``: one run per seed — protect, measure, retrain victims, sum up."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from datamodules.base import ImageDataModule
from datamodules.batches import EpochBatches
from experiments.config import Config, ConfigError
from experiments.data import check_networks, make_data
from experiments.evaluate import check_weights, evaluate_seed, finish, reopen, summed_up
from experiments.folder import check_code, create_run_dir, describe, existing_run_dir, is_main, rank_zero_print
from experiments.launch import explain_lost_processes, join_processes, processes, suppress_known_warnings
from experiments.logs import log_end
from experiments.methods import cost_of, protect_seed, protection_of
from experiments.trainer import user_callbacks
from victims.classifier import check_arch
from victims.defences import needs_pairs

# may differ when a run is resumed
WHERE = (
    "accelerator", "devices", "num_nodes", "strategy", "log_every", "checkpoint_every", "join_minutes", "profiler",
)  # fmt: skip


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
    if config.resume:
        folder, given = existing_run_dir(config.resume), config
        before = reopen(folder, [], (), "")
        config = reopen(
            folder,
            arguments,
            ("resume", "any_code", "logger", "project", "group", "tags", *(f"trainer.{key}" for key in WHERE)),
            "resume continues unchanged, but for any_code, logger, project, group, tags and "
            f"trainer.{', trainer.'.join(WHERE)}",
        )
        if not given.any_code:
            check_code(folder)
        if processes(before.trainer) != processes(config.trainer):
            rank_zero_print(
                f"resume: {processes(config.trainer)} instead of {processes(before.trainer)} processes. The order of "
                "images, the optimizers, schedules and counters continue exactly; what each process draws (crops, "
                "dropout) and the order of sums do not, so the weights are not those of an undisturbed run to the bit"
            )
    if config.fast_dev_run:
        config = shortened(config)
    if fault := check_classifiers(config) + check_precision(config) + check_pairs(config):
        raise ConfigError(fault)
    check_weights(config.victim.resolved())
    protection_of(config)  # raises what is wrong with it
    user_callbacks(config.trainer)  # raises what is wrong with their names, before there is a folder
    store = join_processes(config.trainer)
    data = make_data(config)  # before the folder is made: bad data leave nothing behind
    check_networks(config, data, ["victim.arch", "gan.classifier.arch", "gan.surrogates.kinds"])
    # raises what is wrong with sharing a batch
    EpochBatches(len(data.parts["train"]), config.data.batch_size, config.seed, world=processes(config.trainer))
    with explain_lost_processes("the run can be resumed with resume=<its folder>"):
        folder = create_run_dir(config, store)
        if is_main():
            describe(folder, replace(config, resume="", any_code=False, run_dir=str(folder)))
        rank_zero_print(f"run folder: {folder}")
        suppress_known_warnings()
        entries = []
        for seed in range(config.seed, config.seed + config.seeds):
            own = folder / f"seed-{seed}" if config.seeds > 1 else folder
            own.mkdir(exist_ok=True)
            data.seed = seed
            entries.append(train_seed(config, data, own, seed))
        return finish(config, data, own, entries, folder)


def check_classifiers(config: Config) -> list[str]:
    """What is wrong with the architectures' names."""
    named = [("gan.surrogates.kinds", kind.partition("@")[0]) for kind in config.gan.surrogates.kinds.split("+")]
    named += [("victim.arch", config.victim.resolved().arch), *config.baselines.archs().items()]
    if config.gan.classifier.arch != "none":
        named.append(("gan.classifier.arch", config.gan.classifier.arch))
    return [f"{key}: {fault}" for key, arch in dict.fromkeys(named) if (fault := check_arch(arch))]


def check_precision(config: Config) -> list[str]:
    """What this machine lacks for the number format; Lightning would take another one and continue."""
    if config.trainer.precision != "fp16" or torch.cuda.is_available():
        return []
    return ["trainer.precision: fp16 needs a CUDA GPU, and this machine has none; use bf16 or fp32"]


def check_pairs(config: Config) -> list[str]:
    """Refuses checks, while a protection is learned, by an attacker who learns from the finished one."""
    if not config.victim.check_every or not needs_pairs(config.victim.defence):
        return []
    return [
        "victim.defence: 'pairs' learns from a finished protection; give victim.check_every=0, or try it on the "
        "finished run (evaluate)"
    ]


def shortened(config: Config) -> Config:
    """Everything once, over few images: what fast_dev_run runs."""
    return replace(
        config,
        seeds=min(config.seeds, 2),
        data=replace(config.data, limit=config.data.limit or 400),
        gan=replace(config.gan, classifier=replace(config.gan.classifier, epochs=1, head_epochs=1)),
        baselines=config.baselines.shortened(),
        victim=replace(config.victim, epochs=1, check_every=1, check_epochs=1),
        trainer=replace(config.trainer, max_epochs=1, log_every=1),
    )


def train_seed(config: Config, data: ImageDataModule, folder: Path, seed: int) -> dict[str, Any]:
    """One seed: protect, evaluate. Stages that are done are not done again."""
    made = protect_seed(config, data, folder, seed)
    entry = evaluate_seed(config, data, folder, folder, seed, made.seconds, made.device)
    if cost := cost_of(folder):
        entry["cost"] = cost
    if is_main():
        log_end(made.loggers, folder, summed_up(config, data, folder, [entry]))
    return entry
