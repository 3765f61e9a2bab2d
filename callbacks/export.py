"""Export of a trained generator and of the sets that it protects."""

from collections.abc import Callable
from pathlib import Path

from datamodules.base import ImageDataModule
from datamodules.protected import About, write_protected
from gan.protection import Card, TrainedGenerator, save_generator

# The settings and the part of the data that each protects: the generator's own images, or images it never saw.
SETTINGS = {"standard": "train", "fast": "unseen"}


class Export:
    """Writes the generator (.safetensors and card), then each setting's protected set.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(
        self,
        trained: TrainedGenerator,
        card: Card,
        data: ImageDataModule,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Writes all of it; files that are there already are left alone."""
        sha256 = save_generator(self.folder / "generator.safetensors", trained.generator, card)
        for setting, part in SETTINGS.items():
            if part in data.parts:
                progress(setting)
                protect_part(self.folder / "protected" / setting, trained, data, part, sha256, card.seed)


def describe_part(data: ImageDataModule, part: str) -> str:
    """Name and fingerprint of the images that a protected set is of."""
    return f"{data.config.name}:{part}:{data.fingerprints[part]}"


def protect_part(
    folder: Path, trained: TrainedGenerator, data: ImageDataModule, part: str, checkpoint: str, seed: int
) -> None:
    """Protects one part of the data and stores it in ``folder``."""
    images = data.parts[part]
    about = About(
        method="confoundergan",
        checkpoint=checkpoint,
        epsilon=trained.epsilon,
        seed=seed,
        data=describe_part(data, part),
        class_names=list(data.class_names),
        images=len(images),
    )
    # the generator gets pixels alone, never a label
    write_protected(folder, images, lambda part: trained.protect(part.images), about)
