"""Export: what a fitted protection makes of a run's data, and how a run stores it."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.base import ImageDataModule
from datamodules.files import write_atomic
from datamodules.images import ImageSet
from datamodules.protected import ManifestHeader, write_protected
from datamodules.protection import Classifying, Norm, Protection, Transferable
from evaluation.jobs import SharedJobs
from gan.protection import GENERATOR

# The settings and the part of the data that each protects: the images that were fitted on, or images never seen.
SETTINGS = {"standard": "train", "fast": "unseen"}

PREDICTED_CLASSES = "named.json"


@dataclass(frozen=True)
class MadeBy:
    """What a manifest states of the protection.

    Attributes:
        method: its name.
        seed: of its fit.
        epsilon: its bound, in the unit of ``norm``; None for none.
        norm: what the bound measures; None for none.
        checkpoint: sha256 of its generator's file; empty without one.
    """

    method: str
    seed: int
    epsilon: float | None
    norm: Norm | None = "linf"
    checkpoint: str = ""


def protectable(data: ImageDataModule, label_free: bool) -> dict[str, str]:
    """The settings, and their parts, that a protection can have sets for: with labels alone none of unseen images."""
    return {s: part for s, part in SETTINGS.items() if part in data.parts and (s == "standard" or label_free)}


def export(folder: Path, protection: Protection, method: str, data: ImageDataModule, seed: int) -> None:
    """Stores what a fitted protection makes, shared out among the processes; files that are there are left alone.

    The generator (.safetensors and card) of one that leaves it, the class read from new images of one that states it,
    and the protected set of each setting.

    Args:
        folder: of the run.
        protection: fitted on part A.
        method: its name, for the manifests.
        data: of the run.
        seed: of the fit.
    """
    checkpoint = ""
    if isinstance(protection, Transferable):
        saved = SharedJobs(None).run({"generator": lambda: {"sha256": protection.save(folder / GENERATOR)}})
        checkpoint = saved["generator"]["sha256"]
    made_by = MadeBy(method, seed, protection.epsilon, protection.norm, checkpoint)
    parts = protectable(data, protection.label_free)

    def protect(setting: str, part: str) -> dict[str, Any]:
        print(f"protecting: {setting}", flush=True)
        # before the set: where the set is whole, the names are there
        if setting == "fast" and isinstance(protection, Classifying):
            names = protection.classify(data.parts[part].images).tolist()
            write_atomic(folder / PREDICTED_CLASSES, json.dumps(names).encode())
        protect_part(folder / "protected" / setting, protection.protect, data, part, made_by)
        return {}

    SharedJobs(None).run(
        {setting: partial(protect, setting, part) for setting, part in parts.items()},
        {setting: len(data.parts[part]) for setting, part in parts.items()},
    )


def predicted_classes(folder: Path) -> Tensor | None:
    """The class (int64 N) that a run's generator read from each unseen image; None where a method reads none."""
    path = folder / PREDICTED_CLASSES
    return torch.tensor(json.loads(path.read_text())) if path.exists() else None


def describe_part(data: ImageDataModule, part: str) -> str:
    """Name and fingerprint of the images that a protected set is of."""
    return f"{data.config.name}:{part}:{data.fingerprints[part]}"


def protect_part(
    folder: Path, protect: Callable[[ImageSet], Tensor], data: ImageDataModule, part: str, made_by: MadeBy
) -> None:
    """Protects one part of the data and stores it in ``folder``; see ``write_protected``."""
    images = data.parts[part]
    header = ManifestHeader(
        data=describe_part(data, part), class_names=list(data.class_names), images=len(images), **asdict(made_by)
    )
    write_protected(folder, images, protect, header)
