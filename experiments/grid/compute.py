"""The verb ``grid``: missing cells computed in several processes, rows and reports written."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from datamodules.config import DataError
from datamodules.files import write_atomic
from evaluation.export import SETTINGS
from evaluation.pictures import PICTURES, SHEETS, save_sheets
from evaluation.rows import (
    CELLS,
    SPEC,
    FailedRow,
    Place,
    ProtectionRow,
    Row,
    failures,
    protections,
    read_row,
    read_rows,
    victims,
    write_row,
)
from evaluation.stored import settings_of, stored_set
from experiments.config import Config, ConfigError
from experiments.folder import RunError, rank_zero_print, write_json
from experiments.grid.cells import Cell, cells_of, data_of
from experiments.grid.run import MADE, run_cell
from experiments.grid.spec import read_grid
from experiments.launch import suppress_known_warnings
from experiments.report.inputs import input_of_grid
from experiments.report.write import write
from victims.config import Recipe
from victims.defences import operations, passes


def grid(config: Config) -> int:
    """Computes a grid's missing cells and writes rows and reports.

    Args:
        config: ``grid`` names the grid; ``jobs``, ``dry_run``, ``store``, ``run_dir`` count, the rest is in the grid.

    Returns:
        0, or 1 when a cell failed. Its row says why, and the next call tries it again; so it is with cells that were
        skipped because their pretrained weights are not at hand, which are no failure.

    Raises:
        ConfigError: the grid's file is unusable.
        DataError: a data set is.
        RunError: a process was killed.
    """
    return compute_grid(config, read_grid(config.grid), Path(config.grid).stem, "grids")


def compute_grid(config: Config, spec: dict[str, Any], name: str, place: str) -> int:
    """Computes what a grid, or a sweep, asks for, in ``run_dir`` or ``runs/<place>/<name>``; see ``grid``."""
    suppress_known_warnings()
    folder, store = Path(config.run_dir or f"runs/{place}/{name}"), Path(config.store)
    absent: dict[str, str] = {}
    cells = cells_of(spec, config.sweep or config.grid, absent if config.dry_run else None)
    known = known_rows(folder, store)
    missing = [cell for cell in cells if isinstance(known.get(cell.key), FailedRow | None)]
    trained = sum(cell.is_victim for cell in cells)
    rank_zero_print(
        f"grid {name}: {len(cells)} cells ({trained} victims), {len(cells) - len(missing)} done, {len(missing)} to do"
    )
    if config.dry_run:
        for cell in missing:
            rank_zero_print("  " + _options(cell.place))
        rank_zero_print(f"about {estimate(known, missing)}")
        for data_name, reason in absent.items():
            rank_zero_print(f"not counted: the cells of {data_name}, which is not here yet ({reason})")
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    store.mkdir(parents=True, exist_ok=True)
    rows = placed(cells, known)
    save_rows(folder, spec, rows)  # without a torn line, so that rows can be added
    try:
        with FileLock(store / ".lock", timeout=0):
            compute(missing, known, store, folder, config.jobs or os.cpu_count() or 1)
    except BrokenProcessPool as error:
        raise RunError(
            "grid: one of its processes was killed from outside, often for lack of memory; finished cells are kept: "
            "the same command resumes it, and with jobs=<fewer> it needs less"
        ) from error
    except Timeout as error:
        raise ConfigError([f"store: {store} is in use by another grid; wait for it, or give store=<folder>"]) from error
    rows = placed(cells, known)
    save_rows(folder, spec, rows)
    draw(cells, known, store)
    write(folder, input_of_grid(folder, store))
    lost = failures(rows)
    for row in lost:
        rank_zero_print(f"{'' if row.skipped else 'failed: '}{_options(row.place)}: {row.error}")
    return 1 if any(not row.skipped for row in lost) else 0


def _options(place: Place) -> str:
    """A place as it is told on the terminal."""
    return ", ".join(f"{key}={value}" for key, value in place.pairs().items())


def placed(cells: list[Cell], known: dict[str, Row]) -> list[Row]:
    """The rows of a grid in its order, one for each place where a finished cell stands."""
    return [replace(known[cell.key], place=place) for cell in cells if cell.key in known for place in cell.places]


def known_rows(folder: Path, store: Path) -> dict[str, Row]:
    """Rows by key, of the grid's own folder and of the store, which has one that was torn by a kill, too.

    Raises:
        DataError: a file holds no rows; it names the file.
    """
    rows: dict[str, Row] = {}
    if (folder / CELLS).exists():
        rows = {row.key: row for row in read_rows(folder / CELLS)}
    for path in store.glob("*.json"):
        rows[path.stem] = read_row(path.read_text(), str(path))
    return rows


def estimate(known: dict[str, Row], missing: list[Cell]) -> str:
    """How long the missing cells will take one after another, by what finished ones of their kind took; in words."""
    paid: dict[str, list[tuple[float, float]]] = {}
    for row in protections(known.values()):
        for kind in _kinds(None, 0.0):
            paid.setdefault(kind, []).append((row.seconds, row.cost))
    for victim in victims(known.values()):
        recipe = victim.trained_by
        each = victim.cost / victim.images / recipe.epochs if victim.images else 0.0
        for kind in _kinds(recipe, each):
            paid.setdefault(kind, []).append((victim.seconds, victim.cost))
    if not paid:
        return f"{len(missing)} cells; how long is known after the first"
    rates = {kind: sum(s for s, _ in pairs) / sum(c for _, c in pairs) for kind, pairs in paid.items()}
    seconds = 0.0
    for cell in missing:
        kinds = _kinds(None, 0.0)
        if cell.is_victim:
            recipe, size = cell.config.victim.resolved(), data_of(cell.config).size
            kinds = _kinds(recipe, size[0] * size[1] * passes(operations(recipe.defence)))
        seconds += cell.cost * next(rates[kind] for kind in kinds if kind in rates)
    return f"{seconds / 60:.0f} minutes of one process"


def _kinds(recipe: Recipe | None, each: float) -> list[str]:
    """What cells that take about the same time for the same work have in common, the closest first.

    Args:
        recipe: of a victim; None: a protection.
        each: work of one image in one epoch, since networks treat small images otherwise than large ones.
    """
    if recipe is None:
        return ["protection", ""]
    kind = f"{recipe.arch}, {recipe.start}"
    return [f"{kind}, {each:.0f}", kind, ""]


def compute(missing: list[Cell], known: dict[str, Row], store: Path, folder: Path, jobs: int) -> None:
    """Computes cells in ``jobs`` processes; rows go to ``known``, the store and the grid's folder as they finish."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    todo = {cell.key for cell in missing if not cell.is_victim}
    # seed by seed, so that a grid which is stopped has whole seeds; in one, what others wait for and the longest first
    seeds = list(dict.fromkeys(cell.place.seed for cell in missing))
    waiting = sorted(missing, key=lambda cell: (seeds.index(cell.place.seed), cell.is_victim, -cell.cost))
    context = get_context("spawn")
    stop = context.RawValue("b", 0)  # without a lock, which a process that was killed would hold for ever
    with (
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[cells]} cells"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            disable=bool(os.environ.get("CONFOUNDERGAN_QUIET")),
        ) as bar,
        ProcessPoolExecutor(jobs, context, partial(_start, os.getpid(), threads, stop)) as pool,
        _stopping(stop),  # left before the pool, which waits for its processes
    ):
        task = bar.add_task("grid", total=sum(cell.cost for cell in missing), cells=f"0/{len(missing)}")
        running: dict[Future[Row], Cell] = {}
        done = 0
        while waiting or running:
            ready = [cell for cell in waiting if cell.needs not in todo]
            for cell in ready[: jobs - len(running)]:
                waiting.remove(cell)
                running[pool.submit(run_cell, cell, store)] = cell
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                cell = running.pop(future)
                todo.discard(cell.key)
                row = future.result()
                known[cell.key] = row
                done += 1
                with (folder / CELLS).open("a") as lines:
                    lines.writelines(write_row(replace(row, place=place)) + "\n" for place in cell.places)
                bar.update(task, advance=cell.cost, cells=f"{done}/{len(missing)}")
                shown = row.error if isinstance(row, FailedRow) else f"{row.seconds:.0f} s"
                where = ", ".join(map(str, cell.place.pairs().values()))
                bar.console.print(f"{where}: {shown}", highlight=False)


@contextmanager
def _stopping(stop: Any) -> Iterator[None]:
    """Tells the processes to stop when what is inside is interrupted."""
    try:
        yield
    except BaseException:
        stop.value = 1
        raise


def _start(parent: int, threads: int, stop: Any) -> None:
    """A process of the pool: its share of the cores, quiet, and gone when its parent is or when told to stop."""
    torch.set_num_threads(threads)
    os.environ["CONFOUNDERGAN_QUIET"] = "1"
    suppress_known_warnings()

    def watch() -> None:
        while os.getppid() == parent and not stop.value:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def draw(cells: list[Cell], known: dict[str, Row], store: Path) -> None:
    """Picture sheets of each data set's and variant's first seed, beside its protected sets; those there are, stay."""
    first: dict[tuple[str, str | None], Cell] = {}
    for cell in cells:
        if isinstance(known.get(cell.key), ProtectionRow):
            first.setdefault((cell.place.data, cell.place.variant), cell)
    for cell in first.values():
        folder = store / cell.key
        if not (folder / MADE).exists():
            continue
        try:
            data, epsilon = data_of(cell.config), cell.config.gan.epsilon
            for setting in settings_of(folder, data):
                if all((folder / PICTURES / name.format(setting)).exists() for name in SHEETS):
                    continue
                clean, stored = data.parts[SETTINGS[setting]], stored_set(folder, data, setting)
                save_sheets(folder / PICTURES, setting, data.class_names, epsilon, clean, stored)
        except (DataError, OSError) as error:  # the figures are worth more than the pictures
            rank_zero_print(f"no pictures of {cell.place.data}, {cell.place.variant}: {error}")


def save_rows(folder: Path, spec: dict[str, Any], rows: list[Row]) -> None:
    """The grid's rows, in its order, and what was asked."""
    write_json(folder / SPEC, spec)
    write_atomic(folder / CELLS, "".join(write_row(row) + "\n" for row in rows).encode())
