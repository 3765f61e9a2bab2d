"""What the owners' verbs take. Free of torch, as all options are."""

from dataclasses import dataclass
from typing import Any, Literal

from datamodules.config import option

_GENERATOR = "a run's folder, or a .safetensors; empty: the one that ships"


@dataclass
class ProtectConfig:
    """``protect SOURCE DEST``."""

    source: str = option("", "folder of the photos; only read")
    dest: str = option("", "folder for the protected copies; outside of the other")
    generator: str = option("", _GENERATOR)
    format: Literal["png", "webp", "jpeg"] = option("png", "of the copies; png and webp are without loss")
    quality: int = option(95, "format=jpeg: the lowest; raised where the bound asks for it", ge=1, le=100)
    strip: Literal["none", "gps", "all"] = option(
        "none", "leave out where photos were taken, or EXIF and XMP altogether"
    )
    classes: Literal["auto", "folders", "groups", "read"] = option(
        "auto",
        "whose code a photo gets: its class folder's, its group of like photos', or that of the class read from it",
    )
    visible: Literal["full", "less", "least"] = option(
        "full",
        "how visible the noise may be on smooth areas (sky, skin): all of it, half or a quarter; full protects best",
    )
    workers: int = option(0, "threads; 0: one per core", ge=0, le=256)
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = option("auto", "kind of device that reads the photos' classes")
    devices: int = option(1, "devices (processes) on this machine, which share the photos; 0: all there are", ge=0)
    num_nodes: int = option(1, "machines that share the photos, started by torchrun or SLURM", ge=1)
    join_minutes: float = option(10.0, "several machines: the longest wait at the start for all processes", gt=0)
    shard: str = option("", "i/n: the i-th of n equal shares, for n calls that know nothing of each other")
    shown: int = option(
        4,
        "photos that the report shows unprotected, beside their copies; 0: none, for a report to pass on",
        ge=0,
        le=20,
    )
    dry_run: bool = option(False, "list what would become of each file; writes nothing")
    fit: bool = option(False, "train a generator on these very photos first (long); resumable")
    clusters: int = option(10, "fit without class folders: groups of like photos that stand in", ge=2, le=1000)
    run: str = option("", "fit: folder of that run; empty: runs/fit-<name of dest>")
    options: str = option("", "fit: options of 'train' for that run, separated by blanks")

    def faults(self) -> list[str]:
        """What is missing or contradicts itself, one line each."""
        found = _missing(self, "source", "dest")
        if self.shard and not self.shares():
            found.append(f"shard: expected i/n with 1 ≤ i ≤ n, such as 2/4, found {self.shard!r}")
        if self.shard and self.fit:
            found.append("shard: contradicts fit=true, which trains in one place; fit first, then give generator=")
        if self.devices != 1 or self.num_nodes != 1:
            if self.fit:
                found.append(
                    "devices: contradicts fit=true, whose training takes options='trainer.devices=…'; fit first, then "
                    "give generator="
                )
            if self.shard:
                found.append("shard: contradicts devices and num_nodes, which share the photos out; leave one out")
        if self.fit and self.generator:
            found.append("generator: contradicts fit=true, which trains one; leave one of them out")
        if not self.fit and (self.run or self.options):
            found.append("fit: run and options are read with fit=true only; add it, or leave them out")
        return found

    def shares(self) -> tuple[int, int] | None:
        """``shard`` as numbers; (1, 1) for all; None where it is none."""
        first, _, count = (self.shard or "1/1").partition("/")
        if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
            return None
        return int(first), int(count)


@dataclass
class VerifyConfig:
    """``verify DEST``."""

    dest: str = option("", "folder that 'protect' wrote")
    source: str = option("", "folder of the photos: the bound is then measured anew on the decoded files")

    def faults(self) -> list[str]:
        """What is missing, one line each."""
        return _missing(self, "dest")


@dataclass
class CheckConfig:
    """``check DEST source=PHOTOS``."""

    dest: str = option("", "folder that 'protect' wrote")
    source: str = option("", "folder of the photos")
    size: int = option(64, "pixels per side to which a collector shrinks the photos", ge=16, le=224)
    limit: int = option(1000, "photos that are looked at, at most", ge=1)

    def faults(self) -> list[str]:
        """What is missing, one line each."""
        return _missing(self, "dest", "source")


@dataclass
class InspectConfig:
    """``inspect IMAGE``."""

    image: str = option("", "a photo; only read")
    generator: str = option("", _GENERATOR)
    out: str = option("inspect.png", "picture to write: before, after and the noise, amplified")

    def faults(self) -> list[str]:
        """What is missing, one line each."""
        return _missing(self, "image")


@dataclass
class ExportConfig:
    """``export OUT``."""

    out: str = option("generator.onnx", "file to write: images of the training size to their noise, as ONNX")
    generator: str = option("", _GENERATOR)

    def faults(self) -> list[str]:
        """What is wrong, one line each."""
        return [] if self.out.endswith(".onnx") else [f"out: {self.out!r} does not end in .onnx; give such a name"]


# the schema of each verb, and the keys that words without a sign fill, in this order
OWNER_VERBS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "protect": (ProtectConfig, ("source", "dest")),
    "verify": (VerifyConfig, ("dest",)),
    "check": (CheckConfig, ("dest", "source")),
    "inspect": (InspectConfig, ("image",)),
    "export": (ExportConfig, ("out",)),
}


def _missing(config: Any, *keys: str) -> list[str]:
    return [
        f"{key}: is missing; 'confoundergan --help' shows how it is given" for key in keys if not getattr(config, key)
    ]
