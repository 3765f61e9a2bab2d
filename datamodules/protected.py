"""Protected sets on disk: what an owner publishes, and the only thing that a victim ever trains on.

::

    <folder>/<class>/<number>.png      lossless, any ImageFolder reads it
    <folder>/manifest.jsonl            first line: about the set; then one line an image, in the order of the source

Every file gets its final name complete (written beside it, then renamed). While a set is being written the manifest is
called ``manifest.partial.jsonl``; a killed writer goes on from there.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datamodules.config import DataError
from datamodules.images import ImageSet, folder_name

FORMAT = 1
SHOWN = 5  # faulty files that a message names
READ_AS_IMAGES = (".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # by any ImageFolder
MANIFEST, PARTIAL = "manifest.jsonl", "manifest.partial.jsonl"
# the size of a change, as bounds measure it: its largest value in grey levels; its Euclidean length, pixels in [0, 1];
# how many pixels (of whatever channel) it touches
Norm = Literal["linf", "l2", "l0"]
UNITS: dict[Norm, str] = {"linf": "grey levels", "l2": "of Euclidean length", "l0": "pixels"}


@dataclass(frozen=True)
class About:
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


@dataclass(frozen=True)
class Passes:
    """What fitting a protection cost, in passes through a network for each image that it was fitted on.

    Attributes:
        forward: forward passes an image, those in training, crafting and checking together.
        backward: backward passes an image.
    """

    forward: float = 0.0
    backward: float = 0.0


class Protection(Protocol):
    """What every protection offers, so that all of them take the same way to disk.

    Attributes:
        name: under which it is registered.
        norm: what its bound measures, on stored images; None for methods without a bound.
        epsilon: the bound, in the unit of ``norm``, known after ``fit``; None for none. An L∞ bound is the one asked
            for; the others are the method's own.
        label_free: ``protect`` also works on images that ``fit`` never saw, and looks at no label.
        passes: cost of ``fit``.
    """

    name: str
    label_free: bool
    passes: Passes

    @property
    def norm(self) -> Norm | None: ...  # read, not set, from outside

    @property
    def epsilon(self) -> float | None: ...

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Learns, or draws, what ``protect`` needs; global random state is neither read nor changed.

        Args:
            train: labelled images.
            classes: number of classes K.
            seed: decides every random draw.
            device: of the networks, if there are any.
            progress: called with the share that is done, in [0, 1], never falling, 1 at the end.
        """

    def protect(self, images: ImageSet) -> Tensor:
        """Protected images, uint8 N×C×H×W on the CPU; a function of the image and of ``fit`` alone.

        Args:
            images: N images; methods that are not label-free read their labels.

        Raises:
            DataError: the method has no noise for one of these images.
        """


def change_sizes(before: Tensor, after: Tensor, norm: Norm) -> Tensor:
    """How much each image was changed, float64 N in the unit of the norm; before and after: uint8 N×C×H×W."""
    change = after.int() - before.int()
    if norm == "linf":
        return change.abs().flatten(1).amax(1).double()
    if norm == "l2":
        return change.double().flatten(1).norm(dim=1) / 255
    return (change != 0).any(1).flatten(1).sum(1).double()


def write_atomic(path: Path, data: bytes, mode: int | None = None) -> None:
    """Writes a file that is whole or absent under its name, also when the process is killed or the disk is full.

    Args:
        path: of the file.
        data: what it holds.
        mode: its permissions, which it never exceeds; None for the process's default.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if mode is not None:
            temporary.touch(0o600)  # nobody else can read it while it is written
        temporary.write_bytes(data)
        if mode is not None:
            temporary.chmod(mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def write_protected(
    folder: Path, clean: ImageSet, protect: Callable[[ImageSet], Tensor], about: About, chunk: int = 256
) -> None:
    """Protects images and stores them; goes on where a killed call stopped.

    Args:
        folder: made if absent.
        clean: the images, with their true labels, which are published as folder names.
        protect: B images to uint8 B×C×H×W, deterministic; label-free methods leave the labels alone.
        about: the manifest's first line.
        chunk: images protected at a time.

    Raises:
        DataError: the folder holds another set, or an image was changed by more than the bound.
    """
    head = json.dumps({"format": FORMAT, **asdict(about)})
    final, partial = folder / MANIFEST, folder / PARTIAL
    for manifest in (final, partial):
        if manifest.exists() and not _describes(manifest, about):
            raise DataError(f"{manifest}: belongs to another protected set; choose another folder or delete this one")
    if final.exists():
        return
    for name in about.class_names:
        (folder / folder_name(name)).mkdir(parents=True, exist_ok=True)
    # a torn last line (killed while writing it) is written again
    done = partial.read_text().split("\n")[1:-1] if partial.exists() else []
    write_atomic(partial, "\n".join([head, *done, ""]).encode())
    with partial.open("a") as lines:
        for start in range(len(done), len(clean), chunk):
            part = clean.subset(torch.arange(start, min(start + chunk, len(clean))))
            protected = protect(part)
            linf = change_sizes(part.images, protected, "linf")
            if about.norm is not None and about.epsilon is not None:
                size = change_sizes(part.images, protected, about.norm)
                if size.max() > about.epsilon:
                    raise DataError(
                        f"{folder}: image {start + int(size.argmax())} was changed by {size.max():g} "
                        f"{UNITS[about.norm]}, above ε = {about.epsilon:g}; the protection is faulty"
                    )
            before, after = (t.permute(0, 2, 3, 1).numpy() for t in (part.images, protected))
            for i, label in enumerate(part.labels.tolist()):
                path = Path(folder_name(about.class_names[label])) / f"{start + i:06d}.png"
                data = _png(after[i])
                write_atomic(folder / path, data)
                original, stored = (hashlib.sha256(b).hexdigest() for b in (before[i].tobytes(), data))
                entry = Entry(path.as_posix(), label, original, stored, int(linf[i]))
                lines.write(json.dumps(asdict(entry)) + "\n")
            lines.flush()
    os.replace(partial, final)


class OtherVersion(ValueError):
    """A manifest of another format."""


def _head(line: str) -> About:
    """What a manifest's first line says. Raises ValueError, TypeError where it is none of this version."""
    fields = json.loads(line)
    if fields.pop("format", None) != FORMAT:
        raise OtherVersion("made by another version of this program")
    return About(**fields)


def _describes(manifest: Path, about: About) -> bool:
    try:
        return _head(manifest.read_text().partition("\n")[0]) == about
    except (ValueError, TypeError):
        return False


class ProtectedDataset:
    """A protected set read back from disk.

    Args:
        folder: holds ``manifest.jsonl``.

    Raises:
        DataError: no manifest, an unfinished one, or one of another version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / MANIFEST
        if not path.is_file():
            state = (
                "its writing was cut off; run the same command again" if (folder / PARTIAL).exists() else "none found"
            )
            raise DataError(f"{path}: no finished protected set here ({state})")
        try:
            head, *lines = path.read_text().splitlines()
            self.about = _head(head)
            self.entries = [Entry(**json.loads(line)) for line in lines]
        except OtherVersion as error:
            raise DataError(f"{path}: {error}; protect the images again, or use that version") from error
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: damaged ({error}); protect the images again") from error
        if len(self.entries) != self.about.images:
            raise DataError(
                f"{path}: lists {len(self.entries)} of {self.about.images} images; protect the images again"
            )

    def __len__(self) -> int:
        return len(self.entries)

    def _files(self) -> list[bytes]:
        """The listed files' content, in order.

        Raises:
            DataError: files are missing or changed; it names them.
        """
        found, faults = [], []
        for entry in self.entries:
            path = self.folder / entry.path
            try:
                data = path.read_bytes()
            except OSError as error:
                faults.append(f"{path}: listed in the manifest, but not readable ({error.strerror})")
                continue
            if hashlib.sha256(data).hexdigest() != entry.protected_sha256:
                faults.append(f"{path}: is not the file that the manifest describes")
            found.append(data)
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
