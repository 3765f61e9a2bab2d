"""What an owner relies on: nothing readable by more people, nothing protected twice, nothing claimed that was not seen."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from albums import RNG, album, content, lines, picture, write
from PIL import Image

from datamodules.config import DataError
from experiments.cli import main
from photos import folder as photo_folder
from photos.evidence import HEADLINES, evidence_of, read_evidence
from photos.kinds import HEAD, is_litter, kind_of
from photos.manifest import MANIFEST, PARTIAL, PREVIOUS, read_header
from photos.protector import SHIPPED, Protector
from photos.text import printable
from photos.tree import PhotoTree

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line: exit code, what it printed, its errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# who may read what


def private_album(folder: Path) -> None:
    album(folder, 6)
    os.chmod(folder / "00.png", 0o640)
    os.chmod(folder / "b" / "01.png", 0o604)
    os.chmod(folder / "b" / "deep" / "02.png", 0o400)
    os.chmod(folder / "b" / "deep", 0o700)
    os.chmod(folder, 0o750)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("shards", [1, 2])
def test_no_copy_is_readable_by_more_people_than_its_photo(
    generator: Path, tmp_path: Path, mask: int, shards: int
) -> None:
    private_album(tmp_path / "in")
    protector, out = Protector.load(generator), tmp_path / "out"
    before = os.umask(mask)
    try:
        for number in range(1, shards + 1):
            protector.protect_folder(tmp_path / "in", out, shard=(number, shards))
    finally:
        os.umask(before)
    assert len(lines(out)) == 6
    for entry in lines(out).values():
        assert mode(out / entry.path) == mode(tmp_path / "in" / entry.source), entry.path
    for name, wanted in (("", 0o750), ("b", mode(tmp_path / "in" / "b")), ("b/deep", 0o700)):
        assert mode(out / name) == wanted, name
    for name in (MANIFEST, "report.html"):  # the strictest photo's: 0640 and 0604 and 0400
        assert mode(out / name) == 0o400, name
    assert mode(out / ".lock") & 0o077 == 0


def test_nothing_is_readable_by_others_while_it_is_written(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private_album(tmp_path / "in")
    seen, true = [], os.replace

    def replace(passing: Any, final: Any) -> None:
        found = {path: mode(path) for path in (tmp_path / "out").rglob("*") if path.is_file()}
        seen.append(found[Path(passing)])
        assert all(value & 0o077 == 0 for path, value in found.items() if path.name in (PARTIAL, PREVIOUS, ".lock"))
        assert mode(tmp_path / "out" / ".unfinished") == 0o700 if (tmp_path / "out" / ".unfinished").exists() else True
        true(passing, final)

    monkeypatch.setattr(photo_folder.os, "replace", replace)
    Protector.load(generator).protect_folder(tmp_path / "in", tmp_path / "out", workers=1)
    assert len(seen) >= 7


def test_a_copy_that_was_made_public_is_made_private_again_and_verify_sees_it(
    generator: Path, tmp_path: Path, run: Run
) -> None:
    private_album(tmp_path / "in")
    assert run("protect", tmp_path / "in", tmp_path / "out", f"generator={generator}")[0] == 0
    os.chmod(tmp_path / "out" / "00.png", 0o644)
    code, shown, _ = run("verify", tmp_path / "out", f"source={tmp_path / 'in'}")
    assert code == 1
    assert "00.png: can be used by more people than 00.png (permissions 004 too many)" in shown
    assert run("protect", tmp_path / "in", tmp_path / "out", f"generator={generator}")[0] == 0
    assert mode(tmp_path / "out" / "00.png") == 0o640
    assert run("verify", tmp_path / "out", f"source={tmp_path / 'in'}")[0] == 0


# nothing twice


@pytest.mark.parametrize("source", ["safe", "safe/b", ".", "mixed"])
def test_protected_photos_are_not_protected_again(generator: Path, tmp_path: Path, run: Run, source: str) -> None:
    work = tmp_path / "work"
    album(work / "in", 3)
    album(work / "mixed", 3)
    Protector.load(generator).protect_folder(work / "in", work / "safe")
    Protector.load(generator).protect_folder(work / "in", work / "mixed" / "z" / "safe")
    code, _, error = run("protect", work / source, tmp_path / "out", f"generator={generator}")
    assert code == 2
    assert f"holds protected images ({MANIFEST}); give the folder of the unprotected ones" in error
    assert not (tmp_path / "out").exists()


def test_the_manifest_of_something_else_is_no_hindrance(generator: Path, tmp_path: Path) -> None:
    album(tmp_path / "in", 3)
    for text in ("", "{}", '{"format": 1}', "[1]", "no json"):
        (tmp_path / "in" / MANIFEST).write_text(text)
        assert sum(bool(found.target) for found in PhotoTree(tmp_path / "in", ".png")) == 3


# names


NAMES = ("a\nleft out: b.png: empty.png", "c\x1b[2J.png", "d\u202egnp.exe.png", "e\x07.png", "f\r100 photos.png")


def test_names_cannot_forge_lines_or_steer_the_terminal(generator: Path, tmp_path: Path, run: Run) -> None:
    for name in NAMES:
        write(tmp_path / "in" / name, picture())
        (tmp_path / "in" / f"x{name}").write_bytes(b"")
    outputs = [run("protect", tmp_path / "in", tmp_path / "out", f"generator={generator}", "dry_run=true")]
    outputs.append(run("protect", tmp_path / "in", tmp_path / "out", f"generator={generator}"))
    assert outputs[-1][0] == 1
    (tmp_path / "out" / NAMES[1]).write_bytes(b"damaged")
    (tmp_path / "in" / "new\nline.png").write_bytes((tmp_path / "in" / NAMES[0]).read_bytes())
    outputs.append(run("verify", tmp_path / "out", f"source={tmp_path / 'in'}"))
    outputs.append(run("inspect", tmp_path / "in" / f"x{NAMES[0]}", f"generator={generator}"))
    outputs.append(run("protect", tmp_path / "no\nfolder\x1b", tmp_path / "out", f"generator={generator}"))
    outputs.append(run("verify", tmp_path / "no\nfolder\x1b"))
    outputs.append(run("inspect", tmp_path / "in" / NAMES[0], f"generator={tmp_path}/no\x1bgenerator"))
    for code, out, error in outputs:
        for line in (out + error).split("\n"):
            assert line.isprintable(), (code, line)
            assert not line.startswith(("left out: b.png", "100 photos", "folder", "line.png"))
    assert "a\\nleft out" in outputs[0][1]
    assert "new\\nline.png: has no copy" in outputs[2][1]
    page = (tmp_path / "out" / "report.html").read_text()
    assert not any(one in page for one in "\x1b\x07\r\u202e")
    assert set(lines(tmp_path / "out")) == {*NAMES, *(f"x{name}" for name in NAMES)}  # the manifest has the true names


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("é 日本 x.png", "é 日本 x.png"),
        ("a\tb", "a\\tb"),
        ("\udcff", "\\udcff"),
        ("a\u2028b", "a\\u2028b"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_printable(given: str, shown: str) -> None:
    assert printable(given) == shown


# verify


def test_verify_names_photos_that_have_no_copy(generator: Path, tmp_path: Path, run: Run) -> None:
    album(tmp_path / "in", 3)
    (tmp_path / "in" / "empty.png").touch()
    assert run("protect", tmp_path / "in", tmp_path / "out", f"generator={generator}")[0] == 1
    assert run("verify", tmp_path / "out")[0] == 0
    write(tmp_path / "in" / "late.png", picture())
    write(tmp_path / "in" / "b" / "no suffix", picture(), format="JPEG")
    (tmp_path / "in" / "notes.txt").write_text("no photo")
    (tmp_path / "in" / "Thumbs.db").write_text("litter")
    code, shown, _ = run("verify", tmp_path / "out", f"source={tmp_path / 'in'}")
    assert code == 1
    assert "late.png: has no copy: came after the folder was protected" in shown
    assert "b/no suffix: has no copy: came after" in shown
    assert "empty.png: has no copy: empty file" in shown
    assert "3 faults" in shown
    assert "notes.txt" not in shown


def forged(out: Path, name: str) -> None:
    """Makes the manifest fit a file that was changed."""
    import hashlib

    entry = lines(out)[name]
    digest = hashlib.sha256((out / entry.path).read_bytes()).hexdigest()
    text = (out / MANIFEST).read_text().replace(entry.protected_sha256, digest)
    (out / MANIFEST).write_text(text)


def test_verify_compares_what_describes_a_photo(generator: Path, tmp_path: Path, run: Run) -> None:
    exif = Image.Exif()
    exif[0x8298], exif[0x010F] = "all rights reserved", "Maker"
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 1.5)}
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        write(tmp_path / "in" / name, picture(), exif=exif, dpi=(300, 300))
    arguments = ("protect", tmp_path / "in", tmp_path / "out", f"generator={generator}", "strip=gps")
    assert run(*arguments)[0] == 0
    out = tmp_path / "out"
    places = [told for told in lines(out)["a.jpg"].lost if "GPS" in told]
    assert places
    assert all("place" in told for told in places)
    assert run("verify", out, f"source={tmp_path / 'in'}")[0] == 0
    with Image.open(out / "a.png") as image:
        tags, pixels = image.getexif(), image.copy()
    pixels.info.clear()
    del tags[0x8298]
    pixels.save(out / "a.png", exif=tags)
    forged(out, "a.jpg")
    pixels.save(out / "b.png", exif=exif, dpi=(300, 300))
    forged(out, "b.jpg")
    with Image.open(out / "c.png") as image:
        image.save(out / "c.png", exif=image.getexif(), dpi=(300, 300), transparency=None, compress_level=1)
    code, shown, _ = run("verify", out, f"source={tmp_path / 'in'}")
    assert code == 1
    assert "a.png: lacks EXIF Copyright of a.jpg, which should have stayed" in shown
    assert "a.png: lacks resolution of a.jpg" in shown
    assert "b.png: tells a place, though strip=gps was asked for" in shown


def test_manifests_of_the_first_format_are_still_read(generator: Path, tmp_path: Path, run: Run) -> None:
    album(tmp_path / "in", 3)
    out = tmp_path / "out"
    Protector.load(generator).protect_folder(tmp_path / "in", out)
    os.chmod(out / MANIFEST, 0o600)
    head, *rest = (out / MANIFEST).read_text().splitlines()
    new = ("noise_share", "displayed", "stored_linf", "stored_psnr", "cast", "added")
    old = [json.loads(head) | {"format": 1}]
    old += [{k: v for k, v in (json.loads(line) | {"kept": None}).items() if k not in new} for line in rest]
    (out / MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in old))
    assert read_header(out / MANIFEST).format == 1  # type: ignore[union-attr]
    assert all(entry.kept is None and entry.noise_share is None for entry in lines(out).values())
    code, shown, _ = run("verify", out, f"source={tmp_path / 'in'}")
    assert (code, "no fault found" in shown) == (0, True)
    code, _, error = run("protect", tmp_path / "in", out, f"generator={generator}")
    assert code == 2
    assert "was made by an earlier version of this program" in error


# contents decide


def test_contents_decide_and_suffixes_do_not(generator: Path, tmp_path: Path, run: Run) -> None:
    album(tmp_path / "in", 1)
    for name, kind in (
        ("camera.JFIF", "JPEG"), ("edited.jpg_original", "JPEG"), ("no suffix", "JPEG"), ("1.2.840.1", "PNG"),
        ("wrong.txt", "WEBP"), ("scan.dat", "TIFF"), ("old.dib", "BMP"), ("movie.jpg", "GIF"), ("grid", "PPM"),
    ):  # fmt: skip
        write(tmp_path / "in" / name, picture(), format=kind)
    (tmp_path / "in" / "letter").write_text("BMW and P5 are no pictures")
    (tmp_path / "in" / "song.mp3").write_bytes(b"ID3" + bytes(100))
    code, shown, _ = run("protect", tmp_path / "in", tmp_path / "out", f"generator={generator}")
    assert code == 0
    assert "not copied, since no photos by their content: 2 files" in shown
    names = {source: entry.path for source, entry in lines(tmp_path / "out").items()}
    assert names == {
        "00.png": "00.png", "camera.JFIF": "camera.png", "edited.jpg_original": "edited.jpg_original.png",
        "no suffix": "no suffix.png", "1.2.840.1": "1.2.840.1.png", "wrong.txt": "wrong.txt.png",
        "scan.dat": "scan.dat.png", "old.dib": "old.dib.png", "movie.jpg": "movie.png", "grid": "grid.png",
    }  # fmt: skip
    assert run("verify", tmp_path / "out", f"source={tmp_path / 'in'}")[0] == 0


def brand(name: bytes, others: bytes = b"mif1") -> bytes:
    return (16 + len(others)).to_bytes(4, "big") + b"ftyp" + name + bytes(4) + others + bytes(40)


@pytest.mark.parametrize(
    ("head", "suffix", "kind"),
    [
        (brand(b"heic"), ".jpg", "HEIC"),
        (brand(b"mif1", b"heic"), "", "HEIC"),
        (brand(b"avif"), ".jpg", "AVIF"),
        (brand(b"mif1", b"mif1avif"), "", "AVIF"),
        (brand(b"isom", b"mp41"), ".mp4", ""),
        (brand(b"crx "), ".cr3", "camera raw"),
        (b"II*\0\x10\0\0\0CR\2\0", "", "camera raw"),
        (b"II*\0\x10\0\0\0", ".nef", "camera raw"),
        (b"II*\0\x10\0\0\0", ".tif", "TIFF"),
        (b"MM\0+\0\x08\0\0", "", "TIFF"),
        (b"\xff\x0a" + bytes(9), "", "JPEG XL"),
        (b"8BPS\0\1", ".jpg", "Photoshop"),
        (b"P5 hello", "", ""),
        (b"P6\n# made by\n3 3 255\n", "", "PPM"),
        (b"BM is a car", ".txt", ""),
        (b"", ".jpg", ""),
        (b"\xff\xd8\xff\xe1" + bytes(HEAD), ".nef", "JPEG"),
    ],
)
def test_kinds(head: bytes, suffix: str, kind: str) -> None:
    assert kind_of(head, suffix) == kind


def test_what_is_read_is_what_pillow_writes(tmp_path: Path) -> None:
    for kind, wanted in (("JPEG", "JPEG"), ("PNG", "PNG"), ("WEBP", "WebP"), ("TIFF", "TIFF"), ("BMP", "BMP"), ("GIF", "GIF"), ("PPM", "PPM"), ("AVIF", "AVIF")):  # fmt: skip
        path = write(tmp_path / kind, picture(), format=kind)
        assert kind_of(path.read_bytes()[:HEAD]) == wanted


LITTER = (".DS_Store", "._a.jpg", "Thumbs.db", "THUMBS.DB", "desktop.ini", ".Trash-1000", "@eaDir", ".nfs000a1")


def test_litter_of_operating_systems_is_nobodys_fault(generator: Path, tmp_path: Path, run: Run) -> None:
    album(tmp_path / "in", 3)

    def drop(folder: Path) -> None:
        for name in LITTER:
            if name in ("@eaDir", ".Trash-1000"):
                write(folder / name / "thumb.jpg", picture())
            else:
                write(folder / name, picture(), format="JPEG")

    drop(tmp_path / "in")
    drop(tmp_path / "in" / "b")
    (tmp_path / "out").mkdir()
    drop(tmp_path / "out")  # a folder that a file manager has looked at is still empty
    arguments = ("protect", tmp_path / "in", tmp_path / "out", f"generator={generator}")
    code, shown, _ = run(*arguments)
    assert (code, "left out:" in shown, "not copied" in shown) == (0, False, False)
    assert set(lines(tmp_path / "out")) == {"00.png", "b/01.png", "b/deep/02.png"}
    drop(tmp_path / "out" / "b")
    assert run("verify", tmp_path / "out", f"source={tmp_path / 'in'}")[0] == 0
    assert run(*arguments)[0] == 0
    assert not is_litter("photo.jpg")
    assert not is_litter("thumbs.db.jpg")


def test_names_that_differ_by_case_alone_both_have_copies(generator: Path, tmp_path: Path, run: Run) -> None:
    for name in ("a.png", "A.png", "Trip/x.jpg", "trip/x.jpg", "Trip/y.jpg", "manifest.jsonl/z.png"):
        write(tmp_path / "in" / name, picture())
    if len(os.listdir(tmp_path / "in")) < 5:
        pytest.skip("this file system does not tell names apart by case")
    assert run("protect", tmp_path / "in", tmp_path / "out", f"generator={generator}")[0] == 0
    names = {source: entry.path for source, entry in lines(tmp_path / "out").items()}
    assert len(names) == len({path.casefold() for path in names.values()}) == 6
    folded = {path.partition("/")[0].casefold() for path in names.values()}
    assert len(folded) == 5
    assert names["Trip/x.jpg"].endswith("/x.png")
    assert run("verify", tmp_path / "out", f"source={tmp_path / 'in'}")[0] == 0
    # a copy's name depends on its own name and not on how many there are
    before = content(tmp_path / "out")
    write(tmp_path / "in" / "0.png", picture())
    assert run("protect", tmp_path / "in", tmp_path / "out", f"generator={generator}")[0] == 0
    assert {k: v for k, v in content(tmp_path / "out").items() if k.endswith("png") and k != "0.png"} == {
        k: v for k, v in before.items() if k.endswith("png")
    }


# a generator's own test


def results(clean: float, standard: float, clean_fast: float, fast: float, chance: float = 1 / 3) -> dict[str, Any]:
    values = {"clean": clean, "standard": standard, "clean_fast": clean_fast, "fast": fast}
    return {"chance": chance, "mean": {key: {"accuracy": {"last": value}} for key, value in values.items()}}


@pytest.mark.parametrize(
    ("figures", "verdict", "said"),
    [
        ((0.667, 0.667, 0.667, 0.667), "none", "shows no protection (images it had not seen: 66.7 %"),
        ((0.96, 0.34, 0.96, 0.9), "unseen", "no protection of images that it was not trained on"),
        ((0.96, 0.34, 0.96, 0.6), "weak", "weak protection"),
        ((0.96, 0.34, 0.96, 0.35), "protects", "shows protection, of images like those"),
        ((0.35, 0.33, 0.35, 0.33), "none", "shows no protection"),  # nothing is learned from clean images either
    ],
)
def test_verdicts_of_a_generators_own_test(figures: tuple[float, ...], verdict: str, said: str) -> None:
    found = evidence_of(results(*figures))
    assert found.verdict == verdict
    assert said in found.sentence
    assert found.rows[-1] == ("chance", "33.3 %")


@pytest.mark.parametrize("broken", [None, {}, {"chance": 0.1, "mean": {}}, {"chance": "x"}, {"chance": 0.1, "mean": 3}])
def test_no_test_is_said_to_be_none(broken: Any) -> None:
    found = evidence_of(broken)
    assert (found.verdict, found.rows) == ("untested", ())
    assert "nothing is known" in found.sentence


def test_a_generator_without_effect_is_announced_first(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (generator, generator.with_suffix(".json")):
        write_bytes(tmp_path / "runs" / "r" / path.name, path.read_bytes())
    (tmp_path / "runs" / "r" / "results.json").write_text(json.dumps(results(0.667, 0.667, 0.667, 0.667)))
    write(tmp_path / "in" / "a.jpg", picture())
    code, shown, _ = run("protect", "in", "out", "generator=runs/r")
    assert code == 0
    assert shown.startswith("This generator's own test shows no protection")
    assert "photos protected" not in shown
    page = (tmp_path / "out" / "report.html").read_text()
    body = page[page.index("<h1>") :]
    assert body.startswith(f"<h1>{HEADLINES['none']}</h1>\n<p><b>This generator&#39;s own test shows no protection")
    assert "Protected photos" not in page
    (tmp_path / "runs" / "r" / "results.json").write_text(json.dumps(results(0.96, 0.34, 0.96, 0.35)))
    assert run("protect", "in", "out2", "generator=runs/r")[0] == 0
    assert "<h1>Protected photos</h1>" in (tmp_path / "out2" / "report.html").read_text()


def write_bytes(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# messages


def test_another_generator_is_named_by_its_card(
    generator: Path, gray_generator: Path, tmp_path: Path, run: Run
) -> None:
    album(tmp_path / "in", 2)
    assert run("protect", tmp_path / "in", tmp_path / "out", f"generator={generator}")[0] == 0
    _, _, error = run("protect", tmp_path / "in", tmp_path / "out", f"generator={gray_generator}")
    assert "was made with another generator (trained on tiny, seed 0, ε 8," in error
    assert len(max(error.split(), key=len)) < 64 + len(str(tmp_path))
    assert not any(len(word) == 64 for word in error.split())


def test_room_is_asked_for_only_where_it_lacks(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    import errno

    album(tmp_path / "in", 1)
    arguments = ("protect", tmp_path / "in", tmp_path / "out", f"generator={generator}")
    for number, wanted in ((errno.EROFS, False), (errno.ENOSPC, True), (errno.EDQUOT, True)):

        def fail(*arguments: Any, number: int = number, **options: Any) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(photo_folder, "save_photo", fail)
            code, _, error = run(*arguments)
        assert code == 2
        assert ("make room" in error) == wanted


def test_libraries_say_nothing_to_owners(generator: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    write(tmp_path / "in" / "a.png", picture())
    data = bytearray(write(tmp_path / "in" / "b.jpg", picture(), exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff").read_bytes())
    (tmp_path / "in" / "b.jpg").write_bytes(bytes(data))
    for verb in (["protect", "in", "out", f"generator={generator}"], ["verify", "out", "source=in"]):
        done = subprocess.run(
            [sys.executable, "-m", "experiments", *verb],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        for word in ("GPU", "TPU", "Warning", "Corrupt", "Lightning"):
            assert word not in done.stdout


# the first word


def test_a_newcomers_first_call_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(RNG.integers(0, 256, (480, 640, 3)).astype(np.uint8)).save(write_parent(tmp_path / "in" / "a.jpg"))
    code, shown, _ = run("protect", "in", "out")
    assert code == 0
    evidence = read_evidence(SHIPPED)
    assert evidence.verdict != "untested"
    assert shown.startswith(evidence.sentence.partition(" (")[0]) or evidence.verdict == "protects"
    assert "(the one that ships), trained on procedural pictures and crops of photographs" in shown
    assert len(lines(tmp_path / "out")) == 1
    assert SHIPPED.stat().st_size < 8_000_000


def write_parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_walks_refuse_before_anything_is_written(generator: Path, tmp_path: Path) -> None:
    album(tmp_path / "in", 3)
    Protector.load(generator).protect_folder(tmp_path / "in", tmp_path / "in" / "z" / ".." / ".." / "safe")
    os.rename(tmp_path / "safe", tmp_path / "in" / "z")
    with pytest.raises(DataError, match="holds protected images"):
        Protector.load(generator).protect_folder(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
