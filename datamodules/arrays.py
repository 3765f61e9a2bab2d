"""NumPy arrays inside .npz archives, read in pieces: sets larger than memory pass through."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from datamodules.config import DataError

PIECE = 2**24  # bytes read at a time


class Npz:
    """A .npz archive; nothing pickled is ever loaded.

    Args:
        path: the file.

    Raises:
        DataError: it is no readable archive.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._errors(), zipfile.ZipFile(path) as archive:
            self.names = sorted(name.removesuffix(".npy") for name in archive.namelist())

    def array(self, name: str) -> np.ndarray:
        """A whole array.

        Raises:
            DataError: it is missing, damaged or pickled.
        """
        with self._errors(), self._open(name) as handle:
            return np.lib.format.read_array(handle, allow_pickle=False)

    def head(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and type of an array, without its content."""
        with self._errors(), self._open(name) as handle:
            shape, _, dtype = _header(handle)
        return shape, dtype

    def rows(self, name: str) -> Iterator[np.ndarray]:
        """The array's rows one by one, a piece of it in memory at a time.

        Raises:
            DataError: it is missing or damaged.
        """
        with self._errors(), self._open(name) as handle:
            shape, by_column, dtype = _header(handle)
            if by_column:  # no row is in one piece
                yield from self.array(name)
                return
            count, size = shape[0], dtype.itemsize * int(np.prod(shape[1:]))
            step = max(1, PIECE // max(1, size))
            for start in range(0, count, step):
                part = min(step, count - start)
                data = handle.read(part * size)
                if len(data) < part * size:
                    raise DataError(f"{self.path}: {name} ends early; fetch or write the file again")
                yield from np.frombuffer(data, dtype).reshape(part, *shape[1:])

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        if name not in self.names:
            raise DataError(
                f"{self.path}: has no array {name!r} (it has {', '.join(self.names)}); docs/DATA.md shows the layout"
            )
        with zipfile.ZipFile(self.path) as archive, archive.open(f"{name}.npy") as handle:
            yield handle

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{self.path}: not a readable .npz archive ({reason}); fetch or write it again") from error


def _header(handle: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(handle)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(handle)
    return np.lib.format.read_array_header_2_0(handle)


def labels_from(array: np.ndarray, images: int, name: str, path: Path) -> np.ndarray:
    """Checked labels as int64 N.

    Raises:
        DataError: no integers from 0, or not one per image.
    """
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{path}: {name} is {array.dtype}; integers from 0 are expected: use astype('int64')")
    if array.ndim == 2 and array.shape[1] == 1:  # MedMNIST's shape
        array = array[:, 0]
    if array.shape != (images,):
        raise DataError(f"{path}: {images} images but {name} of shape {array.shape}; one label per image")
    if len(array) == 0:
        raise DataError(f"{path}: {name} is empty; at least one image of every class is needed")
    if array.min() < 0 or array.max() >= 100_000:
        raise DataError(f"{path}: {name} go from {array.min()} to {array.max()}; 0 to classes - 1 expected")
    return array.astype(np.int64)


def pixels_from(rows: Iterator[np.ndarray], name: str, path: Path) -> Iterator[np.ndarray]:
    """Rows H×W or H×W×C of any integer type as uint8 H×W×C.

    Raises:
        DataError: a value is below 0 or above 255.
    """
    for row in rows:
        if row.dtype != np.uint8 and (row.min() < 0 or row.max() > 255):
            raise DataError(f"{path}: {name} go from {row.min()} to {row.max()}; uint8 from 0 to 255 expected")
        pixels = row.astype(np.uint8, copy=False)
        yield pixels[..., None] if pixels.ndim == 2 else pixels


def check_images(shape: tuple[int, ...], dtype: np.dtype, name: str, path: Path) -> None:
    """Whether an array can hold images.

    Raises:
        DataError: its shape or type is another.
    """
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[-1] not in (1, 3)):
        raise DataError(f"{path}: {name} has shape {shape}; N×H×W, N×H×W×1 or N×H×W×3 expected")
    if 0 in shape[1:]:
        raise DataError(f"{path}: {name} has shape {shape}: images of 0 pixels; leave them out")
    if not np.issubdtype(dtype, np.integer):
        raise DataError(f"{path}: {name} is {dtype}; uint8 from 0 to 255 expected: round and use astype('uint8')")
