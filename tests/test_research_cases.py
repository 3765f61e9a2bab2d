"""Inputs that researchers reported elsewhere, as the program of ../shared/cases/research makes them; each with its outcome.

Every kind has tests of its own that need no such program (test_folder, test_protected, test_victims, test_config,
test_data); what a plain script does with the module: test_lightning, test_examples.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CACHE
from torchvision.datasets import ImageFolder

from experiments.cli import main

CASES = Path(__file__).parents[2] / "shared" / "cases" / "research"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the programs of shared/cases/research are not here")
SMALL = ["data.size=32", "data.batch_size=8", f"data.cache={CACHE}", "trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("research") / "inputs"
    subprocess.run([sys.executable, CASES / "inputs.py", folder], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("table", ["ham", "isic2020", "aptos", "absolute", "below"])
def test_tables_of_known_data_sets_are_read(table: str, inputs: Path) -> None:
    data = ["data=folder", f"data.root={inputs / 'flat'}", f"data.labels={inputs / table}.csv"]
    assert main(["validate", *data, *SMALL]) == 0


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("dups", r"left out 20 images: .*\(a copy of an image of the test part"),
        ("absent_test", "the source's own test part has no image of class 'c'"),
    ],
)
def test_a_test_part_that_cannot_be_is_explained(
    folder: str, message: str, inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", "data=folder", f"data.root={inputs / folder}", *SMALL]) == 2
    shown = capsys.readouterr()
    assert re.search(message, shown.out + shown.err)


def test_three_hundred_gray_classes_are_trained_on(inputs: Path) -> None:
    data = ["data=npz", f"data.path={inputs / 'k300gray.npz'}", "data.batch_size=8", f"data.cache={CACHE}"]
    assert main(["validate", *data, "trainer.accelerator=cpu"]) == 0


def test_a_mixer_takes_the_pixels_of_medmnist(inputs: Path) -> None:
    data = ["data=npz", f"data.path={inputs / 'lab_n1.npz'}", "data.batch_size=8", f"data.cache={CACHE}"]
    assert main(["validate", *data, "victim.arch=narrow_mixer", "trainer.accelerator=cpu"]) == 0


def test_numbers_as_names_are_numbered_by_others_as_by_the_manifest(inputs: Path, tmp_path: Path) -> None:
    data = ["data=folder", f"data.root={inputs / 'numbers'}", *SMALL, "fast_dev_run=true"]
    small = ["gan.classifier.pretrained=none", "gan.classifier.arch=linear"]
    assert main(["train", *data, *small, f"run_dir={tmp_path / 'run'}"]) == 0
    root = tmp_path / "run" / "protected" / "standard"
    lines = [json.loads(line) for line in (root / "manifest.jsonl").read_text().splitlines()[1:]]
    labels = {str(root / line["path"]): line["label"] for line in lines}
    assert dict(ImageFolder(str(root)).samples) == labels
