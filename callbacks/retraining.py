"""Retraining victims, and probes, shared out among the processes of a run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from datamodules.protected import write_atomic

Job = Callable[[], dict[str, Any]]


class SharedJobs:
    """Runs named jobs, each process its share, and gives all results to every process.

    Finished jobs are kept as JSON files and not run again: a killed evaluation goes on.

    Args:
        folder: of the results' files; None keeps none.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def run(self, jobs: dict[str, Job]) -> dict[str, dict[str, Any]]:
        """Results by name, in the order of ``jobs``."""
        joined = dist.is_available() and dist.is_initialized()
        rank, world = (dist.get_rank(), dist.get_world_size()) if joined else (0, 1)
        mine = {}
        for name in list(jobs)[rank::world]:
            mine[name] = self._one(name, jobs[name])
        shares: list[Any] = [mine]
        if joined:
            shares = [None] * world
            dist.all_gather_object(shares, mine)
        done = {name: result for share in shares for name, result in share.items()}
        return {name: done[name] for name in jobs}

    def _one(self, name: str, job: Job) -> dict[str, Any]:
        path = self.folder / f"{name}.json" if self.folder else None
        if path and path.exists():
            result: dict[str, Any] = json.loads(path.read_text())
            return result
        result = job()
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps(result, indent=1).encode())
        return result


def own_device() -> torch.device:
    """The device of victims outside of a Trainer: a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
