"""``folder``: every layout that people have, and every mistake that they make."""

import io
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from conftest import CACHE, SMALL
from PIL import Image

from datamodules.base import ImageDataModule
from datamodules.config import DataConfig, DataError
from datamodules.folder import Folder
from experiments.cli import main


def picture(level: int, seed: int, size: tuple[int, int] = (20, 14), kind: str = "JPEG") -> bytes:
    noise = np.random.default_rng(seed).integers(0, 60, (size[1], size[0], 3)) + level
    buffer = io.BytesIO()
    Image.fromarray(noise.astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def photos(root: Path, names: dict[str, int] | None = None, each: int = 20, where: str = "{name}/{i:03d}.jpg") -> Path:
    """A folder of classes told by brightness."""
    for k, name in enumerate(names or {"cat": 0, "dog": 1}):
        for i in range(each):
            path = root / where.format(name=name, i=i)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(80 * k, crc32(where.encode()) + 1000 * k + i, (15 + i % 7, 12 + i % 5)))
    return root


def opened(root: Path, **options: Any) -> ImageDataModule:
    config = DataConfig(name="folder", root=str(root), size=16, batch_size=4, cache=str(CACHE), **options)
    module = Folder(config)
    module.setup()
    return module


def total(module: ImageDataModule) -> int:
    return sum(map(len, module.parts.values()))


def classes_told(module: ImageDataModule) -> bool:
    """Whether every image is as bright as its label says: nothing got out of order."""
    return all(
        ((part.images.float().mean((1, 2, 3)) > 70).long() == part.labels).all() for part in module.parts.values()
    )


def test_class_folders_of_mixed_sizes(tmp_path: Path) -> None:
    module = opened(photos(tmp_path))
    assert module.class_names == ("cat", "dog")
    assert (module.channels, module.size, total(module)) == (3, (16, 16), 40)
    assert classes_told(module)


def test_deeper_folders_and_folders_above(tmp_path: Path) -> None:
    module = opened(photos(tmp_path, where="holiday/best/{name}/2020/{i}.jpg"))
    assert module.class_names == ("cat", "dog")
    assert total(module) == 40


def test_a_division_of_the_folders_own(tmp_path: Path) -> None:
    photos(tmp_path, where="train/{name}/{i}.jpg")
    photos(tmp_path, each=5, where="Test/{name}/{i}.jpg")
    module = opened(tmp_path)
    assert len(module.parts["test"]) == 10
    assert total(module) == 50
    assert classes_told(module)


def test_val_without_test_is_the_test_part(tmp_path: Path) -> None:
    photos(tmp_path, where="train/{name}/{i}.jpg")
    photos(tmp_path, each=6, where="val/{name}/{i}.jpg")
    module = opened(tmp_path)
    assert len(module.parts["test"]) == 12
    assert len(module.parts["val"]) == 4  # cut from train


def test_all_three_parts(tmp_path: Path) -> None:
    for part, each in (("train", 20), ("valid", 6), ("test", 5)):
        for k, name in enumerate(("cat", "dog")):
            for i in range(each):
                path = tmp_path / part / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(picture(80 * k, hash((part, k, i)) % 2**32, kind="PNG"))
    module = opened(tmp_path)
    sizes = {name: len(part) for name, part in module.parts.items()}
    assert sizes == {"train": 20, "unseen": 20, "val": 12, "test": 10}


def test_training_and_testing_are_parts_but_not_beside_other_folders(tmp_path: Path) -> None:
    photos(tmp_path, where="Training/{name}/{i}.jpg")
    photos(tmp_path, each=5, where="Testing/{name}/{i}.jpg")
    module = opened(tmp_path)
    assert (module.class_names, len(module.parts["test"])) == (("cat", "dog"), 10)
    photos(tmp_path, each=2, where="unlabeled/{name}{i}.jpg")
    with pytest.raises(DataError, match="has a split .* and beside it the folder 'unlabeled'"):
        opened(tmp_path)


def test_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    photos(tmp_path, {"cat": 0, "dog": 1})
    photos(tmp_path, {".ipynb_checkpoints": 0}, each=1)
    photos(tmp_path, {"cat/.thumbnails": 0}, each=1)
    module = opened(tmp_path)
    assert (module.class_names, total(module)) == (("cat", "dog"), 40)
    assert [reason for _, reason in module.skipped] == ["hidden: begins with a dot"] * 2


def test_a_change_behind_a_link_is_noticed(tmp_path: Path) -> None:
    photos(tmp_path / "elsewhere", {"cat": 0})
    photos(tmp_path / "photos", {"dog": 1})
    (tmp_path / "photos" / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    first = opened(tmp_path / "photos").fingerprints
    (tmp_path / "elsewhere" / "cat" / "000.jpg").write_bytes(picture(0, 999, (33, 20)))
    assert opened(tmp_path / "photos").fingerprints != first


def test_a_folder_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path / "photos")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert total(opened(Path("~/photos"))) == 40


def test_a_folder_or_table_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "labels.csv")

    monkeypatch.setattr("datamodules.folder.from_table", fail)
    with pytest.raises(DataError, match=r"^labels.csv: cannot be read \(Permission denied\); check its permissions"):
        opened(tmp_path / "flat", labels=str(table(tmp_path)))


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    assert opened(photos(tmp_path, {"train": 0, "plane": 1})).class_names == ("plane", "train")


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_archives_are_read_without_unpacking(tmp_path: Path, kind: str) -> None:
    source = photos(tmp_path / "photos")
    path = tmp_path / f"photos.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(source.rglob("*.jpg"), reverse=True):
                archive.write(file, file.relative_to(tmp_path))
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as tar:
            for file in sorted(source.rglob("*.jpg"), reverse=True):
                tar.add(file, file.relative_to(tmp_path))
    module = opened(path)
    assert (module.class_names, total(module)) == (("cat", "dog"), 40)
    assert classes_told(module)
    assert {p.name for p in tmp_path.iterdir()} == {"photos", path.name}


def test_some_classes_in_the_order_asked_for(tmp_path: Path) -> None:
    module = opened(photos(tmp_path, {"cat": 0, "dog": 1, "emu": 2}), classes="emu, cat")
    assert module.class_names == ("emu", "cat")
    assert total(module) == 40
    with pytest.raises(DataError, match="no images of class 'emo'; did you mean 'emu'"):
        opened(tmp_path, classes="emo,cat")
    with pytest.raises(DataError, match="two classes are called 'cat'"):
        opened(tmp_path, classes="cat,dog,cat")


def test_numbered_classes_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    assert opened(photos(tmp_path, {"10": 0, "9": 1, "1": 2, "²": 3})).class_names == ("²", "1", "9", "10")


def table(tmp_path: Path, header: str = "file,label", lines: list[str] | None = None, encoding: str = "utf-8") -> Path:
    """Forty pictures in one flat folder, and their table."""
    for k in range(2):
        for i in range(20):
            path = tmp_path / "flat" / f"{k}-{i:02d}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(picture(80 * k, 100 * k + i))
    lines = (
        lines if lines is not None else [f"{k}-{i:02d}.jpg,{['cat', 'dog'][k]}" for k in range(2) for i in range(20)]
    )
    path = tmp_path / "labels.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding=encoding)
    return path


def test_flat_folder_and_a_table(tmp_path: Path) -> None:
    module = opened(tmp_path / "flat", labels=str(table(tmp_path)))
    assert (module.class_names, total(module)) == (("cat", "dog"), 40)
    assert classes_told(module)


@pytest.mark.parametrize(
    ("header", "line", "encoding"),
    [
        ("Filename;Diagnosis", "{k}-{i:02d}.jpg;{name}", "utf-8-sig"),
        ("image_id,label,age", "{k}-{i:02d},{name},50", "utf-8"),
        ("label\tpath", "{name}\t./{k}-{i:02d}.jpg", "utf-8"),
        ("image,class", '"{k}-{i:02d}.jpg","{name}"', "utf-8"),
        ("file,label", "{k}-{i:02d}.jpg,{name}\r", "utf-8"),
    ],
)
def test_tables_as_people_write_them(tmp_path: Path, header: str, line: str, encoding: str) -> None:
    lines = [line.format(k=k, i=i, name=("cat", "dog")[k]) for k in range(2) for i in range(20)] + [""]
    module = opened(tmp_path / "flat", labels=str(table(tmp_path, header, lines, encoding)))
    assert (module.class_names, total(module)) == (("cat", "dog"), 40)
    assert classes_told(module)


def test_patients_of_a_table_are_never_divided_and_splits_are_honoured(tmp_path: Path) -> None:
    lines = [f"{k}-{i:02d}.jpg,{k},p{k}{i // 4}" for k in range(2) for i in range(20)]
    module = opened(tmp_path / "flat", labels=str(table(tmp_path, "file,label,patient", lines)))
    owners: dict[str, set[str]] = {}
    names = {(tmp_path / "flat" / line.split(",")[0]): line.split(",")[2] for line in lines}
    from datamodules.decode import TargetFormat, read

    pixels = {read(path, TargetFormat(16, "crop", 3)).tobytes(): patient for path, patient in names.items()}
    for name, part in module.parts.items():
        for image in part.images:
            owners.setdefault(pixels[image.permute(1, 2, 0).contiguous().numpy().tobytes()], set()).add(name)
    assert len(owners) == 10
    assert all(len(parts) == 1 for parts in owners.values())

    lines = [f"{k}-{i:02d}.jpg,{k},{'test' if i < 6 else 'train'}" for k in range(2) for i in range(20)]
    assert len(opened(tmp_path / "flat", labels=str(table(tmp_path, "file,label,split", lines))).parts["test"]) == 12


def test_training_images_of_a_tests_patient_are_left_out_and_listed(tmp_path: Path) -> None:
    lines = [f"{k}-{i:02d}.jpg,{k},p{k}{i},{'test' if i < 6 else 'train'}" for k in range(2) for i in range(20)]
    path = table(tmp_path, "file,label,patient,split", [line.replace("p19,", "p12,") for line in lines])
    module = opened(tmp_path / "flat", labels=str(path))
    assert module.skipped == [("1-09.jpg", "its patient or lesion p12 is in the test part too")]
    assert (total(module), len(module.parts["test"])) == (39, 12)
    assert classes_told(module)
    with pytest.raises(DataError, match="left out 1 images: 1-09.jpg .* is in the test part too"):
        opened(tmp_path / "flat", labels=str(path), max_bad=0.0)


def some(lines: int) -> list[str]:
    return [f"{k}-{i:02d}.jpg,{k}" for k in range(2) for i in range(20)][:lines]


TABLES: dict[str, tuple[str, list[str], str]] = {
    "no file column": ("picture,label", some(40), "labels.csv: has no file column"),
    "no label column": ("file,age", some(40), "labels.csv: has no label column"),
    "missing files": ("file,label", [*some(40), "x.jpg,0", "y.jpg,1"], "names 2 files that are not in .*'x.jpg' \\(line 42\\)"),
    "named twice": ("file,label", [*some(40), "0-00.jpg,1"], "line 42 names '0-00.jpg' a second time"),
    "unknown split": ("file,label,split", [f"{line},extra" for line in some(40)], "has split 'extra'"),
    "labels missing for many": ("file,label", [*some(20), "1-00.jpg,1"], "left out 19 images: 1-01.jpg \\(no line in the table\\)"),
    "only a header": ("file,label", [], "has no image with a label \\(0-00.jpg: no line in the table"),
    "no labels at all": ("file,label", [line[:-1] for line in some(40)], "has no image with a label \\(0-00.jpg: no label"),
    "open quotation": ("file,label", ['"' + some(1)[0] + "x" * 200_000, *some(40)], "is no table .* quotation mark that is never"),
    "one class": ("file,label", [line[:-1] + "0" for line in some(40)], "has one class \\('0'\\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLES)
def test_bad_tables_are_named(tmp_path: Path, case: str) -> None:
    header, lines, message = TABLES[case]
    with pytest.raises(DataError, match=message) as caught:
        opened(tmp_path / "flat", labels=str(table(tmp_path, header, lines)))
    assert "\n" not in str(caught.value)


def test_a_table_that_is_missing_empty_or_no_text(tmp_path: Path) -> None:
    path = table(tmp_path)
    with pytest.raises(DataError, match="data.labels: no file"):
        opened(tmp_path / "flat", labels=str(tmp_path / "no.csv"))
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        opened(tmp_path / "flat", labels=str(path))
    path.write_bytes(b"file,label\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="is not UTF-8"):
        opened(tmp_path / "flat", labels=str(path))


def test_one_missing_label_is_a_listed_skip(tmp_path: Path) -> None:
    lines = some(40)
    lines[5] = lines[5].split(",")[0] + ","
    module = opened(tmp_path / "flat", labels=str(table(tmp_path, lines=lines)))
    assert module.skipped == [("0-05.jpg", "no label in the table")]
    assert "left out 1 images: 0-05.jpg (no label in the table)" in module.left_out()


def test_a_changed_table_or_picture_is_noticed(tmp_path: Path) -> None:
    path = table(tmp_path)
    first = opened(tmp_path / "flat", labels=str(path)).fingerprints
    path.write_text(path.read_text().replace("0-00.jpg,cat", "0-00.jpg,dog"))
    second = opened(tmp_path / "flat", labels=str(path)).fingerprints
    assert first != second
    (tmp_path / "flat" / "0-01.jpg").write_bytes(picture(10, 999, (33, 20)))
    assert opened(tmp_path / "flat", labels=str(path)).fingerprints != second


def test_bad_folders_are_named(tmp_path: Path) -> None:
    def refused(message: str, root: Path) -> None:
        with pytest.raises(DataError, match=message) as caught:
            opened(root)
        assert "\n" not in str(caught.value)

    refused("no folder or archive", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    refused("has no images .*; it is empty", tmp_path / "empty")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("")
    refused("its 1 files end in .txt", tmp_path / "text")
    refused("has one class \\('cat'\\)", photos(tmp_path / "one", {"cat": 0}))
    refused(
        "40 images but no class folders; sort them .* data.labels=", photos(tmp_path / "flat", where="{name}{i}.jpg")
    )
    refused("3 images for 2 classes; at least two a class", photos(photos(tmp_path / "few", {"a": 0}, 2), {"b": 0}, 1))
    refused("the .* part has no image of class .* has 2 images; 0 of", photos(tmp_path / "small", each=2))
    emu = photos(tmp_path / "bad", {"cat": 0, "dog": 1}, each=40) / "emu" / "1.jpg"
    emu.parent.mkdir()
    emu.write_bytes(b"")
    refused("no image of class 'emu'; .* has 0 images; 1 of all images were left out", tmp_path / "bad")
    refused("would both be stored in the folder 'a_b'", photos(tmp_path / "names", {"a_b": 0, "a?b": 1}))


def test_files_that_are_no_pictures_are_passed_over_and_unread_formats_listed(tmp_path: Path) -> None:
    photos(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("notes")
    (tmp_path / "cat" / "._000.jpg").write_bytes(b"resource fork")
    (tmp_path / "dog" / "IMG_1.HEIC").write_bytes(b"x")
    (tmp_path / "stray.jpg").write_bytes(picture(0, 5))
    module = opened(tmp_path)
    assert total(module) == 40
    assert sorted(module.skipped) == [
        ("dog/IMG_1.HEIC", ".HEIC files are not read; convert them to JPEG or PNG"),
        ("stray.jpg", "in no class folder"),
    ]


def test_unreadable_files_up_to_the_limit(tmp_path: Path) -> None:
    photos(tmp_path)
    (tmp_path / "cat" / "000.jpg").write_bytes(b"")
    (tmp_path / "dog" / "001.jpg").write_bytes(picture(0, 1)[:-100])
    module = opened(tmp_path)
    assert [name for name, _ in module.skipped] == ["cat/000.jpg", "dog/001.jpg"]
    assert total(module) == 38
    with pytest.raises(DataError, match=r"left out 2 images: cat/000.jpg \(empty file\).* of 40; at most 2% may be"):
        opened(tmp_path, max_bad=0.02)


def test_a_folder_of_photos_trains_from_end_to_end(tmp_path: Path, capsys: Any) -> None:
    photos(tmp_path / "photos", {"cat": 0, "dog": 1, "emu": 2}, each=30)
    (tmp_path / "photos" / "cat" / "broken.jpg").write_bytes(b"")
    arguments = [*SMALL, "data=folder", f"data.root={tmp_path / 'photos'}", "data.size=16", "fast_dev_run=true"]
    assert main(["train", *arguments, f"run_dir={tmp_path / 'run'}"]) == 0
    assert "left out 1 images: cat/broken.jpg (empty file)" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "run" / "protected" / "fast").iterdir()} >= {"cat", "dog", "emu"}
    assert main(["validate", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "3 classes, 16×16×3" in shown
    assert "cat 11 (1.00)" in shown or "cat 10 (" in shown


@pytest.mark.parametrize("form", ["absolute", "from above", "below its own name"])
def test_a_table_may_name_files_with_the_root_before_them(tmp_path: Path, form: str) -> None:
    root = photos(tmp_path / "data" / "flat", where="{name}{i:03d}.jpg")
    before = {"absolute": f"{root.resolve()}/", "from above": "data/flat/", "below its own name": "flat/"}[form]
    lines = [f"{before}{path.name},{path.name[:3]}" for path in sorted(root.iterdir())]
    (tmp_path / "table.csv").write_text("\n".join(["path,label", *lines]))
    assert total(opened(root, labels=str(tmp_path / "table.csv"))) == len(lines)


def test_a_table_with_another_root_is_refused(tmp_path: Path) -> None:
    """A file of the same name elsewhere is not the one that is meant."""
    root = photos(tmp_path / "flat", where="{name}/{i:03d}.jpg")
    lines = [f"other/{path.parent.name}/{path.name},x" for path in sorted(root.rglob("*.jpg"))]
    (tmp_path / "table.csv").write_text("\n".join(["path,label", *lines]))
    with pytest.raises(DataError, match="names 40 files that are not in"):
        opened(root, labels=str(tmp_path / "table.csv"))


@pytest.mark.parametrize("copies", [1, 3])
def test_copies_of_test_images_are_not_trained_on(tmp_path: Path, copies: int) -> None:
    root = photos(tmp_path / "all", each=60, where="train/{name}/{i:03d}.jpg")
    photos(root, each=60, where="test/{name}/{i:03d}.jpg")
    for i in range(copies):
        shutil.copy(root / "test" / "cat" / f"{i:03d}.jpg", root / "train" / "cat" / f"copy{i}.jpg")
    module = opened(root)
    assert module.skipped == [(f"train/cat/copy{i}.jpg", "a copy of an image of the test part") for i in range(copies)]
    digests = {name: {bytes(image.numpy()) for image in part.images} for name, part in module.parts.items()}
    assert not digests["test"] & (digests["train"] | digests["val"] | digests["unseen"])
    assert len(module.parts["test"]) == 120


def test_a_class_that_the_own_test_part_lacks_is_named_with_it(tmp_path: Path) -> None:
    root = photos(tmp_path / "all", {"cat": 0, "dog": 1, "emu": 2}, where="train/{name}/{i:03d}.jpg")
    photos(root, where="test/{name}/{i:03d}.jpg")
    with pytest.raises(DataError, match="own test part has no image of class 'emu'; add some .* data.classes"):
        opened(root)
