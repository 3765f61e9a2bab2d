"""Protected sets as WebDataset shards, read back by that library."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.config import DataError
from datamodules.images import ImageSet
from datamodules.protected import ManifestHeader, ProtectedDataset, write_protected
from experiments.shards import write_shards

wds = pytest.importorskip("webdataset", reason="the package webdataset is not installed")


@pytest.fixture
def protected(tmp_path: Path) -> ProtectedDataset:
    """25 pictures, sorted by class."""
    images = torch.randint(256, (25, 3, 12, 10), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    header = ManifestHeader("none", "", None, 0, "noise", ["ash", "oak"], 25, None)
    write_protected(tmp_path / "set", ImageSet(images, (torch.arange(25) >= 15).long()), lambda p: p.images, header)
    return ProtectedDataset(tmp_path / "set")


def test_the_library_reads_every_picture_once_with_its_label(protected: ProtectedDataset, tmp_path: Path) -> None:
    shards = write_shards(protected, tmp_path / "shards", images=10)
    assert [path.name for path in shards] == ["000000.tar", "000001.tar", "000002.tar"]
    source = wds.WebDataset([str(path) for path in shards], shardshuffle=False).decode("rgb8")
    samples = list(source.to_tuple("png", "cls", "json"))
    place = {entry.path: index for index, entry in enumerate(protected.entries)}
    assert sorted(place[facts["file_name"]] for _, _, facts in samples) == list(range(25))
    for pixels, label, facts in samples:
        image, expected = protected[place[facts["file_name"]]]
        assert np.array_equal(pixels, image.permute(1, 2, 0).numpy())
        assert (label, facts["class"]) == (expected, protected.classes[expected])
    labels = [label for _, label, _ in samples]
    assert labels != sorted(labels), "a loader that reads in order sees both classes at once"


def test_the_same_set_gives_the_same_bytes(protected: ProtectedDataset, tmp_path: Path) -> None:
    first, second = (write_shards(protected, tmp_path / name, images=10) for name in ("one", "two"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_folder_that_exists_and_a_changed_file_are_refused(protected: ProtectedDataset, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(DataError, match=r"there: exists already; name another folder, or delete it"):
        write_shards(protected, tmp_path / "there")
    (protected.folder / protected.entries[3].path).write_bytes(b"other")
    with pytest.raises(DataError, match="is not the file that the manifest describes"):
        write_shards(protected, tmp_path / "shards")
    assert not (tmp_path / "shards").exists(), "nothing half-written under its name"


def test_the_command_says_what_it_wrote(protected: ProtectedDataset, tmp_path: Path) -> None:
    def called(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "experiments.shards", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = called(str(protected.folder), str(tmp_path / "shards"), "images=20")
    assert re.fullmatch(r"\S+shards: 2 shards, 0\.\d MiB\n", done.stdout.replace("\n", "", done.stdout.count("\n") - 1))
    assert json.loads((protected.folder / "manifest.jsonl").read_text().splitlines()[0])["images"] == 25
    done = called(str(protected.folder), "images=none")
    assert done.returncode == 1
    assert "expected a protected set and a folder" in done.stderr
    assert "images: expected a number of 1 or more, found 'none'" in done.stderr
