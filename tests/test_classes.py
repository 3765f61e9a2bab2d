"""Whose code a photo gets: its class folder's, or that of the class read from it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from albums import CARD, content, lines, network, picture, write
from PIL import Image

from datamodules.config import DataError
from experiments.cli import main
from gan.protection import save_generator
from photos.classes import NO_FOLDERS, ClassFolders, class_folders
from photos.destination import REPORT
from photos.evidence import read_evidence
from photos.groups import centres_of_text
from photos.manifest import MANIFEST, read_header
from photos.noise import read_codes
from photos.photo import Photo
from photos.protector import SHIPPED, Protector
from photos.read import photo_of


@pytest.mark.parametrize(
    ("folders", "names", "level"),
    [
        ({"a", "b"}, ("a", "b"), 0),
        ({"", "a", "b/deep"}, ("a", "b"), 0),
        ({"all/b", "all/a"}, ("a", "b"), 1),
        ({"train/cat", "train/dog", "test/cat"}, ("cat", "dog"), 1),
        ({"x/Train/cat", "x/Test/dog"}, ("cat", "dog"), 2),
        ({"a"}, (), 0),
        ({"a", "a/b", "a/c"}, (), 0),  # a's own photos make it the only class
        ({""}, (), 0),
        (set(), (), 0),
    ],
)
def test_class_folders_are_those_that_a_trainer_would_take(
    folders: set[str], names: tuple[str, ...], level: int
) -> None:
    found = class_folders(folders)
    assert found.names == names
    assert not names or found.level == level


def test_further_class_folders_come_after_the_known_ones() -> None:
    known = ClassFolders(("b", "d"), 0)
    assert class_folders({"a", "b", "c", "d"}, known).names == ("b", "d", "a", "c")
    assert class_folders({"d"}, known) == known  # an emptied folder keeps its code
    assert class_folders({"a", "b"}, NO_FOLDERS) == NO_FOLDERS  # begun with codes that were read


def test_a_photo_is_of_the_class_folder_that_it_lies_in() -> None:
    classes = ClassFolders(("cat", "dog"), 1)
    assert [classes.of(path) for path in ("train/cat/x.png", "test/dog/deep/y.png", "train/z.png", "z.png")] == [
        "cat", "dog", None, None,
    ]  # fmt: skip


def photos(folder: Path, names: tuple[str, ...] = ("cat", "dog")) -> Path:
    """The same two photos in each of several folders."""
    pair = [picture(30, 30), picture(24, 36)]
    for name in names:
        for place, photo in enumerate(pair):
            write(folder / name / f"{place}.png", photo)
    return folder


def noise(source: Path, copies: Path, name: str) -> np.ndarray:
    before, after = (np.asarray(Image.open(root / name), int) for root in (source, copies))
    return after - before


def test_with_the_shipped_generator_class_folders_decide_the_noise(tmp_path: Path) -> None:
    source = photos(tmp_path / "in")
    protector = Protector.load(SHIPPED)
    protector.protect_folder(source, tmp_path / "by folder")
    protector.protect_folder(source, tmp_path / "read", classes="read")
    by_folder, read = ([noise(source, tmp_path / how, f"{name}/0.png") for name in ("cat", "dog")] for how in
                       ("by folder", "read"))  # fmt: skip
    assert (by_folder[0] != by_folder[1]).mean() > 0.5, "the same photo gets another noise in another class folder"
    assert (read[0] == read[1]).all()
    assert max(abs(one).max() for one in (*by_folder, *read)) <= 8
    header = read_header(tmp_path / "by folder" / MANIFEST)
    assert header is not None
    assert header.classes == ("cat", "dog")


def test_photos_of_a_class_folder_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = photos(tmp_path / "in")
    write(source / "loose.png", picture(20, 20))
    read: list[int] = []
    true = Protector.load(SHIPPED)
    code = type(true.generator).code
    monkeypatch.setattr(type(true.generator), "code", lambda net, images: read.append(len(images)) or code(net, images))
    true.protect_folder(source, tmp_path / "out", workers=1)
    assert len(lines(tmp_path / "out")) == 5
    independent = 3  # looks of ``photos.noise.independent``
    assert len(read) == independent + 1, "the loose photo alone is read"


def test_a_trained_generator_takes_its_own_classes_by_name(generator: Path, tmp_path: Path) -> None:
    protector = Protector.load(generator)  # of cat and dog
    source = photos(tmp_path / "in", ("dog", "cat"))
    assert protector.class_folders(source, tmp_path / "out").names == ("cat", "dog")
    protector.protect_folder(source, tmp_path / "out")
    image = photo_pixels(source / "dog" / "0.png")
    [wanted] = protector.protect_photos([Photo(image.copy())], [1])
    wanted.add()  # type: ignore[union-attr]
    assert (photo_pixels(tmp_path / "out" / "dog" / "0.png") == wanted.photo.pixels).all()  # type: ignore[union-attr]
    other = photos(tmp_path / "other", ("cat", "fish"))
    assert protector.class_folders(other, tmp_path / "x") == NO_FOLDERS
    with pytest.raises(DataError, match="holds the folder fish, and the generator was trained on other classes"):
        protector.class_folders(other, tmp_path / "x", "folders")


def photo_pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_folder_resumes_with_the_codes_that_it_was_begun_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = photos(tmp_path / "in"), tmp_path / "out"
    assert main(["protect", str(source), str(out)]) == 0
    shown = capsys.readouterr().out
    assert "codes: one for each of the 2 class folders (cat, dog)" in shown
    before = content(out)
    photos(source, ("bird",))
    assert main(["protect", str(source), str(out)]) == 0
    header = read_header(out / MANIFEST)
    assert header is not None
    assert header.classes == ("cat", "dog", "bird")
    after = content(out)
    kept = [name for name in before if name.endswith(".png")]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert main(["protect", str(source), str(out), "classes=read"]) == 2
    assert "one code for each class folder (cat, dog, bird), now it would be codes read from the photos" in (
        capsys.readouterr().err
    )
    assert "one for each of the 3 class folders" in (out / REPORT).read_text()


def test_shards_make_the_folder_that_one_call_makes(tmp_path: Path) -> None:
    source = photos(tmp_path / "in", ("a", "b", "c"))
    protector = Protector.load(SHIPPED)
    protector.protect_folder(source, tmp_path / "whole")
    for number in (1, 2):
        protector.protect_folder(source, tmp_path / "shared", shard=(number, 2))
    whole, shared = content(tmp_path / "whole"), content(tmp_path / "shared")
    assert {name: whole[name] for name in whole if name.endswith((".png", ".jsonl"))} == {
        name: shared[name] for name in shared if name.endswith((".png", ".jsonl"))
    }


def test_folders_that_were_begun_before_there_were_class_folders_resume(tmp_path: Path) -> None:
    source, out = photos(tmp_path / "in"), tmp_path / "out"
    protector = Protector.load(SHIPPED)
    protector.protect_folder(source, out, classes="read")
    manifest = out / MANIFEST
    first, _, rest = manifest.read_text().partition("\n")
    first = first.replace(', "classes": [], "class_level": 0', "")
    assert '"classes"' not in first
    manifest.write_text(first + "\n" + rest)
    assert protector.protect_folder(source, out).kept == 4


@pytest.mark.parametrize("folders", [("a",), ()])
def test_folders_that_are_asked_for_and_are_not_there_are_named(tmp_path: Path, folders: tuple[str, ...]) -> None:
    source = photos(tmp_path / "in", folders or ("a",))
    if not folders:
        shutil.move(source / "a" / "0.png", source / "0.png")
    with pytest.raises(DataError, match="holds no two folders of photos"):
        Protector.load(SHIPPED).class_folders(source, tmp_path / "out", "folders")


def test_the_shipped_generator_has_a_test_for_either_kind_of_code(tmp_path: Path) -> None:
    folders, read = read_evidence(SHIPPED, "folders"), read_evidence(SHIPPED, "read")
    assert "untested" not in (folders.verdict, read.verdict)
    assert folders.sentence != read.sentence
    save_generator(tmp_path / "g.safetensors", network(), replace(CARD))
    assert read_evidence(tmp_path / "g.safetensors", "folders").verdict == "untested"


# groups of like photos


def like_photos(folder: Path, count: int = 12) -> Path:
    """Two kinds of photos that anybody can tell apart, side by side in one folder."""
    for place in range(count):
        write(folder / f"{place:02d} dark.png", smooth_picture(place, 0, 60))
        write(folder / f"{place:02d} striped.png", smooth_picture(place, 180, 255, stripes=True))
    return folder


def smooth_picture(seed: int, low: int, high: int, stripes: bool = False) -> Image.Image:
    random = np.random.default_rng(seed)
    pixels = random.integers(low, high, (40, 48, 3)).astype(np.uint8)
    if stripes:
        pixels[:, ::8] = 0
    return Image.fromarray(pixels)


def test_like_photos_get_one_code_and_unlike_ones_another(tmp_path: Path) -> None:
    source = like_photos(tmp_path / "in")
    protector = Protector.load(SHIPPED).grouped(source, tmp_path / "out")
    assert protector.card.class_names == ["group 1", "group 2"]
    names = sorted(path.name for path in source.iterdir())
    logits = read_codes(protector.generator, [photo_of(Image.open(source / n)) for n in names], 3, protector.size)
    kinds = {kind: {int(row.argmax()) for row, n in zip(logits, names, strict=True) if kind in n}
             for kind in ("dark", "striped")}  # fmt: skip
    assert all(len(found) == 1 for found in kinds.values())
    assert kinds["dark"] != kinds["striped"]


def test_groups_stay_as_they_were_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = like_photos(tmp_path / "in"), tmp_path / "out"
    assert main(["protect", str(source), str(out)]) == 0
    assert "codes: one for each of 2 groups of like photos" in capsys.readouterr().out
    header, before = read_header(out / MANIFEST), content(out)
    assert header is not None
    for place in range(40):  # these alone would make other groups
        write(source / f"new {place}.png", smooth_picture(100 + place, 0, 255))
    assert main(["protect", str(source), str(out)]) == 0
    again = read_header(out / MANIFEST)
    assert again is not None
    assert again.groups == header.groups
    assert torch.equal(centres_of_text(again.groups).norm(dim=1).round(decimals=2), torch.ones(2))
    after = content(out)
    assert all(after[name] == before[name] for name in before if name.endswith(".png"))
    assert main(["protect", str(source), str(out), "classes=read"]) == 2
    assert "was made with one code for each group of like photos" in capsys.readouterr().err


def test_too_few_photos_for_groups_are_read(tmp_path: Path) -> None:
    source = like_photos(tmp_path / "in", 3)
    protector = Protector.load(SHIPPED)
    assert protector.grouped(source, tmp_path / "out") is protector
    with pytest.raises(DataError, match="too few photos for groups"):
        protector.grouped(source, tmp_path / "out", "groups")


def test_groups_are_for_the_shipped_generator(generator: Path, tmp_path: Path) -> None:
    source = like_photos(tmp_path / "in")
    protector = Protector.load(generator)
    assert protector.grouped(source, tmp_path / "out") is protector
    with pytest.raises(DataError, match="groups are for the generator that comes with the package"):
        protector.grouped(source, tmp_path / "out", "groups")


def test_damaged_centres_are_named(tmp_path: Path) -> None:
    source, out = like_photos(tmp_path / "in"), tmp_path / "out"
    protector = Protector.load(SHIPPED)
    protector.protect_folder(source, out)
    text = (out / MANIFEST).read_text()
    header = read_header(out / MANIFEST)
    assert header is not None
    (out / MANIFEST).write_text(text.replace(header.groups, header.groups[:50], 1))
    with pytest.raises(DataError, match="damaged manifest"):
        protector.protect_folder(source, out)
