"""What a grid asks: its file, read and checked."""

from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from datamodules.renames import current_file, current_spec
from experiments.config import CONFIGS, ConfigError, leaves, names, near
from experiments.report.published import read_published

# clean: part A; standard: A protected; clean_fast: part B; fast: B protected; misclassified: the unprotected images of
# B that the generator misclassifies: what an attacker could learn if the others were useless
SETTINGS_ALL = ("clean", "standard", "clean_fast", "fast", "misclassified")
TRAINED_ON = "trained_on"
KEYS = {"about", "data", "variants", "victims", "settings", "seeds", "measured_on"}


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
        if s not in SETTINGS_ALL
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


def asked_for(spec: dict[str, Any], data: str, variant: str, victim: str) -> list[str]:
    """The ``key=value`` arguments of a combination."""
    merged = _pairs(spec["data"][data]) | _pairs(spec["variants"][variant]) | _pairs(spec["victims"][victim])
    return [f"{key}={value}" for key, value in merged.items() if key != TRAINED_ON]


def trained_on(spec: dict[str, Any], data: str, variant: str) -> str | None:
    """The other data set whose generator a variant uses; None where it is the same one's."""
    origin: str | None = (spec["variants"][variant] or {}).get(TRAINED_ON)
    return None if origin == data else origin


def _pairs(options: Any) -> dict[str, Any]:
    return dict(leaves(options or {}))
