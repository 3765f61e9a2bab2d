"""How the processes of one run find each other: started by Lightning, by torchrun, or by SLURM.

They meet in torch's rendezvous store before anything else, so that a process that never comes is noticed at once and
all of them use one run folder; Lightning makes its process group from that store when training starts.
"""

import atexit
import functools
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

import torch
import torch.distributed as dist
from lightning.pytorch.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed.rendezvous import rendezvous

from evaluation.jobs import LONG, long_timeout_group
from experiments.config import ConfigError
from experiments.folder import RunError, under_slurm

STEP = timedelta(minutes=30)  # the longest wait between two exchanges of a training; evaluations may take LONG
SLURM = ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NNODES", "SLURM_NODELIST")
SRUN = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")
BY_HAND = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


class Placement(Protocol):
    """Options that say where something runs: ``trainer``'s, or those of ``protect``."""

    devices: int
    num_nodes: int
    join_minutes: float


def processes(options: Placement) -> int:
    """How many processes share the work."""
    return (options.devices or torch.cuda.device_count() or 1) * options.num_nodes


def started_by(options: Placement, prefix: str = "trainer.") -> ClusterEnvironment | None:
    """Who started this process and others from outside: torchrun or SLURM; None where Lightning starts the others.

    Args:
        options: where it runs.
        prefix: of their names, for messages.

    Raises:
        ConfigError: it does not fit ``devices`` and ``num_nodes``, or variables are missing.
    """
    env = os.environ
    devices = options.devices or torch.cuda.device_count() or 1
    asked = f"{prefix}devices={devices} and {prefix}num_nodes={options.num_nodes}"
    if TorchElasticEnvironment.detect():
        found = (int(env["LOCAL_WORLD_SIZE"]), int(env["WORLD_SIZE"]) // int(env["LOCAL_WORLD_SIZE"]))
        if found != (devices, options.num_nodes):
            raise ConfigError(
                [
                    f"{prefix}devices: torchrun started {found[0]} processes on each of {found[1]} machines, but "
                    f"{asked}; give {prefix}devices={found[0]} {prefix}num_nodes={found[1]}"
                ]
            )
        return TorchElasticEnvironment()
    if under_slurm():
        if missing := [name for name in (*SLURM, *SRUN) if not env.get(name)]:
            raise ConfigError(
                [
                    f"SLURM: {', '.join(missing)} not set; start with 'srun' in a job with --nodes and "
                    "--ntasks-per-node (experiments/slurm/train.sbatch), or name an interactive job 'interactive'"
                ]
            )
        found = (int(env["SLURM_NTASKS_PER_NODE"]), int(env["SLURM_NNODES"]))
        if found != (devices, options.num_nodes):
            raise ConfigError(
                [
                    f"{prefix}devices: SLURM has --ntasks-per-node={found[0]} --nodes={found[1]}, but {asked}; "
                    f"give {prefix}devices={found[0]} {prefix}num_nodes={found[1]}"
                ]
            )
        # the job's script requeues, after a checkpoint at the end of a batch; Lightning would save amid one
        return SLURMEnvironment(auto_requeue=False)
    if options.num_nodes > 1 and (missing := [name for name in BY_HAND if not env.get(name)]):
        raise ConfigError(
            [
                f"{prefix}num_nodes: is {options.num_nodes}, but {', '.join(missing)} not set; start with torchrun or "
                "SLURM (docs/SCALING.md), or set NODE_RANK, MASTER_ADDR and MASTER_PORT on each machine"
            ]
        )
    return None


def join_processes(options: Placement) -> dist.Store | None:
    """The store in which this run's processes have met, if they were started from outside; None if there is one.

    Raises:
        ConfigError: of ``started_by``.
        RunError: of ``meet``.
    """
    environment = started_by(options)
    if environment is None or environment.world_size() == 1:
        return None
    store = wait_for_processes(environment, options.join_minutes)
    # a restart by torchrun finds the keys of the attempt before
    return dist.PrefixStore(f"confoundergan/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def wait_for_processes(environment: ClusterEnvironment, minutes: float) -> dist.Store:
    """Waits until all processes are there; the same store at every call.

    Raises:
        RunError: the port is taken, or a process has not come within ``minutes``.
    """
    address = environment.main_address, environment.main_port
    return _wait_for_processes(*address, environment.global_rank(), environment.world_size(), minutes)


@functools.cache
def _wait_for_processes(host: str, port: int, rank: int, world: int, minutes: float) -> dist.Store:
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = host, str(port)
    limit = timedelta(minutes=minutes)
    late = f"{host}:{port}: not all {world} processes have come here within {minutes:g} minutes"
    remedy = "see whether the others run and reach this machine, or raise join_minutes"
    try:
        store: dist.Store = next(rendezvous("env://", rank, world, timeout=limit))[0]
        present = dist.PrefixStore("present", store)
        present.set(str(rank), "here")
        present.wait([str(other) for other in range(world)], limit)
    except RuntimeError as error:  # torch's errors of the network are such
        if "EADDRINUSE" in str(error):
            raise RunError(f"MASTER_PORT: {port} is in use on {host}; set MASTER_PORT to a free port") from error
        raise RunError(f"{late} (this is number {rank}); {remedy}") from error
    store.set_timeout(LONG)  # from here on, others may still be reading images
    return store


class WaitingDDP(DDPStrategy):
    """DDP whose processes have met before they form their group.

    Three backward passes per batch, each using some of the parameters, need ``find_unused_parameters`` (Lightning's
    issue 20328).

    Args:
        minutes: the longest wait for a process.
    """

    def __init__(self, minutes: float) -> None:
        super().__init__(find_unused_parameters=True, timeout=STEP)
        self.minutes = minutes

    def setup_distributed(self) -> None:
        """Meets, makes the group of Lightning's choice from the common store, and lets Lightning find it."""
        self.set_world_ranks()
        if not dist.is_initialized():
            assert self.cluster_environment is not None
            backend = self._get_process_group_backend()
            dist.init_process_group(
                backend,
                store=wait_for_processes(self.cluster_environment, self.minutes),
                rank=self.global_rank,
                world_size=self.world_size,
                timeout=STEP,
                device_id=None if self.root_device.type == "cpu" else self.root_device,
            )
            atexit.register(destroy_process_groups)
        super().setup_distributed()


def destroy_process_groups() -> None:
    """Ends all groups before the interpreter ends.

    A group's thread that still holds the last exchange needs the interpreter to let go of it, and takes the process
    down where that is gone (seen with gloo, now and then; torch itself asks for it with NCCL).
    """
    long_timeout_group.cache_clear()
    if dist.is_initialized():
        dist.destroy_process_group()


LOST = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "Socket")


@contextmanager
def explain_lost_processes(remedy: str) -> Iterator[None]:
    """Turns what torch says inside when another process is gone into one line.

    Args:
        remedy: how to resume.

    Raises:
        RunError: another process has ended, or has not answered in time.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or (dist.is_initialized() and any(word in str(error) for word in LOST)):
            # without the place in torch's sources and its guesses
            reason = re.sub(r"^\[[^]]*\]\s*", "", str(error).strip().splitlines()[0]).partition(". ")[0]
            raise RunError(
                "another process of this run has ended or does not answer; its own message stands above, or in its "
                f"machine's output ({reason}); {remedy}"
            ) from error
        raise


def suppress_known_warnings() -> None:
    """Silences what is known and harmless; each line says what and why."""
    # advertising of other products at every start
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "Tip:" not in record.getMessage()
    )
    # Lightning calls a function of torch that torch has renamed
    warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated.*")
    # batches are prepared from memory in the main process by choice
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    # the data module itself starts an interrupted epoch where it was left
    warnings.filterwarnings("ignore", ".*your dataloader is not resumable.*")
    # resuming a run: the folder is meant to hold its checkpoints
    warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
    # a frozen encoder stays in evaluation mode by choice
    warnings.filterwarnings("ignore", ".*module.s. in eval mode at the start of training.*")
    # fewer batches than log_every: the epoch's means are there all the same
    warnings.filterwarnings("ignore", ".*The number of training batches.*is smaller than the logging interval.*")
    os.environ.setdefault("WANDB_SILENT", "true")
