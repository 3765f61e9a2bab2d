"""Trains the noise network that comes with the package, on pictures that permit redistribution of what is trained on
them.

::

    python -m experiments.pretrain out=gan/shipped/noise.safetensors gan.gan_loss=none steps=5700 classes=96

Half of the pictures are procedural, half are crops of freely licensed photographs; a quarter of either is stretched
until much of it is black or white, where noise is cut off, as in digits and X-rays. A GPU is used where there is one.

The game is that of ``train``, with the codes of so many classes; labels and the auxiliary classifier play no part in
it. A stopped call resumes from its last checkpoint. Other options are those of ``train`` (``gan.…``).
"""

import shlex
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from callbacks.seeding import SeedEveryStep
from callbacks.stopping import WholeCheckpoints
from datamodules.augment import draws
from datamodules.batches import Batch
from datamodules.images import to_float
from datamodules.photographs import CREDIT, crops
from datamodules.procedural import leaves
from experiments.config import compose
from experiments.folder import environment, rank_zero_print
from gan.module import ConfounderGAN
from gan.noise import SIDE
from gan.protection import save_noise, start_network

PICTURES, BATCH = 12_000, 64
STRETCH = 100  # batches of an "epoch", after which a checkpoint is written
CUT = 4  # of so many pictures one is stretched


class Pictures(Dataset[Batch]):
    """Batch i of procedural pictures and crops of photographs: a function of the seed and i."""

    def __init__(self, count: int, seed: int) -> None:
        half = count // 2
        self.pictures = torch.cat([leaves(count - half, SIDE, seed), crops(half, SIDE, seed)])
        self.pictures[::CUT] = stretched(self.pictures[::CUT], seed)
        self.seed, self.start = seed, 0

    def __len__(self) -> int:
        return STRETCH

    def __getitem__(self, index: int) -> Batch:
        rows = torch.randint(len(self.pictures), (BATCH,), generator=draws(self.seed, self.start, index))
        images = to_float(self.pictures[rows])
        return Batch(images, torch.zeros(BATCH, dtype=torch.int64), images.roll(1, 0), rows, 1.0)


def stretched(pictures: Tensor, seed: int) -> Tensor:
    """Pictures, uint8 N×3×H×W, of one to three times their contrast and other brightness, cut off at 0 and 255."""
    random = draws(seed, len(pictures))
    contrast, brightness = torch.rand(2, len(pictures), 1, 1, 1, generator=random)
    shown = (to_float(pictures) - 0.5) * (1 + 2 * contrast) + 0.5 + 1.2 * (brightness - 0.5)
    found: Tensor = (shown * 255).round().clamp(0, 255).to(torch.uint8)
    return found


class Pretraining(ConfounderGAN):
    """The game alone: there is no class to be read."""

    def on_fit_start(self) -> None:
        """Nothing is trained before."""


class Source(pl.LightningDataModule):
    """Stretches of batches, each stretch with draws of its own."""

    def __init__(self, pictures: Pictures) -> None:
        super().__init__()
        self.pictures = pictures

    def train_dataloader(self) -> DataLoader[Batch]:
        assert self.trainer is not None
        self.pictures.start = self.trainer.current_epoch
        return DataLoader(self.pictures, batch_size=None)


class Lines(pl.Callback):
    """One line per stretch: what is read, and how hard the game is."""

    def __init__(self, clock: float) -> None:
        self.clock = clock

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ConfounderGAN)
        found = trainer.callback_metrics
        rank_zero_print(
            f"{(trainer.current_epoch + 1) * STRETCH} steps: levels {each(pl_module.curriculum.levels)}, read "
            f"{each(pl_module.curriculum.reads)}, {found['psnr_epoch']:.1f} dB, "
            f"{time.perf_counter() - self.clock:.0f} s"
        )


def each(values: Tensor) -> str:
    """One number per surrogate."""
    return " ".join(f"{value:.2f}" for value in values.tolist())


def main(arguments: list[str]) -> None:
    """Trains and writes the network with its card.

    Args:
        arguments: ``steps=``, ``out=``, ``classes=``, ``pictures=``, ``seed=``, and options of ``train``.
    """
    clock = time.perf_counter()
    own: dict[str, str] = {
        "steps": "10000",
        "out": "noise.safetensors",
        "pictures": str(PICTURES),
        "seed": "0",
        "classes": "",
    }
    rest = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in own:
            own[key] = value
        else:
            rest.append(argument)
    config, _ = compose(["gan.start=none", "gan.classifier.pretrained=none", "gan.classifier.arch=linear", *rest])
    out, seed, steps = Path(own["out"]), int(own["seed"]), int(own["steps"])
    classes = int(own["classes"] or config.gan.noise.code)
    rank_zero_print(f"making {own['pictures']} pictures")
    data = Source(Pictures(int(own["pictures"]), seed))
    start = start_network(config.gan.start, config.gan.noise)
    module = Pretraining(config.gan, classes, 3, (SIDE, SIDE), steps, seed, start)
    folder = out.parent / f"{out.stem}-checkpoints"
    last = folder / "last.ckpt"
    trainer = pl.Trainer(
        accelerator=config.trainer.accelerator, devices=1, max_epochs=steps // STRETCH, logger=False,
        enable_progress_bar=False, enable_model_summary=False, reload_dataloaders_every_n_epochs=1,
        plugins=[WholeCheckpoints()], callbacks=[
            SeedEveryStep(seed), Lines(clock),
            ModelCheckpoint(folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True),
        ],
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
    command = shlex.join(["python", "-m", "experiments.pretrain", *arguments])
    where = environment()
    facts: dict[str, Any] = {
        "command": command,
        "images": int(own["pictures"]),
        "pictures": f"half of them procedural (datamodules/procedural.py), half {CREDIT}; seed {seed}",
        "classes": classes,
        "epsilon": config.gan.epsilon,
        "steps": steps,
        "level": module.curriculum.level,
        "read": module.curriculum.read,
        "seconds": module.seconds,
        "seed": seed,
        "device": where["device"],
        "versions": where["versions"],
    }
    sha256 = save_noise(out, module.generator.noise_network, facts)
    rank_zero_print(f"{out}: sha256 {sha256}")


if __name__ == "__main__":
    main(sys.argv[1:])
