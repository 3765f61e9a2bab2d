"""The bound and all figures are those of the displayed picture: 16-bit gray of PNG, TIFF and PGM (``test_views``: DICOM)."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from albums import network
from PIL import Image

pydicom = pytest.importorskip("pydicom")

from phantoms import ct, dB, dicom, protected, xray  # noqa: E402

from datamodules.decode import BadImage  # noqa: E402
from photos.display import display_of_values, steepness  # noqa: E402
from photos.noise import add_noise, noise_of, read_codes, reduced, whole  # noqa: E402
from photos.photo import Photo, change_between  # noqa: E402
from photos.read import photo_of, read_middle, read_photo  # noqa: E402

EPSILON = 8.0


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


# 16-bit gray


def test_12_bits_in_a_16_bit_png_stay_a_picture() -> None:
    net, pixels = network(1), xray()[8:]  # without the marker, whose 4,095 would be the largest
    for kind, options in (("PNG", {}), ("TIFF", {}), ("TIFF", {"tiffinfo": {280: 0, 281: 65535}})):
        copy, change, before = protected(encoded(pixels, kind, **options), net)
        after = np.asarray(Image.open(io.BytesIO(copy))).astype(int)
        assert np.abs(after - pixels).max() <= 8 / 255 * pixels.max()
        assert 0 < change.levels <= EPSILON
        low, high = np.quantile(pixels, [0.001, 0.999], method="inverted_cdf")
        assert before.display
        assert before.display.text == f"values used, {low:,} to {high:,}"
        assert (after.min(), after.max()) == (pixels.min(), pixels.max())
        pictures = [((one.astype(float) - low) / (high - low)).clip(0, 1) for one in (pixels, after)]
        assert change.psnr == pytest.approx(dB(*pictures), abs=0.02)
        assert change.psnr > 30
        assert change.stored_psnr > 60  # what the manifest said of a picture that is gone
        assert np.allclose(before.eight()[..., 0], pictures[0] * 255, atol=0.51)


def test_dead_pixels_and_markers_do_not_stretch_the_range() -> None:
    pixels = xray()
    plain, marked = (display_of_values(one[..., None]) for one in (pixels[8:], pixels))
    assert plain.bound(EPSILON) <= 8 / 255 * 1746
    assert abs(marked.bound(EPSILON) - plain.bound(EPSILON)) <= 2
    assert marked.highest == 4095  # which noise may not go beyond, and its pixels can show it
    dead = pixels[8:].copy()
    dead[50, 50] = 65535
    assert display_of_values(dead[..., None]).text == plain.text


def test_pgm_of_12_bits_is_displayed_as_it_is_meant() -> None:
    pixels = xray()[8:]
    data = b"P5 %d %d 4095\n" % pixels.shape[::-1] + pixels.astype(">u2").tobytes()
    copy, change, before = protected(data, network(1))
    assert before.bits == 16
    assert change.levels <= EPSILON
    assert change_between(before, read_photo(copy)) == change


def test_a_tiff_in_which_0_is_white_is_no_negative_as_png() -> None:
    pixels = xray()
    data = encoded(pixels, "TIFF", tiffinfo={262: 0})
    assert np.array_equal(read_photo(data).pixels[..., 0], 65535 - pixels)
    assert np.array_equal(read_photo(encoded(pixels, "TIFF", tiffinfo={262: 1})).pixels[..., 0], pixels)


def tiff(pixels: np.ndarray) -> bytes:
    """Of any type, which Pillow does not write."""
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    height, width = pixels.shape
    tags = [(256, width), (257, height), (258, 8 * pixels.itemsize), (259, 1), (262, 1), (273, 200), (277, 1),
            (278, height), (279, pixels.nbytes), (339, kind)]  # fmt: skip
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", n, 4, 1, v) for n, v in tags)
    return (head + bytes(4)).ljust(200, b"\0") + pixels.tobytes()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("<f4", "floating-point pixels, whose displayed range the file does not state"),
        ("<i4", "32-bit or signed whole numbers, whose displayed range"),
        ("<i2", "32-bit or signed whole numbers, whose displayed range"),
    ],
)
def test_other_numbers_are_refused_each_with_its_reason(kind: str, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        read_photo(tiff(xray().astype(kind)))
    if kind == "<f4":
        with pytest.raises(BadImage, match=reason):
            photo_of(Image.fromarray(xray().astype(np.float32)))


def test_a_range_that_cannot_be_told() -> None:
    with pytest.raises(BadImage, match="nearly all of its pixels are 7"):
        read_photo(encoded(np.full((30, 30), 7, np.uint16)))
    narrow = np.random.default_rng(0).integers(500, 520, (30, 30)).astype(np.uint16)
    with pytest.raises(BadImage, match="its values span 20 stored levels, of which ε = 8/255 is less than one"):
        noise_of(network(1), torch.zeros(1, 2), Photo(narrow[..., None]), 1, EPSILON)


def test_the_middle_is_shown_in_the_range_of_the_whole(tmp_path: Path) -> None:
    pixels = xray()
    (tmp_path / "a.png").write_bytes(encoded(pixels))
    (tmp_path / "a.dcm").write_bytes(dicom(pixels, 12))
    for name in ("a.png", "a.dcm"):
        whole, middle = read_photo((tmp_path / name).read_bytes()), read_middle(tmp_path / name, 40)
        assert np.array_equal(middle.eight(), whole.eight()[44:84, 44:84])


# noise and figures


def test_strips_equal_the_whole_of_deep_pictures() -> None:
    net = network(1)
    for data in (
        encoded(xray()),
        dicom(ct(), WindowCenter=[40, -600], WindowWidth=[400, 1500], PixelPaddingValue=-1000),
    ):
        photo, results = read_photo(data), []
        code = read_codes(net, [photo], 1, (16, 16))
        for strip in (1, 500, 10**9):
            one = read_photo(data)
            results.append((add_noise(one, noise_of(net, code, one, 1, EPSILON), strip), one.pixels.tobytes()))
        assert results[0] == results[1] == results[2]
        assert change_between(photo, one) == results[0][0]


def test_the_reader_sees_what_is_displayed() -> None:
    values = ct()
    wanted = read_photo(dicom(values, WindowCenter=40, WindowWidth=400))
    turned = read_photo(dicom(-values, WindowCenter=40, WindowWidth=400, RescaleSlope=-1, RescaleIntercept=0))
    for one in (
        turned,
        read_photo(dicom(values - 500, WindowCenter=40, WindowWidth=400, RescaleSlope=1, RescaleIntercept=500)),
    ):
        assert np.array_equal(reduced(one, 1, (16, 16)), reduced(wanted, 1, (16, 16)))
        assert np.array_equal(whole(one, 1), whole(wanted, 1))
    net = network(1)
    code = read_codes(net, [wanted], 1, (16, 16))
    steps = [noise_of(net, code, one, 1, EPSILON).rows(128, 128, slice(0, 128)) for one in (turned, wanted)]
    assert np.array_equal(steps[0], -steps[1])
    same = Photo(wanted.eight())  # what the program does with an 8-bit picture of the same look
    assert np.array_equal(reduced(same, 1, (16, 16)), reduced(wanted, 1, (16, 16)))
    assert np.array_equal(whole(same, 1), whole(wanted, 1))


def test_figures_of_8_bits_are_as_they_were() -> None:
    rng = np.random.default_rng(0)
    before, after = (Photo(rng.integers(0, 256, (300, 20, 3)).astype(np.uint8)) for _ in range(2))
    change, off = change_between(before, after), after.pixels.astype(int) - before.pixels
    assert (change.largest, change.squares, change.values, change.peak) == (
        np.abs(off).max(),
        (off**2).sum(),
        off.size,
        255,
    )
    assert (change.stored_largest, change.stored_squares, change.stored_peak) == (change.largest, change.squares, 255)
    assert change.psnr == change.stored_psnr
    means = off.mean((0, 1))
    assert change.cast == pytest.approx(means[np.abs(means).argmax()])
    assert change_between(before, before).psnr is None
    with pytest.raises(ValueError, match="different sizes"):
        change_between(before, Photo(after.pixels[:9]))


def test_padding_that_something_moved_counts() -> None:
    before = read_photo(dicom(ct(), WindowCenter=40, WindowWidth=400, PixelPaddingValue=-1000))
    after = read_photo(dicom(ct(), WindowCenter=40, WindowWidth=400, PixelPaddingValue=-1000))
    row, column = np.argwhere(before.display.is_padding(before.pixels[..., 0]))[0]
    after.pixels[row, column] += 1050
    assert change_between(before, after).levels > 100
    assert change_between(before, after).values == np.count_nonzero(~before.display.is_padding(before.pixels))


def test_steepness_is_that_of_a_search_one_by_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        levels = rng.integers(0, 65536, 60).astype(np.int32)
        levels = np.sort(levels) if rng.random() < 0.5 else levels // int(rng.integers(1, 40))
        wanted = 0
        for step in range(1, 41):
            if max(np.abs(levels[d:] - levels[:-d]).max() for d in range(1, step + 1)) > 8 * 257:
                break
            wanted = step
        assert steepness(levels, EPSILON, 40) == wanted
