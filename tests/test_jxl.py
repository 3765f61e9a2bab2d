"""JPEG XL: pixels, what describes them, and what is said where its package is missing."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from albums import RNG, lines, smooth
from PIL import Image
from test_metadata import packet

pylibjxl = pytest.importorskip("pylibjxl")

from datamodules.decode import BadImage  # noqa: E402
from photos.protector import Protector  # noqa: E402
from photos.read import items_of, pixels_in, previews_in, read_photo  # noqa: E402


def box(kind: bytes, body: bytes) -> bytes:
    return (len(body) + 8).to_bytes(4, "big") + kind + body


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4)])
@pytest.mark.parametrize("boxed", [False, True])
def test_pixels_are_those_of_the_file(shape: tuple[int, ...], boxed: bool) -> None:
    pixels = RNG.integers(0, 256, shape).astype(np.uint8)
    given = pixels[..., None] if pixels.ndim == 2 else pixels
    described = {"xmp": packet("<dc:title>T</dc:title>")} if boxed else {}
    data = pylibjxl.encode(np.ascontiguousarray(given), lossless=True, **described)
    photo = read_photo(data)
    assert np.array_equal(photo.pixels, given[..., :3])
    assert (photo.alpha is None) == (given.shape[2] != 4)
    assert photo.alpha is None or np.array_equal(photo.alpha, given[..., 3])
    assert pixels_in(data) == 600
    assert ("XMP dc:title" in items_of(data)) == boxed


def test_a_jpeg_in_it_is_turned_once() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    buffer = io.BytesIO()
    smooth(40, 60).save(buffer, "JPEG", exif=exif, quality=95)
    before, after = read_photo(buffer.getvalue()), read_photo(pylibjxl.jpeg_to_jxl(buffer.getvalue()))
    assert before.pixels.shape == after.pixels.shape == (60, 40, 3)
    assert np.abs(before.pixels.astype(int) - after.pixels).mean() < 1
    assert before.metadata.exif == after.metadata.exif


def test_other_pictures_and_unknown_boxes_are_named_and_dropped() -> None:
    data = pylibjxl.encode(np.asarray(smooth(20, 30)), lossless=True, xmp=packet("<dc:title>T</dc:title>"))
    data += box(b"jhgm", b"\0" * 40) + box(b"jumb", b"claims") + box(b"brob", b"abcd" + bytes(9))
    assert previews_in(data) == ["gain map"]
    assert {"JPEG XL box jumb", "JPEG XL box abcd"} <= items_of(data).keys()


def test_what_is_damaged_or_has_no_package(generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pylibjxl.encode(np.asarray(smooth(200, 300)), lossless=True)
    with pytest.raises(BadImage, match="Decoder error|truncated|JXL"):
        read_photo(data[: len(data) // 2])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jxl").write_bytes(data)
    monkeypatch.setitem(sys.modules, "pylibjxl", None)
    assert Protector.load(generator).protect_folder(tmp_path / "in", tmp_path / "out").skipped == 1
    assert "pip install 'confoundergan[jxl]'" in lines(tmp_path / "out")["a.jxl"].skipped
