"""Images straight out of a folder, a zip or a tar file: nothing is unpacked to disk, hence no path can escape.

Each call opens the file anew and nothing is held open between calls, so threads and forked loader processes may read
from one ``Archive`` side by side.
"""

import gzip
import io
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from datamodules.config import DataError

MAX_MEMBER = 512 << 20  # bytes that read() and stream() hold in memory for one member
LIMIT = 1 << 40  # bytes of all members together, uncompressed
LONGEST_HEADER = 1 << 16  # bytes of a tar file's extended header, which tarfile reads at one go
CHUNK = 1 << 16

# what the readers of the standard library raise for files that they cannot make sense of
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    RecursionError,
    NotImplementedError,
)


@dataclass(frozen=True)
class Member:
    """A file in an archive or folder.

    Attributes:
        name: posix path relative to the archive's or folder's top.
        size: bytes, uncompressed.
    """

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a member is.

    Attributes:
        name, size: as in Member.
        special: what it is where it is no plain file ("a link"), else "".
        offset: where its data begin (tar) or its local header (zip).
        deflated: whether its data are packed so.
        crc: CRC-32 of its data; -1 unknown.
    """

    name: str
    size: int
    special: str = ""
    offset: int = 0
    deflated: bool = False
    crc: int = -1


class Archive:
    """A folder, ``.zip`` (also ``.npz``), ``.tar`` or ``.tar.gz``/``.tgz``; told apart by content, not by name.

    Left out: ``__MACOSX/``, ``._*``, ``.DS_Store``, ``Thumbs.db``, and an archive's links, devices and sparse files,
    which are refused when asked for by name. In folders, links to files and to folders are followed wherever they lead
    (they are the user's own), but a folder reached twice and a link to nothing are refused.

    Names are refused, and with them the archive, if they are absolute, have a part ``..``, a backslash or a drive
    letter, or come twice; likewise encrypted members and compression other than deflate, which alone can be unpacked
    within bounds.

    Args:
        path: the file or folder.
        max_member: larger members are refused by ``read`` and ``stream``, bytes.
        limit_bytes: archives of more than this, uncompressed and as declared by their members, are refused.

    Raises:
        DataError: there is no such file or folder. The content is looked at when it is first needed.
    """

    def __init__(self, path: Path, max_member: int = MAX_MEMBER, limit_bytes: int = LIMIT) -> None:
        self.path, self.max_member, self.limit_bytes = path, max_member, limit_bytes
        if path.is_dir():
            self._kind = "folder"
            return
        with self._guard():
            with path.open("rb") as source:
                start = source.read(4)
            zipped = start in (b"PK\x03\x04", b"PK\x05\x06")  # the second where it is empty
            self._kind = "zip" if zipped else "tgz" if start[:2] == b"\x1f\x8b" else "tar"

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is held open."""

    def members(self) -> list[Member]:
        """All plain files, sorted by name; of a tar file in its own order, which ``stream`` keeps.

        The first call reads a tar file's headers, hence all of a ``.tar.gz``.

        Raises:
            DataError: the archive is damaged, or has a member that is refused.
        """
        found = [Member(entry.name, entry.size) for entry in self._index.values() if not entry.special]
        return found if self._kind in ("tar", "tgz") else sorted(found, key=lambda member: member.name)

    def read(self, name: str) -> bytes:
        """One member. In a ``.tar.gz`` all that comes before it is unpacked each time; use ``stream`` there.

        Raises:
            DataError: there is no such member, it is larger than ``max_member``, refused or damaged.
        """
        entry = self._entry(name)
        self._bounded(entry)
        with self.open_member(name) as handle:
            return handle.read(entry.size + 1)  # never gives the one more; asked for so that an empty one is checked

    def open_member(self, name: str) -> BinaryIO:
        """A handle that reads one member from its start to its end, of any size, without holding it in memory.

        For big members, such as an array in an ``.npz`` (``numpy.lib.format.read_array`` takes the handle). It cannot
        seek. Its ``read`` raises DataError where the data are damaged or are not what the archive declares.

        Raises:
            DataError: there is no such member, or it is refused or damaged.
        """
        entry = self._entry(name)
        with self._guard(name):
            return io.BufferedReader(_Reader(self._at(entry), entry, self.path), CHUNK)

    def stream(self, names: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Names and bytes of the given members, or of all.

        Of a tar file in its own order, in one pass that goes to its end; else in the order of ``names``.

        Raises:
            DataError: as ``read``; also where a name is absent, of a tar file after its last member.
        """
        if self._kind not in ("tar", "tgz"):
            for name in [member.name for member in self.members()] if names is None else names:
                yield name, self.read(name)
            return
        wanted = None if names is None else set(names)
        with self._guard(), self._open() as source:
            for entry in self._admitted(self._tar(source)):
                if entry.special if wanted is None else entry.name not in wanted:
                    continue
                if wanted is not None:
                    wanted.remove(entry.name)
                self._plain(entry)
                self._bounded(entry)
                with self._guard(entry.name):
                    source.seek(entry.offset)
                    data = source.read(entry.size)
                    if len(data) < entry.size:
                        raise EOFError(_missing(entry.size - len(data), entry))
                yield entry.name, data
        if wanted:
            raise self._absent(min(wanted))

    @cached_property
    def _index(self) -> dict[str, _Entry]:
        with self._guard():
            if self._kind == "folder":
                return {entry.name: entry for entry in self._admitted(self._folder())}
            with self._open() as source:
                entries = self._zip(source) if self._kind == "zip" else self._tar(source)
                return {entry.name: entry for entry in self._admitted(entries)}

    def _entry(self, name: str) -> _Entry:
        if name not in self._index:
            raise self._absent(name)
        self._plain(self._index[name])
        return self._index[name]

    def _refused(self, name: str, reason: str) -> DataError:
        return DataError(f"{self.path}: member {name!r} {reason}")

    def _absent(self, name: str) -> DataError:
        return self._refused(name, "is expected, but is not in it; fetch it again or correct the name")

    def _plain(self, entry: _Entry) -> None:
        if entry.special:
            raise self._refused(entry.name, f"is {entry.special}, expected a file; pack the file itself")

    def _bounded(self, entry: _Entry) -> None:
        if entry.size > self.max_member:
            raise self._refused(
                entry.name,
                f"has {entry.size:,} bytes, at most {self.max_member:,} are expected; is this the right archive?",
            )

    @contextmanager
    def _guard(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise DataError(f"{error.filename}: no such file or folder; give an archive or a folder") from error
        except _DAMAGE as error:
            raise _damaged(self.path, name, error) from error

    def _open(self) -> BinaryIO:
        return cast(BinaryIO, gzip.open(self.path)) if self._kind == "tgz" else self.path.open("rb")

    def _at(self, entry: _Entry) -> BinaryIO:
        """The file that holds an entry, at the entry's first byte."""
        if self._kind == "folder":
            return (self.path / entry.name).open("rb")
        source = self._open()
        try:
            source.seek(entry.offset)
            if self._kind == "zip":
                mark, name, extra = struct.unpack("<4s22xHH", source.read(30))
                if mark != b"PK\x03\x04":
                    raise zipfile.BadZipFile("no header where the directory says")
                source.seek(name + extra, os.SEEK_CUR)
        except BaseException:
            source.close()
            raise
        return source

    def _admitted(self, entries: Iterable[_Entry]) -> Iterator[_Entry]:
        """Entries with plain names; refuses bad and repeated ones, and too many bytes."""
        seen: set[str] = set()
        total = 0
        for entry in entries:
            path = PurePosixPath(entry.name)
            odd = "\\" in entry.name or re.match("[A-Za-z]:", entry.name)
            if odd or not path.parts or path.is_absolute() or ".." in path.parts:
                raise self._refused(entry.name, "is expected to have a plain relative name; do not use this archive")
            total += entry.size
            if total > self.limit_bytes:
                raise self._refused(
                    entry.name,
                    f"brings the archive to {total:,} bytes, at most {self.limit_bytes:,} are expected; "
                    "is this the right archive?",
                )
            if "__MACOSX" in path.parts or path.name in (".DS_Store", "Thumbs.db") or path.name.startswith("._"):
                continue
            if str(path) in seen:
                raise self._refused(str(path), "comes twice, expected once; pack it again without the repeat")
            seen.add(str(path))
            yield replace(entry, name=str(path))

    def _folder(self) -> Iterator[_Entry]:
        seen: dict[str, str] = {}

        def unreadable(error: OSError) -> None:
            raise error

        for top, _, files in os.walk(self.path, followlinks=True, onerror=unreadable):
            real, relative = os.path.realpath(top), os.path.relpath(top, self.path)
            if real in seen:
                raise self._refused(relative, f"is the same folder as {seen[real]!r}; remove the link")
            seen[real] = relative
            for name in files:
                path = Path(top, name)
                if not path.is_file():
                    raise self._refused(
                        path.relative_to(self.path).as_posix(), "is a device or a link to nothing; remove it"
                    )
                yield _Entry(path.relative_to(self.path).as_posix(), path.stat().st_size)

    def _zip(self, source: BinaryIO) -> Iterator[_Entry]:
        with zipfile.ZipFile(source) as archive:
            infos = archive.infolist()
        for info in infos:
            if info.is_dir():
                continue
            if info.flag_bits & 0x41:
                raise self._refused(info.filename, "is encrypted, expected plain; unpack it and pack it without")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self._refused(
                    info.filename,
                    f"is compressed by method {info.compress_type}, expected 0 (stored) or 8 (deflate); pack it again",
                )
            kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == 3 else 0  # 3: made on Unix
            yield _Entry(
                info.filename,
                info.file_size,
                {0: "", stat.S_IFREG: "", stat.S_IFLNK: "a link"}.get(kind, "a device"),
                info.header_offset,
                info.compress_type == zipfile.ZIP_DEFLATED,
                info.CRC,
            )

    def _tar(self, source: BinaryIO) -> Iterator[_Entry]:
        """Entries as they come; between two of them the source may be read forward within the first one's data."""
        with tarfile.TarFile(fileobj=source, tarinfo=_Header, encoding="utf-8") as archive:
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # else every header is kept
                if info.isdir():
                    continue
                special = "a link" if info.issym() or info.islnk() else "a device"
                special = "a sparse file" if info.issparse() else "" if info.isreg() else special
                yield _Entry(info.name, info.size, special, info.offset_data)
        source.read(1 << 20)  # what pads a .tar.gz, up to the checksum at its end


class _Header(tarfile.TarInfo):
    """A header of a tar file, stricter than tarfile.

    tarfile takes a damaged or absent header for the end of the archive, follows negative sizes in circles, and reads
    extended headers of any size into memory.
    """

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> "_Header":
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in b"LKxgX" and header.size > LONGEST_HEADER):
            raise tarfile.ReadError(f"header declares {header.size:,} bytes")
        return header

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Header":
        try:
            header = super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # the mark at the true end
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        if header.size < 0:  # from an extended header
            raise tarfile.ReadError(f"header declares {header.size:,} bytes")
        return header


class _Reader(io.RawIOBase):
    """The bytes of one member: exactly as many as declared, or an error.

    Args:
        source: at the member's first byte; closed with the reader.
        entry: the member.
        path: of the archive, for messages.
    """

    def __init__(self, source: BinaryIO, entry: _Entry, path: Path) -> None:
        self._source, self._entry, self._path = source, entry, path
        self._left, self._crc, self._checked = entry.size, 0, False
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._source.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._some(min(len(buffer), self._left)) if self._left else b""
            self._left -= len(data)
            self._crc = zlib.crc32(data, self._crc)
            if not data and self._left:
                raise EOFError(_missing(self._left, self._entry))
            if not self._left and not self._checked:
                if self._entry.deflated and self._some(1):
                    raise EOFError(f"has more than the {self._entry.size:,} bytes that it declares")
                if self._entry.crc not in (-1, self._crc):
                    raise zlib.error("its checksum is wrong")
                self._checked = True
        except _DAMAGE as error:
            raise _damaged(self._path, self._entry.name, error) from error
        buffer[: len(data)] = data
        return len(data)

    def _some(self, most: int) -> bytes:
        """At least one further byte and at most so many; none at the end."""
        if not self._entry.deflated:
            return self._source.read(most)
        while not self._inflater.eof:
            piece = self._inflater.unconsumed_tail or self._source.read(CHUNK)
            data = self._inflater.decompress(piece, most)
            if data or not piece:
                return data
        return b""


def _missing(left: int, entry: _Entry) -> str:
    return f"{left:,} of {entry.size:,} bytes are missing"


def _damaged(path: Path, name: str, error: BaseException) -> DataError:
    where = f"{path}: member {name!r}" if name else f"{path}:"
    return DataError(f"{where} is not readable ({error}); fetch or write it again")
