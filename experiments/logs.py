"""Loggers: CSV always, W&B when asked for; and what goes to them at the end."""

import csv
import netrc
import os
import uuid
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment

from callbacks.watching import log_pictures
from experiments import results
from experiments.config import Config
from experiments.folder import is_main, say


class GrowingWriter(ExperimentWriter):
    """Goes on with an existing metrics.csv where Lightning's own would delete it: a resumed run loses nothing."""

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = list(csv.DictReader(file).fieldnames or [])


class MetricsCsv(CSVLogger):
    """metrics.csv in the run folder itself."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="")

    @property
    @rank_zero_experiment
    def experiment(self) -> GrowingWriter:
        if self._experiment is None:
            os.makedirs(self.root_dir, exist_ok=True)
            self._experiment = GrowingWriter(log_dir=self.log_dir)
        return self._experiment  # type: ignore[return-value]


def make_loggers(config: Config, folder: Path, seed: int) -> list[Logger]:
    """CSV always; W&B with ``logger=wandb``, online if there is a key, else offline, and it says how to sync."""
    loggers: list[Logger] = [MetricsCsv(folder)]
    if config.logger == "wandb" and is_main():
        mode, why = wandb_mode()
        if mode == "missing":
            say("logger=wandb: the package wandb is not installed, so metrics go to metrics.csv alone")
        elif mode != "disabled":
            loggers.append(_wandb(config, folder, seed, offline=mode == "offline"))
            if mode == "offline":
                say(f"W&B is offline ({why}); upload later with: wandb sync {folder / 'wandb'}/offline-run-*")
    return loggers


def wandb_mode() -> tuple[str, str]:
    """How W&B can be used here, and why: online, offline, disabled or missing (not installed)."""
    try:
        import wandb  # noqa: F401 - optional, and slow to import
    except ImportError:
        return "missing", "not installed"
    mode = os.environ.get("WANDB_MODE", "")
    if mode in ("online", "offline", "disabled"):
        return mode, f"WANDB_MODE={mode}"
    if os.environ.get("WANDB_API_KEY"):
        return "online", "WANDB_API_KEY is set"
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").partition("//")[2].strip("/")
    try:
        if netrc.netrc().authenticators(host):
            return "online", "a key is in ~/.netrc"
    except (OSError, netrc.NetrcParseError):
        pass
    return "offline", "no API key found"


def _wandb(config: Config, folder: Path, seed: int, offline: bool) -> WandbLogger:
    """The run keeps its id: it lies in the folder, for resuming online and for merging by ``wandb sync`` offline."""

    note = folder / "wandb-id"
    if not note.exists():
        note.write_text(uuid.uuid4().hex[:8])
    return WandbLogger(
        name=f"{folder.name}-seed{seed}",
        save_dir=folder,
        offline=offline,
        id=note.read_text().strip(),
        project=config.project,
        resume=None if offline else "allow",
        log_model=False,
    )


def log_end(loggers: list[Logger], folder: Path, found: dict[str, Any]) -> None:
    """One seed's table, pictures and summary numbers into W&B, if it is among the loggers; then its run is finished.

    Args:
        loggers: of the Trainer.
        folder: of the seed.
        found: results.json's content for this seed alone.
    """
    for logger in loggers:
        if not isinstance(logger, WandbLogger):
            continue
        import wandb

        run, entry = logger.experiment, found["seeds"][0]
        head, *rows = results.table(found)
        run.log({"results": wandb.Table(columns=list[str | int](head), data=rows)})
        log_pictures([logger], "final", sorted((folder / "pictures").glob("*.png")))
        for victim in results.VICTIMS:
            for metric, moments in entry.get(victim, {}).items():
                run.summary.update({f"{victim}/{metric}/{moment}": value for moment, value in moments.items()})
        shown = {k: v for k, v in entry["imperceptibility"].items() if not isinstance(v, dict)}
        run.summary.update({f"imperceptibility/{name}": value for name, value in shown.items()})
        run.finish()  # else the next seed would go on in this run
