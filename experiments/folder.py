"""The run folder: what is written where, and how a run's surroundings are recorded."""

import hashlib
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from datamodules.files import write_atomic
from datamodules.versions import versions
from experiments.config import Config, to_yaml

RUN_DIR = "CONFOUNDERGAN_RUN_DIR"
TRAINING = ("gan", "datamodules", "victims", "evaluation", "callbacks", "baselines")
DECIDING = ("torch", "lightning", "timm", "numpy")  # libraries whose version may change the weights' last bits


class RunError(Exception):
    """A run folder that cannot be used as asked; the message names it and the remedy."""


def create_run_dir(config: Config, store: Any = None) -> Path:
    """The folder of a new run, made now, or that of the run to resume.

    The main process decides; those that Lightning starts for the other devices are told through the environment, those
    started from outside through ``store``, where they have met.

    Raises:
        RunError: the folder holds a run already, cannot be written, or several processes have no common name for it.
    """
    if not is_main():
        if store is not None:
            return Path(store.get(RUN_DIR).decode())
        told = os.environ.get(RUN_DIR) or config.resume or config.run_dir
        if not told:
            raise RunError("run_dir: processes started from outside must agree on a folder; give run_dir=<folder>")
        return Path(told)
    if config.resume:
        folder = existing_run_dir(config.resume)
    else:
        folder = Path(config.run_dir or f"runs/{config.data.name}-{time.strftime('%Y%m%d-%H%M%S')}")
        if folder.exists() and (not folder.is_dir() or any(not _unfinished(path) for path in folder.iterdir())):
            raise RunError(f"run_dir: {folder} exists and is not empty; give another, or resume={folder} to resume it")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"run_dir: {folder} cannot be made ({error.strerror}); give run_dir=<a folder you may write>"
            ) from error
    if not os.access(folder, os.W_OK):
        raise RunError(f"run_dir: {folder} is read-only; give run_dir=<a folder you may write>")
    os.environ[RUN_DIR] = str(folder)
    if store is not None:
        store.set(RUN_DIR, str(folder))
    return folder


def existing_run_dir(resume: str) -> Path:
    """The folder of the run to resume.

    Raises:
        RunError: it is none.
    """
    folder = Path(resume)
    if not (folder / "config.yaml").is_file():
        raise RunError(f"resume: {folder} is no run folder (it has no config.yaml); give one that 'train' made")
    return folder


def _unfinished(path: Path) -> bool:
    """Whether a file is what a killed ``write_atomic`` leaves: a run killed at its very start can start again."""
    return path.name.startswith(".") and path.suffix == ".tmp"


def newest() -> Path:
    """The newest finished run under runs/.

    Raises:
        RunError: there is none.
    """
    finished = sorted(Path("runs").glob("*/results.json"), key=lambda path: path.stat().st_mtime)
    if not finished:
        raise RunError("run: no finished run under runs/; train one, or give run=<folder>")
    return finished[-1].parent


def describe(folder: Path, config: Config) -> None:
    """Writes config.yaml and environment.json, before anything else happens."""
    write_atomic(folder / "config.yaml", to_yaml(config).encode())
    write_json(folder / "environment.json", environment())


def write_json(path: Path, content: Any) -> None:
    """Writes readable JSON, whole or not at all."""
    write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())


def environment() -> dict[str, Any]:
    """Versions, device and state of the repository."""
    import torch  # late: the command line must answer --help at once

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "versions": versions(),
        "device": gpus[0] if gpus else f"{platform.machine()} CPU",
        "gpus": len(gpus),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": platform.system(),
        "git": _git(),
        "code": code(),
    }


def code() -> str:
    """Fingerprint of the sources that decide what a training computes; other modules may change between two starts."""
    here = Path(__file__).parent
    sources = ("*.py", "*.safetensors")  # the noise network that comes with the package is one
    paths = [path for name in TRAINING for kind in sources for path in sorted((here.parent / name).rglob(kind))]
    digest = hashlib.sha256()
    for path in [*paths, here / "methods.py", here / "trainer.py"]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def check_code(folder: Path) -> None:
    """Refuses to resume a run whose code or libraries have changed: it would end as neither version's run.

    Raises:
        RunError: they have.
    """
    try:
        before = json.loads((folder / "environment.json").read_text())
    except (OSError, ValueError):
        return  # killed before it was written: nothing has been computed yet
    now = {"code": code()} | {name: found for name, found in versions().items() if name in DECIDING}
    told = {"code": before.get("code", now["code"])} | before.get("versions", {})
    changed = [f"{name} {told[name]} → {found}" for name, found in now.items() if told.get(name, found) != found]
    if changed:
        commit = (before.get("git") or {}).get("commit")
        raise RunError(
            f"resume: {', '.join(changed)} since the run began{f' at commit {commit[:12]}' if commit else ''}; go back "
            "to that version, start a new run, or resume all the same with any_code=true"
        )


def _git() -> dict[str, Any] | None:
    """Commit, and whether files differ from it; None outside of a checkout."""
    here = Path(__file__).parent

    def ask(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {
            "commit": ask("rev-parse", "HEAD"),
            "changed": bool(ask("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.CalledProcessError):
        return None


def is_main() -> bool:
    """Whether this process speaks and writes for all: the first on the first machine."""
    env = os.environ
    if "RANK" in env:  # torchrun
        return int(env["RANK"]) == 0
    if under_slurm():
        return int(env.get("SLURM_PROCID", "0")) == 0
    return int(env.get("NODE_RANK", "0")) == int(env.get("LOCAL_RANK", "0")) == 0  # Lightning's own launcher


def under_slurm() -> bool:
    """Whether srun started this process among others, as Lightning tells it."""
    return "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def progress_bar() -> Progress:
    """Bars of what takes long, on the main process."""
    quiet = not is_main() or bool(os.environ.get("CONFOUNDERGAN_QUIET"))
    return Progress(
        TextColumn("{task.description:24}"),
        BarColumn(),
        "{task.completed}/{task.total}",
        TimeElapsedColumn(),
        disable=quiet,
    )


def rank_zero_print(text: str) -> None:
    """Prints from the main process alone, at once."""
    if is_main():
        print(text, flush=True)
