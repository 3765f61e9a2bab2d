"""Export of a trained generator and of the sets that it protects."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.base import ImageDataModule
from datamodules.files import write_atomic
from datamodules.protected import ManifestHeader, write_protected
from evaluation.jobs import SharedJobs
from gan.protection import GENERATOR, GeneratorCard, TrainedGenerator, save_generator

# The settings and the part of the data that each protects: the generator's own images, or images it never saw.
SETTINGS = {"standard": "train", "fast": "unseen"}

PREDICTED_CLASSES = "named.json"


class Export:
    """Writes the generator (.safetensors and card), each setting's protected set, and the class read from new images.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(
        self,
        trained: TrainedGenerator,
        card: GeneratorCard,
        data: ImageDataModule,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Writes all of it, shared out among the processes; files that are there already are left alone."""

        def generator() -> dict[str, Any]:
            return {"sha256": save_generator(self.folder / GENERATOR, trained.generator, card)}

        def protect(setting: str, part: str) -> dict[str, Any]:
            progress(setting)
            if setting == "fast":  # before the set: where the set is whole, the names are there
                names = trained.classify(data.parts[part].images).tolist()
                write_atomic(self.folder / PREDICTED_CLASSES, json.dumps(names).encode())
            protect_part(self.folder / "protected" / setting, trained, data, part, sha256, card.seed)
            return {}

        sha256 = SharedJobs(None).run({"generator": generator})["generator"]["sha256"]
        parts = {setting: part for setting, part in SETTINGS.items() if part in data.parts}
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
    folder: Path, trained: TrainedGenerator, data: ImageDataModule, part: str, checkpoint: str, seed: int
) -> None:
    """Protects one part of the data and stores it in ``folder``."""
    images = data.parts[part]
    header = ManifestHeader(
        method="confoundergan",
        checkpoint=checkpoint,
        epsilon=trained.epsilon,
        seed=seed,
        data=describe_part(data, part),
        class_names=list(data.class_names),
        images=len(images),
    )
    # the generator gets pixels alone, never a label
    write_protected(folder, images, lambda part: trained.protect(part.images), header)
