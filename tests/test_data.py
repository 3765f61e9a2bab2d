"""Data modules: the grid, the division, the order of batches, and every kind of bad archive."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CACHE
from PIL import Image

from datamodules.base import ImageDataModule
from datamodules.batches import EpochBatches, Rows
from datamodules.config import DataConfig, DataError
from datamodules.digits import Digits
from datamodules.npz import Npz

SHARED = Path(__file__).parents[2] / "shared" / "data"


def read(path: Path, **options: object) -> ImageDataModule:
    module = Npz(DataConfig(name="npz", path=str(path), batch_size=4, cache=str(CACHE), **options))  # type: ignore[arg-type]
    module.setup()
    return module


def test_digits_are_stored_pixels_divided_without_overlap() -> None:
    module = Digits(DataConfig(cache=str(CACHE), size=32))
    module.setup()
    assert module.size == (32, 32)
    assert module.channels == 1
    assert sum(len(part) for part in module.parts.values()) == 1797
    rows = [row.numpy().tobytes() for part in module.parts.values() for row in part.images]
    assert len(set(rows)) == 1797  # no image twice, hence none in two parts
    for part in module.parts.values():
        assert part.images.dtype == torch.uint8
        shares = part.labels.bincount(minlength=10) / len(part)
        assert shares.min() > 0.08
        assert shares.max() < 0.12


def test_division_is_the_same_for_every_seed_of_a_run() -> None:
    first, second = (
        Digits(DataConfig(cache=str(CACHE), size=32), seed=0),
        Digits(DataConfig(cache=str(CACHE), size=32), seed=1),
    )
    first.setup()
    second.setup()
    assert first.fingerprints == second.fingerprints
    assert set(first.fingerprints) == set(first.parts)
    assert first.state_dict() == second.state_dict()


@pytest.mark.parametrize(("images", "size"), [(100, 32), (101, 32), (64, 64), (7, 2)])
def test_every_image_comes_once_an_epoch_in_batches_of_nearly_one_size(images: int, size: int) -> None:
    sampler = EpochBatches(images, size, seed=1)
    batches = [rows for rows, _, _ in sampler]
    assert torch.cat(batches).sort().values.tolist() == list(range(images))
    sizes = [len(rows) for rows in batches]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert len(sampler) == len(batches)


def test_order_is_a_function_of_seed_and_epoch() -> None:
    sampler = EpochBatches(50, 16, seed=1)
    first = [rows.tolist() for rows, _, _ in sampler]
    assert first == [rows.tolist() for rows, _, _ in sampler]
    sampler.set_epoch(1)
    assert first != [rows.tolist() for rows, _, _ in sampler]
    assert first != [rows.tolist() for rows, _, _ in EpochBatches(50, 16, seed=2)]


def test_processes_share_each_batch_and_their_weighted_means_add_up() -> None:
    alone = list(EpochBatches(51, 16, seed=1))
    shared = [list(EpochBatches(51, 16, 1, rank, 2)) for rank in range(2)]
    value = torch.rand(51)
    for (rows, others, share), *parts in zip(alone, *shared, strict=True):
        assert share == 1
        together = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
        assert dict(zip(rows.tolist(), others.tolist(), strict=True)) == dict(
            zip(together[0].tolist(), together[1].tolist(), strict=True)
        )
        mean = sum(value[p[0]].mean() * p[2] for p in parts) / 2
        assert mean.item() == pytest.approx(value[rows].mean().item(), rel=1e-6)


def test_others_are_other_images() -> None:
    for rows, others, _ in EpochBatches(50, 16, seed=0):
        assert sorted(rows.tolist()) == sorted(others.tolist())
        assert (rows != others).all()


def test_rows_read_a_whole_batch() -> None:
    module = Digits(DataConfig(cache=str(CACHE), size=32))
    module.setup()
    part = module.parts["train"]
    batch = Rows(part)[torch.tensor([3, 1]), torch.tensor([1, 3]), 1.0]
    assert torch.equal(batch.images, part.images[[3, 1]])
    assert torch.equal(batch.others, part.images[[1, 3]])


def test_batch_larger_than_the_data_or_smaller_than_the_processes() -> None:
    with pytest.raises(DataError, match="data.batch_size: is 100, but there are only 50 training images"):
        EpochBatches(50, 100, seed=0)
    with pytest.raises(DataError, match="too small to share among 4 processes"):
        EpochBatches(50, 2, seed=0, world=4)


@pytest.mark.parametrize("channels", [1, 3])
def test_npz_of_pixels(tiny: Callable[..., Path], channels: int) -> None:
    module = read(tiny(channels=channels))
    assert (module.channels, module.size, module.classes) == (channels, (16, 16), 3)
    assert module.class_names == ("class 0", "class 1", "class 2")
    assert len(module.parts["test"]) == 15
    assert {n: len(p) for n, p in module.parts.items()} == {"train": 27, "val": 6, "test": 15, "unseen": 27}


def test_npz_without_channel_axis_names_or_test_part(tiny: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    path = tiny(
        {
            "train_images": rng.integers(0, 255, (90, 9, 7)),
            "train_labels": np.arange(90)[:, None] % 3,
            "test_images": None,
            "test_labels": None,
            "class_names": None,
        }
    )
    module = read(path)
    assert (module.channels, module.size, module.class_names) == (1, (9, 7), ("0", "1", "2"))
    assert len(module.parts["test"]) == 18


def jpeg_arrays(sizes: list[tuple[int, int]], modes: tuple[str, ...] = ("RGB",)) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for part in ("train", "test"):
        files = []
        for i, size in enumerate(sizes):
            buffer = io.BytesIO()
            level = 80 * (i % 3) + i // 3 + 25 * (part == "test")  # no two alike: copies of one image stay in one part
            colour = (level,) * 3 if modes[i % len(modes)] == "RGB" else level
            Image.new(modes[i % len(modes)], size, colour).save(buffer, "JPEG")
            files.append(buffer.getvalue())
        arrays[f"{part}_jpeg"] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"{part}_offsets"] = np.cumsum([0, *map(len, files)])
        arrays[f"{part}_labels"] = np.arange(len(sizes)) % 3
        arrays[f"{part}_images"] = None  # type: ignore[assignment]
    return arrays


def test_npz_of_jpeg_bytes(tiny: Callable[..., Path]) -> None:
    module = read(tiny(jpeg_arrays([(20, 16)] * 60)))
    assert (module.channels, module.size) == (3, (16, 20))
    labels, images = module.parts["train"].labels, module.parts["train"].images
    assert torch.allclose(images.float().mean((1, 2, 3)), labels * 80.0, atol=24)


def test_npz_of_jpegs_of_several_sizes_and_modes(tiny: Callable[..., Path]) -> None:
    path = tiny(jpeg_arrays([(20, 16), (30, 30)] * 30, ("RGB", "L")))
    with pytest.raises(DataError, match="several sizes .*; set data.size"):
        read(path)
    assert read(path, size=24).size == (24, 24)
    assert read(path, size=24).channels == 3


def test_size_and_limit(tiny: Callable[..., Path]) -> None:
    module = read(tiny(), size=8, limit=40, fast_fraction=0.0)
    assert module.size == (8, 8)
    assert {n: len(p) for n, p in module.parts.items()} == {"train": 36, "val": 4, "test": 15} or len(
        module.parts["train"]
    ) + len(module.parts["val"]) == pytest.approx(40, abs=2)
    assert "unseen" not in module.parts


BAD = {
    "missing labels": ({"train_labels": None}, "has no array 'train_labels'"),
    "lengths differ": ({"train_labels": np.zeros(59, int)}, "60 images but train_labels of shape"),
    "label below 0": ({"train_labels": np.arange(60) % 3 - 1}, "train_labels go from -1 to 1"),
    "label above names": ({"train_labels": np.arange(60) % 4}, "a label is 3, but class_names names 3 classes"),
    "float labels": ({"train_labels": np.zeros(60)}, "train_labels is float64; integers"),
    "class without image": ({"train_labels": np.arange(60) % 2}, "train_labels has no image of class 'class 2'"),
    "class without test image": ({"test_labels": np.arange(15) % 2}, "test_labels has no image of class 'class 2'"),
    "0 pixels": ({"train_images": np.zeros((60, 0, 16, 1), np.uint8)}, "images of 0 pixels"),
    "float pixels": ({"train_images": np.zeros((60, 16, 16, 1))}, "train_images is float64; uint8"),
    "pixels above 255": ({"train_images": np.full((60, 16, 16, 1), 256)}, "train_images go from 256 to 256"),
    "two channels": ({"train_images": np.zeros((60, 16, 16, 2), np.uint8)}, "has shape \\(60, 16, 16, 2\\)"),
    "no images": ({"train_images": np.zeros((0, 16, 16, 1), np.uint8), "train_labels": np.zeros(0, int)}, "is empty"),
    "one class": (
        {"train_labels": np.zeros(60, int), "test_labels": np.zeros(15, int), "class_names": None},
        "has one class",
    ),
    "sizes differ": (
        {"test_images": np.zeros((15, 8, 8, 1), np.uint8)},
        "train image 0 is 16×16×1, test image 0 is 8×8×1",
    ),
    "bad jpeg": (
        {**jpeg_arrays([(8, 8)] * 6), "train_jpeg": np.zeros(6, np.uint8), "train_offsets": np.arange(7)},
        "left out 6 images: train image 0",
    ),
    "bad offsets": ({**jpeg_arrays([(8, 8)] * 6), "train_offsets": np.arange(7)}, "train_offsets must rise from 0 to"),
    "bytes of another type": (
        {**jpeg_arrays([(8, 8)] * 6), "train_jpeg": np.zeros(6)},
        "train_jpeg is float64 .* bytes",
    ),
    "two classes of one name": ({"class_names": np.array(["a", "a", "c"])}, "two classes are called 'a'"),
    "classes share a folder": ({"class_names": np.array(["a/b", "a_b", "c"])}, "both be stored in the folder 'a_b'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_archives_are_named(tiny: Callable[..., Path], case: str) -> None:
    change, message = BAD[case]
    path = tiny(change)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value) or "data." in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_truncated_archives(tiny: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data.path: no file"):
        read(tmp_path / "nothing.npz")
    path = tiny()
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="not a readable .npz archive"):
            read(path)
    middle = bytearray(whole)
    middle[300:340] = os.urandom(40)
    path.write_bytes(bytes(middle))
    with pytest.raises(DataError, match="not a readable .npz archive"):
        read(path)


def test_a_part_without_a_class(tiny: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="the val part has no image of class 'class 0'; every part needs every class"):
        read(tiny(train=6))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the benchmark data are not beside this checkout")
@pytest.mark.parametrize(
    ("name", "channels", "size", "classes"),
    [("cifar10_exact_6k", 3, (32, 32), 10), ("covid_xray_128", 1, (128, 128), 3), ("svhn_1k", 3, (32, 32), 10)],
)
def test_real_archives(name: str, channels: int, size: tuple[int, int], classes: int) -> None:
    module = read(SHARED / f"{name}.npz")
    assert (module.channels, module.size, module.classes) == (channels, size, classes)
    assert 0 < module.majority < 1
