"""The examples, run as they stand: other people's scripts around the module and the protected sets."""

import os
import re
import subprocess
import sys
from pathlib import Path

import torch

from datamodules.images import ImageSet
from datamodules.protected import ManifestHeader, write_protected

EXAMPLES = Path(__file__).parents[1] / "examples"


def shown(script: str, where: Path, *arguments: str) -> str:
    """What a script prints, run in an empty folder."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, *arguments],
        cwd=where, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_plain_lightning_script_fits_keeps_loads_and_protects(tmp_path: Path) -> None:
    epoch, protected, change = shown("plain_lightning.py", tmp_path).splitlines()
    assert (found := re.fullmatch(r"epoch 0: (\d+)% classified correctly, (\d+\.\d) dB", epoch))
    assert int(found[1]) > 40, "of ten classes"
    assert 28 < float(found[2]) < 45
    assert protected == "protected 240 pictures, torch.uint8 (1, 32, 32)"
    assert (found := re.fullmatch(r"largest change: (\d+) grey levels of 255, mean (\d\.\d)", change))
    assert int(found[1]) == 8
    assert 1 < float(found[2]) < 8
    [kept] = tmp_path.iterdir()
    content = torch.load(kept, weights_only=True)
    assert kept.name == "confounder.ckpt"
    assert content["hyper_parameters"]["classes"] == 10


def test_a_plain_training_loop_learns_from_a_protected_set(tmp_path: Path) -> None:
    head, *epochs = shown("train_on_protected.py", tmp_path).splitlines()
    assert head == "120 pictures of 2 classes: empty, square"
    losses = [float(loss) for loss in re.findall(r"loss (\d\.\d+)", "\n".join(epochs))]
    assert len(losses) == 3
    assert losses[2] < losses[0] / 2
    assert epochs[-1].endswith("120 of 120 right")
    assert not list(tmp_path.iterdir()), "its own set was a temporary one"


def test_the_same_loop_takes_a_set_that_is_there(tmp_path: Path) -> None:
    images = torch.randint(256, (30, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    header = ManifestHeader("none", "", None, 0, "noise", ["a", "b", "c"], 30, None)
    write_protected(tmp_path / "set", ImageSet(images, torch.arange(30) % 3), lambda part: part.images, header)
    head, *epochs = shown("train_on_protected.py", tmp_path, str(tmp_path / "set")).splitlines()
    assert head == "30 pictures of 3 classes: a, b, c"
    assert [line.split(":")[0] for line in epochs] == ["epoch 1", "epoch 2", "epoch 3"]
