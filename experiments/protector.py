"""Protecting photos from Python: three lines, without labels and without a GPU.

::

    from experiments.protector import Protector

    protector = Protector.load("runs/digits-20260101-120000")
    after = protector.protect(before)                       # a Pillow image, or a uint8 tensor C×H×W or N×C×H×W
    protector.protect_folder("photos", "photos-protected")
"""

import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datamodules.config import DataError, path_of
from datamodules.decode import BadImage
from datamodules.photo import Output, Photo, Strip, photo_of, read_photo
from datamodules.photo_folder import REPORT, Head, Summary, write_folder
from datamodules.protected import write_atomic
from experiments.folder import RunError, newest
from experiments.owner_report import page
from gan.native import Change, add_noise, read_code, steps_of
from gan.protection import Card, TrainedGenerator, load_generator

NAME = "generator.safetensors"


@dataclass(frozen=True)
class Inspection:
    """One photo before and after.

    Attributes:
        before: the photo, upright, in the colours of ``after``.
        after: the protected one.
        change: what the noise did.
        class_name: the likeliest class by the generator's reading, which the noise spells.
        share: its probability.
    """

    before: Photo
    after: Photo
    change: Change
    class_name: str
    share: float


class Protector:
    """A trained generator, applied to photos at their own size.

    Args:
        trained: the generator.
        card: what is known of it.
        checkpoint: sha256 of its file.
        path: of its file.
    """

    def __init__(self, trained: TrainedGenerator, card: Card, checkpoint: str, path: Path) -> None:
        self.generator, self.card, self.checkpoint, self.path = trained.generator, card, checkpoint, path
        self.size = (card.size[0], card.size[1])

    @classmethod
    def load(cls, generator: str | Path = "") -> "Protector":
        """From a run's folder or a .safetensors; from the newest finished run under runs/ where none is given.

        Raises:
            RunError: there is no such generator.
            GeneratorFileError: its file is damaged, tampered with, or of another version.
        """
        path = find_generator(str(generator))
        return cls(*load_generator(path), path)

    @overload
    def protect(self, image: Image.Image) -> Image.Image: ...
    @overload
    def protect(self, image: Tensor) -> Tensor: ...
    def protect(self, image: Image.Image | Tensor) -> Image.Image | Tensor:
        """The protected image, of the same kind and size.

        Args:
            image: a Pillow image of any mode (comes back upright, as L, LA, RGB, RGBA or I;16), or uint8 C×H×W or
                N×C×H×W with C = 1 or 3. A gray one comes back in colour if the generator was trained on colour.

        Raises:
            ValueError: a tensor of another type or shape.
            BadImage: a Pillow image of 32-bit pixels.
        """
        if isinstance(image, Image.Image):
            return self.protect_photo(photo_of(image.copy()))[0].image()
        if image.dtype != torch.uint8 or image.dim() not in (3, 4) or image.shape[-3] not in (1, 3):
            raise ValueError(
                f"expected uint8 C×H×W or N×C×H×W with 1 or 3 channels, found {str(image.dtype)[6:]} "
                f"{'×'.join(map(str, image.shape))}"
            )
        if image.dim() == 4:
            return torch.stack([self.protect(one) for one in image]) if len(image) else image.clone()
        pixels = image.cpu().permute(1, 2, 0).contiguous().numpy().copy()
        return torch.from_numpy(self.protect_photo(Photo(pixels))[0].pixels).permute(2, 0, 1).contiguous()

    def protect_photo(self, photo: Photo) -> tuple[Photo, Change]:
        """A photo, changed in place where its number of channels allows, and what the noise did.

        Raises:
            BadImage: 16-bit gray, and a generator for colour.
        """
        return self._apply(photo)[:2]

    def _apply(self, photo: Photo) -> tuple[Photo, Change, Tensor]:
        channels = self.card.channels
        photo = photo.in_colour() if channels == 3 else photo
        code = read_code(self.generator, photo, channels, self.size)
        change = add_noise(photo, steps_of(self.generator, code, photo, channels, self.card.epsilon))
        return photo, change, code

    def inspect(self, path: Path) -> Inspection:
        """One photo before and after.

        Raises:
            DataError: it cannot be read.
        """
        try:
            data = path.read_bytes()
            before = read_photo(data)
            before = before.in_colour() if self.card.channels == 3 else before
            after, change, code = self._apply(read_photo(data))
        except OSError as error:
            raise DataError(f"image: {path} cannot be read ({error.strerror}); give a photo") from error
        except BadImage as error:
            raise DataError(f"image: {path}: {error}") from error
        shares = code.float().softmax(1)[0]
        best = int(shares.argmax())
        return Inspection(before, after, change, self.card.class_names[best], shares[best].item())

    def head(self, output: Output, strip: Strip) -> Head:
        """The first line of a folder's manifest."""
        card = self.card
        return Head("confoundergan", self.checkpoint, card.epsilon, card.seed, card.data, output, strip)

    def protect_folder(
        self,
        source: str | Path,
        dest: str | Path,
        format: Output = "png",
        strip: Strip = "none",
        workers: int = 0,
        progress: Callable[[Summary], None] = lambda summary: None,
    ) -> Summary:
        """Protects all photos of a folder into another; goes on where a killed call stopped (docs/PROTECT.md).

        Args:
            source: is only read.
            dest: made if absent; outside of ``source``.
            format: ``png`` or ``webp``, both without loss.
            strip: ``gps`` or ``all`` leaves out of EXIF and XMP where photos were taken, or all.
            workers: threads; 0: one a core.
            progress: called after every photo.

        Raises:
            DataError: the folders are refused; the message says why.
            OSError: the disk is full; the same call goes on later.
        """
        source, dest = path_of(str(source)), path_of(str(dest))

        def report(manifest: Path, summary: Summary) -> None:
            write_atomic(dest / REPORT, page(manifest, dest, summary, self.card, self.evidence()).encode())

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums are then the same on any number of cores; the photos are what runs side by side
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # damaged EXIF, large pictures: what matters is raised
                return write_folder(
                    source, dest, self.head(format, strip), self.protect_photo, workers or os.cpu_count() or 1,
                    progress, report,
                )  # fmt: skip
        finally:
            torch.set_num_threads(threads)

    def evidence(self) -> dict[str, Any] | None:
        """What the generator's own run measured: its results.json; None without one."""
        for folder in (self.path.parent, self.path.parent.parent):  # with several seeds each has a folder of its own
            try:
                found = json.loads((folder / "results.json").read_text())
                return found if isinstance(found["mean"], dict) else None
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return None


def find_generator(text: str) -> Path:
    """A generator's file.

    Args:
        text: a .safetensors, a run's folder (of several seeds the first one's), or nothing for the newest finished run.

    Raises:
        RunError: there is none.
    """
    if not text:
        try:
            folder = newest()
        except RunError as error:
            raise RunError(
                "generator: no finished run under runs/; train one, or give generator=<run's folder or .safetensors>"
            ) from error
    else:
        folder = path_of(text)
    if folder.suffix == ".safetensors":
        return folder
    seeds = sorted(folder.glob(f"seed-*/{NAME}"), key=lambda path: (len(path.parent.name), path.parent.name))
    found = [path for path in (folder / NAME, *seeds) if path.is_file()]
    if not found:
        raise RunError(f"generator: {folder} holds no {NAME}; give a run that 'train' made with method=confoundergan")
    return found[0]


def amplified(before: Photo, after: Photo, epsilon: float, side: int = 512) -> Image.Image:
    """Before, after and noise beside each other at true pixels, of the middle of a photo where it is large.

    The noise fills black to white at ±ε; reducing the picture would take it away.
    """
    height, width = before.pixels.shape[:2]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    parts = [photo.pixels[top : top + side, left : left + side].astype(np.float64) for photo in (before, after)]
    scale = 255 / np.iinfo(before.pixels.dtype).max
    parts = [part * scale for part in parts]
    parts.append(127.5 + (parts[1] - parts[0]) * (127.5 / epsilon))
    cells = [np.broadcast_to(part.round().clip(0, 255).astype(np.uint8), (*part.shape[:2], 3)) for part in parts]
    gap = np.full((cells[0].shape[0], 4, 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([cells[0], gap, cells[1], gap, cells[2]], 1))
