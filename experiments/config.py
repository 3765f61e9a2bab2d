"""The typed configuration: schema, composition, checks. Free of torch, so that ``--help`` takes a fraction of a second.

Composed as: defaults of the schema ← ``configs/base.yaml`` ← ``configs/data/<data>.yaml`` ←
``configs/experiment/<experiment>.yaml`` ← ``key=value`` of the command line. Every fault is found before anything runs.
"""

import dataclasses
import difflib
import math
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal, get_args, get_origin

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from baselines.capabilities import DEFAULT_METHOD, AnyMethod, capabilities
from baselines.config import BaselinesConfig
from datamodules.config import SETS, DataConfig, option
from datamodules.renames import current_options
from gan.config import GanConfig
from victims.config import VictimConfig

CONFIGS = files("experiments") / "configs"


class ConfigError(Exception):
    """Everything that is wrong with a configuration, one line each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass
class TrainerConfig:
    """What Lightning's Trainer gets."""

    max_epochs: int = option(0, "epochs of the game; 0: as many as make gan.refine batches", ge=0)
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = option("auto", "kind of device")
    devices: int = option(1, "devices (processes) on this machine; 0: all there are", ge=0)
    num_nodes: int = option(1, "machines", ge=1)
    strategy: str = option("auto", "auto or ddp")
    precision: Literal["fp32", "bf16", "fp16"] = option(
        "fp32", "number format of the networks' arithmetic; fp16 needs a GPU, where its gradients are scaled"
    )
    log_every: int = option(10, "batches between two rows of metrics", ge=1)
    checkpoint_every: int = option(0, "batches between checkpoints within an epoch; 0: at whole epochs alone", ge=0)
    join_minutes: float = option(10.0, "several machines: the longest wait at the start for all processes", gt=0)
    profiler: Literal["none", "simple", "pytorch"] = option(
        "none", "where the generator's training spends its time: by hook, or by operation; a file in profile/ says it"
    )
    callbacks: str = option(
        "", "callbacks of yours beside ours: my.module.Callback, made without arguments; several are joined by +"
    )

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        found = []
        if self.precision == "fp16" and self.accelerator in ("cpu", "mps"):
            found.append(f"trainer.precision: fp16 needs a CUDA GPU, not {self.accelerator}; use bf16 or fp32")
        for name in self.callback_list():
            if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", name):
                found.append(
                    "trainer.callbacks: expected dotted names of classes, such as my.module.Callback, joined by +, "
                    f"found {name!r}"
                )
        if self.strategy in ("auto", "ddp", "ddp_find_unused_parameters_true"):
            return found
        return [
            *found,
            f"trainer.strategy: {self.strategy!r} cannot train three networks that take turns; "
            "use ddp (or auto) with trainer.devices",
        ]

    def callback_list(self) -> list[str]:
        """The callbacks' dotted names one by one."""
        return self.callbacks.split("+") if self.callbacks else []


@dataclass
class Config:
    """All options of a run."""

    seed: int = option(0, "seed of the run; with seeds=k the runs have seed, seed+1, …", ge=0, le=2**31 - 1)
    seeds: int = option(1, "how many runs, each with its own seed; results give mean and spread", ge=1, le=100)
    run_dir: str = option("", "folder of the run; empty: a new one under runs/")
    resume: str = option("", "train: folder of a stopped run, which is resumed unchanged")
    any_code: bool = option(False, "resume: continue even though the code or a library has changed since")
    run: str = option("", "evaluate, report, dashboard: folder of a finished run (or grid); empty: the newest run")
    fast_dev_run: bool = option(False, "run a few batches of everything as a check; the results mean nothing")
    logger: Literal["csv", "wandb", "tensorboard"] = option(
        "csv", "metrics.csv is always written; wandb (offline without a key) or tensorboard in addition"
    )
    project: str = option("confoundergan", "W&B project")
    group: str = option("", "W&B: group of the run; empty: the name of its folder, which all its seeds share")
    tags: str = option("", "W&B: tags beside those for data, method and bound, joined by commas")
    grid: str = option("", "grid: name (configs/grid) or file of what to compute")
    sweep: str = option("", "sweep: name (configs/sweep) or file of what to try")
    cell: str = option("", "sweep: the one combination that an agent of W&B was given; empty: all")
    jobs: int = option(0, "grid, sweep: processes, each with its share of the cores; 0: one per core", ge=0, le=256)
    dry_run: bool = option(False, "grid, sweep: list what is to be computed, and how long it will take")
    store: str = option("runs/store", "grid: folder of finished cells, shared by all grids")
    experiment: str = option("", "named experiment: a file of configs/experiment")
    method: AnyMethod = option(
        DEFAULT_METHOD,
        "protection: ours, a baseline, several owners' (baselines.mixed), or one of your own (baselines.own)",
    )
    data: DataConfig = field(default_factory=DataConfig)
    gan: GanConfig = field(default_factory=GanConfig)
    baselines: BaselinesConfig = field(default_factory=BaselinesConfig)
    victim: VictimConfig = field(default_factory=VictimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        found = []
        if self.resume and self.run_dir:
            found.append("run_dir: contradicts resume, which names the folder already; leave run_dir out")
        if self.resume and self.run:
            found.append("run: is read by evaluate, resume by train; give one of them")
        by_trainer = capabilities(self.method).uses_trainer
        if not by_trainer and (self.trainer.devices != 1 or self.trainer.num_nodes != 1):
            found.append(f"trainer.devices: method={self.method} runs in one process; leave devices and num_nodes at 1")
        if wrong := [tag for tag in self.tag_list() if len(tag) > 64]:
            found.append(f"tags: W&B takes tags of at most 64 characters, and {wrong[0]!r} has {len(wrong[0])}")
        if not by_trainer and self.trainer.profiler != "none":
            found.append(f"trainer.profiler: method={self.method} has no generator whose training it could show")
        if not by_trainer and self.trainer.callbacks:
            found.append(f"trainer.callbacks: method={self.method} is not fitted by Lightning; leave it out")
        return found

    def tag_list(self) -> list[str]:
        """The tags one by one."""
        return [tag.strip() for tag in self.tags.split(",") if tag.strip()]


@dataclass(frozen=True)
class Option:
    """One key of the schema: its type, default and documentation."""

    type: Any
    default: Any
    help: str
    bounds: dict[str, float]

    @property
    def kind(self) -> str:
        """The type in words."""
        if get_origin(self.type) is Literal:
            return "|".join(map(str, get_args(self.type)))
        return {"int": "integer", "float": "number", "bool": "true|false", "str": "text"}[self.type.__name__]

    @property
    def noun(self) -> str:
        """The type in words, with its article where it takes one."""
        if "|" in self.kind or self.kind == "text":
            return self.kind
        return f"{'an' if self.kind[0] in 'aeiou' else 'a'} {self.kind}"

    @property
    def range(self) -> str:
        """The bounds in words; empty without any."""
        signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
        return ", ".join(f"{signs[k]} {v}" for k, v in self.bounds.items())

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value of the right type, or None."""
        if isinstance(value, float) and not math.isfinite(value):
            return f"expected a finite number, found {value}"
        tests = {"ge": value.__ge__, "gt": value.__gt__, "le": value.__le__, "lt": value.__lt__} if self.bounds else {}
        if all(tests[k](v) for k, v in self.bounds.items()):
            return None
        return f"expected {self.noun} {self.range}, found {value}"


def options(schema: Any = Config, prefix: str = "") -> dict[str, Option]:
    """Every key of the schema with its documentation, by dotted name, in the order of the schema."""
    found: dict[str, Option] = {}
    hints = typing.get_type_hints(schema)
    for item in dataclasses.fields(schema):
        kind, name = hints[item.name], prefix + item.name
        if dataclasses.is_dataclass(kind):
            found |= options(kind, name + ".")
        else:
            meta = dict(item.metadata)
            found[name] = Option(kind, item.default, meta.pop("help"), meta)
    return found


def names(group: str) -> list[str]:
    """Names of the data sets (``data``), or of the shipped files of ``experiment``, ``grid`` or ``sweep``."""
    if group == "data":
        return sorted(SETS)
    return sorted(f.name.removesuffix(".yaml") for f in (CONFIGS / group).iterdir() if f.name.endswith(".yaml"))


def near(word: str, known: list[str]) -> str:
    """A hint at the nearest known name, or nothing."""
    # the last part of a dotted key is what people misspell or forget the section of
    match = difflib.get_close_matches(word, known, 1, 0.6)
    tail = {name.rpartition(".")[2]: name for name in reversed(known)}
    match = match or [tail[m] for m in difflib.get_close_matches(word.rpartition(".")[2], list(tail), 1, 0.6)]
    return f"; did you mean {match[0]!r}?" if match else ""


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of every leaf of a nested mapping."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def compose(arguments: list[str], base: dict[str, Any] | None = None) -> tuple[Config, dict[str, str]]:
    """The configuration that ``key=value`` arguments ask for.

    Args:
        arguments: of the command line, without the verb.
        base: a resolved configuration to start from instead of the shipped files (that of an earlier run).

    Returns:
        The configuration, and for every key the layer that set it.

    Raises:
        ConfigError: unknown keys, wrong types, values out of range, contradictions; all of them at once.
    """
    faults: list[str] = []
    given: dict[str, str] = {}
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if sign and key:
            given[key] = value
        else:
            faults.append(f"{argument}: expected key=value; 'confoundergan --help' lists the keys")

    layers: list[tuple[str, list[tuple[str, Any]]]] = []
    if base is None:
        layers.append(("base.yaml", _shipped("base.yaml")))
        for group, default in (("data", "digits"), ("experiment", "")):
            name = given.get(group, default)
            if name in names(group):
                named = [("data.name", name)] if group == "data" else []
                layers.append((f"{group}/{name}.yaml", named + _shipped(f"{group}/{name}.yaml")))
            elif name:
                faults.append(
                    f"{group}: no {group} {name!r}{near(name, names(group))}; known: {', '.join(names(group))}"
                )
        given.pop("data", None)
    else:
        layers.append(("config.yaml", list(leaves(base))))
    layers.append(("command line", list(given.items())))

    known, conf = options(), OmegaConf.structured(Config)
    sources = dict.fromkeys(known, "default")
    for source, pairs in layers:
        for key, value in current_options(pairs):
            fault = _set(conf, known, key, value)
            if fault is None:
                sources[key] = source
            else:
                faults.append(f"{key}: {fault}" + ("" if source == "command line" else f" (in {source})"))
    config = OmegaConf.to_object(conf)  # keys with faults still hold what they held before
    assert isinstance(config, Config)
    if not any(fault.startswith("data: ") for fault in faults):  # what contradicts an unknown data set is not known
        faults += contradictions(config)
    if faults:
        raise ConfigError(faults)
    return config, sources


def settings(schema: Any, places: tuple[str, ...], arguments: list[str]) -> tuple[Any, dict[str, str]]:
    """The options of a verb that has its own few.

    Args:
        schema: a dataclass of options.
        places: keys that words without a sign fill, in this order.
        arguments: of the command line, without the verb.

    Returns:
        The options, and for every key the layer that set it.

    Raises:
        ConfigError: as ``compose``.
    """
    known, conf, free, faults = options(schema), OmegaConf.structured(schema), list(places), []
    sources = dict.fromkeys(known, "default")
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if not (sign and key):
            if not free:
                faults.append(f"{argument}: expected key=value; keys: {', '.join(known)}")
                continue
            key, value = free[0], argument
        if key in free:
            free.remove(key)
        fault = _set(conf, known, key, value)
        if fault is None:
            sources[key] = "command line"
        else:
            faults.append(f"{key}: {fault}")
    config = OmegaConf.to_object(conf)
    faults += contradictions(config)
    if faults:
        raise ConfigError(faults)
    return config, sources


def _shipped(name: str) -> list[tuple[str, Any]]:
    """The keys and values of a file of configs; none where a data set has no file, since it needs no other defaults."""
    if not (CONFIGS / name).is_file():
        return []
    tree = OmegaConf.to_container(OmegaConf.create((CONFIGS / name).read_text()))
    assert isinstance(tree, dict)
    return list(leaves(typing.cast(dict[str, Any], tree)))


def _set(conf: Any, known: dict[str, Option], key: str, value: Any) -> str | None:
    """Sets one key; returns what is wrong with it, or None."""
    if key not in known:
        inside = [name for name in known if name.startswith(f"{key}.")]
        if inside:
            return f"is a section, not a key; it has {', '.join(inside[:4])}{', …' if len(inside) > 4 else ''}"
        return f"no such key{near(key, list(known))}"
    option = known[key]
    choices = [str(c) for c in get_args(option.type)] if get_origin(option.type) is Literal else []
    if choices and str(value) not in choices:
        return f"expected one of {', '.join(choices)}, found {str(value)!r}{near(str(value), choices)}"
    try:
        # text stays text: a folder may be called 007, true or ???
        if option.type is str and isinstance(value, str):
            OmegaConf.update(conf, key, value.replace("${", "\\${"))
            if OmegaConf.is_missing(conf, key):
                return "found '???', which stands for a missing value; name it otherwise"
            return None
        before = OmegaConf.select(conf, key)
        OmegaConf.update(conf, key, value)
        fault = option.fault(OmegaConf.select(conf, key, throw_on_missing=True))
        if fault:
            OmegaConf.update(conf, key, before)
        return fault
    except OmegaConfBaseException:
        return f"expected {option.noun}, found {value!r} (it is: {option.help})"


def contradictions(section: Any) -> list[str]:
    """What the sections' own checks find, the whole tree down."""
    found = section.faults() if hasattr(section, "faults") else []
    for item in dataclasses.fields(section):
        value = getattr(section, item.name)
        if dataclasses.is_dataclass(value):
            found += contradictions(value)
    return found


def to_yaml(config: Any, sources: dict[str, str] | None = None) -> str:
    """The resolved configuration as YAML, with the layer that set each value as a comment if ``sources`` is given."""
    lines, section = [], ""
    for key in options(type(config)):
        *path, leaf = key.split(".")
        if ".".join(path) != section:
            done = section.split(".") if section else []
            for depth, part in enumerate(path):
                if path[: depth + 1] != done[: depth + 1]:
                    lines.append("  " * depth + f"{part}:")
            section = ".".join(path)
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        text = OmegaConf.to_yaml(OmegaConf.create({leaf: value})).strip()
        comment = f"  # {sources[key]}" if sources else ""
        lines.append("  " * len(path) + text + comment)
    return "\n".join(lines) + "\n"


def help_text(usage: str, schema: Any = Config) -> str:
    """What ``--help`` prints: the usage, then every key with type, default, range and meaning, from the schema."""
    lines = [usage.strip(), ""]
    section = None
    for key, item in options(schema).items():
        head = key.rpartition(".")[0]
        if head != section:
            section = head
            lines.append(f"\n{head or 'general'}:")
        default = str(item.default).lower() if isinstance(item.default, bool) else item.default
        default = "''" if default == "" else default
        bounds = f", {item.range}" if item.bounds else ""
        lines.append(f"  {key}={default}\n      {item.help} ({item.kind}{bounds})")
    if schema is not Config:
        return "\n".join(lines)
    lines.append(f"\ndata=<name>: {', '.join(names('data'))}.  experiment=<name>: {', '.join(names('experiment'))}.")
    return "\n".join(lines)
