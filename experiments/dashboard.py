"""The verb ``dashboard``: the W&B workspace from experiments/panels.py, and what its panels lack of a run."""

import csv
import importlib.util
import json
from pathlib import Path
from typing import Any

from datamodules.files import write_atomic
from evaluation.pictures import PICTURES
from experiments.config import Config
from experiments.folder import RunError, newest, rank_zero_print
from experiments.logs import outcome, wandb_mode
from experiments.panels import PANELS, Panel, panel_metrics

NAME = "ConfounderGAN"
URL = Path("runs") / "dashboards"  # where a workspace that was made is remembered, by project


def dashboard(config: Config) -> int:
    """Checks the panels against a finished run, and makes or renews the workspace where there is a key.

    Args:
        config: ``project``; ``run``, the one to check against (empty: the newest under runs/, if any).

    Returns:
        0.

    Raises:
        RunError: ``run`` is no finished run, wandb-workspaces is missing, or W&B refused.
    """
    for section, panels in PANELS.items():
        rank_zero_print(f"{section}: {'; '.join(panel.title for panel in panels)}")
    try:
        run = Path(config.run) if config.run else newest()
    except RunError:
        rank_zero_print("no finished run under runs/ to check the panels against")
    else:
        missing = unlogged(run)
        rank_zero_print(
            f"{run} logs {len(panel_metrics()) - len(missing)} of the {len(panel_metrics())} metrics that panels show"
        )
        if missing:
            rank_zero_print(f"not logged by it: {', '.join(missing)} (check/… and pictures: victim.check_every is 0)")
    mode, why = wandb_mode()
    if mode != "online":
        rank_zero_print(f"no workspace was made: W&B is {mode} ({why}); 'wandb login', then the same command")
        return 0
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise RunError("dashboard: the package wandb-workspaces is missing; pip install wandb-workspaces, then again")
    rank_zero_print(f"W&B workspace: {publish(config.project)}")
    return 0


def unlogged(run: Path) -> list[str]:
    """The metrics that panels show and a finished run (of its seeds, the first) did not log.

    Raises:
        RunError: it is no finished run.
    """
    try:
        found = json.loads((run / "results.json").read_text())
        seeds = found["seeds"]
        own = run / f"seed-{seeds[0]['seed']}" if len(seeds) > 1 else run
        end = outcome(own, found)
        with (own / "metrics.csv").open(newline="") as file:
            logged = set(csv.DictReader(file).fieldnames or [])
    except OSError as error:
        raise RunError(f"run: {run} is no finished run ({error.filename} is missing); give another") from error
    logged |= end.numbers.keys() | {name for row in end.curves for name in row}
    logged |= {"final"} if end.pictures else set()
    logged |= {"pictures"} if list((own / PICTURES).glob("epoch-*.png")) else set()
    return [name for name in panel_metrics() if name not in logged]


def publish(project: str) -> str:
    """Makes the project's workspace, or renews the one that was made here before; returns its address.

    Raises:
        RunError: W&B refused, or could not be reached.
    """
    import wandb
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    note = URL / f"{project}.url"
    sections = [
        ws.Section(name=name, panels=[_chart(wr, p) for p in panels], is_open=True) for name, panels in PANELS.items()
    ]
    try:
        if note.exists():
            workspace = ws.Workspace.from_url(note.read_text())
            workspace.sections = sections
        else:
            entity = wandb.Api().default_entity
            workspace = ws.Workspace(entity=entity, project=project, name=NAME, sections=sections)
        workspace.save()
    except Exception as error:  # of wandb, of requests, of pydantic: whatever it is, the user has to hear it
        raise RunError(f"dashboard: W&B refused ({type(error).__name__}: {str(error).splitlines()[0]})") from error
    note.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(note, workspace.url.encode())
    return str(workspace.url)


def _chart(wr: Any, panel: Panel) -> Any:
    if panel.kind == "media":
        return wr.MediaBrowser(title=panel.title, media_keys=list(panel.metrics))
    if panel.kind == "bar":
        return wr.BarPlot(title=panel.title, metrics=[wr.Metric(name) for name in panel.metrics])
    return wr.LinePlot(title=panel.title, x=wr.Metric(panel.x), y=[wr.Metric(name) for name in panel.metrics])
