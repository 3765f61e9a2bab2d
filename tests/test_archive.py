"""Archives and folders: what is read, and everything that is refused."""

import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from datamodules.archive import Archive
from datamodules.config import DataError

FILES = {"a/one.txt": b"1" * 10, "a/b/größe.bin": bytes(range(256)) * 9, "empty": b"", "top.txt": b"top"}
KINDS = ("folder", "zip", "tar", "tar.gz")
ARCHIVES = KINDS[1:]
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes the given files (pairs of name and bytes, in order) as an archive of that kind."""

    def write(kind: str, files: list[tuple[str, bytes]] | None = None) -> Path:
        path = tmp_path / f"set.{kind}"
        pairs = list(FILES.items()) if files is None else files
        if kind == "folder":
            path.mkdir()
            for name, data in pairs:
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(data)
        elif kind == "zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in pairs:
                    archive.writestr(name, data)
        else:
            with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as tar:
                for name, data in pairs:
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        return path

    return write


def refused(action: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        action()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_files(make: Make, kind: str) -> None:
    archive = Archive(make(kind))
    members = archive.members()
    assert {member.name: member.size for member in members} == {name: len(data) for name, data in FILES.items()}
    assert [m.name for m in members] == (list(FILES) if "tar" in kind else sorted(FILES))
    assert {name: archive.read(name) for name in FILES} == FILES
    assert dict(archive.stream(["top.txt", "a/one.txt"])) == {"top.txt": b"top", "a/one.txt": b"1" * 10}


def test_a_tar_is_streamed_in_its_own_order_and_in_one_pass(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make("tar.gz", [(str(i), bytes([i]) * 50_000) for i in range(50)])
    read = 0
    plain = gzip.GzipFile.read

    def counted(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        nonlocal read
        data = plain(self, size)
        read += len(data)
        return data

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    names = [name for name, _ in Archive(path).stream([str(i) for i in reversed(range(50))])]
    assert names == [str(i) for i in range(50)]
    assert read < 2 * 50 * 51_200


@pytest.mark.parametrize("kind", KINDS)
def test_absent_members(make: Make, kind: str) -> None:
    refused(lambda: Archive(make(kind)).read("nothing"), "nothing")


def test_absent_archives(tmp_path: Path) -> None:
    refused(lambda: Archive(tmp_path / "no.zip"), "no.zip: no such file or folder")


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("name", ["../x", "a/../../x", "a/..", "/abs", "C:x", "c:/x", "a\\x", "a\n\\x", "//host/x"])
def test_names_that_lead_out_are_refused(make: Make, kind: str, name: str) -> None:
    path = make(kind, [("good", b""), (name, b"x")])
    with pytest.raises(DataError, match="leads out of the archive"):
        Archive(path).members()


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("second", ["a/b", "./a/b", "a//b"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_repeated_names_are_refused(make: Make, kind: str, second: str) -> None:
    refused(Archive(make(kind, [("a/b", b"1"), (second, b"2")])).members, "'a/b' comes twice")


@pytest.mark.parametrize("kind", KINDS)
def test_what_systems_leave_behind_is_left_out(make: Make, kind: str) -> None:
    files = [(name, b"x") for name in ("__MACOSX/._a", "d/.DS_Store", "Thumbs.db", "._b.jpg", "b.jpg")]
    assert [member.name for member in Archive(make(kind, files)).members()] == ["b.jpg"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_of_a_tar_are_left_out_and_refused_where_needed(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "../../etc/passwd"
        tar.addfile(info)
        tar.addfile(tarfile.TarInfo("file"))
    assert [member.name for member in Archive(path).members()] == ["file"]
    refused(lambda: Archive(path).read("link"), "'link' is a link or device; a file is expected")


def test_links_of_a_zip_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "../../etc/passwd")
        archive.writestr("file", "")
    assert [member.name for member in Archive(path).members()] == ["file"]


def test_links_of_a_folder_are_followed_but_not_in_circles(make: Make, tmp_path: Path) -> None:
    path = make("folder")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.txt").write_text("x")
    os.symlink(tmp_path / "elsewhere", path / "linked")
    os.symlink(path / "top.txt", path / "again.txt")
    archive = Archive(path)
    assert {"linked/x.txt", "again.txt"} <= {member.name for member in archive.members()}
    assert archive.read("linked/x.txt") == b"x"
    os.symlink(path, path / "a" / "loop")
    refused(archive.members, "is the same folder as")
    (path / "a" / "loop").unlink()
    os.symlink(path / "gone", path / "broken")
    refused(archive.members, "'broken' is a device or a link to nothing")


@pytest.mark.parametrize("kind", ARCHIVES)
def test_bombs_are_refused_before_they_are_unpacked(make: Make, kind: str) -> None:
    path = make(kind, [("big", bytes(5_000_000)), ("small", b"x")])
    refused(Archive(path, limit_bytes=1_000_000).members, "at most 1,000,000 are expected")
    refused(lambda: Archive(path, max_member=1_000_000).read("big"), "'big' has 5,000,000 bytes")
    assert Archive(path, max_member=1_000_000).read("small") == b"x"


def test_a_zip_that_declares_too_little_gives_no_more_than_that(make: Make) -> None:
    path = make("zip", [("big", bytes(1_000_000))])
    data = bytearray(path.read_bytes())
    directory = data.rindex(b"PK\x01\x02")
    for place in (directory + 24, 22):
        struct.pack_into("<I", data, place, 10)
    path.write_bytes(bytes(data))
    refused(lambda: Archive(path).read("big"), "is not readable")


def test_an_encrypted_zip_is_refused(make: Make) -> None:
    path = make("zip", [("secret", b"x")])
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.index(mark) + place] |= 1
    path.write_bytes(bytes(data))
    refused(Archive(path).members, "'secret' is encrypted")


@pytest.mark.parametrize("kind", ARCHIVES)
def test_cut_archives_are_refused(make: Make, kind: str) -> None:
    path = make(kind, [(f"{i}", os.urandom(3000)) for i in range(5)])
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, 4 * 3000):
        path.write_bytes(whole[:length])
        stream = Archive(path).stream([f"{i}" for i in range(5)])
        refused(lambda stream=stream: list(stream), "is not readable|is expected, but is not in it")  # type: ignore[misc]


def test_what_is_no_archive_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "photos.rar").write_bytes(b"Rar!" + bytes(2000))
    refused(Archive(tmp_path / "photos.rar").members, r"photos.rar: is not readable \(no .zip or .tar, or cut off\)")


def test_flipped_bits_of_a_zip_are_found_by_its_checksums(make: Make) -> None:
    path = make("zip", [("x", os.urandom(5000))])
    data = bytearray(path.read_bytes())
    data[2500] ^= 4
    path.write_bytes(bytes(data))
    refused(lambda: Archive(path).read("x"), "is not readable")
