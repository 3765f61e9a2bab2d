"""Loggers: CSV always, W&B or TensorBoard when asked for; and what goes to them at the end."""

import csv
import importlib.util
import json
import netrc
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment

from callbacks.periodic_evaluation import log_pictures
from datamodules.files import write_atomic
from datamodules.protected import MANIFEST
from evaluation.export import SETTINGS
from evaluation.pictures import PICTURES
from experiments import results
from experiments.config import Config, to_yaml
from experiments.folder import is_main, rank_zero_print
from experiments.panels import BEST, PANELS, VICTIM_EPOCH
from gan.protection import GENERATOR

INIT_SECONDS = 60.0  # for W&B to answer before the run continues offline
FINISH_SECONDS = 300.0  # to upload the rest at the end; what is left stays on the disk for wandb sync
TENSORBOARD = "tensorboard"  # its folder in a seed's


class GrowingWriter(ExperimentWriter):
    """Appends to an existing metrics.csv where Lightning's own would delete it: a resumed run loses nothing."""

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


class WandbRun(WandbLogger):
    """A W&B run that ends as failed when the training does, so that the next one in this process gets its own."""

    def finalize(self, status: str) -> None:
        super().finalize(status)
        if status == "failed" and self._experiment is not None:
            self._experiment.finish(exit_code=1)


def make_loggers(config: Config, folder: Path, seed: int, job: str = "train") -> list[Logger]:
    """CSV always, and what ``logger`` names; the main process alone has that one.

    Args:
        config: of the run.
        folder: of the seed.
        seed: in the name that W&B shows.
        job: W&B's job type.
    """
    loggers: list[Logger] = [MetricsCsv(folder)]
    if not is_main():
        return loggers
    if config.logger == "wandb":
        loggers += _wandb(config, folder, seed, job)
    elif config.logger == "tensorboard":
        loggers += _tensorboard(config, folder)
    return loggers


def _tensorboard(config: Config, folder: Path) -> list[Logger]:
    if importlib.util.find_spec("tensorboard") is None:
        rank_zero_print(
            "logger=tensorboard: the package tensorboard is not installed, so metrics go to metrics.csv alone"
        )
        return []
    logger = TensorBoardLogger(folder, name="", version=TENSORBOARD, default_hp_metric=False)
    logger.experiment.add_text("config", f"```\n{to_yaml(config)}```")
    lines = {
        section: {panel.title: ["Multiline", list(panel.metrics)] for panel in panels if panel.kind != "media"}
        for section, panels in PANELS.items()
    }
    logger.experiment.add_custom_scalars({section: charts for section, charts in lines.items() if charts})
    rank_zero_print(f"TensorBoard: tensorboard --logdir {folder / TENSORBOARD}")
    return [logger]


def wandb_mode() -> tuple[str, str]:
    """How W&B can be used here, and why: online, offline, disabled or missing (not installed)."""
    try:
        import wandb  # noqa: F401 - optional, and slow to import
    except ImportError:
        return "missing", "not installed"
    mode = os.environ.get("WANDB_MODE", "")
    if mode in ("online", "offline", "disabled"):
        return mode, f"WANDB_MODE={mode}"
    if mode == "dryrun":  # an older name, which Lightning sets for the whole process with its first offline run
        return "offline", "WANDB_MODE=dryrun"
    if os.environ.get("WANDB_API_KEY"):
        return "online", "WANDB_API_KEY is set"
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").partition("//")[2].strip("/")
    try:
        if netrc.netrc().authenticators(host):
            return "online", "a key is in ~/.netrc"
    except (OSError, netrc.NetrcParseError):
        pass
    return "offline", "no API key found"


def _wandb(config: Config, folder: Path, seed: int, job: str) -> list[Logger]:
    """The run's W&B logger, started: online with a key that is taken, else offline, which it says; none if disabled."""
    mode, why = wandb_mode()
    if mode == "missing":
        rank_zero_print("logger=wandb: the package wandb is not installed, so metrics go to metrics.csv alone")
    if mode in ("missing", "disabled"):
        return []
    import wandb

    logger = _wandb_run(config, folder, seed, job, mode == "offline")
    if mode == "online":
        try:
            logger.experiment  # noqa: B018 - it connects
        except (wandb.Error, OSError, TimeoutError) as error:
            mode, why = (
                "offline",
                f"online failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            )
            wandb.teardown()  # else the id counts as taken
            logger = _wandb_run(config, folder, seed, job, True)
    if mode == "offline":
        rank_zero_print(f"W&B is offline ({why}); upload later with: wandb sync {folder / 'wandb'}/offline-run-*")
    run = logger.experiment
    for name, best in BEST.items():
        run.define_metric(name, step_metric="trainer/global_step", summary=f"{best},last")
    run.define_metric(VICTIM_EPOCH, hidden=True)
    run.define_metric("victim/*", step_metric=VICTIM_EPOCH)
    logger.log_hyperparams(asdict(config))
    return [logger]


def _wandb_run(config: Config, folder: Path, seed: int, job: str, offline: bool) -> WandbRun:
    """The run keeps its id: it lies in the folder, for resuming online and for merging by ``wandb sync`` offline."""
    import wandb

    note = folder / "wandb-id"
    if not note.exists():
        # the agent of a sweep has chosen one
        own = os.environ.get("WANDB_RUN_ID", "") if os.environ.get("WANDB_SWEEP_ID") else ""
        write_atomic(note, (own or uuid.uuid4().hex[:8]).encode())
    group = config.group or (folder.parent if config.seeds > 1 else folder).name
    tags = [config.data.name, config.method, f"eps{config.gan.epsilon:g}", *config.tag_list()]
    return WandbRun(
        name=f"{group}-seed{seed}" + ("" if job == "train" else f"-{job}-{folder.name}"),
        save_dir=folder,
        offline=offline,
        id=note.read_text().strip(),
        project=config.project,
        resume=None if offline else "allow",
        log_model=False,
        group=group,
        job_type="debug" if config.fast_dev_run else job,
        tags=list(dict.fromkeys(tags)),
        settings=wandb.Settings(init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS),
    )


@dataclass(frozen=True)
class Outcome:
    """What a finished seed adds to a logger.

    Attributes:
        numbers: by name: victims' scores, the noise on the stored files, chance, seconds, device hours.
        curves: of the victims, one row per measured epoch: VICTIM_EPOCH, and ``victim/<name>``, their accuracy.
        pictures: PNG files.
    """

    numbers: dict[str, float]
    curves: list[dict[str, float]]
    pictures: list[Path]


def outcome(folder: Path, found: dict[str, Any]) -> Outcome:
    """The outcome of a seed.

    Args:
        folder: of the seed.
        found: results.json's content for this seed alone.
    """
    entry = found["seeds"][0]
    numbers = {"chance": found["chance"], "majority": found["majority"]}
    rows: dict[int, dict[str, float]] = {}
    for victim in (name for name in results.VICTIMS if name in entry):
        for metric, moments in entry[victim].items():
            numbers |= {f"{victim}/{metric}/{moment}": value for moment, value in moments.items()}
        path = folder / "victims" / f"{victim}.json"
        for point in json.loads(path.read_text())["curve"] if path.exists() else []:
            row = rows.setdefault(point["epoch"], {VICTIM_EPOCH: point["epoch"], "victim/chance": found["chance"]})
            row[f"victim/{victim}"] = point["accuracy"]
    numbers |= {f"imperceptibility/{k}": v for k, v in entry["imperceptibility"].items() if not isinstance(v, dict)}
    for probe, scores in entry["diagnostics"]["noise_only"].items():
        numbers |= {f"noise_only/{probe}/{setting}": value for setting, value in scores.items()}
    for setting, probes in entry["diagnostics"].get("detection", {}).items():
        numbers |= {f"detection/{setting}/{probe}": scores["images"] for probe, scores in probes.items()}
    numbers |= {f"swap/{setting}": value for setting, value in entry["diagnostics"]["swap"].items()}
    numbers |= {f"seconds/{stage}": value for stage, value in entry["seconds"].items()}
    processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    numbers["cost/device_hours"] = entry["seconds"]["total"] * processes / 3600
    return Outcome(
        {name: value for name, value in numbers.items() if value is not None},
        [rows[epoch] for epoch in sorted(rows)],
        sorted(path for path in (folder / PICTURES).glob("*.png") if not path.name.startswith("epoch-")),
    )


def log_end(loggers: list[Logger], folder: Path, found: dict[str, Any]) -> None:
    """One seed's outcome and table into W&B or TensorBoard, if among the loggers; then its run is finished.

    Args:
        loggers: of the seed.
        folder: of the seed.
        found: results.json's content for this seed alone.
    """
    end, (head, *rows) = outcome(folder, found), results.table(found)
    log_pictures(loggers, "final", end.pictures)
    for logger in loggers:
        if isinstance(logger, WandbRun):
            import wandb

            run = logger.experiment
            for row in end.curves:
                run.log(row)
            run.log({"results": wandb.Table(columns=list[str | int](head), data=rows)})
            run.summary.update(end.numbers)
            if not run.offline:
                for artifact in artifacts(folder, run.id):
                    run.log_artifact(artifact)
            run.finish()  # else the next seed would continue in this run
        elif isinstance(logger, TensorBoardLogger):
            for row in end.curves:
                for name in row.keys() - {VICTIM_EPOCH}:
                    logger.experiment.add_scalar(name, row[name], int(row[VICTIM_EPOCH]))
            for name, value in end.numbers.items():
                logger.experiment.add_scalar(name, value, 0)
            lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
            logger.experiment.add_text("results", "\n".join(lines))
            logger.finalize("success")


def artifacts(folder: Path, run_id: str) -> list[Any]:
    """What W&B keeps of a seed when it is online: the generator with its card, and the manifests; never an image."""
    import wandb

    made = []
    if (folder / GENERATOR).exists():
        card = json.loads((folder / "generator.json").read_text())
        generator = wandb.Artifact(f"generator-{run_id}", "generator", metadata=card)
        for name in (GENERATOR, "generator.json"):
            generator.add_file(str(folder / name))
        made.append(generator)
    manifests = wandb.Artifact(f"protected-{run_id}", "protected-manifest")
    for setting in SETTINGS:
        if (path := folder / "protected" / setting / MANIFEST).exists():
            manifests.add_file(str(path), f"{setting}/{MANIFEST}")
    return [*made, manifests]
