"""Archives and folders: the same images out of each, and every kind of bad archive refused."""

import gzip
import io
import os
import random
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from datamodules.archive import CHUNK, LONGEST_HEADER, Archive, Member
from datamodules.config import DataError

KINDS = ["folder", "zip", "stored.zip", "tar", "tar.gz"]
RANDOM = random.Random(0).randbytes(3 * CHUNK + 7)
FILES = {  # not sorted by name
    "b/2.png": b"two",
    "b/10.png": RANDOM,
    "a/ñandú 图.png": bytes(200_000),
    "empty": b"",
    "a/block": b"x" * 512,
    "labels.csv": b"a,b\n" * 1000,
}

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes files as the given kind; returns the archive's path."""

    def write(kind: str, files: dict[str, bytes] = FILES) -> Path:
        path = tmp_path / f"set.{kind}"
        if kind == "folder":
            for name, data in files.items():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(data)
        elif kind.endswith("zip"):
            method = zipfile.ZIP_STORED if kind == "stored.zip" else zipfile.ZIP_DEFLATED
            with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path, "w", method) as archive:
                for name, data in files.items():
                    archive.writestr(name, data)
        else:
            with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as archive:
                for name, data in files.items():
                    archive.addfile(header(name, len(data)), io.BytesIO(data))
        return path

    return write


def header(name: str, size: int = 0, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def tar_of(path: Path, *blocks: bytes, end: bool = True) -> Path:
    """A tar file of headers and data, each padded to whole blocks."""
    path.write_bytes(b"".join(b + bytes(-len(b) % 512) for b in blocks) + bytes(1024 * end))
    return path


def patched(path: Path, **fields: int) -> Path:
    """Changes what a zip's directory says of its first member."""
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    places = {"flags": (8, "<H"), "method": (10, "<H"), "crc": (16, "<I"), "size": (24, "<I"), "offset": (42, "<I")}
    for key, value in fields.items():
        place, layout = places[key]
        struct.pack_into(layout, data, at + place, value)
    path.write_bytes(data)
    return path


def refused(path: Path, name: str | None = None, **options: int) -> str:
    """The message of one line with which an archive, or one member of it, is refused, whichever way it is read."""
    archive = Archive(path, **options)
    ways: list[Callable[[], object]] = [lambda: list(archive.stream(None if name is None else [name]))]
    ways += [archive.members] if name is None else [lambda: archive.read(name)]
    messages = set()
    for way in ways:
        with pytest.raises(DataError) as caught:
            way()
        messages.add(str(caught.value))
    message = messages.pop()
    assert not messages
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_files(make: Make, kind: str) -> None:
    with Archive(make(kind)) as archive:
        members = archive.members()
        names = list(FILES) if "tar" in kind else sorted(FILES)
        assert members == [Member(name, len(FILES[name])) for name in names]
        assert {name: archive.read(name) for name in FILES} == FILES
        assert list(archive.stream()) == [(name, FILES[name]) for name in names]
        some = ["empty", "b/2.png", "a/block"]
        assert [name for name, _ in archive.stream(some)] == (
            ["b/2.png", "empty", "a/block"] if "tar" in kind else some
        )
        assert list(archive.stream([])) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_handle_reads_piece_by_piece(make: Make, kind: str) -> None:
    archive = Archive(make(kind), max_member=10)
    for name, data in FILES.items():
        with archive.open_member(name) as handle:
            assert handle.read(2) == data[:2]
            assert handle.read() == data[2:]
            assert handle.read(1) == b""
    assert "has 200,000 bytes, at most 10 are expected" in refused(archive.path, "a/ñandú 图.png", max_member=10)


def test_an_array_of_an_npz_by_a_handle(tmp_path: Path) -> None:
    array = np.arange(100_000).reshape(100, 1000)
    np.savez_compressed(tmp_path / "a.npz", x=array)
    with Archive(tmp_path / "a.npz").open_member("x.npy") as handle:
        assert (np.lib.format.read_array(handle) == array).all()


@pytest.mark.parametrize("kind", KINDS)
def test_absent_members(make: Make, kind: str) -> None:
    for name in ("b", "b/3.png", "../set.zip", "/etc/passwd"):
        assert f"member {name!r} is expected, but is not in it; " in refused(make(kind), name)


def test_absent_and_unreadable_archives(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path}/x.zip: no such file or folder; give an archive or a folder"):
        Archive(tmp_path / "x.zip")
    for name, content in (
        ("empty", b""),
        ("text", b"text" * 999),
        ("a.zip", b"PK\3\4"),
        ("a.gz", gzip.compress(b"text")),
    ):
        (tmp_path / name).write_bytes(content)
        assert "is not readable (" in refused(tmp_path / name)
        assert "; fetch or write it again" in refused(tmp_path / name)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("name", ["../x", "a/../../x", "a/..", "/abs", "C:x", "c:/x", "a\\x", "a\n\\x", "//host/x"])
def test_names_that_lead_out_are_refused(make: Make, kind: str, name: str) -> None:
    message = refused(make(kind, {"good": b"1", name: b"2"}))
    assert f"member {name!r} is expected to have a plain relative name" in message


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_names_are_simplified(make: Make, kind: str) -> None:
    archive = Archive(make(kind, {"./a//b/./c.png": b"1"}))
    assert archive.members() == [Member("a/b/c.png", 1)]
    assert archive.read("a/b/c.png") == b"1"


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("second", ["a/b", "./a/b", "a//b"])
def test_repeated_names_are_refused(make: Make, kind: str, second: str) -> None:
    path = make(kind, {})
    if kind == "zip":
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/b", b"1")
            archive.writestr(second, b"2")
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as tar:
            for name in ("a/b", second):
                tar.addfile(header(name, 1), io.BytesIO(b"1"))
    assert "member 'a/b' comes twice, expected once" in refused(path)


@pytest.mark.parametrize("kind", KINDS)
def test_what_systems_leave_behind_is_left_out(make: Make, kind: str) -> None:
    litter = ["__MACOSX/a/._1.png", "__MACOSX/x.png", "a/.DS_Store", ".DS_Store", "a/Thumbs.db", "a/._1.png"]
    path = make(kind, {"a/1.png": b"1", **dict.fromkeys(litter, b"!"), "a/DS_Store": b"2"})
    assert {member.name for member in Archive(path).members()} == {"a/1.png", "a/DS_Store"}
    assert dict(Archive(path).stream()) == {"a/1.png": b"1", "a/DS_Store": b"2"}


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "a link"),
        ({"type": tarfile.SYMTYPE, "linkname": "good"}, "a link"),
        ({"type": tarfile.LNKTYPE, "linkname": "good"}, "a link"),
        ({"type": tarfile.CHRTYPE}, "a device"),
        ({"type": tarfile.FIFOTYPE}, "a device"),
        ({"pax_headers": {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1"}}, "a sparse file"),
    ],
)
def test_links_and_devices_of_a_tar_are_left_out_and_refused_where_needed(
    tmp_path: Path, fields: dict[str, object], what: str
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(header("good", 1), io.BytesIO(b"1"))
        tar.addfile(header("odd", **fields))
    archive = Archive(tmp_path / "a.tar")
    assert archive.members() == [Member("good", 1)]
    assert list(archive.stream()) == [("good", b"1")]
    assert f"member 'odd' is {what}, expected a file" in refused(tmp_path / "a.tar", "odd")
    with pytest.raises(DataError, match=what):
        archive.open_member("odd")


@pytest.mark.parametrize(("mode", "what"), [(0o120777, "a link"), (0o010777, "a device")])
def test_links_and_devices_of_a_zip(tmp_path: Path, mode: int, what: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("odd")
        info.external_attr, info.create_system = mode << 16, 3
        archive.writestr(info, "/etc/passwd")
        archive.writestr("good", b"1")
    assert Archive(tmp_path / "a.zip").members() == [Member("good", 1)]
    assert f"member 'odd' is {what}, expected a file" in refused(tmp_path / "a.zip", "odd")


def test_what_dos_notes_of_a_file_is_no_unix_mode(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("a")
        info.external_attr, info.create_system = 0o120777 << 16, 0
        archive.writestr(info, b"1")
    assert Archive(tmp_path / "a.zip").read("a") == b"1"


def test_links_of_a_folder_are_followed(tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "1.png").write_bytes(b"1")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "2.png").symlink_to(tmp_path / "away" / "1.png")
    (tmp_path / "set" / "class").symlink_to(tmp_path / "away")
    (tmp_path / "top").symlink_to(tmp_path / "set")
    assert dict(Archive(tmp_path / "top").stream()) == {"2.png": b"1", "class/1.png": b"1"}


@pytest.mark.parametrize("target", [".", "../set", "../set/a"])
def test_a_folder_reached_twice_is_refused(make: Make, target: str) -> None:
    path = make("folder", {"a/1.png": b"1"}).rename(make("folder").parent / "set")
    (path / "z").symlink_to(target)
    assert "is the same folder as" in refused(path)


def test_a_link_to_nothing_is_refused(make: Make) -> None:
    path = make("folder")
    (path / "a" / "gone.png").symlink_to("nowhere")
    assert "member 'a/gone.png' is a device or a link to nothing; remove it" in refused(path)


def test_a_folder_that_cannot_be_listed_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path, scan = make("folder"), os.scandir

    def fail(where: str) -> object:
        if str(where).endswith("b"):
            raise PermissionError(13, "Permission denied", where)
        return scan(where)

    monkeypatch.setattr(os, "scandir", fail)
    assert f"Permission denied: '{path}/b'" in refused(path)


def test_a_file_that_shrank_is_refused(make: Make) -> None:
    archive = Archive(make("folder"))
    archive.members()
    (archive.path / "b/10.png").write_bytes(b"short")
    with pytest.raises(DataError, match=r"member 'b/10.png' is not readable \(\d+,\d+ of \d+,\d+ bytes are missing\)"):
        archive.read("b/10.png")
    (archive.path / "b/10.png").write_bytes(RANDOM + b"more")
    assert archive.read("b/10.png") == RANDOM


@pytest.mark.parametrize("kind", KINDS)
def test_limits(make: Make, kind: str) -> None:
    path, total = make(kind), sum(map(len, FILES.values()))
    assert len(Archive(path, max_member=200_000, limit_bytes=total).members()) == len(FILES)
    assert len(list(Archive(path, 200_000, total).stream())) == len(FILES)
    assert f"brings the archive to {total:,} bytes, at most {total - 1:,} are" in refused(path, limit_bytes=total - 1)


def test_a_zip_that_declares_too_little_is_read_no_further(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    # even with the checksum of the part that is declared
    path = patched(make("zip", {"bomb": bytes(50_000_000)}), size=100, crc=zlib.crc32(bytes(100)))
    made, real = 0, zlib.decompressobj

    class Counted:
        def __init__(self, *_: object) -> None:
            self.real = real(-15)

        def decompress(self, data: bytes, most: int) -> bytes:
            nonlocal made
            result = self.real.decompress(data, most)
            made += len(result)
            return result

        def __getattr__(self, name: str) -> object:
            return getattr(self.real, name)

    monkeypatch.setattr("datamodules.archive.zlib.decompressobj", Counted)
    assert "member 'bomb' is not readable (has more than the 100 bytes that it declares)" in refused(path, "bomb")
    assert made == 2 * 101


@pytest.mark.parametrize("method", ["zip", "stored.zip"])
def test_a_zip_that_declares_too_much(make: Make, method: str) -> None:
    path = patched(make(method, {"bomb": b"1" * 100}), size=4_000_000_000)
    assert "has 4,000,000,000 bytes, at most 536,870,912 are expected" in refused(path, "bomb")
    assert "is not readable" in refused(patched(path, size=1_000_000), "bomb")
    # an empty one is checked as well
    assert "is not readable" in refused(patched(path, size=0), "bomb")


@pytest.mark.timeout(10)
def test_deflated_data_that_go_on_to_the_end_of_the_file(make: Make) -> None:
    endless = b"\x00\xff\xff\x00\x00" + bytes(10)  # says that 65,535 bytes follow
    path = patched(make("stored.zip", {"a": endless}), method=zipfile.ZIP_DEFLATED, size=60_000)
    assert "of 60,000 bytes are missing" in refused(path, "a")


def test_a_tar_that_declares_too_much(tmp_path: Path) -> None:
    info = header("bomb", 1 << 42)
    path = tar_of(tmp_path / "a.tar", info.tobuf(), b"data")
    assert "brings the archive to 4,398,046,511,104 bytes" in refused(path)
    path = tar_of(tmp_path / "far.tar", header("bomb", 1 << 70).tobuf(tarfile.GNU_FORMAT))
    archive = Archive(path, 1 << 80, 1 << 80)
    for way in (archive.members, lambda: list(archive.stream())):
        with pytest.raises(DataError, match="is not readable"):
            way()
    path = tar_of(tmp_path / "b.tar", header("bomb", 1 << 30).tobuf(), b"data")
    archive = Archive(path)
    with pytest.raises(DataError, match="has 1,073,741,824 bytes, at most 536,870,912"):
        list(archive.stream())
    with pytest.raises(DataError, match=r"not readable \(unexpected end of data\)"):
        archive.members()


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "blocks",
    [
        [header("a", -1024).tobuf(tarfile.GNU_FORMAT)],
        [header("a", -1024, type=b"L").tobuf(tarfile.GNU_FORMAT)],
        [header("a", 1).tobuf(), b"1", header("b", pax_headers={"size": "-3072"}).tobuf(tarfile.PAX_FORMAT)],
        *(
            [header("x", LONGEST_HEADER + 1, type=kind).tobuf(), bytes(LONGEST_HEADER + 1), header("a").tobuf()]
            for kind in (b"L", b"K", b"x", b"g", b"X")
        ),
    ],
)
def test_tar_headers_that_make_tarfile_spin_or_swell(tmp_path: Path, blocks: list[bytes]) -> None:
    assert "header declares " in refused(tar_of(tmp_path / "a.tar", *blocks))


def test_a_chain_of_tar_headers_without_a_member(tmp_path: Path) -> None:
    chain = [header("x", 1, type=b"L").tobuf(), b"n"] * 3000
    assert "is not readable" in refused(tar_of(tmp_path / "a.tar", *chain))


def test_long_names_of_a_tar_are_read(tmp_path: Path) -> None:
    name = "n" * 200 + "/" + "é" * 200
    for layout in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tar_of(tmp_path / "a.tar", header(name, 1).tobuf(layout), b"1")
        assert list(Archive(path).stream()) == [(name, b"1")]


def test_a_damaged_header_is_not_the_end_of_a_tar(tmp_path: Path) -> None:
    good = [header("a", 1).tobuf(), b"1"]
    assert list(Archive(tar_of(tmp_path / "a.tar", *good)).stream()) == [("a", b"1")]
    assert "is not readable (invalid header)" in refused(tar_of(tmp_path / "a.tar", *good, b"garbage" * 70, b"1"))
    assert "is not readable (empty header)" in refused(tar_of(tmp_path / "a.tar", *good, end=False))


def test_an_encrypted_zip_is_refused(make: Make) -> None:
    assert "member 'b/2.png' is encrypted, expected plain" in refused(patched(make("zip"), flags=1))


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, 93])
def test_compression_that_cannot_be_bounded_is_refused(make: Make, method: int) -> None:
    assert f"member 'b/2.png' is compressed by method {method}, expected 0" in refused(
        patched(make("zip"), method=method)
    )


@pytest.mark.parametrize("kind", ["zip", "stored.zip", "tar", "tar.gz"])
def test_cut_archives_are_refused(make: Make, kind: str) -> None:
    def whole_member(name: str, data: bytes) -> None:
        assert data == FILES[name]

    path = make(kind)
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        for way in (Archive(path).members, lambda: [whole_member(*member) for member in Archive(path).stream()]):
            with pytest.raises(DataError, match=f"^{path}: .*; fetch or write it again$"):
                way()
    if kind != "tar":  # which is padded with more than it needs
        path.write_bytes(whole[:-1])
        assert "fetch or write it again" in refused(path)


def test_flipped_bits_are_found_by_the_checksums(make: Make) -> None:
    for kind in ("zip", "stored.zip"):
        path = make(kind)
        data = bytearray(path.read_bytes())
        data[data.index(RANDOM[1000:1020])] ^= 1
        path.write_bytes(data)
        assert "member 'b/10.png' is not readable (its checksum is wrong)" in refused(path, "b/10.png")
    path = make("tar.gz")
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    assert "CRC check failed" in refused(path)


def test_a_directory_that_points_elsewhere(make: Make) -> None:
    assert "no header where the directory says" in refused(patched(make("zip"), offset=1), "b/2.png")


def test_zip64(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 2)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    path = make("zip")
    assert b"PK\x06\x06" in path.read_bytes()  # the directory of the large format
    assert dict(Archive(path).stream()) == FILES


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_told_apart_by_content(make: Make, kind: str) -> None:
    files = {"PKLot/1.jpg": b"1"}  # a tar file that begins like a zip
    path = make(kind, files)
    assert dict(Archive(path.rename(path.with_name("set.data"))).stream()) == files


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_archive_has_no_members(make: Make, tmp_path: Path, kind: str) -> None:
    (tmp_path / "set.folder").mkdir()
    assert Archive(make(kind, {})).members() == []


@pytest.mark.parametrize("kind", KINDS)
def test_threads_and_forked_processes_read_side_by_side(make: Make, kind: str) -> None:
    archive = Archive(make(kind))
    archive.members()
    names = [*FILES] * 20
    for pool in (ThreadPoolExecutor(8), ProcessPoolExecutor(2, get_context("fork"))):
        with pool:
            assert list(pool.map(archive.read, names)) == [FILES[name] for name in names]


def test_a_tar_gz_is_streamed_in_one_pass(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path, size = make("tar.gz", {f"{i}": RANDOM for i in range(20)}), 0

    class Counted(gzip.GzipFile):
        def rewind(self) -> None:
            raise AssertionError("read anew from the start")

    opened = []

    def counted(where: Path) -> gzip.GzipFile:
        opened.append(where)
        handle = gzip.GzipFile(where)
        monkeypatch.setattr(handle._buffer.raw, "_rewind", Counted.rewind)  # type: ignore[attr-defined]
        return handle

    monkeypatch.setattr("datamodules.archive.gzip.open", counted)
    for _, data in Archive(path).stream():
        size += len(data)
    assert size == 20 * len(RANDOM)
    assert opened == [path]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_any_damage_is_a_data_error(make: Make, kind: str) -> None:
    path, chance = make(kind, {"a/1.png": b"one" * 100, "ü": b"2", "n" * 120: b"3"}), random.Random(1)
    whole, messages = path.read_bytes(), list[str]()
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.choice([0, 1, 255, chance.randrange(256)])
        path.write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
        for way in (
            lambda: list(Archive(path).stream()),
            lambda: [Archive(path).read(m.name) for m in Archive(path).members()],
        ):
            try:
                way()
            except DataError as error:
                messages.append(str(error))
    assert len(messages) > 50
    assert not [message for message in messages if "\n" in message]
