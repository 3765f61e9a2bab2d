"""The verb ``sweep``: settings tried one after another, as a local grid or as runs that an agent of W&B starts.

A sweep is a grid's file (experiments/grid.py says how it is laid out) in ``configs/sweep``, or at any path, so one
engine computes it here. With ``logger=wandb`` and a key, W&B hands out the same combinations instead, each an ordinary
``train`` with all its curves, and several machines may take part.

Both keep to the rule that nothing is chosen by the test part: a grid measures on ``rest``, and W&B's objective is the
check at the last epoch, on the validation part.
"""

import os
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from experiments.config import Config, ConfigError, compose, near
from experiments.folder import rank_zero_print
from experiments.grid.compute import compute_grid
from experiments.grid.spec import asked_for, read_grid
from experiments.logs import wandb_mode
from experiments.train import train

SWEEPS = Path("runs") / "sweeps"
OBJECTIVE = {"name": "check/standard", "goal": "minimize"}

LAST_ALONE = 10**6  # epochs between checks of victims: no run has so many, and the last is checked anyway


def sweep(config: Config) -> int:
    """Tries what the file asks for.

    Args:
        config: ``sweep`` names the file; ``logger=wandb`` asks for W&B; ``cell`` is an agent's. Of the rest, a grid
            reads what the verb ``grid`` does, and W&B ``project`` and ``tags``.

    Returns:
        0, or 1 when something failed.

    Raises:
        ConfigError, DataError: as their messages say.
    """
    spec, name = read_grid(config.sweep, "sweep"), Path(config.sweep).stem
    if config.cell:
        return _one(config, spec, name)
    if config.logger == "wandb" and not config.dry_run:
        mode, why = wandb_mode()
        if mode == "online":
            try:
                return _online(config, spec, name)
            except (_errors(), OSError, TimeoutError) as error:
                why = f"online failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        rank_zero_print(f"no sweep of W&B ({why}); the same combinations as a local grid:")
    return compute_grid(replace(config, logger="csv"), spec, name, "sweeps")


def combinations(spec: dict[str, Any]) -> dict[str, tuple[list[str], int]]:
    """Every combination of a sweep by name: its ``key=value`` arguments and its seed."""
    found = {}
    for data, variant, victim, seed in product(spec["data"], spec["variants"], spec["victims"], spec["seeds"]):
        found[f"{data}; {variant}; {victim}; seed {seed}"] = (asked_for(spec, data, variant, victim), seed)
    return found


def wandb_sweep(config: Config, spec: dict[str, Any], name: str) -> dict[str, Any]:
    """The sweep as W&B takes it: each combination once, by the command that computes it."""
    given = {"sweep": config.sweep, "project": config.project, "tags": config.tags, "logger": "wandb"}
    return {
        "name": name,
        "description": spec["about"],
        "method": "grid",
        "metric": OBJECTIVE,
        "parameters": {"cell": {"values": list(combinations(spec))}},
        "command": [
            sys.executable,
            "-m",
            "experiments",
            "sweep",
            *(f"{key}={value}" for key, value in given.items() if value),
            "${args_no_hyphens}",
        ],
    }


def _online(config: Config, spec: dict[str, Any], name: str) -> int:
    import wandb

    for cell in combinations(spec):
        run_of(config, spec, name, cell)  # what is wrong with one is said before any is computed
    number = wandb.sweep(wandb_sweep(config, spec, name), project=config.project)
    rank_zero_print(
        f"W&B sweep {number}; other machines take part with: wandb agent --forward-signals {config.project}/{number}"
    )
    wandb.agent(number, project=config.project, forward_signals=True)
    return 0


def run_of(config: Config, spec: dict[str, Any], name: str, cell: str) -> Config:
    """The run of a combination, with a check after the last epoch, which gives W&B's objective.

    Raises:
        ConfigError: there is no such combination, or its options are wrong.
    """
    known = combinations(spec)
    if cell not in known:
        raise ConfigError([f"cell: sweep {name} has no {cell!r}{near(cell, list(known))}"])
    pairs, seed = known[cell]
    own, _ = compose(pairs)
    return replace(
        own,
        seed=seed,
        victim=replace(own.victim, check_every=LAST_ALONE),
        logger="wandb",
        project=config.project,
        group=name,
        tags=",".join([*config.tag_list(), "sweep"]),
        run_dir=config.run_dir or str(SWEEPS / name / os.environ.get("WANDB_RUN_ID", cell.replace("/", "_"))),
    )


def _one(config: Config, spec: dict[str, Any], name: str) -> int:
    own = run_of(config, spec, name, config.cell)
    if (Path(own.run_dir) / "config.yaml").exists():  # it was stopped
        own = replace(own, resume=own.run_dir, run_dir="")
    train(own, [f"resume={own.resume}"] if own.resume else [])
    return 0


def _errors() -> Any:
    import wandb

    return wandb.Error
