"""What the owners' verbs take: ``protect``, ``verify``, ``inspect``. Free of torch, as all options are."""

from dataclasses import dataclass
from typing import Any, Literal

from datamodules.config import option

_GENERATOR = "a run's folder, or a generator's .safetensors; empty: the newest finished run under runs/"


@dataclass
class ProtectConfig:
    """``protect SOURCE DEST``."""

    source: str = option("", "folder of the photos; only read")
    dest: str = option("", "folder for the protected copies; outside of the other")
    generator: str = option("", _GENERATOR)
    format: Literal["png", "webp"] = option("png", "of the copies, both without loss")
    strip: Literal["none", "gps", "all"] = option(
        "none", "leave out where photos were taken, or EXIF and XMP altogether"
    )
    workers: int = option(0, "threads; 0: one a core", ge=0, le=256)
    dry_run: bool = option(False, "list what would become of each file; writes nothing")

    def faults(self) -> list[str]:
        """What is missing, one line each."""
        return _missing(self, "source", "dest")


@dataclass
class VerifyConfig:
    """``verify DEST``."""

    dest: str = option("", "folder that 'protect' wrote")
    source: str = option("", "folder of the photos: the bound is then measured anew on the decoded files")

    def faults(self) -> list[str]:
        """What is missing, one line each."""
        return _missing(self, "dest")


@dataclass
class InspectConfig:
    """``inspect IMAGE``."""

    image: str = option("", "a photo; only read")
    generator: str = option("", _GENERATOR)
    out: str = option("inspect.png", "picture to write: before, after and the noise, amplified")

    def faults(self) -> list[str]:
        """What is missing, one line each."""
        return _missing(self, "image")


# the schema of each verb, and the keys that words without a sign fill, in this order
OWNER_VERBS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "protect": (ProtectConfig, ("source", "dest")),
    "verify": (VerifyConfig, ("dest",)),
    "inspect": (InspectConfig, ("image",)),
}


def _missing(config: Any, *keys: str) -> list[str]:
    return [
        f"{key}: is missing; 'confoundergan --help' shows how it is given" for key in keys if not getattr(config, key)
    ]
