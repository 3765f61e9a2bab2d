"""Evaluators: known values, shared work, pictures."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from made_rows import victim
from PIL import Image

from callbacks.stopping import StopOnNan
from datamodules.augment import step_seed
from datamodules.images import ImageSet
from evaluation.detection import Detection
from evaluation.diagnostics import NoiseProbe, SwapTest, noise_of
from evaluation.imperceptibility import Imperceptibility
from evaluation.jobs import SharedJobs
from evaluation.pictures import PictureGrid, plot_curves, save_picture
from experiments.config import options

CPU = torch.device("cpu")


def pair(change: int, size: int = 16) -> tuple[ImageSet, ImageSet]:
    labels = torch.arange(30) % 3
    images = torch.full((30, 1, size, size), 100, dtype=torch.uint8)
    return ImageSet(images, labels), ImageSet(images + change, labels)


def test_imperceptibility_by_hand() -> None:
    found = Imperceptibility().run(*pair(8))
    assert found.linf == pytest.approx(8 / 255)
    assert found.l2 == pytest.approx(8 / 255 * 16, rel=1e-5)
    assert (found.l2_max, found.l0) == (pytest.approx(found.l2), 256)
    clean, stored = pair(0)
    stored.images[3, 0, 5, 5] = 200
    stored.images[4, 0, :2, 5] = 110
    one = Imperceptibility().run(clean, stored)
    assert (one.l0, one.l0_max, one.linf) == (3 / 30, 2, 100 / 255)
    assert (one.l2_max, one.l2) == pytest.approx((100 / 255, (100 + 200**0.5) / 255 / 30))
    assert found.psnr_min == pytest.approx(found.psnr, rel=1e-5)
    assert found.psnr == pytest.approx(20 * np.log10(255 / 8), abs=1e-3)
    assert found.ssim is not None
    assert 0.9 < found.ssim < 1
    assert Imperceptibility().run(*pair(0)).ssim == pytest.approx(1)
    assert Imperceptibility().run(*pair(8, size=8)).ssim is None


def coded(amount: int, seed: int = 0, count: int = 90) -> tuple[ImageSet, ImageSet]:
    """Clean images without any class in them, and noise that encodes the label by its column."""
    labels = torch.arange(count) % 3
    clean = torch.randint(60, 200, (count, 1, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    noise = torch.zeros(count, 1, 16, 16, dtype=torch.uint8)
    for row, label in enumerate(labels):
        noise[row, :, :, label::3] = amount
    return ImageSet(clean, labels), ImageSet(clean + noise, labels)


def test_noise_is_recovered_up_and_down() -> None:
    clean, stored = coded(8)
    noise = noise_of(clean, stored)
    assert set(noise.images.unique().tolist()) == {128, 136}
    back = noise_of(stored, clean)
    assert set(back.images.unique().tolist()) == {120, 128}


@pytest.mark.parametrize("probe", ["linear", "conv"])
def test_probes_read_a_label_that_is_there_and_none_that_is_not(probe: str) -> None:
    clean, stored = coded(8, count=900)
    unseen = noise_of(*coded(8, seed=5))
    found = NoiseProbe(probe).run(noise_of(clean, stored), unseen, 3, 0, CPU)
    assert found["standard"] == 1
    assert found["fast"] == 1
    nothing = NoiseProbe(probe).run(noise_of(clean, clean), None, 3, 0, CPU)
    assert nothing["standard"] == pytest.approx(1 / 3, abs=0.05)
    assert nothing["fast"] is None


def test_simple_networks_find_what_is_protected_and_nothing_in_clean_images() -> None:
    clean, stored = coded(40, count=600)
    found = Detection("linear").run(clean, stored, 3, 0, CPU)
    assert found["set_protected"] == 1
    assert found["set_clean"] == pytest.approx(1 / 3, abs=0.15)
    assert found["images"] > 0.8
    assert found["found"] > 0.3
    nothing = Detection("two layers").run(clean, clean, 3, 0, CPU)
    assert nothing["images"] == pytest.approx(0.5, abs=0.08)
    assert nothing["set_protected"] == nothing["set_clean"]
    assert nothing["found"] < 0.15


class Column(torch.nn.Module):
    """Answers the class whose columns are brightest: reads nothing but the noise of ``coded``."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([images[..., k::3].mean((1, 2, 3)) for k in range(3)], 1) * 1000


class Blind(torch.nn.Module):
    """Answers class 0, whatever it sees."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[1.0, 0.0, 0.0]]).expand(len(images), 3)


def test_swap_test_tells_who_reads_the_noise() -> None:
    clean, stored = coded(60)
    others = ImageSet(torch.full((10, 1, 16, 16), 100, dtype=torch.uint8), torch.arange(10) % 3)
    assert SwapTest().run(Column(), noise_of(clean, stored), others, CPU) == 1
    assert SwapTest().run(Blind(), noise_of(clean, stored), others, CPU) == pytest.approx(1 / 3)


def test_jobs_are_kept_and_not_done_again(tmp_path: Path) -> None:
    done: list[str] = []

    def job(name: str) -> dict[str, str]:
        done.append(name)
        return {"name": name}

    jobs = {name: (lambda n=name: job(n)) for name in "abc"}
    first = SharedJobs(tmp_path / "kept").run(jobs)
    (tmp_path / "kept" / "b.json").unlink()
    assert SharedJobs(tmp_path / "kept").run(jobs) == first
    assert done == ["a", "b", "c", "b"]
    assert json.loads((tmp_path / "kept" / "a.json").read_text()) == {"name": "a"}


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_shows_clean_protected_and_amplified_noise(channels: int, tmp_path: Path) -> None:
    labels = torch.arange(4) % 2
    clean = ImageSet(torch.full((4, channels, 8, 8), 100, dtype=torch.uint8), labels)
    stored = ImageSet(clean.images + 8, labels)
    sheet = PictureGrid(("even", "odd"), 8.0).run(clean, stored)
    save_picture(sheet, tmp_path / "a" / "grid.png")
    pixels = np.asarray(Image.open(tmp_path / "a" / "grid.png"))
    column = pixels[:, 92 + 36]
    middle = [column[20 + row * 76 + 36].tolist() for row in range(3)]
    assert middle == [[100] * 3, [108] * 3, [255] * 3]  # +ε is white
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["grid.png"]


def test_curves_become_a_picture(tmp_path: Path) -> None:
    plot_curves({"clean": list(victim("clean", 0, 0.5).curve)}, 0.1, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size == (720, 408)


def test_step_seeds_differ_by_everything() -> None:
    seeds = {step_seed(*key) for key in np.ndindex(3, 4, 5, 2)}
    assert len(seeds) == 120
    assert step_seed(1, 2, 3, 4) == step_seed(1, 2, 3, 4)


def test_the_first_step_with_a_loss_that_is_no_number_is_named(tmp_path: Path) -> None:
    """On a GPU several steps are looked at together."""
    watch, good, bad = StopOnNan(tmp_path / "last.ckpt", 10), torch.tensor(0.5), torch.tensor(float("-inf"))
    watch.unseen = [
        ("epoch 0, batch 0", {"loss_d": good, "loss_s": good}),
        ("epoch 0, batch 1", {"loss_d": good, "loss_s": bad, "loss_g_gan": bad}),
        ("epoch 0, batch 2", {"loss_d": bad, "loss_s": bad}),
    ]
    with pytest.raises(FloatingPointError) as caught:
        watch._look()
    shown = str(caught.value)
    assert shown.startswith(
        "loss_s (of the surrogates) is -inf, loss_g_gan (of the generator) is -inf in epoch 0, batch 1"
    )
    assert "there is no checkpoint yet" in shown
    keys = "gan.surrogates.lr or gan.surrogates.clip, gan.noise.lr or gan.noise.clip"
    assert shown.endswith(f"start a new run with a lower {keys}")
    assert set(re.findall(r"gan\.\S+", keys.replace(",", ""))) <= set(options()), "keys that there are"
    watch._look()  # nothing new
