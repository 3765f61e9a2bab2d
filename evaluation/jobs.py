"""Jobs, such as victims and probes, shared out among the processes of a run."""

import json
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from datamodules.files import write_atomic

Job = Callable[[], dict[str, Any]]


LONG = timedelta(days=7)  # the longest wait for a process that reads images or trains victims


@cache
def long_timeout_group() -> Any:
    """A group of all processes that waits LONG: the trainings' own gives up on a silent process much earlier."""
    return dist.new_group(backend="gloo", timeout=LONG)


def assign_jobs(costs: dict[str, float], world: int) -> list[list[str]]:
    """The names of each process's jobs: the costliest first, each to who has least to do by then."""
    shares: list[list[str]] = [[] for _ in range(world)]
    loads = [0.0] * world
    for name in sorted(costs, key=lambda name: -costs[name]):
        least = loads.index(min(loads))
        shares[least].append(name)
        loads[least] += costs[name]
    return shares


class SharedJobs:
    """Runs named jobs, each process its share, and gives all results to every process.

    Finished jobs are kept as JSON files and not run again: a killed evaluation is resumed.

    Args:
        folder: of the results' files; None keeps none.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def run(self, jobs: dict[str, Job], costs: dict[str, float] | None = None) -> dict[str, dict[str, Any]]:
        """Results by name, in the order of ``jobs``.

        Args:
            jobs: by name.
            costs: of each, in any unit; None: all cost the same.
        """
        distributed = dist.is_available() and dist.is_initialized()
        rank, world = (dist.get_rank(), dist.get_world_size()) if distributed else (0, 1)
        found = [self._kept(jobs)]
        if distributed:  # the first process's look at the folder counts for all: what is missing then is shared out
            dist.broadcast_object_list(found, 0, group=long_timeout_group())
        done = found[0]
        missing = {name: costs[name] if costs else 1.0 for name in jobs if name not in done}
        mine = {}
        for name in assign_jobs(missing, world)[rank]:
            mine[name] = jobs[name]()
            if self.folder:
                self.folder.mkdir(parents=True, exist_ok=True)
                write_atomic(self.folder / f"{name}.json", json.dumps(mine[name], indent=1).encode())
        shares: list[Any] = [mine]
        if distributed:
            shares = [None] * world
            dist.all_gather_object(shares, mine, group=long_timeout_group())
        done |= {name: result for share in shares for name, result in share.items()}
        return {name: done[name] for name in jobs}

    def _kept(self, jobs: dict[str, Job]) -> dict[str, Any]:
        """Results that are there already."""
        if not self.folder:
            return {}
        paths = {name: self.folder / f"{name}.json" for name in jobs}
        return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def default_device() -> torch.device:
    """The device of victims outside of a Trainer: a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
