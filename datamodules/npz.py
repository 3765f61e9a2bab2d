"""``npz``: one NumPy archive, with arrays of pixels or of JPEG bytes."""

import io
import zipfile
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from datamodules.base import ImageDataModule, ImageSet
from datamodules.config import DataError


class Npz(ImageDataModule):
    """Images from ``data.path``, in one of two layouts; both load with ``allow_pickle=False``.

    * pixels: ``train_images`` uint8 N×H×W×C or N×H×W (C = 1 or 3) and ``train_labels`` integer N, from 0;
    * JPEG bytes: ``train_jpeg`` uint8, all files end to end, ``train_offsets`` integer N+1 (image i is the bytes from
      ``offsets[i]`` to ``offsets[i+1]``) and ``train_labels``.

    The same with ``test_`` gives the test part; without it one is cut off. ``class_names`` is optional.
    """

    def load(self) -> tuple[ImageSet, ImageSet | None]:
        """Reads and checks the file.

        Raises:
            DataError: the file is missing, damaged, or its arrays do not fit the layout.
        """
        path = Path(self.config.path)
        if not path.is_file():
            raise DataError(f"data.path: no file {path}; give an .npz archive laid out as docs/DATA.md says")
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = dict(archive)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{path}: not a readable .npz archive ({error}); fetch or write it again") from error
        train = self._read(arrays, "train", path)
        test = self._read(arrays, "test", path) if {"test_images", "test_jpeg", "test_labels"} & set(arrays) else None
        classes = max(int(part.labels.max()) for part in (train, test) if part) + 1
        names = arrays.get("class_names")
        self.class_names = tuple(str(i) for i in range(classes)) if names is None else tuple(map(str, names.tolist()))
        if classes > len(self.class_names):
            raise DataError(
                f"{path}: a label is {classes - 1}, but class_names names {len(self.class_names)} classes (labels 0 to "
                f"{len(self.class_names) - 1}); correct the labels or the names"
            )
        if len(self.class_names) < 2:
            raise DataError(f"{path}: has one class; a classifier needs two or more")
        for name, part in (("train", train), ("test", test)):
            absent = set(range(self.classes)) - set(part.labels.tolist()) if part else set()
            if absent:
                raise DataError(
                    f"{path}: {name}_labels has no image of class {self.class_names[min(absent)]!r} "
                    f"(label {min(absent)}); add some, or number the labels without gaps"
                )
        if test and test.images.shape[1:] != train.images.shape[1:] and not self.config.size:
            raise DataError(f"{path}: train images are {_shape(train)}, test images {_shape(test)}; set data.size")
        return train, test

    def _read(self, arrays: dict[str, np.ndarray], part: str, path: Path) -> ImageSet:
        """One part of the archive."""
        labels = _need(arrays, f"{part}_labels", path)
        if f"{part}_jpeg" in arrays:
            offsets = _need(arrays, f"{part}_offsets", path)
            images = self._decode(arrays[f"{part}_jpeg"], offsets, part, path)
        else:
            images = _pixels(_need(arrays, f"{part}_images", path), part, path)
        if not np.issubdtype(labels.dtype, np.integer):
            raise DataError(
                f"{path}: {part}_labels is {labels.dtype}; integers from 0 are expected: use astype('int64')"
            )
        if labels.ndim == 2 and labels.shape[1] == 1:  # MedMNIST's shape
            labels = labels[:, 0]
        if labels.shape != (len(images),):
            raise DataError(
                f"{path}: {len(images)} {part} images but {part}_labels of shape {labels.shape}; one label an image"
            )
        if len(labels) == 0:
            raise DataError(f"{path}: {part}_images is empty; at least one image of every class is needed")
        if labels.min() < 0 or labels.max() >= 100_000:
            raise DataError(
                f"{path}: {part}_labels go from {labels.min()} to {labels.max()}; 0 to classes - 1 expected"
            )
        return ImageSet(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))

    def _decode(self, stream: np.ndarray, offsets: np.ndarray, part: str, path: Path) -> np.ndarray:
        """uint8 N×C×H×W from JPEG bytes; images of several sizes need data.size."""
        bounds = offsets.astype(np.int64)
        if (
            bounds.ndim != 1
            or len(bounds) < 1
            or bounds[0] != 0
            or bounds[-1] != len(stream)
            or (np.diff(bounds) < 1).any()
        ):
            raise DataError(
                f"{path}: {part}_offsets must rise from 0 to {len(stream)}, the length of {part}_jpeg; "
                "one number an image and one more"
            )
        data, images = stream.tobytes(), []
        for i, (start, stop) in enumerate(pairwise(bounds)):
            try:
                image: Image.Image = Image.open(io.BytesIO(data[start:stop]))
                image.load()
            except (OSError, SyntaxError, ValueError) as error:
                raise DataError(f"{path}: {part} image {i} is no readable JPEG ({error}); write it again") from error
            if self.config.size:
                image = image.resize((self.config.size, self.config.size), Image.Resampling.LANCZOS)
            images.append(np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB")))
        if len({array.shape for array in images}) > 1:
            images = [np.asarray(Image.fromarray(array).convert("RGB")) for array in images]
        if len({array.shape for array in images}) > 1:
            raise DataError(f"{path}: the {part} images have several sizes; set data.size to bring them to one")
        return _pixels(np.stack(images), part, path)


def _need(arrays: dict[str, np.ndarray], key: str, path: Path) -> np.ndarray:
    if key not in arrays:
        raise DataError(
            f"{path}: has no array {key!r} (it has {', '.join(sorted(arrays))}); docs/DATA.md shows the layout"
        )
    return arrays[key]


def _pixels(images: np.ndarray, part: str, path: Path) -> np.ndarray:
    """Checks pixels and brings N×H×W(×C) to uint8 N×C×H×W."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise DataError(f"{path}: {part}_images has shape {images.shape}; N×H×W, N×H×W×1 or N×H×W×3 expected")
    if 0 in images.shape[1:]:
        raise DataError(f"{path}: {part}_images has shape {images.shape}: images of 0 pixels; leave them out")
    if not np.issubdtype(images.dtype, np.integer):
        raise DataError(
            f"{path}: {part}_images is {images.dtype}; uint8 from 0 to 255 expected: round and use astype('uint8')"
        )
    if images.dtype != np.uint8 and len(images) and (images.min() < 0 or images.max() > 255):
        raise DataError(f"{path}: {part}_images go from {images.min()} to {images.max()}; uint8 from 0 to 255 expected")
    return np.ascontiguousarray(images.astype(np.uint8).transpose(0, 3, 1, 2))


def _shape(part: ImageSet) -> str:
    channels, height, width = part.images.shape[1:]
    return f"{height}×{width}×{channels}"
