"""Protected sets on disk: what an owner publishes, and the only thing that a victim ever trains on.

::

    <folder>/<class>/<number>.png      lossless, any ImageFolder reads it
    <folder>/metadata.csv              file name, label and class of every image, for Hugging Face's ``imagefolder``
    <folder>/manifest.jsonl            first line: about the set; then one line per image, in the order of the source

Every file gets its final name complete (written beside it, then renamed). While a set is being written the manifest is
called ``manifest.partial.jsonl``; a killed writer resumes there.
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.config import DataError
from datamodules.files import write_atomic
from datamodules.images import ImageSet, class_folders
from datamodules.protection import UNITS, Norm, change_sizes

FORMAT = 1
SHOWN = 5  # faulty files that a message names
READ_AS_IMAGES = (".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # by any ImageFolder
MANIFEST, PARTIAL, METADATA = "manifest.jsonl", "manifest.partial.jsonl", "metadata.csv"


@dataclass(frozen=True)
class ManifestHeader:
    """The manifest's first line.

    Attributes:
        method: name of the protection.
        checkpoint: sha256 of the generator's file; empty for methods without one.
        epsilon: the bound, in the unit of its norm; None for none.
        seed: of the protection.
        data: name and fingerprint of the images that were protected.
        class_names: in label order; also the folders' names.
        images: how many.
        norm: what the bound measures; None for methods without a bound.
    """

    method: str
    checkpoint: str
    epsilon: float | None
    seed: int
    data: str
    class_names: list[str]
    images: int
    norm: Norm | None = "linf"


@dataclass(frozen=True)
class Entry:
    """One image's line in the manifest.

    Attributes:
        path: relative to the manifest.
        label: from 0.
        original_sha256: of the clean pixels (uint8, H×W×C, row by row).
        protected_sha256: of the file.
        linf: largest change of a pixel, in grey levels.
    """

    path: str
    label: int
    original_sha256: str
    protected_sha256: str
    linf: int


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def write_protected(
    folder: Path, clean: ImageSet, protect: Callable[[ImageSet], Tensor], header: ManifestHeader, chunk: int = 256
) -> None:
    """Protects images and stores them; resumes where a killed call stopped.

    Args:
        folder: made if absent.
        clean: the images, with their true labels, which are published as folder names.
        protect: B images to uint8 B×C×H×W, deterministic; label-free methods leave the labels alone.
        header: the manifest's first line.
        chunk: images protected at a time.

    Raises:
        DataError: the folder holds another set, or an image was changed by more than the bound.
    """
    first = json.dumps({"format": FORMAT, **asdict(header)})
    final, partial = folder / MANIFEST, folder / PARTIAL
    for manifest in (final, partial):
        if manifest.exists() and not _describes(manifest, header):
            raise DataError(f"{manifest}: belongs to another protected set; choose another folder or delete this one")
    if final.exists():
        return
    folders = class_folders(header.class_names)
    for name in folders:
        (folder / name).mkdir(parents=True, exist_ok=True)
    # a torn last line (killed while writing it) is written again
    done = partial.read_text().split("\n")[1:-1] if partial.exists() else []
    write_atomic(partial, "\n".join([first, *done, ""]).encode())
    with partial.open("a") as lines:
        for start in range(len(done), len(clean), chunk):
            part = clean.subset(torch.arange(start, min(start + chunk, len(clean))))
            protected = protect(part)
            linf = change_sizes(part.images, protected, "linf")
            if header.norm is not None and header.epsilon is not None:
                size = change_sizes(part.images, protected, header.norm)
                if size.max() > header.epsilon:
                    raise DataError(
                        f"{folder}: image {start + int(size.argmax())} was changed by {size.max():g} "
                        f"{UNITS[header.norm]}, above ε = {header.epsilon:g}; the protection is faulty"
                    )
            before, after = (t.permute(0, 2, 3, 1).numpy() for t in (part.images, protected))
            for i, label in enumerate(part.labels.tolist()):
                path = Path(folders[label]) / f"{start + i:06d}.png"
                data = _png(after[i])
                write_atomic(folder / path, data)
                original, stored = (hashlib.sha256(b).hexdigest() for b in (before[i].tobytes(), data))
                entry = Entry(path.as_posix(), label, original, stored, int(linf[i]))
                lines.write(json.dumps(asdict(entry)) + "\n")
            lines.flush()
    entries = [Entry(**json.loads(line)) for line in partial.read_text().splitlines()[1:]]
    write_atomic(folder / METADATA, _metadata(entries, header.class_names))
    os.replace(partial, final)


def _metadata(entries: list[Entry], class_names: list[str]) -> bytes:
    """The table that Hugging Face's ``imagefolder`` looks for: file name, label and class of every image."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file_name", "label", "class"])
    table.writerows((entry.path, entry.label, class_names[entry.label]) for entry in entries)
    return text.getvalue().encode()


class OtherVersion(ValueError):
    """A manifest of another format."""


def _header_of(line: str) -> ManifestHeader:
    """What a manifest's first line says. Raises ValueError, TypeError where it is none of this version."""
    fields = json.loads(line)
    if fields.pop("format", None) != FORMAT:
        raise OtherVersion("made by another version of this program")
    return ManifestHeader(**fields)


def _describes(manifest: Path, header: ManifestHeader) -> bool:
    try:
        return _header_of(manifest.read_text().partition("\n")[0]) == header
    except (ValueError, TypeError):
        return False


class ProtectedDataset(Dataset[tuple[Any, int]]):
    """A protected set read back from disk, image by image as torchvision's ``ImageFolder`` does, or all of it at once.

    Args:
        folder: holds ``manifest.jsonl``.
        transform: what is made of each image, from a PIL image; None: a tensor, uint8 C×H×W.

    Attributes:
        header: the manifest's first line.
        entries: its other lines, one per image.
        classes: the classes' names, in label order.
        class_to_idx: label by name.
        targets: every image's label, in order.
        transform: as given.

    Raises:
        DataError: no manifest, an unfinished one, or one of another version.
    """

    def __init__(self, folder: str | Path, transform: Callable[[Image.Image], Any] | None = None) -> None:
        self.folder, self.transform = Path(folder), transform
        path = self.folder / MANIFEST
        if not path.is_file():
            state = (
                "its writing was cut off; run the same command again"
                if (self.folder / PARTIAL).exists()
                else "none found"
            )
            raise DataError(f"{path}: no finished protected set here ({state})")
        try:
            first, *lines = path.read_text().splitlines()
            self.header = _header_of(first)
            self.entries = [Entry(**json.loads(line)) for line in lines]
        except OtherVersion as error:
            raise DataError(f"{path}: {error}; protect the images again, or use that version") from error
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: damaged ({error}); protect the images again") from error
        if len(self.entries) != self.header.images:
            raise DataError(
                f"{path}: lists {len(self.entries)} of {self.header.images} images; protect the images again"
            )
        self.classes = self.header.class_names
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}
        self.targets = [entry.label for entry in self.entries]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """An image and its label; the file is checked as it is read.

        Raises:
            DataError: the file is missing or changed; it names it.
            IndexError: there is no such image.
        """
        entry = self.entries[index]
        image: Image.Image = Image.open(io.BytesIO(self.content(index)))
        if self.transform is not None:
            return self.transform(image), entry.label
        array = np.array(image)
        pixels = array.reshape(*array.shape[:2], -1).transpose(2, 0, 1)
        return torch.from_numpy(np.ascontiguousarray(pixels)), entry.label

    def content(self, index: int) -> bytes:
        """An image's file, checked as it is read; raises as ``__getitem__`` does."""
        data, fault = self._read(self.entries[index])
        if fault:
            raise DataError(f"{fault}; restore the set, or protect the images again")
        return data

    def _read(self, entry: Entry) -> tuple[bytes, str]:
        """A listed file's content, and what is wrong with it; empty when nothing is."""
        path = self.folder / entry.path
        try:
            data = path.read_bytes()
        except OSError as error:
            return b"", f"{path}: listed in the manifest, but not readable ({error.strerror})"
        same = hashlib.sha256(data).hexdigest() == entry.protected_sha256
        return data, "" if same else f"{path}: is not the file that the manifest describes"

    def _files(self) -> list[bytes]:
        """The listed files' content, in order.

        Raises:
            DataError: files are missing or changed; it names them.
        """
        found, faults = [], []
        for entry in self.entries:
            data, fault = self._read(entry)
            found.append(data)
            if fault:
                faults.append(fault)
        listed = {entry.path for entry in self.entries}
        for path in sorted(self.folder.rglob("*")):
            if path.suffix.lower() in READ_AS_IMAGES and path.relative_to(self.folder).as_posix() not in listed:
                faults.append(f"{path}: is not listed in the manifest; remove it")
        if faults:
            more = f" (and {len(faults) - SHOWN} files more)" if len(faults) > SHOWN else ""
            raise DataError("; ".join(faults[:SHOWN]) + f"{more}; restore the set, or protect the images again")
        return found

    def load(self) -> ImageSet:
        """All images, decoded from their files, in the order of the source.

        Raises:
            DataError: files are missing, changed, or not listed, or they are of several sizes; it names them.
        """
        arrays = [np.asarray(Image.open(io.BytesIO(data))) for data in self._files()]
        for entry, array in zip(self.entries, arrays, strict=True):
            if array.shape != arrays[0].shape:
                raise DataError(
                    f"{self.folder / entry.path}: is {_shape(array)}, but {self.entries[0].path} is "
                    f"{_shape(arrays[0])}; victims need images of one size: protect them with data.size=<pixels>"
                )
        images = np.stack([a.reshape(*a.shape[:2], -1) for a in arrays]).transpose(0, 3, 1, 2)
        labels = torch.tensor([entry.label for entry in self.entries], dtype=torch.int64)
        return ImageSet(torch.from_numpy(np.ascontiguousarray(images)), labels)


def _shape(array: np.ndarray) -> str:
    """Width, height and channels in words."""
    height, width, *channels = array.shape
    return f"{width}×{height} pixels{f' of {channels[0]} channels' if channels else ', gray'}"
