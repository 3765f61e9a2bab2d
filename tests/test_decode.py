"""Every kind of picture as documented in datamodules/decode.py, and every kind of bad one."""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datamodules import decode as decode_file
from datamodules.decode import BadImage, TargetFormat, decode, read, refit

OWN = TargetFormat(0, "resize", 3)
GRAY = TargetFormat(0, "resize", 1)
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (12, 20, 3)).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_lossless_pixels_come_back() -> None:
    for kind in ("PNG", "BMP", "TIFF", "PPM"):
        assert np.array_equal(decode(encoded(Image.fromarray(COLOURS), kind), OWN), COLOURS)
    assert np.array_equal(decode(encoded(Image.fromarray(COLOURS), "WEBP", lossless=True), OWN), COLOURS)


@pytest.mark.parametrize(
    ("orientation", "change"),
    [
        (1, lambda x: x),
        (2, np.fliplr),
        (3, lambda x: np.rot90(x, 2)),
        (4, np.flipud),
        (5, lambda x: x.transpose(1, 0, 2)),
        (6, lambda x: np.rot90(x, -1)),
        (7, lambda x: np.rot90(x, 2).transpose(1, 0, 2)),
        (8, np.rot90),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation_is_honoured(orientation: int, change: Any, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(COLOURS), kind, exif=exif)
    assert np.array_equal(decode(data, OWN), change(COLOURS))


def test_exif_orientation_of_a_jpeg_that_is_also_resized() -> None:
    half = np.zeros((400, 600, 3), np.uint8)
    half[:, :300] = 255  # white on the left; orientation 6 puts the left on top
    exif = Image.Exif()
    exif[0x0112] = 6
    shown = decode(encoded(Image.fromarray(half), "JPEG", exif=exif), TargetFormat(32, "resize", 3))
    assert shown[:14].min() > 240
    assert shown[18:].max() < 15


def test_gray_becomes_three_equal_channels_and_stays_gray_on_request() -> None:
    gray = COLOURS[..., 0]
    data = encoded(Image.fromarray(gray))
    assert np.array_equal(decode(data, OWN), np.repeat(gray[..., None], 3, 2))
    assert np.array_equal(decode(data, GRAY), gray[..., None])
    luma = np.asarray(Image.fromarray(COLOURS).convert("L"))
    assert np.array_equal(decode(encoded(Image.fromarray(COLOURS)), GRAY)[..., 0], luma)


def test_palette_gives_its_colours() -> None:
    image = Image.new("P", (4, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2, 0])
    assert decode(encoded(image), OWN)[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 0, 0]]
    # one colour of the palette is transparent: white shows through
    assert decode(encoded(image, transparency=1), OWN)[0].tolist()[1] == [255, 255, 255]


def test_alpha_is_composited_over_white() -> None:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(200, 0, 0, 255), (200, 0, 0, 0), (200, 0, 0, 128)])
    solid, clear, half = decode(encoded(image), OWN)[0].tolist()
    assert solid == [200, 0, 0]
    assert clear == [255, 255, 255]
    assert half == pytest.approx([227, 127, 127], abs=1)
    gray = Image.new("LA", (2, 1))
    gray.putdata([(10, 255), (10, 0)])
    assert decode(encoded(gray), GRAY)[0, :, 0].tolist() == [10, 255]


def test_cmyk_is_converted() -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    for kind in ("JPEG", "TIFF"):
        assert decode(encoded(image, kind), OWN)[8, 8].tolist() == pytest.approx([255, 0, 0], abs=3)


def test_sixteen_bit_gray_uses_its_full_range() -> None:
    values = np.array([[0, 257, 32768, 65535, 128, 129]], np.uint16)
    for kind in ("PNG", "TIFF"):
        assert decode(encoded(Image.fromarray(values), kind), GRAY)[0, :, 0].tolist() == [0, 1, 128, 255, 0, 1]


def test_sixteen_bits_of_a_pgm_too() -> None:
    data = b"P5 4 1 65535\n" + np.array([0, 257, 32768, 65535], ">u2").tobytes()
    assert decode(data, GRAY)[0, :, 0].tolist() == [0, 1, 128, 255]


def png(bits: int, kind: int, width: int, rows: bytes) -> bytes:
    """A PNG that Pillow cannot write: ``rows`` begin with the filter's byte."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, 1, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_of_sixteen_bit_colour_the_upper_byte_counts() -> None:
    colours = np.array([[0, 0x12FF, 0xFFFF], [0x8000, 0x00FF, 0x0100]], ">u2")
    assert decode(png(16, 2, 2, b"\0" + colours.tobytes()), OWN)[0].tolist() == [[0, 0x12, 255], [128, 0, 1]]
    clear = np.array([[65535, 0, 0, 0]], ">u2")  # with alpha
    assert decode(png(16, 6, 1, b"\0" + clear.tobytes()), OWN)[0].tolist() == [[255, 255, 255]]


@pytest.mark.parametrize(("mode", "red"), [("YCbCr", (76, 85, 255)), ("LAB", (138, 209, 198))])
def test_other_colour_spaces_are_converted(mode: str, red: tuple[int, int, int]) -> None:
    shown = decode(encoded(Image.new(mode, (4, 4), red), "TIFF"), OWN)[2, 2].tolist()
    assert shown == pytest.approx([254, 0, 0], abs=6)


def test_one_bit_images_are_black_and_white() -> None:
    image = Image.fromarray(np.array([[0, 255, 0]], np.uint8)).convert("1")
    assert decode(encoded(image), GRAY)[0, :, 0].tolist() == [0, 255, 0]


def cross() -> Image.Image:
    """60×30: black but for a white square in the middle, 30 pixels wide."""
    image = Image.new("L", (60, 30))
    image.paste(255, (15, 0, 45, 30))
    return image


def test_aspect_policies() -> None:
    data = encoded(cross())
    crop, pad, squeezed = (decode(data, TargetFormat(30, aspect, 1))[..., 0] for aspect in ("crop", "pad", "resize"))  # type: ignore[arg-type]
    assert crop.min() == 255  # just the middle
    assert (pad[:7] == 0).all()  # bars above and below
    assert (pad[23:] == 0).all()
    assert (pad[10:20, 10:20] > 250).all()
    assert (squeezed[:, 10:20] > 250).all()  # the whole picture, half as wide
    assert (squeezed[:, :6] < 10).all()


@pytest.mark.parametrize("aspect", ["crop", "pad", "resize"])
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (7, 3)])
def test_any_size_is_brought_to_the_one_asked_for(aspect: Any, size: tuple[int, int]) -> None:
    assert decode(encoded(Image.new("RGB", size, "red")), TargetFormat(8, aspect, 3)).shape == (8, 8, 3)


def test_scaled_jpeg_decoding_changes_little() -> None:
    smooth = Image.fromarray(COLOURS).resize((800, 600), Image.Resampling.BICUBIC)
    data = encoded(smooth, "JPEG", quality=95)
    shown = decode(data, TargetFormat(64, "resize", 3)).astype(int)
    whole = np.asarray(Image.open(io.BytesIO(data)).resize((64, 64), Image.Resampling.LANCZOS)).astype(int)
    assert abs(shown - whole).max() <= 4


def test_a_cameras_mpo_gives_its_first_picture() -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    assert decode(data, OWN)[4, 4].tolist() == pytest.approx([254, 0, 0], abs=3)


def animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


BAD = {
    "empty": (b"", "empty file"),
    "text": (b"not an image at all", "no image in a known format"),
    "truncated jpeg": (encoded(Image.fromarray(COLOURS), "JPEG")[:-200], "truncated"),
    "truncated png": (encoded(Image.fromarray(COLOURS))[:-60], "truncated|broken"),
    "gif": (animated("GIF"), "2 frames; one expected"),
    "webp": (animated("WEBP"), "2 frames; one expected"),
    "apng": (animated("PNG"), "2 frames; one expected"),
    "tiff": (animated("TIFF"), "2 frames; one expected"),
    "float tiff": (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "32-bit pixels"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image in a known format"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_images_are_refused_with_a_reason(case: str) -> None:
    data, reason = BAD[case]
    with pytest.raises(BadImage, match=reason) as caught:
        decode(data, TargetFormat(8, "crop", 3))
    assert "\n" not in str(caught.value)


def damaged() -> Iterator[tuple[str, bytes]]:
    """Files of every format, cut off or with some bytes changed."""
    image, rng = Image.fromarray(COLOURS), np.random.default_rng(3)
    few = image.quantize(16)
    files = {kind: encoded(image, kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "MPO")}
    files |= {"GIF": encoded(few, "GIF"), "animated": animated("GIF")}
    for kind, data in files.items():
        for turn in range(300):
            changed = bytearray(data)
            for place in rng.integers(0, min(len(data), (9999, 120)[turn % 2]), rng.integers(1, 8)):
                changed[place] = rng.integers(0, 256)
            yield kind, bytes(changed if turn % 5 else changed[: rng.integers(1, len(data))])


@pytest.mark.filterwarnings("ignore")
def test_whatever_a_damaged_file_makes_pillow_raise_is_a_bad_image() -> None:
    reasons: dict[str, set[str]] = {}
    for kind, data in damaged():
        try:
            assert decode(data, TargetFormat(8, "crop", 3)).shape == (8, 8, 3)
        except BadImage as error:
            reasons.setdefault(kind, set()).add(str(error))
    assert len(reasons) == 9
    assert not any("\n" in reason for reason in set().union(*reasons.values()))


@pytest.mark.parametrize("kind", [TypeError, IndexError, AttributeError, zlib.error])
def test_decoders_may_raise_anything(monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kind("Missing dimensions")

    monkeypatch.setattr(decode_file.Image, "open", fail)
    with pytest.raises(BadImage, match="Missing dimensions"):
        decode(b"x", OWN)


def test_huge_images_are_refused_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_file.Image, "MAX_IMAGE_PIXELS", 50)  # Pillow refuses above twice of it
    with pytest.raises(BadImage, match="exceeds limit"):
        decode(encoded(Image.fromarray(COLOURS)), OWN)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="cannot be read"):
        read(tmp_path / "nothing.png", OWN)


def test_stored_pixels_are_left_alone_where_they_fit() -> None:
    assert refit(COLOURS, OWN) is COLOURS
    assert refit(COLOURS, TargetFormat(8, "crop", 3)).shape == (8, 8, 3)
    assert refit(COLOURS, GRAY).shape == (12, 20, 1)
    gray = COLOURS[..., :1]
    assert np.array_equal(refit(gray, OWN), np.repeat(gray, 3, 2))
