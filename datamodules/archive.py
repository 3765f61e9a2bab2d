"""Files straight out of a folder, a zip or a tar: nothing is unpacked to disk, hence no path can escape."""

import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from datamodules.config import DataError

MAX_MEMBER = 512 << 20  # bytes of one member that are held in memory
LIMIT = 1 << 40  # bytes of all members together, uncompressed
LITTER = {".DS_Store", "Thumbs.db"}

# what zipfile and tarfile raise for what they cannot make sense of
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RuntimeError)


@dataclass(frozen=True)
class Member:
    """A file in an archive or folder.

    Attributes:
        name: posix path relative to the archive's or folder's top.
        size: bytes, uncompressed.
        special: what it is where it is no plain file ("a link"), else empty.
    """

    name: str
    size: int
    special: str = ""


class Archive:
    """A folder, ``.zip``, ``.tar`` or ``.tar.gz``; zip and tar are told apart by their first bytes.

    Left out: ``__MACOSX/``, ``._*``, ``.DS_Store``, ``Thumbs.db``. In folders, links to files and folders are followed
    (whoever has the folder made them); in archives links and devices are left out.

    An archive is refused whole if a member's name is absolute, has a part ``..``, a backslash or a drive letter, or
    comes twice; if a member is encrypted; or if all members together are larger than ``limit_bytes``.

    Args:
        path: the file or folder.
        max_member: larger members are refused when they are read, bytes.
        limit_bytes: of all members, uncompressed, as declared. No more is ever unpacked than is declared.

    Raises:
        DataError: there is no such file or folder. The content is looked at when it is first needed.
    """

    def __init__(self, path: Path, max_member: int = MAX_MEMBER, limit_bytes: int = LIMIT) -> None:
        self.path, self.max_member, self.limit_bytes = path, max_member, limit_bytes
        self.folder = path.is_dir()
        with self._errors():
            self.zip = not self.folder and path.open("rb").read(2) == b"PK"

    def members(self) -> list[Member]:
        """All plain files, sorted by name; of a tar in its own order, which is the order of ``stream``.

        Raises:
            DataError: the archive is damaged, or refused.
        """
        with self._errors():
            if self.folder:
                return sorted(self._admitted(self._walk()), key=lambda member: member.name)
            if self.zip:
                with zipfile.ZipFile(self.path) as archive:
                    found = self._admitted(map(self._of_zip, archive.infolist()))
                    return sorted((m for m in found if not m.special), key=lambda member: member.name)
            with tarfile.open(self.path) as tar:
                return [member for member in self._admitted(map(_of_tar, tar)) if not member.special]

    def read(self, name: str) -> bytes:
        """One member; of a ``.tar.gz`` all that comes before it is unpacked, so use ``stream`` there.

        Raises:
            DataError: there is no such member, or it is larger than ``max_member``, refused or damaged.
        """
        return next(self.stream([name]))[1]

    def stream(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Names and bytes of members: of a tar in its own order, in one pass; else in the order of ``names``.

        Raises:
            DataError: as ``read``; where a name is absent from a tar, after its last member.
        """
        if self.folder:
            with self._errors():
                for name in names:
                    yield name, (self.path / name).read_bytes()
        elif self.zip:
            with self._errors(), zipfile.ZipFile(self.path) as archive:
                infos = {PurePosixPath(info.filename).as_posix(): info for info in archive.infolist()}
                for name in names:
                    if name not in infos:
                        raise self._refused(name, "is expected, but is not in it; fetch it again")
                    member = self._of_zip(infos[name])
                    with archive.open(infos[name]) as handle:
                        yield name, self._content(member, handle)
        else:
            yield from self._stream_tar(set(names))

    def _stream_tar(self, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
        with self._errors(), tarfile.open(self.path, "r|*") as tar:
            for info in tar:
                member = _of_tar(info)
                if member.name not in wanted:
                    continue
                wanted.remove(member.name)
                handle = tar.extractfile(info) if not member.special else None
                if handle is None:
                    raise self._refused(member.name, f"is {member.special}; a file is expected: pack the file itself")
                yield member.name, self._content(member, handle)
                if not wanted:
                    return
        if wanted:
            raise self._refused(min(wanted), "is expected, but is not in it; fetch it again")

    def _content(self, member: Member, handle: IO[bytes]) -> bytes:
        """All of a member, and not a byte more than it declares."""
        if member.size > self.max_member:
            raise self._refused(member.name, f"has {member.size:,} bytes; at most {self.max_member:,} are expected")
        data = handle.read(member.size)
        if len(data) < member.size or handle.read(1):
            raise EOFError(f"{member.name} has not the {member.size:,} bytes that it declares")
        return data

    def _admitted(self, members: Iterable[Member]) -> Iterator[Member]:
        """Members with plain names; refuses bad and repeated ones, and too many bytes."""
        seen: set[str] = set()
        total = 0
        for member in members:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:|.*\\", member.name, re.S):
                raise self._refused(member.name, "leads out of the archive; do not use this archive")
            total += member.size
            if total > self.limit_bytes:
                raise self._refused(
                    member.name, f"brings the archive to {total:,} bytes; at most {self.limit_bytes:,} are expected"
                )
            if member.special == "a folder" or "__MACOSX" in path.parts or path.name.startswith("._"):
                continue
            if path.name in LITTER:
                continue
            if member.name in seen:
                raise self._refused(member.name, "comes twice; pack it again without the repeat")
            seen.add(member.name)
            yield member

    def _walk(self) -> Iterator[Member]:
        seen: dict[str, str] = {}
        for top, _, files in os.walk(self.path, followlinks=True, onerror=_raise):
            real, relative = os.path.realpath(top), Path(top).relative_to(self.path)
            if real in seen:
                raise self._refused(relative.as_posix(), f"is the same folder as {seen[real]!r}; remove the link")
            seen[real] = relative.as_posix()
            for name in files:
                if not Path(top, name).is_file():
                    raise self._refused((relative / name).as_posix(), "is a device or a link to nothing; remove it")
                yield Member((relative / name).as_posix(), Path(top, name).stat().st_size)

    def _of_zip(self, info: zipfile.ZipInfo) -> Member:
        if info.flag_bits & 1:
            raise self._refused(info.filename, "is encrypted; unpack it and pack it again without a password")
        mode = stat.S_IFMT(info.external_attr >> 16)
        special = "a folder" if info.is_dir() else "" if mode in (0, stat.S_IFREG) else "a link or device"
        return Member(_plain(info.filename), info.file_size, special)

    def _refused(self, name: str, reason: str) -> DataError:
        return DataError(f"{self.path}: member {name!r} {reason}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise DataError(f"{error.filename}: no such file or folder; give an archive or a folder") from error
        except tarfile.ReadError as error:  # its message has a line for each way of packing that was tried
            raise DataError(
                f"{self.path}: is not readable (no .zip or .tar, or cut off); give a folder or an archive, or fetch or "
                "pack it again"
            ) from error
        except DAMAGE as error:
            raise DataError(f"{self.path}: is not readable ({error}); fetch or pack it again") from error


def _of_tar(info: tarfile.TarInfo) -> Member:
    special = "" if info.isreg() else "a folder" if info.isdir() else "a link or device"
    return Member(_plain(info.name), info.size, special)


def _plain(name: str) -> str:
    """``./a//b`` as ``a/b``; what leads out of the archive still does."""
    return name if "\\" in name else PurePosixPath(name).as_posix()


def _raise(error: OSError) -> None:
    raise error
