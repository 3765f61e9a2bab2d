"""The cache: built once, rebuilt when source or option changes, safe under kills and several processes, bounded."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import cache as cache_file
from datamodules.cache import CacheSpec, cached
from datamodules.config import DataError
from datamodules.source import Listing, Raw

OWN = CacheSpec(0, "crop", 0)


def arrays(count: int = 70, size: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


class Source:
    """A listing that counts how often it is made."""

    def __init__(self, rows: Any, **options: Any) -> None:
        self.rows, self.options, self.made = rows, options, 0

    def __call__(self) -> Listing:
        self.made += 1
        count = len(self.rows)
        names = [f"image {i}" for i in range(count)]
        return Listing(names, np.arange(count) % 2, ("a", "b"), lambda: iter(self.rows), **self.options)


def test_pixels_labels_and_order_come_back(tmp_path: Path) -> None:
    pixels = arrays()
    found = cached("x", Source(pixels), OWN, tmp_path, "test")
    assert np.array_equal(found.images.numpy(), pixels.transpose(0, 3, 1, 2))
    assert found.labels.tolist() == [i % 2 for i in range(70)]
    assert found.class_names == ("a", "b")
    assert (found.parts == 0).all()
    assert found.total == 70
    assert found.skipped == []


def test_built_once_and_again_when_source_or_option_changes(tmp_path: Path) -> None:
    source = Source(arrays())
    for _ in range(3):
        cached("x", source, OWN, tmp_path, "test")
    assert source.made == 1
    for identity, wanted in (
        ("y", OWN),
        ("x", CacheSpec(4, "crop", 0)),
        ("x", CacheSpec(4, "pad", 0)),
        ("x", CacheSpec(0, "crop", 1)),
    ):
        cached(identity, source, wanted, tmp_path, "test")
    assert source.made == 5
    assert cached("x", source, CacheSpec(4, "crop", 1), tmp_path, "test").images.shape == (70, 1, 4, 4)


def test_writing_to_the_images_changes_no_file(tmp_path: Path) -> None:
    found = cached("x", Source(arrays()), OWN, tmp_path, "test")
    found.images.zero_()
    assert cached("x", Source(arrays()), OWN, tmp_path, "test").images.sum() > 0


def test_bad_images_are_left_out_listed_and_the_rest_stays_aligned(tmp_path: Path) -> None:
    rows: list[Raw] = list(arrays(40))
    rows[3] = b""
    rows[39] = tmp_path / "missing.png"
    source = Source(rows, groups=[str(i // 2) for i in range(40)], skipped=[("x.heic", "not read")])
    found = cached("x", source, OWN, tmp_path / "c", "test")
    assert [name for name, _ in found.skipped] == ["x.heic", "image 3", "image 39"]
    assert found.total == 41
    kept = [i for i in range(40) if i not in (3, 39)]
    assert np.array_equal(found.images.numpy(), arrays(40)[kept].transpose(0, 3, 1, 2))
    assert found.labels.tolist() == [i % 2 for i in kept]
    assert len(set(found.groups.tolist())) == 20  # every pair is still represented


def test_copies_of_an_image_are_one_group_unless_the_source_names_groups(tmp_path: Path) -> None:
    pixels = arrays(10)
    pixels[7] = pixels[2]
    groups = cached("x", Source(pixels), OWN, tmp_path, "test").groups
    assert groups[7] == groups[2]
    assert len(set(groups.tolist())) == 9
    named = cached("y", Source(pixels, groups=["p", "p", "q", "", *["r"] * 5, ""]), OWN, tmp_path, "test").groups
    assert named[0] == named[1] != named[2]
    assert len(set(named.tolist())) == 5


def test_a_name_of_a_group_is_not_taken_for_another(tmp_path: Path) -> None:
    found = cached("x", Source(arrays(4), groups=["a", "aa", "a", "aaa"]), OWN, tmp_path, "test")
    assert found.groups[0] == found.groups[2]
    assert len(set(found.groups.tolist())) == 3


def test_several_sizes_need_a_size(tmp_path: Path) -> None:
    rows: list[Raw] = [*arrays(3), *arrays(3, size=9)]
    with pytest.raises(DataError, match=r"several sizes \(image 0 is 8×8×3, image 3 is 9×9×3\); set data.size"):
        cached("x", Source(rows), OWN, tmp_path, "test")
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".lock"] == []
    assert cached("x", Source(rows), CacheSpec(4, "crop", 0), tmp_path, "test").images.shape == (6, 3, 4, 4)


def test_not_one_readable_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not one image could be read \(image 0: empty file\)"):
        cached("x", Source([b"", b""]), OWN, tmp_path, "test")


def test_a_source_that_gives_fewer_than_listed(tmp_path: Path) -> None:
    source = Source(arrays(10))

    def short() -> Listing:
        listing = source()
        return Listing(listing.names, listing.labels, listing.class_names, lambda: iter(arrays(9)))

    with pytest.raises(DataError, match="gave other than the 10 images"):
        cached("x", short, OWN, tmp_path, "test")


def test_a_damaged_cache_is_built_again(tmp_path: Path) -> None:
    source = Source(arrays())
    cached("x", source, OWN, tmp_path, "test")
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    with (folder / "images.u8").open("r+b") as file:
        file.truncate(100)
    assert torch.equal(
        cached("x", source, OWN, tmp_path, "test").images[-1], torch.from_numpy(arrays()[-1]).permute(2, 0, 1)
    )
    (folder / "about.json").write_text("{")
    cached("x", source, OWN, tmp_path, "test")
    assert source.made == 3


def test_other_warnings_stay_as_loud_as_they_were(tmp_path: Path) -> None:
    """Pillow's are silenced while it decodes, in threads; filters are everybody's."""
    rows: list[Raw] = []
    for i, pixels in enumerate(arrays(200, 20)):
        (tmp_path / f"{i}.png").write_bytes(b"")
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        rows.append(tmp_path / f"{i}.png")
    before = list(warnings.filters)
    cached("x", Source(rows), OWN, tmp_path / "cache", "test")
    assert list(warnings.filters) == before


def test_read_only_and_full_disks_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="data.cache: .* cannot be written"):
        cached("x", Source(arrays()), OWN, tmp_path / "file" / "cache", "test")
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(cache_file.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match="has 0 MiB free, the images need 0; make room, give data.cache="):
        cached("x", Source(arrays()), OWN, tmp_path, "test")


def test_decoding_holds_a_few_chunks_at_a_time(tmp_path: Path) -> None:
    """However slow the writer, the source is read only a little ahead."""
    read = 0

    def rows() -> Iterator[Raw]:
        nonlocal read
        for row in arrays(3000, 2):
            read += 1
            yield row

    ahead = []
    for done, _ in enumerate(cache_file._decoded(rows(), cache_file.TargetFormat(0, "crop", 3))):
        ahead.append(read - done)
    assert len(ahead) == 3000
    assert max(ahead) <= (2 * (os.cpu_count() or 1) + 1) * cache_file.CHUNK


SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np
from datamodules.cache import CacheSpec, cached
from datamodules.source import Listing

folder = Path(sys.argv[1])
pixels = np.random.default_rng(0).integers(0, 256, (400, 8, 8, 3)).astype(np.uint8)

def rows():
    with (folder / "passes").open("a") as log:
        log.write("pass\\n")
    for i, row in enumerate(pixels):
        if i % 32 == 0:
            time.sleep(float(sys.argv[2]))
            (folder / "started").touch()
        yield row

def listing():
    return Listing([str(i) for i in range(400)], np.arange(400) % 2, ("a", "b"), rows)

found = cached("x", listing, CacheSpec(0, "crop", 0), folder / "cache", "test")
assert np.array_equal(found.images.numpy(), pixels.transpose(0, 3, 1, 2))
print("whole")
"""


def start(folder: Path, pause: float) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(textwrap.dedent(SCRIPT))
    root = Path(__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, str(folder / "script.py"), str(folder), str(pause)],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(root)},
    )  # fmt: skip


def test_several_processes_build_once(tmp_path: Path) -> None:
    processes = [start(tmp_path, 0.05) for _ in range(3)]
    assert [process.communicate(timeout=120)[0].strip() for process in processes] == ["whole"] * 3
    assert (tmp_path / "passes").read_text().count("pass") == 1


def test_a_killed_builder_leaves_nothing_that_is_taken_for_whole(tmp_path: Path) -> None:
    process = start(tmp_path, 0.2)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list((tmp_path / "cache").glob("*.partial"))
    assert not list((tmp_path / "cache").glob("*/about.json"))
    assert start(tmp_path, 0).communicate(timeout=120)[0].strip() == "whole"
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_encoded_images_are_decoded_by_path_and_by_bytes(tmp_path: Path) -> None:
    rows: list[Raw] = []
    for i, pixels in enumerate(arrays(6, 20)):
        path = tmp_path / f"{i}.png"
        Image.fromarray(pixels).save(path)
        rows.append(path if i % 2 else path.read_bytes())
    found = cached("x", Source(rows), OWN, tmp_path / "cache", "test")
    assert np.array_equal(found.images.numpy(), arrays(6, 20).transpose(0, 3, 1, 2))
    (about,) = (tmp_path / "cache").glob("*/about.json")
    assert json.loads(about.read_text())["shape"] == [6, 3, 20, 20]
