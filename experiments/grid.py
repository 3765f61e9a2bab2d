"""The verb ``grid``: variants × data sets × seeds × victims, one cell after another, each computed once, ever.

A grid is a YAML file in ``configs/grid`` (or any path), with these keys:

* ``about``: what is asked, and what is expected (one paragraph);
* ``data``: name of a row's data set → the ``key=value`` pairs that differ from the defaults, among them ``data``;
* ``variants``: name → ``key=value`` pairs of the protection, and ``trained_on`` where the generator is that of another
  of the data sets, to which all images, and perhaps all classes, are new; or, in its place,
  ``parameters``: key → list of values, of which every combination is a variant;
* ``victims``: name → ``key=value`` pairs below ``victim.``;
* ``settings``: some of SETTINGS_ALL; where a victim's set is protected in part (``victim.share``, ``class_share``), the
  same victim on the clean remainder alone is added as ``remainder`` (of A) and ``remainder_fast`` (of B);
* ``seeds``: list of seeds;
* ``measured_on``: ``test``, or ``rest``: every training image that the victim does not train on, clean. Whatever is
  chosen by a grid is chosen on ``rest``;
* ``published`` (may be absent): name of a file of ``configs/published``, whose figures the report shows beside ours.

A cell is either a protection (fitted, its sets stored in ``<store>/<key>``) or a victim. Its key is a hash of all that
decides its result, so cells are shared between grids and by victims that are the same, and a changed option makes a new
cell. Each finished cell is one
JSON file in the store, whole or absent: after ``kill -9`` the same command resumes it. ``cells.jsonl`` in the grid's
own folder holds the finished rows, which count as computed as well: committed rows need not be computed again.
"""

import hashlib
import json
import os
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache, lru_cache, partial
from itertools import product
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from omegaconf import OmegaConf
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from baselines.capabilities import CAPABILITIES, capabilities
from baselines.own import source_digest
from datamodules.base import ImageDataModule
from datamodules.config import DataError, path_of
from datamodules.files import write_atomic
from datamodules.images import ImageSet
from datamodules.renames import as_hashed, current_file, current_spec, read_row
from evaluation.diagnostics import noise_of
from evaluation.export import SETTINGS, predicted_classes
from evaluation.jobs import default_device
from evaluation.measure import diagnostics, imperceptibility, probe_jobs, score_victim, sets_of
from evaluation.pictures import PICTURES, SHEETS, save_sheets
from evaluation.stored import linf_bound, settings_of, stored_set
from experiments.config import CONFIGS, Config, ConfigError, compose, leaves, names, near
from experiments.data import make_data
from experiments.folder import RunError, environment, rank_zero_print, write_json
from experiments.grid_report import CELLS, SPEC
from experiments.launch import suppress_known_warnings
from experiments.methods import cost_of, epochs_of, protect_seed, protection_of, transfer
from experiments.published import read_published
from experiments.report import input_of_grid, write
from experiments.train import check_classifiers, check_precision
from gan.protection import start_file
from victims.config import Recipe
from victims.defences import operations, passes
from victims.partial import clean_remainder, mask_to_text, partially_protected, protected_mask
from victims.pretrained import Unavailable
from victims.train import predict

VERSION = 1  # part of every key; raised when the same options come to mean something else
# clean: part A; standard: A protected; clean_fast: part B; fast: B protected; misclassified: the unprotected images of
# B that the generator misclassifies: what an attacker could learn if the others were useless
SETTINGS_ALL = ("clean", "standard", "clean_fast", "fast", "misclassified")
PART = {"clean": "train", "standard": "train", "clean_fast": "unseen", "fast": "unseen", "misclassified": "unseen"}
# of a set that is protected in part, the images that are not: never asked for, always beside
REMAINDERS = {"standard": "remainder", "fast": "remainder_fast"}
UNPROTECTED = {"standard": "clean", "fast": "clean_fast", "remainder": "clean", "remainder_fast": "clean_fast"}
TRAINED_ON = "trained_on"
MADE, MASKS = "made.json", "masks"
KEYS = {"about", "data", "variants", "victims", "settings", "seeds", "measured_on"}


@dataclass(frozen=True)
class Cell:
    """One thing to compute.

    Attributes:
        key: hash of all that decides the result.
        place: where it stands in the grid: data, variant, setting, victim, seed (what does not apply is left out).
        config: of the run it belongs to.
        measured_on: ``test`` or ``rest``.
        needs: key of the protection that it reads; empty for none, or for a protection itself.
        cost: expected work, in pixels that pass through a victim.
        also: other places where the same thing stands.
        origin: the protection of another data set, if it is that one's generator that protects.
    """

    key: str
    place: dict[str, Any]
    config: Config
    measured_on: str
    needs: str
    cost: float
    also: list[dict[str, Any]] = field(default_factory=list)
    origin: "Cell | None" = None

    @property
    def places(self) -> list[dict[str, Any]]:
        """All places in the grid where it stands."""
        return [self.place, *self.also]

    @property
    def is_victim(self) -> bool:
        return "victim" in self.place


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
    missing = [cell for cell in cells if "error" in known.get(cell.key, {"error": ""})]
    victims = sum(cell.is_victim for cell in cells)
    rank_zero_print(
        f"grid {name}: {len(cells)} cells ({victims} victims), {len(cells) - len(missing)} done, {len(missing)} to do"
    )
    if config.dry_run:
        for cell in missing:
            rank_zero_print("  " + ", ".join(f"{k}={v}" for k, v in cell.place.items()))
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
    lost = [row for row in rows if "error" in row]
    for row in lost:
        verb = "" if row.get("skipped") else "failed: "
        rank_zero_print(f"{verb}{', '.join(f'{k}={v}' for k, v in row['place'].items())}: {row['error']}")
    return 1 if any(not row.get("skipped") for row in lost) else 0


def placed(cells: list[Cell], known: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a grid in its order, one for each place where a finished cell stands."""
    return [known[cell.key] | {"place": place} for cell in cells if cell.key in known for place in cell.places]


def read_grid(name: str, group: str = "grid") -> dict[str, Any]:
    """A grid's or a sweep's content, by the name of a shipped one or by its path.

    Args:
        name: of the file.
        group: ``grid`` or ``sweep``: the folder of configs that it is looked for in, and the option that named it.

    Returns:
        The content, with variants in place of parameters.

    Raises:
        ConfigError: no such file, or not laid out as this module says.
    """
    shipped, name = names(group), current_file(group, name)
    if not name:
        raise ConfigError([f"{group}: which one? give {group}=<name or file>; shipped: {', '.join(shipped)}"])
    source = CONFIGS / group / f"{name}.yaml" if name in shipped else Path(name)
    if not source.is_file():
        raise ConfigError([f"{group}: no {group} {name!r}{near(name, shipped)}; shipped: {', '.join(shipped)}"])
    try:
        spec: Any = OmegaConf.to_container(OmegaConf.create(source.read_text()), resolve=True)
    except Exception as error:
        raise ConfigError([f"{group}: {name} is no readable YAML ({str(error).splitlines()[0]})"]) from error
    if isinstance(spec, dict) and "parameters" in spec and "variants" not in spec:
        spec = spec | {"variants": _combinations(spec["parameters"], f"{group}: {name}")}
        del spec["parameters"]
    if not isinstance(spec, dict) or set(spec) - {"published"} != KEYS:
        found = ", ".join(map(str, spec)) if isinstance(spec, dict) else type(spec).__name__
        raise ConfigError(
            [f"{group}: {name} needs exactly the keys {', '.join(sorted(KEYS))} (or parameters); found {found}"]
        )
    spec = current_spec(spec)
    faults = [
        f"{group}: {name}: no setting {s!r}; known: {', '.join(SETTINGS_ALL)}"
        for s in spec["settings"]
        if s not in PART
    ]
    if spec["measured_on"] not in ("test", "rest"):
        faults.append(f"{group}: {name}: measured_on is test or rest, found {spec['measured_on']!r}")
    faults += [
        f"{group}: {name}: {section} is a list of names, each with its options, and not empty"
        for section in ("data", "variants", "victims")
        if not isinstance(spec[section], dict) or not spec[section]
    ]
    if faults:
        raise ConfigError(faults)
    faults += [
        f"{group}: {name}: {variant}: no data set {origin!r} to be {TRAINED_ON}; here are {', '.join(spec['data'])}"
        for variant, options in spec["variants"].items()
        if (origin := (options or {}).get(TRAINED_ON)) not in (None, *spec["data"])
    ]
    if group == "sweep" and any(TRAINED_ON in (options or {}) for options in spec["variants"].values()):
        faults.append(f"{group}: {name}: {TRAINED_ON} is for grids; use grid={name}")
    if faults:
        raise ConfigError(faults)
    if "published" in spec:
        read_published(spec["published"])
    asked: dict[str, Any] = spec
    return asked


def _combinations(parameters: Any, where: str) -> dict[str, dict[str, Any]]:
    """A variant for every combination of the parameters' values, named by them."""
    if not isinstance(parameters, dict) or not all(isinstance(v, list) and v for v in parameters.values()):
        raise ConfigError([f"{where}: parameters is a list of keys, each with the list of its values, none empty"])
    found = {}
    for values in product(*parameters.values()):
        pairs = dict(zip(parameters, values, strict=True))
        found[", ".join(f"{key}={value}" for key, value in pairs.items())] = pairs
    return found


def cells_of(spec: dict[str, Any], name: str, absent: dict[str, str] | None = None) -> list[Cell]:
    """All cells of a grid, protections before the victims that read them.

    Args:
        spec: of ``read_grid``.
        name: of the grid, for messages.
        absent: gets the data sets that are not here, with the reason; nothing is fetched, and their cells are left out.
            None: data sets are fetched, and one that is not to be had is an error.

    Raises:
        ConfigError: options of a variant, a victim or a data set are unknown or contradict each other.
        DataError: a data set cannot be read.
    """
    found: dict[str, Cell] = {}
    on = spec["measured_on"]
    for data_name, variant, victim in product(spec["data"], spec["variants"], spec["victims"]):
        try:
            config, _ = compose(asked_for(spec, data_name, variant, victim))
            if faults := check_classifiers(config) + check_precision(config):
                raise ConfigError(faults)
        except ConfigError as error:
            where = f"grid {name}: {data_name}, {variant}, {victim}"
            raise ConfigError([f"{where}: {fault}" for fault in error.faults]) from error
        if absent is not None:
            config.data.download = False
            try:
                _data(config)
            except DataError as error:
                absent.setdefault(data_name, str(error))
            if data_name in absent:
                continue
        other = _trained_on(spec, data_name, variant)
        theirs = compose(asked_for(spec, other, variant, victim))[0] if other else None
        if theirs and (fault := _transfer_fault(config, theirs)):
            raise ConfigError([f"grid {name}: {data_name}, {variant}: {fault}"])
        for seed in spec["seeds"]:
            place = {"data": data_name, "variant": variant, "seed": seed}
            origin = _protection_of(theirs, {**place, "data": other}, on) if theirs else None
            for cell in _cells(config, place, victim, spec["settings"], on, origin):
                first = found.setdefault(cell.key, cell)
                if cell.place not in first.places:
                    first.also.append(cell.place)
    return list(found.values())


def asked_for(spec: dict[str, Any], data: str, variant: str, victim: str) -> list[str]:
    """The ``key=value`` arguments of a combination."""
    merged = _pairs(spec["data"][data]) | _pairs(spec["variants"][variant]) | _pairs(spec["victims"][victim])
    return [f"{key}={value}" for key, value in merged.items() if key != TRAINED_ON]


def _trained_on(spec: dict[str, Any], data: str, variant: str) -> str | None:
    """The other data set whose generator a variant uses; None where it is the same one's."""
    origin: str | None = (spec["variants"][variant] or {}).get(TRAINED_ON)
    return None if origin == data else origin


def _transfer_fault(config: Config, theirs: Config) -> str:
    """Why a data set cannot be protected by the generator that is trained on another; empty if it can."""
    if not capabilities(config.method).transferable:
        able = ", ".join(name for name, can in CAPABILITIES.items() if can.transferable)
        return f"{TRAINED_ON} is for method={able}, whose generator needs no labels; found method={config.method}"
    own, other = _data(config).channels, _data(theirs).channels
    if own != other:
        return f"the generator of {TRAINED_ON} takes images of {other} channels, these have {own}"
    return ""


def _pairs(options: Any) -> dict[str, Any]:
    return dict(leaves(options or {}))


def _protection_of(config: Config, place: dict[str, Any], on: str, origin: Cell | None = None) -> Cell:
    """The cell of a protection."""
    data, seed = _data(config), place["seed"]
    content: dict[str, Any] = {"data": data.fingerprints, "seed": seed}
    content |= {"generator": origin.key} if origin else {"config": _deciding(config)}
    images = len(data.parts["train"])
    cost = 2.0 * images * max(1, epochs_of(config, images)) * data.size[0] * data.size[1]
    return Cell(_key("protection", content), place, config, on, "", cost, origin=origin)


def _cells(
    config: Config, place: dict[str, Any], victim: str, settings: list[str], on: str, origin: Cell | None
) -> list[Cell]:
    data, seed, recipe = _data(config), place["seed"], config.victim.resolved()
    protection, pixels = _protection_of(config, place, on, origin), data.size[0] * data.size[1]
    cells = [protection] if set(settings) - {"clean", "clean_fast"} else []
    can = capabilities(config.method)
    label_free = can.transferable or protection_of(config).label_free
    for setting in settings:
        if PART[setting] not in data.parts or (setting == "fast" and not label_free):
            continue
        if setting == "misclassified" and (not can.classifies or origin):
            continue
        named = [setting]
        if setting in REMAINDERS and recipe.partly:
            named.append(REMAINDERS[setting])
        for name in named:
            here = {**place, "setting": name, "victim": victim}
            real, effective = _canonical(name, recipe)
            needs = protection.key if real in (*SETTINGS, "misclassified") else ""
            if name not in (*SETTINGS, "misclassified"):
                here = {k: v for k, v in here.items() if k != "variant"}
            content = {
                "recipe": _hashed(effective),
                "needs": needs,
                "setting": real,
                "on": on,
                "data": data.fingerprints,
                "seed": seed,
            }
            share = 0.3 if setting == "misclassified" else 1.0
            if real in REMAINDERS.values():
                share = 1 - effective.share * effective.class_share
            cost = share * len(data.parts[PART[setting]]) * recipe.epochs * pixels * passes(operations(recipe.defence))
            cells.append(Cell(_key("victim", content), here, config, on, needs, cost, origin=origin))
    return cells


def _deciding(config: Config) -> dict[str, Any]:
    """What decides a protection: not the victims, nor where and how things are written."""
    tree = asdict(config)
    kept = {"gan": config.gan.decisive(), "epochs": config.trainer.max_epochs, "batch": config.data.batch_size}
    if config.gan.start != "none":  # another file is another start
        kept["start"] = _digest(str(start_file(config.gan.start)))
    if config.trainer.callbacks:  # they may change what is learned
        kept["callbacks"] = config.trainer.callbacks
    if not capabilities(config.method).uses_trainer:
        kept = {config.method: tree["baselines"][config.method], "epsilon": config.gan.epsilon}
        if source := source_digest(protection_of(config)):
            kept["source"] = source
    return {"method": config.method, "precision": config.trainer.precision} | kept


def _canonical(setting: str, recipe: Recipe) -> tuple[str, Recipe]:
    """What a victim is trained on in truth, and how: where nothing is protected, the clean images."""
    if setting in UNPROTECTED and recipe.share * recipe.class_share > 0:
        return setting, recipe
    return UNPROTECTED.get(setting, setting), recipe.on_clean


def _hashed(recipe: Recipe) -> dict[str, Any]:
    """A recipe as it is hashed: without the options that it does not use, so that finished cells stay finished."""
    tree = recipe.decisive()
    if recipe.weights:
        tree["weights"] = _digest(recipe.weights)
    return tree


@cache
def _digest(path: str) -> str:
    """What a file of weights holds; its name, where there is none."""
    file = path_of(path)
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else path


def _key(kind: str, content: dict[str, Any]) -> str:
    text = json.dumps({"version": VERSION, "kind": kind, **as_hashed(content)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


@lru_cache(maxsize=8)
def _data_of(text: str) -> ImageDataModule:
    return make_data(compose([], json.loads(text))[0])


def _data(config: Config) -> ImageDataModule:
    """The data set that a configuration names, read once per process."""
    return _data_of(json.dumps({"data": asdict(config.data)}))


def known_rows(folder: Path, store: Path) -> dict[str, dict[str, Any]]:
    """Finished rows by key, of the grid's own folder and of the store."""
    rows = {}
    if (folder / CELLS).exists():
        # a torn last line (killed while writing it) is in the store
        rows = {row["key"]: row for row in map(read_row, (folder / CELLS).read_text().split("\n")[:-1])}
    for path in store.glob("*.json"):
        rows[path.stem] = read_row(path.read_text())
    return rows


def estimate(known: dict[str, dict[str, Any]], missing: list[Cell]) -> str:
    """How long the missing cells will take one after another, by what finished ones of their kind took; in words."""
    paid: dict[str, list[tuple[float, float]]] = {}
    for row in known.values():
        if "seconds" in row:
            recipe, each = row.get("recipe"), 0.0
            if recipe and row.get("images"):
                each = row["cost"] / row["images"] / recipe["epochs"]
            for kind in _kinds(recipe, each):
                paid.setdefault(kind, []).append((row["seconds"], row["cost"]))
    if not paid:
        return f"{len(missing)} cells; how long is known after the first"
    rates = {kind: sum(s for s, _ in pairs) / sum(c for _, c in pairs) for kind, pairs in paid.items()}
    seconds = 0.0
    for cell in missing:
        recipe, each = None, 0.0
        if cell.is_victim:
            own, size = cell.config.victim.resolved(), _data(cell.config).size
            recipe, each = asdict(own), size[0] * size[1] * passes(operations(own.defence))
        seconds += cell.cost * next(rates[kind] for kind in _kinds(recipe, each) if kind in rates)
    return f"{seconds / 60:.0f} minutes of one process"


def _kinds(recipe: dict[str, Any] | None, each: float) -> list[str]:
    """What cells that take about the same time for the same work have in common, the closest first.

    Args:
        recipe: of a victim; None: a protection.
        each: work of one image in one epoch, since networks treat small images otherwise than large ones.
    """
    if recipe is None:
        return ["protection", ""]
    kind = f"{recipe['arch']}, {recipe.get('start', 'scratch')}"
    return [f"{kind}, {each:.0f}", kind, ""]


def compute(missing: list[Cell], known: dict[str, dict[str, Any]], store: Path, folder: Path, jobs: int) -> None:
    """Computes cells in ``jobs`` processes; rows go to ``known``, the store and the grid's folder as they finish."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    todo = {cell.key for cell in missing if not cell.is_victim}
    # seed by seed, so that a grid which is stopped has whole seeds; in one, what others wait for and the longest first
    seeds = list(dict.fromkeys(cell.place["seed"] for cell in missing))
    waiting = sorted(missing, key=lambda cell: (seeds.index(cell.place["seed"]), cell.is_victim, -cell.cost))
    context = get_context("spawn")
    stop = context.Event()
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
        running: dict[Future[dict[str, Any]], Cell] = {}
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
                    lines.writelines(json.dumps(row | {"place": place}) + "\n" for place in cell.places)
                bar.update(task, advance=cell.cost, cells=f"{done}/{len(missing)}")
                shown = row.get("error") or f"{row['seconds']:.0f} s"
                bar.console.print(f"{', '.join(str(v) for v in cell.place.values())}: {shown}", highlight=False)


@contextmanager
def _stopping(stop: Event) -> Iterator[None]:
    """Sets the event when what is inside is interrupted."""
    try:
        yield
    except BaseException:
        stop.set()
        raise


def _start(parent: int, threads: int, stop: Event) -> None:
    """A process of the pool: its share of the cores, quiet, and gone when its parent is or when told to stop."""
    torch.set_num_threads(threads)
    os.environ["CONFOUNDERGAN_QUIET"] = "1"
    suppress_known_warnings()

    def watch() -> None:
        while os.getppid() == parent and not stop.wait(1):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_cell(cell: Cell, store: Path) -> dict[str, Any]:
    """Computes one cell and stores its row; a failure is a row that says why."""
    started = time.perf_counter()
    row: dict[str, Any] = {"key": cell.key, "place": cell.place, "cost": cell.cost, "needs": cell.needs}
    try:
        row |= _victim(cell, store) if cell.is_victim else _protection(cell, store)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        row["error"] = f"{type(error).__name__}: {reason}"
        row["traceback"] = traceback.format_exc()
        if isinstance(error, Unavailable):
            row |= {"error": f"skipped: {reason}", "skipped": True}
        return row
    where = environment()
    row |= {
        "seconds": time.perf_counter() - started,
        "device": where["device"],
        "versions": where["versions"],
        "git": where["git"],
    }
    write_atomic(store / f"{cell.key}.json", json.dumps(row).encode())
    return row


def _made(cell: Cell, key: str, store: Path) -> Path:
    """The folder of a protection, made if it is not there, by one process; MADE in it tells the seconds that took."""
    folder, seed = store / key, cell.place["seed"]
    with FileLock(store / f"{key}.lock"):
        if (folder / MADE).exists():
            return folder
        folder.mkdir(exist_ok=True)
        data = _data(cell.config)
        data.seed = seed
        if cell.origin:
            made = transfer(_made(cell.origin, cell.origin.key, store), data, folder, seed)
        else:
            config = replace(cell.config, logger="csv", victim=replace(cell.config.victim, check_every=0))
            made = protect_seed(config, data, folder, seed)
        write_json(folder / MADE, made.seconds)
    return folder


def _protection(cell: Cell, store: Path) -> dict[str, Any]:
    """Fits a method, stores its sets, and measures what needs no victim."""
    data, seed = _data(cell.config), cell.place["seed"]
    folder = _made(cell, cell.key, store)
    sets = sets_of(folder, data)
    jobs, _ = probe_jobs(sets, seed, default_device())
    return {
        "stages": json.loads((folder / MADE).read_text()),
        "cost_to_make": cost_of(folder),
        "images": len(data.parts["train"]),
        "epsilon": linf_bound(folder),
        "imperceptibility": imperceptibility(sets),
        **diagnostics(sets, {name: job() for name, job in jobs.items()}),
        "chance": 1 / data.classes,
    }


def _victim(cell: Cell, store: Path) -> dict[str, Any]:
    """Trains a victim on what its setting says, and measures it on clean images."""
    data, seed = _data(cell.config), cell.place["seed"]
    setting, recipe = _canonical(cell.place["setting"], cell.config.victim.resolved())
    base = next((s for s, other in REMAINDERS.items() if other == setting), setting)
    part = PART[base]
    clean = train = data.parts[part]
    noise, mask = None, protected_mask(clean.labels, recipe, seed) if recipe.partly else None
    if setting in SETTINGS:
        train = stored_set(_made(cell, cell.needs, store), data, setting)
        noise = noise_of(clean, train)
        if mask is not None:
            train = partially_protected(clean, train, mask)
    elif setting == "misclassified":
        names = predicted_classes(_made(cell, cell.needs, store))
        assert names is not None
        train = train.subset((names != train.labels).nonzero()[:, 0])
    elif mask is not None:
        train = clean_remainder(clean, mask)
    others = data.parts["test"] if cell.measured_on == "test" else rest(data, part)
    swapped = (noise, data.parts["val"]) if noise else None
    report, row = score_victim(train, others, swapped, data.classes, recipe, seed, default_device())
    row |= {
        "images": len(train),
        "chance": 1 / data.classes,
        "majority": data.majority,
        "recipe": recipe.decisive() | {"defence": recipe.defence},
    }
    if mask is not None:
        (store / MASKS).mkdir(exist_ok=True)
        write_atomic(store / MASKS / f"{cell.key}.txt", mask_to_text(mask).encode())
        right = predict(report.model, others.images, default_device()).argmax(1) == others.labels
        row |= {
            "protected_images": int(mask.sum()),
            "protected_classes": clean.labels[mask].unique().tolist(),
            "recalls": [right[others.labels == k].float().mean().item() for k in range(data.classes)],
        }
    return row


def rest(data: ImageDataModule, part: str) -> ImageSet:
    """The clean training images that are not in a part: of A, B or the validation part, the other two."""
    names = [name for name in ("train", "unseen", "val") if name in data.parts and name != part]
    sets = [data.parts[name] for name in names]
    rows = [s.rows for s in sets]
    return ImageSet(sets[0].store, torch.cat([s.labels for s in sets]), torch.cat([r for r in rows if r is not None]))


def draw(cells: list[Cell], known: dict[str, dict[str, Any]], store: Path) -> None:
    """Picture sheets of each data set's and variant's first seed, beside its protected sets; those there are, stay."""
    first: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        if not cell.is_victim and "error" not in known.get(cell.key, {"error": ""}):
            first.setdefault((cell.place["data"], cell.place["variant"]), cell)
    for cell in first.values():
        folder = store / cell.key
        if not (folder / MADE).exists():
            continue
        try:
            data, epsilon = _data(cell.config), cell.config.gan.epsilon
            for setting in settings_of(folder, data):
                if all((folder / PICTURES / name.format(setting)).exists() for name in SHEETS):
                    continue
                clean, stored = data.parts[SETTINGS[setting]], stored_set(folder, data, setting)
                save_sheets(folder / PICTURES, setting, data.class_names, epsilon, clean, stored)
        except (DataError, OSError) as error:  # the figures are worth more than the pictures
            rank_zero_print(f"no pictures of {cell.place['data']}, {cell.place['variant']}: {error}")


def save_rows(folder: Path, spec: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """The grid's rows, in its order, and what was asked."""
    write_json(folder / SPEC, spec)
    write_atomic(folder / CELLS, "".join(json.dumps(row) + "\n" for row in rows).encode())
