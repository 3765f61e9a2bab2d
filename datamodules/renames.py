"""Names that options, settings and grids had in earlier versions: files, commands and results with them keep loading.

The one table of such names. What is hashed is hashed under the earlier name (``as_hashed``), so that finished cells of
grids stay finished.
"""

from collections.abc import Iterable
from typing import Any

# earlier dotted key of an option -> its key now
OPTIONS = {
    "baselines.patterns.second_reader": "baselines.patterns.auxiliary_classifier",
    "baselines.patterns.second_epochs": "baselines.patterns.auxiliary_epochs",
}
# earlier name of a grid's setting -> its name now
SETTINGS = {"misnamed": "misclassified"}
# earlier name of a field of a grid's rows -> its name now
ROW_FIELDS = {"passes": "cost_to_make"}
# group of experiments/configs -> earlier name of a shipped file -> its name now
FILES = {"grid": {"lent": "transfer"}}

_FIELDS = {new.rpartition(".")[2]: old.rpartition(".")[2] for old, new in OPTIONS.items()}
_EARLIER_SETTINGS = {new: old for old, new in SETTINGS.items()}


def current_option(key: str) -> str:
    """The dotted key that an option has now."""
    return OPTIONS.get(key, key)


def current_options(pairs: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Dotted keys and values, each under the key that the option has now."""
    return [(current_option(key), value) for key, value in pairs]


def current_fields(options: dict[str, Any], section: str) -> dict[str, Any]:
    """Options of one section (such as ``baselines.patterns``), by the names that they have now."""
    return {current_option(f"{section}.{name}").rpartition(".")[2]: value for name, value in options.items()}


def current_file(group: str, name: str) -> str:
    """The name that a shipped file of ``experiments/configs/<group>`` has now."""
    return FILES.get(group, {}).get(name, name)


def current_spec(spec: dict[str, Any]) -> dict[str, Any]:
    """A grid's content with the names that its settings have now."""
    return spec | {"settings": [SETTINGS.get(name, name) for name in spec["settings"]]}


def current_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a grid with the names that its setting and its fields have now."""
    row = {ROW_FIELDS.get(key, key): value for key, value in row.items()}
    place = row["place"]
    return row | {"place": place | {"setting": SETTINGS[place["setting"]]}} if place.get("setting") in SETTINGS else row


def as_hashed(content: Any) -> Any:
    """What decides a cell of a grid, with the names under which it has always been hashed."""
    if isinstance(content, dict):
        found = {_FIELDS.get(key, key): as_hashed(value) for key, value in content.items()}
        if found.get("setting") in _EARLIER_SETTINGS:
            found["setting"] = _EARLIER_SETTINGS[found["setting"]]
        return found
    return content
