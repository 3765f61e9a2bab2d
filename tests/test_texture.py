"""The gate of texture at full size: smooth areas are spared, nothing draws an edge, and strips make no difference."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from albums import content, lines, picture, smooth, write
from PIL import Image

from experiments.cli import main
from photos.manifest import MANIFEST
from photos.noise import add_noise, noise_of, read_codes
from photos.photo import Animation, Photo
from photos.protector import Protector
from photos.texture import CELLS, SMOOTH, texture_gate

RNG = np.random.default_rng(0)


def busy(height: int, width: int, channels: int = 3) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, channels)).astype(np.uint8)


def gate(pixels: np.ndarray, floor: float = 0.25) -> np.ndarray:
    """Of a picture, at each of its pixels."""
    height, width = pixels.shape[:2]
    return texture_gate(Photo(pixels), floor).rows(height, width, slice(0, height))[..., 0]


@pytest.mark.parametrize("size", [(100, 80), (CELLS, CELLS), (900, 1300)])
def test_smooth_areas_get_the_floor_and_textured_ones_all(size: tuple[int, int]) -> None:
    pixels = busy(*size)
    middle = size[1] // 2
    pixels[:, middle:] = np.linspace(100, 160, size[0])[:, None, None].round()  # a sky
    found = gate(pixels)
    margin = 4 * -(-size[1] // CELLS)
    assert np.abs(found[:, middle + margin :] - 0.25).max() < 0.1
    assert found[:, middle + margin :].mean() < 0.3
    assert found[:, : middle - margin].min() > 0.8, "even where random pixels happen to be alike"
    assert found[:, : middle - margin].mean() > 0.999
    assert found.min() >= 0.25 - 1e-6
    assert found.max() <= 1 + 1e-6


def test_an_edge_between_smooth_areas_is_no_texture() -> None:
    pixels = np.full((200, 300, 3), 60, np.uint8)
    pixels[:, 140:] = 200
    assert gate(pixels).max() < 0.3


def test_the_gate_itself_draws_no_edge() -> None:
    pixels = np.full((1200, 1600, 3), 120, np.uint8)
    pixels[300:900, 400:1200] = busy(600, 800)
    found = gate(pixels)
    steps = max(np.abs(np.diff(found, axis=axis)).max() for axis in (0, 1))
    assert steps * 8 < 1, "less than a grey level from one pixel to the next"


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (700, 3), (257, 256)])
def test_pictures_of_any_size_have_a_gate(size: tuple[int, int]) -> None:
    found = gate(busy(*size))
    assert found.shape == size
    assert np.isfinite(found).all()
    assert 0.25 - 1e-6 <= found.min() <= found.max() <= 1 + 1e-6


@pytest.mark.parametrize("kind", ["colour", "gray", "16 bits", "frames"])
def test_copies_are_the_same_bytes_whatever_the_strips(generator: Path, kind: str) -> None:
    protector = Protector.load(generator, "least")
    pixels = busy(301, 277, 1 if kind in ("gray", "16 bits") else 3)
    pixels[50:200, 60:] //= 32
    animation = None
    if kind == "16 bits":
        pixels = pixels.astype(np.uint16) * 16
    if kind == "frames":
        pixels, animation = np.concatenate([pixels, busy(301, 277)]), Animation((100, 100), 0)

    def made(strip: int) -> tuple[np.ndarray, float]:
        photo = Photo(pixels.copy(), animation=animation)
        code = read_codes(protector.generator, [photo], 3, protector.size)
        noise = noise_of(protector.generator, code, photo, photo.pixels.shape[2], 8, SMOOTH["least"])
        return photo.pixels, add_noise(photo, noise, strip).levels

    whole, most = made(1 << 30)
    assert most <= 8
    assert not np.array_equal(whole, pixels)
    for strip in (1, 277 * 7, 20_000):
        assert np.array_equal(made(strip)[0], whole)


def test_less_is_less_where_it_is_smooth_and_the_same_where_it_is_not(generator: Path) -> None:
    pixels = np.full((128, 128, 3), 128, np.uint8)
    pixels[:, 64:] = RNG.integers(20, 236, (128, 64, 3))
    after = {
        visible: Protector.load(generator, visible).protect_photo(Photo(pixels.copy()))[0].pixels.astype(int) - pixels
        for visible in SMOOTH
    }
    assert np.array_equal(
        after["full"], Protector.load(generator).protect_photo(Photo(pixels.copy()))[0].pixels.astype(int) - pixels
    )
    strength = {visible: np.abs(change[:, :56]).mean() for visible, change in after.items()}
    assert strength["less"] == pytest.approx(strength["full"] / 2, rel=0.15)
    assert strength["least"] == pytest.approx(strength["full"] / 4, rel=0.3)
    assert np.abs(after["least"][:, 72:]).mean() > 0.995 * np.abs(after["full"][:, 72:]).mean()


def test_a_folder_is_made_with_one_choice(generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in" / "sky.png", smooth())
    write(tmp_path / "in" / "grass.png", picture())
    arguments = ["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={generator}"]
    assert main([*arguments, "visible=least"]) == 0
    assert "Smooth areas have a quarter of the noise" in capsys.readouterr().out
    assert "Smooth areas have a quarter of the noise" in (tmp_path / "out" / "report.html").read_text()
    least = lines(tmp_path / "out")["sky.png"].psnr
    assert main(["verify", str(tmp_path / "out"), f"source={tmp_path / 'in'}"]) == 0
    assert main(arguments) == 2
    assert "was made with visible least, now full is asked for" in capsys.readouterr().err
    arguments[2] = str(tmp_path / "full")
    assert main(arguments) == 0
    assert least > lines(tmp_path / "full")["sky.png"].psnr + 3
    assert "Smooth areas have" not in (tmp_path / "full" / "report.html").read_text()


def test_a_folder_of_an_earlier_version_has_all_of_the_noise(generator: Path, tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.png", smooth())
    arguments = ["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={generator}"]
    assert main(arguments) == 0
    manifest = tmp_path / "out" / MANIFEST
    before = content(tmp_path / "out")
    head, _, rest = manifest.read_text().partition("\n")
    fields = json.loads(head)
    assert fields.pop("visible") == "full"
    manifest.write_text(json.dumps(fields) + "\n" + rest)
    assert main(arguments) == 0
    assert content(tmp_path / "out") == before


def test_gray_and_colour_of_the_same_luma_have_nearly_the_same_gate() -> None:
    gray = busy(120, 130, 1) // 8
    colour = np.repeat(gray, 3, axis=2)
    assert np.array_equal(gate(gray), gate(colour))
    deep = Photo(gray.astype(np.uint16) * 8 + 1000)
    assert deep.display is not None
    shown = replace(deep, pixels=deep.eight(), peak=255, display=None)
    found = [texture_gate(one, 0.25).rows(120, 130, slice(0, 120)) for one in (deep, shown)]
    assert np.array_equal(*found)
    assert Image.fromarray(gray[..., 0]).size == (130, 120)
