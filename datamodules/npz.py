"""``npz``: one NumPy archive, with arrays of pixels or of JPEG bytes."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.arrays import Npz as Archive
from datamodules.arrays import check_images, labels_from, pixels_from
from datamodules.base import ImageDataModule
from datamodules.config import DataError, path_of
from datamodules.source import PARTS, DatasetInfo, Listing, Raw, chained, identity_of


class Npz(ImageDataModule):
    """Images from ``data.path``, in one of two layouts; both load with ``allow_pickle=False``.

    * pixels: ``train_images`` uint8 N×H×W×C or N×H×W (C = 1 or 3) and ``train_labels`` integer N, from 0;
    * JPEG bytes: ``train_jpeg`` uint8, all files end to end, ``train_offsets`` integer N+1 (image i is the bytes from
      ``offsets[i]`` to ``offsets[i+1]``) and ``train_labels``.

    The same with ``val_`` and ``test_`` gives those parts; without them they are cut off. ``class_names`` is optional.
    """

    info = DatasetInfo(
        title="One NumPy archive",
        kind="own",
        images="yours",
        size="one size, gray or RGB; JPEGs of any with data.size",
        licence="yours",
        citation="",
        page="",
        todo="data.path=<file>.npz",
    )

    @property
    def title(self) -> str:
        """The file, which is what messages are about."""
        return self.config.path

    def identity(self) -> str:
        """The file's size and time.

        Raises:
            DataError: there is no such file.
        """
        path = path_of(self.config.path)
        if not path.is_file():
            raise DataError(f"data.path: no file {path}; give an .npz archive laid out as docs/DATA.md says")
        return identity_of([path], path.parent)

    def listing(self) -> Listing:
        """Checks the file's arrays.

        Raises:
            DataError: the file is damaged, or its arrays do not fit the layout.
        """
        return npz_listing(path_of(self.config.path))


def npz_listing(path: Path, class_names: tuple[str, ...] = ()) -> Listing:
    """The images of an archive.

    Args:
        path: laid out as ``Npz`` says.
        class_names: in label order; empty: the archive's own, or the numbers.

    Raises:
        DataError: the file is damaged, or its arrays do not fit the layout.
    """
    archive = Archive(path)
    present = [
        part for part in PARTS
        if part == "train" or {f"{part}_{kind}" for kind in ("images", "jpeg", "labels")} & set(archive.names)
    ]  # fmt: skip
    labels, passes, channels = {}, [], {}
    for part in present:
        count, channels[part], read = _images(archive, part)
        labels[part] = labels_from(archive.array(f"{part}_labels"), count, f"{part}_labels", path)
        passes.append(read)
    highest = max(int(values.max()) for values in labels.values())
    names = class_names
    if not names and "class_names" in archive.names:
        names = tuple(map(str, archive.array("class_names").tolist()))
    names = names or tuple(map(str, range(highest + 1)))
    if highest >= len(names):
        raise DataError(
            f"{path}: a label is {highest}, but class_names names {len(names)} classes (labels 0 to "
            f"{len(names) - 1}); correct the labels or the names"
        )
    for part, values in labels.items():
        absent = set(range(len(names))) - set(values.tolist())
        if absent:
            raise DataError(
                f"{path}: {part}_labels has no image of class {names[min(absent)]!r} (label {min(absent)}); "
                "add some, or number the labels without gaps"
            )
    return Listing(
        names=[f"{part} image {i}" for part in present for i in range(len(labels[part]))],
        labels=np.concatenate([labels[part] for part in present]),
        class_names=names,
        read=chained(*passes),
        channels=max(channels.values()),
        parts=np.concatenate([np.full(len(labels[part]), PARTS.index(part)) for part in present]),
    )


def _images(archive: Archive, part: str) -> tuple[int, int, Callable[[], Iterator[Raw]]]:
    """How many images a part has, their channels, and a pass over them."""
    if f"{part}_jpeg" in archive.names:
        return _encoded(archive, part)
    name = f"{part}_images"
    shape, dtype = archive.head(name)
    check_images(shape, dtype, name, archive.path)
    channels = shape[-1] if len(shape) == 4 else 1
    return shape[0], channels, lambda: pixels_from(archive.rows(name), name, archive.path)


def _encoded(archive: Archive, part: str) -> tuple[int, int, Callable[[], Iterator[Raw]]]:
    stream, bounds = archive.array(f"{part}_jpeg"), archive.array(f"{part}_offsets")
    if stream.dtype != np.uint8 or stream.ndim != 1 or not np.issubdtype(bounds.dtype, np.integer):
        raise DataError(
            f"{archive.path}: {part}_jpeg is {stream.dtype} {stream.shape} and {part}_offsets {bounds.dtype}; bytes "
            "(uint8) end to end and integers expected"
        )
    bounds = bounds.astype(np.int64)
    if (
        bounds.ndim != 1
        or len(bounds) < 1
        or bounds[0] != 0
        or bounds[-1] != len(stream)
        or (np.diff(bounds) < 1).any()
    ):
        raise DataError(
            f"{archive.path}: {part}_offsets must rise from 0 to {len(stream)}, the length of {part}_jpeg; "
            "one number per image and one more"
        )
    files = partial(_pieces, stream.tobytes(), bounds)
    return len(bounds) - 1, 1 if all(map(_is_gray, files())) else 3, files


def _pieces(data: bytes, bounds: np.ndarray) -> Iterator[bytes]:
    for start, stop in pairwise(bounds):
        yield data[start:stop]


def _is_gray(data: bytes) -> bool:
    """Whether a file's header says gray; one that is damaged is found when it is decoded."""
    try:
        return Image.open(io.BytesIO(data)).mode == "L"
    except (OSError, SyntaxError, ValueError):
        return True
