"""Every named data set, from tiny fakes in its true on-disk format, and what happens when a source is wrong."""

import io
import json
import pickle
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CACHE, SMALL
from fakes import FAKES, IMAGENETTE, imagenet100, pickled, targz, zipped

from datamodules.base import ImageDataModule
from datamodules.cifar import unpickle
from datamodules.config import SETS, DataConfig, DataError
from datamodules.decode import TargetFormat, decode, read
from experiments.cli import main
from experiments.config import compose, names
from experiments.data import module_of, unready

# what a run of each needs beside its files
SMALLEST = ("derma", "path", "pneumonia", "retina", "organ")
EXTRA = {name: ["data.size=28"] for name in SMALLEST} | {"imagenet100": [f"data.classes={','.join(IMAGENETTE[:3])}"]}
OWN = ("digits", "npz", "folder")


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets a fake pass for its source: its own digest and size are another's."""

    def trust(name: str) -> None:
        kind = module_of(name)
        own = kind.files
        monkeypatch.setattr(kind, "files", lambda self: [replace(file, digest="", size=0) for file in own(self)])

    return trust


def config_of(name: str, root: Path, *arguments: str) -> DataConfig:
    extra = [f"data={name}", f"data.root={root}", f"data.cache={CACHE}", "data.download=false", "data.batch_size=16"]
    return compose([*extra, *EXTRA.get(name, []), *arguments])[0].data


def opened(name: str, root: Path, *arguments: str) -> ImageDataModule:
    module = unready(config_of(name, root, *arguments))
    module.setup()
    return module


def told_by_brightness(module: ImageDataModule) -> None:
    """The fakes' images are as bright as their labels say: nothing is out of order or turned inside out."""
    for part in module.parts.values():
        means = part.images.float().mean((1, 2, 3))
        levels = 30 + 190 * part.labels.double() / (module.classes - 1)
        assert (means - levels).abs().max() < 12


def test_every_name_has_a_module_facts_and_a_config() -> None:
    assert set(names("data")) == set(SETS)
    for name in SETS:
        info = module_of(name).info
        assert info.kind in ("natural", "medical", "own")
        for text in (info.title, info.images, info.size, info.licence, info.todo):
            assert text
        if info.kind != "own":
            assert info.citation
            assert info.page.startswith("http")
            assert info.classes > 1


def test_every_source_has_a_fake() -> None:
    assert set(FAKES) == set(SETS) - set(OWN)


@pytest.mark.parametrize("name", FAKES)
def test_fast_dev_run_from_the_true_format(name: str, tmp_path: Path, trusted: Callable[[str], None]) -> None:
    trusted(name)
    root = tmp_path / "data"
    root.mkdir()
    FAKES[name](root)
    run = tmp_path / "run"
    # small: what is tested here is the way from the source's files to the results
    size = {"blood": 64}.get(name, 28 if name in SMALLEST else 32)
    arguments = [f"data={name}", f"data.root={root}", "data.download=false", *EXTRA.get(name, []), *SMALL]
    arguments.append(f"data.size={size}")
    assert main(["train", *arguments, "fast_dev_run=true", f"run_dir={run}", "victim.epochs=1"]) == 0
    results = json.loads((run / "results.json").read_text())
    info = module_of(name).info
    classes = len(EXTRA["imagenet100"][0].split(",")) if name == "imagenet100" else info.classes
    assert results["chance"] == pytest.approx(1 / classes)
    assert {"clean", "standard", "fast"} <= set(results["mean"])


@pytest.mark.parametrize("name", FAKES)
def test_labels_pixels_and_parts_belong_together(name: str, tmp_path: Path, trusted: Callable[[str], None]) -> None:
    trusted(name)
    FAKES[name](tmp_path)
    module = opened(name, tmp_path, *(["data.aspect=crop"] if name == "covid" else []))
    told_by_brightness(module)
    expected = {"cifar10": 30, "cifar100": 200, "svhn": 40, "stl10": 30, "imagenette": 30, "imagenet100": 9, "isic": 21}
    if name in expected:
        assert len(module.parts["test"]) == expected[name]


def test_pixels_of_cifar_svhn_and_stl_are_the_right_way_up(tmp_path: Path, trusted: Callable[[str], None]) -> None:
    """One image with a red upper left corner, told to each format by its own fake."""
    from fakes import many

    for name, size in (("cifar10", 32), ("svhn", 32), ("stl10", 96)):
        trusted(name)
        root = tmp_path / name
        root.mkdir()
        FAKES[name](root)
        module = opened(name, root, f"data.size={size}")
        seed = {"cifar10": 500, "svhn": 1000, "stl10": 0}[name]
        count = {"cifar10": 30, "svhn": 40, "stl10": 30}[name]
        images, labels = many(count, 10, (size, size), seed)
        assert torch.equal(module.parts["test"].images, torch.from_numpy(images).permute(0, 3, 1, 2))
        assert module.parts["test"].labels.tolist() == labels.tolist()


@pytest.mark.parametrize(("name", "groups", "size"), [("isic", 56, 64), ("covid", 30, 128)])
def test_lesions_and_patients_are_never_divided(
    name: str, groups: int, size: int, tmp_path: Path, trusted: Callable[[str], None]
) -> None:
    trusted(name)
    FAKES[name](tmp_path)
    module = unready(config_of(name, tmp_path))
    listing = module.listing()
    assert listing.groups is not None
    assert listing.parts is not None
    own = {group for group, part in zip(listing.groups, listing.parts, strict=True) if part == 0}
    assert len(own) == groups
    module.setup()
    # the fakes' images are all different: find each by its pixels
    form = TargetFormat(size, module.config.aspect, module.channels)
    named = {
        (decode(raw, form) if isinstance(raw, bytes) else read(raw, form)).tobytes(): group  # type: ignore[arg-type]
        for raw, group in zip(listing.read(), listing.groups, strict=True)
    }
    owners: dict[str, set[str]] = {}
    for part, images in module.parts.items():
        if part != "test":  # of the source's own division
            for image in images.images:
                owners.setdefault(named[image.permute(1, 2, 0).contiguous().numpy().tobytes()], set()).add(part)
    assert set(owners) == own
    assert all(len(parts) == 1 for parts in owners.values())


def test_lists_of_covidx_that_are_wrong(tmp_path: Path, trusted: Callable[[str], None]) -> None:
    FAKES["covid"](tmp_path)
    good = (tmp_path / "train.txt").read_text()
    for change, message in (
        (good + "7 x.png maybe cohen\n", "line 91 is '7 x.png maybe cohen'; patient, file name, class"),
        (good + "7 x.png positive cohen\n", "names 1 images that are not in .*train/x.png"),
        (good + good.splitlines()[0] + "\n", "1 images are listed twice"),
    ):
        (tmp_path / "train.txt").write_text(change)
        with pytest.raises(DataError, match=message):
            opened("covid", tmp_path)
    lines = good.splitlines()
    assert lines[0].startswith("0 ")
    lines[0] = "1000" + lines[0][1:]  # of the test part
    (tmp_path / "train.txt").write_text("\n".join(lines))
    module = opened("covid", tmp_path)
    assert module.skipped == [("train/train-0.png", "its patient or lesion cohen 1000 is in the test part too")]
    (tmp_path / "train.txt").write_bytes(good.encode() + b"7 \xff.png positive cohen\n")
    with pytest.raises(DataError, match="names 1 images that are not in"):
        opened("covid", tmp_path)
    (tmp_path / "train.txt").write_text(good.replace(" cohen", "").replace(" sirm", ""))  # early lists name no source
    assert sum(map(len, opened("covid", tmp_path).parts.values())) == 102
    (tmp_path / "train.txt").unlink()
    with pytest.raises(DataError, match="1 of 2 files are missing"):
        opened("covid", tmp_path)


@pytest.mark.parametrize("name", [name for name in FAKES if name != "imagenet100"])
def test_missing_files_are_listed_with_place_and_check(name: str, tmp_path: Path, capsys: Any) -> None:
    extra = [f"data.cache={CACHE}", "data.download=false", *EXTRA.get(name, [])]
    arguments = [f"data={name}", f"data.root={tmp_path / 'here'}", *extra]
    assert main(["train", *arguments, f"run_dir={tmp_path / 'run'}"]) == 2
    refused = capsys.readouterr().err
    assert main(["validate", *arguments]) == 2
    told = capsys.readouterr().out
    for file in module_of(name)(config_of(name, tmp_path)).files():
        for text in (refused, told):
            assert file.name in text
            assert file.url in text
            if file.digest:
                assert file.digest.partition(":")[2] in text
    assert str(tmp_path / "here") in refused
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "here").exists()


def test_a_source_with_another_digest_is_refused_and_kept(tmp_path: Path) -> None:
    FAKES["cifar10"](tmp_path)
    with pytest.raises(DataError, match="cifar-10-python.tar.gz"):
        opened("cifar10", tmp_path)
    assert (tmp_path / "cifar-10-python.tar.gz").exists()


def test_pickles_that_ask_for_more_than_arrays_are_refused() -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (print, ("run",))

    with pytest.raises(DataError, match="x is no pickle of arrays .*asks for __builtin__.print"):
        unpickle(pickle.dumps(Evil(), protocol=2), "x")
    with pytest.raises(DataError, match="no pickle of arrays"):
        unpickle(b"", "x")
    with pytest.raises(DataError, match="no pickle of arrays"):
        unpickle(pickled({"data": np.zeros(9, np.uint8)})[:-20], "x")
    content = unpickle(pickled({"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, 2]}), "x")
    assert content[b"data"].tolist() == [[0, 1, 2], [3, 4, 5]]


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    with tarfile.open(path) as archive:
        members = {m.name: archive.extractfile(m).read() for m in archive.getmembers() if m.isfile()}  # type: ignore[union-attr]
    change(members)
    targz(path, members)


def test_archives_with_something_missing_are_named(tmp_path: Path, trusted: Callable[[str], None]) -> None:
    for name, file, member in (
        ("cifar10", "cifar-10-python.tar.gz", "cifar-10-batches-py/data_batch_3"),
        ("stl10", "stl10_binary.tar.gz", "stl10_binary/test_y.bin"),
    ):
        trusted(name)
        root = tmp_path / name
        root.mkdir()
        FAKES[name](root)
        rewritten(root / file, lambda members, member=member: members.pop(member))  # type: ignore[misc]
        with pytest.raises(DataError, match=file) as caught:
            opened(name, root)
        assert member in str(caught.value)
    (tmp_path / "svhn").mkdir()
    trusted("svhn")
    FAKES["svhn"](tmp_path / "svhn")
    (tmp_path / "svhn" / "test_32x32.mat").write_bytes(b"x" * 500)
    with pytest.raises(DataError, match="test_32x32.mat: no readable .mat file"):
        opened("svhn", tmp_path / "svhn")


def test_isic_without_an_image_or_with_two_classes(tmp_path: Path, trusted: Callable[[str], None]) -> None:
    trusted("isic")
    FAKES["isic"](tmp_path)
    folder = "ISIC2018_Task3_Test_GroundTruth"
    header = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"
    zipped(tmp_path / f"{folder}.zip", {f"{folder}/{folder}.csv": f"{header}\nISIC_0,1.0,1.0,0,0,0,0,0".encode()})
    with pytest.raises(DataError, match="ISIC_0 has 2 classes"):
        opened("isic", tmp_path)
    zipped(tmp_path / f"{folder}.zip", {f"{folder}/{folder}.csv": f"{header}\nISIC_0,1.0,0,0,0,0,0,0".encode()})
    with pytest.raises(DataError, match="has no image ISIC_0"):
        opened("isic", tmp_path)
    zipped(tmp_path / f"{folder}.zip", {})
    with pytest.raises(DataError, match="has 0 tables"):
        opened("isic", tmp_path)
    for text in (b"image,MEL\nISIC_0,1.0\n", b"<html>", b"\xff\xfe", b""):
        zipped(tmp_path / f"{folder}.zip", {f"{folder}/{folder}.csv": text})
        with pytest.raises(DataError, match=f"{folder}.csv: is no table with a column (NV|image); delete it and"):
            opened("isic", tmp_path)
    (tmp_path / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text("image,lesion\nISIC_0,1\n")
    with pytest.raises(DataError, match=f"{tmp_path}/ISIC.*LesionGroupings.csv: is no table with a column lesion_id"):
        opened("isic", tmp_path)


def test_imagenette_reads_the_smallest_archive_that_is_large_enough(tmp_path: Path) -> None:
    for size, file in (
        (64, "imagenette2-160.tgz"),
        (160, "imagenette2-160.tgz"),
        (224, "imagenette2-320.tgz"),
        (512, "imagenette2.tgz"),
    ):
        assert unready(config_of("imagenette", tmp_path, f"data.size={size}")).files()[0].name == file


def test_imagenet_subsets_take_the_classes_of_the_config(tmp_path: Path) -> None:
    imagenet100(tmp_path)
    module = opened("imagenet100", tmp_path)
    assert module.class_names == IMAGENETTE[:3]
    with pytest.raises(DataError, match="has no images of class 'n00000000'"):
        opened("imagenet100", tmp_path, f"data.classes={IMAGENETTE[0]},n00000000")
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(DataError, match="the train part has no image|needs two|has no images|part has no image"):
        opened("imagenet100", tmp_path)
    with pytest.raises(DataError, match="no folder or archive .*nothing; accept ImageNet's terms, .* \\(terms: http"):
        opened("imagenet100", tmp_path / "nothing")


def test_one_file_under_two_names_has_each_names_classes(tmp_path: Path, trusted: Callable[[str], None]) -> None:
    trusted("derma")
    FAKES["derma"](tmp_path)
    arguments = [
        f"data.path={tmp_path / 'dermamnist.npz'}",
        f"data.cache={CACHE}",
        "data.size=28",
        "data.batch_size=16",
    ]
    plain = unready(compose(["data=npz", *arguments])[0].data)
    plain.setup()
    assert plain.class_names == tuple("0123456")
    assert opened("derma", tmp_path).class_names[4] == "melanoma"


def test_fakes_are_what_other_readers_read(tmp_path: Path) -> None:
    """The fakes' own format, by the standard readers."""
    FAKES["cifar10"](tmp_path)
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz") as archive:
        member = archive.extractfile("cifar-10-batches-py/data_batch_1")
        assert member is not None
        content = pickle.load(io.BytesIO(member.read()), encoding="bytes")
    assert content[b"data"].shape == (30, 3072)
    assert content[b"data"].dtype == np.uint8
