"""The cells of a grid: what is to be computed, each with a key of all that decides its result."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cache, lru_cache
from itertools import product
from typing import Any

from baselines.capabilities import TRANSFERABLE, capabilities
from baselines.own import source_digest
from datamodules.base import ImageDataModule
from datamodules.config import DataError, path_of
from datamodules.renames import as_hashed
from evaluation.export import SETTINGS
from evaluation.rows import Place
from experiments.config import Config, ConfigError, compose
from experiments.data import make_data
from experiments.grid.spec import TRAINED_ON, asked_for, trained_on
from experiments.methods import protection_of
from experiments.train import check_classifiers, check_precision
from experiments.trainer import epochs_of
from gan.protection import start_file
from victims.config import Recipe
from victims.defences import needs_pairs, operations, passes

VERSION = 1  # part of every key; raised when the same options come to mean something else
PART = {"clean": "train", "standard": "train", "clean_fast": "unseen", "fast": "unseen", "misclassified": "unseen"}
# of a set that is protected in part, the images that are not: never asked for, always beside
REMAINDERS = {"standard": "remainder", "fast": "remainder_fast"}
UNPROTECTED = {"standard": "clean", "fast": "clean_fast", "remainder": "clean", "remainder_fast": "clean_fast"}


@dataclass(frozen=True)
class Cell:
    """One thing to compute.

    Attributes:
        key: hash of all that decides the result.
        place: where it stands in the grid.
        config: of the run it belongs to.
        measured_on: ``test`` or ``rest``.
        needs: key of the protection that it reads; empty for none, or for a protection itself.
        cost: expected work, in pixels that pass through a victim.
        also: other places where the same thing stands.
        origin: the protection of another data set, if it is that one's generator that protects.
    """

    key: str
    place: Place
    config: Config
    measured_on: str
    needs: str
    cost: float
    also: list[Place] = field(default_factory=list)
    origin: "Cell | None" = None

    @property
    def places(self) -> list[Place]:
        """All places in the grid where it stands."""
        return [self.place, *self.also]

    @property
    def is_victim(self) -> bool:
        return self.place.victim is not None


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
                data_of(config)
            except DataError as error:
                absent.setdefault(data_name, str(error))
            if data_name in absent:
                continue
        other = trained_on(spec, data_name, variant)
        theirs = compose(asked_for(spec, other, variant, victim))[0] if other else None
        if theirs and (fault := _transfer_fault(config, theirs)):
            raise ConfigError([f"grid {name}: {data_name}, {variant}: {fault}"])
        for seed in spec["seeds"]:
            place = Place(data=data_name, variant=variant, seed=seed)
            origin = _protection_of(theirs, replace(place, data=other), on) if theirs and other else None
            for cell in _cells(config, place, victim, spec["settings"], on, origin):
                first = found.setdefault(cell.key, cell)
                if cell.place not in first.places:
                    first.also.append(cell.place)
    return list(found.values())


def _transfer_fault(config: Config, theirs: Config) -> str:
    """Why a data set cannot be protected by the generator that is trained on another; empty if it can."""
    if not capabilities(config.method).transferable:
        able = ", ".join(TRANSFERABLE)
        return f"{TRAINED_ON} is for method={able}, whose generator needs no labels; found method={config.method}"
    own, other = data_of(config).channels, data_of(theirs).channels
    if own != other:
        return f"the generator of {TRAINED_ON} takes images of {other} channels, these have {own}"
    return ""


def _protection_of(config: Config, place: Place, on: str, origin: Cell | None = None) -> Cell:
    """The cell of a protection."""
    data, seed = data_of(config), place.seed
    content: dict[str, Any] = {"data": data.fingerprints, "seed": seed}
    content |= {"generator": origin.key} if origin else {"config": _deciding(config)}
    images = len(data.parts["train"])
    cost = 2.0 * images * max(1, epochs_of(config, images)) * data.size[0] * data.size[1]
    return Cell(_key("protection", content), place, config, on, "", cost, origin=origin)


def _cells(config: Config, place: Place, victim: str, settings: list[str], on: str, origin: Cell | None) -> list[Cell]:
    data, seed, recipe = data_of(config), place.seed, config.victim.resolved()
    protection, pixels = _protection_of(config, place, on, origin), data.size[0] * data.size[1]
    cells = [protection] if set(settings) - {"clean", "clean_fast"} else []
    can, paired = capabilities(config.method), needs_pairs(recipe.defence)
    label_free = protection_of(config).label_free
    for setting in settings:
        if PART[setting] not in data.parts or (setting == "fast" and not label_free):
            continue
        if setting == "misclassified" and (not can.classifies or origin):
            continue
        named = [setting]
        if setting in REMAINDERS and recipe.partly:
            named.append(REMAINDERS[setting])
        for name in named:
            reads = paired or name in (*SETTINGS, "misclassified")
            here = replace(place, setting=name, victim=victim, variant=place.variant if reads else None)
            real, effective = canonical(name, recipe)
            needs = protection.key if paired or real in (*SETTINGS, "misclassified") else ""
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
    methods = config.baselines.methods_of(config.method)
    kept: dict[str, Any] = {}
    if any(capabilities(method).uses_trainer for method in methods):
        kept["gan"] = config.gan.decisive()
        if config.gan.start != "none":  # another file is another start
            kept["start"] = _digest(str(start_file(config.gan.start)))
    if capabilities(config.method).uses_trainer:
        kept |= {"epochs": config.trainer.max_epochs, "batch": config.data.batch_size}
        if config.trainer.callbacks:  # they may change what is learned
            kept["callbacks"] = config.trainer.callbacks
    else:
        tree = asdict(config.baselines)
        kept |= {name: tree[name] for name in methods if name in tree} | {"epsilon": config.gan.epsilon}
        if source := source_digest(protection_of(config)):
            kept["source"] = source
    return {"method": config.method, "precision": config.trainer.precision} | kept


def canonical(setting: str, recipe: Recipe) -> tuple[str, Recipe]:
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
def data_by_text(text: str) -> ImageDataModule:
    return make_data(compose([], json.loads(text))[0])


def data_of(config: Config) -> ImageDataModule:
    """The data set that a configuration names, read once per process."""
    return data_by_text(json.dumps({"data": asdict(config.data)}))
