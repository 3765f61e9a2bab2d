"""Figures that others have published, shown beside ours: files of ``configs/published``.

Keys of such a file: ``source`` (who, where, when), ``note`` (how far the protocols agree), ``figures`` (a grid's name
of a variant → its name of a victim → accuracy in %).
"""

from typing import Any

from omegaconf import OmegaConf

from experiments.config import CONFIGS, ConfigError, names, near

KEYS = {"source", "note", "figures"}


def read_published(name: str) -> dict[str, Any]:
    """A file's content.

    Raises:
        ConfigError: no such file, or not laid out as this module says.
    """
    if name not in names("published"):
        known = names("published")
        raise ConfigError([f"published: no figures {name!r}{near(str(name), known)}; known: {', '.join(known)}"])
    found: Any = OmegaConf.to_container(OmegaConf.create((CONFIGS / "published" / f"{name}.yaml").read_text()))
    if set(found) != KEYS:
        raise ConfigError([f"published: {name} needs exactly the keys {', '.join(sorted(KEYS))}"])
    return dict(found)
