"""An owner's folder: every kind of photo, every oddity, and every moment at which a computer can be switched off."""

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from albums import RNG, album, content, decoded, lines, network, patterns_network, picture, smooth, write
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from datamodules.decode import BadImage
from experiments.cli import main
from gan.field import enlarged, grid_field, reduced
from gan.noise import SIDE
from gan.protection import TrainedGenerator
from photos import folder as photo_folder
from photos import noise as photo_noise
from photos import write as photo_write
from photos.manifest import MANIFEST, PARTIAL, PREVIOUS, Entry, entries, order
from photos.noise import add_noise, noise_of, read_codes, whole
from photos.photo import Animation, Photo, change_between
from photos.protector import Protector
from photos.read import read_middle, read_photo
from photos.tree import PhotoTree
from photos.write import save_photo, to_be_decoded

ROOT = Path(__file__).parents[1]

# the generator on photos of any size


@pytest.mark.parametrize("pattern", ["", "waves", "tints"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(77, 51), (20, 300)])
def test_strips_equal_the_whole_and_what_the_generator_says(pattern: str, channels: int, size: tuple[int, int]) -> None:
    net = patterns_network(channels, pattern=pattern) if pattern else network(channels)
    pixels = RNG.integers(60, 180, (*size, channels)).astype(np.uint8)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    code = read_codes(net, [Photo(pixels)], channels, (16, 16))
    results = []
    for strip in (1, 500, 10**9):  # a row, some rows, all at once
        photo = Photo(pixels.copy())
        change = add_noise(photo, noise_of(net, code, photo, channels, 8.0), strip)
        results.append((photo.pixels, change))
    for other, change in results[:-1]:
        assert np.array_equal(other, results[-1][0])
        assert change == results[-1][1]
    with torch.no_grad():
        wanted = images.float() + (net.noise(code, images.float() / 255) * 255).round().clamp(-8, 8)
    off = np.abs(results[0][0] - wanted[0].clamp(0, 255).permute(1, 2, 0).numpy())
    assert off.max() <= 1  # the small copy is in whole grey levels here and in fractions there
    assert (off > 0).mean() < 0.06
    assert 0 < results[0][1].largest <= 8


@pytest.mark.parametrize("channels", [1, 3])
def test_the_small_copy_is_the_one_of_the_training(channels: int) -> None:
    for size in ((33, 47), (200, 90), (32, 32), (9, 40), (1, 1)):
        pixels = RNG.integers(0, 256, (*size, channels)).astype(np.uint8)
        wanted = reduced(torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), SIDE)[0].permute(1, 2, 0).numpy()
        assert np.abs(whole(Photo(pixels), channels) - wanted).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (5, 300), (300, 5), (33, 31), (20, 100), (77, 51)])
def test_fields_are_enlarged_as_in_the_training(size: tuple[int, int]) -> None:
    values = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) / 16
    rows = grid_field(values).rows(*size, slice(0, size[0]))
    assert np.abs(rows - enlarged(values, size)[0].permute(1, 2, 0).numpy()).max() < 1e-6
    parts = [grid_field(values).rows(*size, slice(top, min(top + 7, size[0]))) for top in range(0, size[0], 7)]
    assert np.array_equal(np.concatenate(parts), rows)


def test_noise_lies_on_the_picture_and_not_on_its_pixels() -> None:
    """The same picture at two sizes gets the same noise, and noise survives shrinking."""
    net, large = network(), smooth(512, 512)
    photos = [Photo(np.array(large.resize(size, Image.Resampling.BOX))) for size in ((512, 512), (256, 256), (128, 64))]
    code = read_codes(net, photos[:1], 3, (16, 16))
    steps = [
        noise_of(net, code, photo, 3, 8.0).rows(photo.height, photo.width, slice(0, photo.height)) for photo in photos
    ]

    def shrunk(values: np.ndarray, width: int, height: int) -> np.ndarray:
        rows, columns = values.shape[0] // height, values.shape[1] // width
        return values.reshape(height, rows, width, columns, 3).mean((1, 3))

    assert np.abs(shrunk(steps[0], 256, 256) - steps[1]).max() < 1.1  # rounding to whole levels
    assert np.abs(shrunk(steps[0], 128, 64) - steps[2]).max() < 1.1
    kept = np.square(shrunk(steps[0], 64, 64)).mean() / np.square(steps[0].astype(float)).mean()
    assert 0.8 < kept < 1


def test_a_gray_photos_noise_is_a_colour_photos_in_all_channels() -> None:
    net, pixels = network(1), RNG.integers(60, 180, (40, 50, 1)).astype(np.uint8)
    code = read_codes(net, [Photo(pixels)], 1, (16, 16))
    photos = [Photo(pixels.copy()), Photo(np.repeat(pixels, 3, 2))]
    for photo in photos:
        add_noise(photo, noise_of(net, code, photo, 1, 8.0))
    assert np.array_equal(photos[1].pixels, np.repeat(photos[0].pixels, 3, 2))


@pytest.mark.parametrize("strip", [1, 500, 10**9])
def test_all_frames_get_the_noise_of_the_middle_one(strip: int) -> None:
    net, pixels = network(), RNG.integers(60, 180, (90, 40, 3)).astype(np.uint8)
    middle, film = Photo(pixels[30:60].copy()), Photo(pixels.copy(), animation=Animation((9, 9, 9), 0))
    code = read_codes(net, [film], 3, (16, 16))
    steps = noise_of(net, code, middle, 3, 8.0).rows(30, 40, slice(0, 30))
    change = add_noise(film, noise_of(net, code, film, 3, 8.0), strip)
    assert np.array_equal(film.pixels.astype(int) - pixels, np.tile(steps, (3, 1, 1)))
    assert change.values == pixels.size


def test_noise_is_cut_to_a_smaller_bound() -> None:
    noise = noise_of(network(), torch.zeros(1, 2), Photo(RNG.integers(0, 256, (40, 50, 3)).astype(np.uint8)), 3, 8.0)
    whole_steps, cut = (one.rows(40, 50, slice(0, 40)) for one in (noise, noise.cut(3)))
    assert np.abs(whole_steps).max() > 3
    assert np.array_equal(cut, whole_steps.clip(-3, 3))
    assert noise.cut(99) == noise


def test_images_of_the_training_size_get_what_arrays_get(generator: Path) -> None:
    images = torch.from_numpy(RNG.integers(0, 256, (6, 3, 16, 16)).astype(np.uint8))
    protector = Protector.load(generator)
    ours, arrays = protector.protect(images), TrainedGenerator(network(), 8.0).protect(images)
    assert (ours.int() - arrays.int()).abs().max() <= 1
    assert (ours != arrays).float().mean() < 0.03


def test_tensors_and_pictures_come_back_as_they_are_given(generator: Path, gray_generator: Path) -> None:
    protector = Protector.load(generator)
    image = picture()
    given = np.asarray(image).copy()
    after = protector.protect(image)
    assert (after.mode, after.size) == ("RGB", image.size)
    assert np.array_equal(np.asarray(image), given)
    tensor = torch.from_numpy(given).permute(2, 0, 1)
    assert torch.equal(protector.protect(tensor), torch.from_numpy(np.array(after)).permute(2, 0, 1))
    assert torch.equal(protector.protect(tensor[None])[0], protector.protect(tensor))
    assert torch.equal(tensor, torch.from_numpy(given).permute(2, 0, 1))
    assert protector.protect(tensor[None][:0]).shape == (0, 3, 20, 30)
    assert protector.protect(picture(5, 5, 1)).mode == "L", "gray stays gray"
    gray = Protector.load(gray_generator)
    assert gray.protect(picture(5, 5, 1)).mode == "L"
    changed = np.asarray(gray.protect(Image.new("RGB", (9, 9), (99, 120, 140)))).astype(int) - (99, 120, 140)
    assert (changed == changed[..., :1]).all()
    assert np.abs(changed).max() > 0
    with pytest.raises(ValueError, match="found float32 3×20×30"):
        protector.protect(tensor.float())
    with pytest.raises(ValueError, match="found uint8 20×30"):
        protector.protect(tensor[0])


# one photo: what is kept


@cache
def profile() -> bytes:  # holds the time
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def described(orientation: int = 6) -> tuple[Image.Exif, bytes]:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    exif[0x8769] = {0x9003: "2020:01:01 00:00:00", 0x927C: b"notes of the maker"}
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 1.5)}
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        b'xmlns:exif="http://ns.adobe.com/exif/1.0/" tiff:Orientation="6" dc:creator="Me">'
        b"<exif:GPSLatitude>52,30N</exif:GPSLatitude></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    return exif, xmp


FORMS: dict[str, tuple[Callable[[], Image.Image], dict[str, Any], str]] = {
    "rgb.jpg": (picture, {"quality": 90}, "RGB"),
    "gray.jpeg": (lambda: picture(channels=1), {}, "L"),
    "cmyk.jpg": (lambda: picture(channels=4).convert("RGB").convert("CMYK"), {}, "RGB"),
    "rgb.png": (picture, {}, "RGB"),
    "alpha.png": (lambda: picture(channels=4), {}, "RGBA"),
    "gray_alpha.png": (lambda: picture(channels=4).convert("LA"), {}, "LA"),
    "palette.png": (lambda: picture().quantize(8), {}, "RGB"),
    "clear_palette.png": (lambda: picture().quantize(8), {"transparency": 2}, "RGBA"),
    "clear_colour.png": (lambda: ImageOps.expand(picture(), 1, (1, 2, 3)), {"transparency": (1, 2, 3)}, "RGBA"),
    "one_bit.png": (lambda: picture(channels=1).convert("1"), {}, "L"),
    "lossy.webp": (picture, {}, "RGB"),
    "alpha.webp": (lambda: picture(channels=4), {"lossless": True, "exact": True}, "RGBA"),
    "rgb.tif": (picture, {"compression": "tiff_lzw"}, "RGB"),
    "cmyk.tiff": (lambda: picture(channels=4).convert("RGB").convert("CMYK"), {}, "RGB"),
    "rgb.bmp": (picture, {}, "RGB"),
    "still.gif": (lambda: picture().quantize(16), {}, "RGB"),
    "rgb.ppm": (picture, {}, "RGB"),
    "dot.png": (lambda: picture(1, 1), {}, "RGB"),
    "line.png": (lambda: picture(1, 300), {}, "RGB"),
}


@pytest.mark.parametrize("output", ["png", "webp"])
def test_every_format_keeps_its_bound_alpha_name_and_time(generator: Path, tmp_path: Path, output: str) -> None:
    for name, (make, options, _) in FORMS.items():
        write(tmp_path / "in" / "of all kinds" / name.replace(".", "_") / name, make(), **options)
    before = content(tmp_path / "in")
    os.utime(tmp_path / "in" / "of all kinds", ns=(10**18, 10**18 + 99))
    assert (
        main(["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={generator}", f"format={output}"])
        == 0
    )
    assert content(tmp_path / "in") == before
    found = lines(tmp_path / "out")
    assert len(found) == len(FORMS)
    for source, entry in found.items():
        name = Path(source).name
        copy = tmp_path / "out" / entry.path
        assert entry.path == f"{source.rpartition('.')[0]}.{output}"
        assert copy.stat().st_mtime_ns == 10**18 + 12345
        with Image.open(tmp_path / "in" / source) as given, Image.open(copy) as stored:
            mode = FORMS[name][2]
            assert stored.mode == (mode if output == "png" else mode.replace("L", "RGB")), name  # WebP has no gray
            want = np.atleast_3d(np.asarray(given.convert(stored.mode))).astype(int)
            have = np.atleast_3d(np.asarray(stored)).astype(int)
            colours = len(stored.mode.removesuffix("A"))
            assert (entry.height, entry.width) == have.shape[:2]
            assert np.abs(have - want)[..., :colours].max() == entry.linf <= 8, name
            assert np.array_equal(have[..., colours:], want[..., colours:]), name
            mse = np.square(have - want)[..., :colours].mean()
            assert entry.psnr == (None if mse == 0 else pytest.approx(10 * np.log10(255**2 / mse), abs=1e-3))
    assert found["of all kinds/rgb_png/rgb.png"].linf >= 4
    assert (tmp_path / "out" / "of all kinds").stat().st_mtime_ns == 10**18 + 99
    assert main(["verify", str(tmp_path / "out"), f"source={tmp_path / 'in'}"]) == 0


@pytest.mark.parametrize("output", ["png", "webp"])
@pytest.mark.parametrize("kind", ["jpg", "webp", "png", "tif"])
def test_descriptions_are_kept_and_photos_turned_upright(
    generator: Path, tmp_path: Path, kind: str, output: str
) -> None:
    exif, xmp = described()
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", xmp.decode())
    options: dict[str, Any] = {"png": {"pnginfo": texts}, "tif": {}, "webp": {"xmp": xmp, "lossless": True}}.get(
        kind, {"xmp": xmp}
    )
    if kind == "tif":
        block = exif.tobytes()
        exif = Image.Exif()
        exif.load(block)
        exif[700] = xmp
    path = write(tmp_path / "in" / f"a.{kind}", picture(20, 30), exif=exif, icc_profile=profile(), **options)
    Protector.load(generator).protect_folder(tmp_path / "in", tmp_path / "out", format=output)
    with Image.open(path) as given, Image.open(tmp_path / "out" / f"a.{output}") as stored:
        assert stored.size == (20, 30)  # upright
        pixels = np.asarray(given).astype(int)
        upright = pixels if kind == "tif" else np.rot90(pixels, -1)  # Pillow turns TIFFs itself
        assert np.abs(np.asarray(stored) - upright).max() <= 8
        tags = stored.getexif()
        assert 0x0112 not in tags
        assert tags[0x010F] == "Maker"
        assert tags.get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"
        assert tags.get_ifd(0x8769)[0x927C] == b"notes of the maker"
        assert tags.get_ifd(0x8825)[1] == "N"
        assert not set(tags) & {256, 273, 279}  # where a TIFF's pixels lie is no description
        assert stored.info["icc_profile"] == profile()
        kept = stored.info.get("xmp") or stored.info["XML:com.adobe.xmp"]
        kept = kept if isinstance(kept, str) else kept.decode()
        assert 'creator="Me"' in kept
        assert "Orientation" not in kept
    assert lines(tmp_path / "out")[f"a.{kind}"].lost == []


@pytest.mark.parametrize(("strip", "maker", "xmp"), [("gps", True, True), ("all", False, False)])
def test_places_can_be_left_out(generator: Path, tmp_path: Path, strip: str, maker: bool, xmp: bool) -> None:
    exif, packet = described()
    write(tmp_path / "in" / "a.jpg", picture(), exif=exif, xmp=packet, icc_profile=profile())
    Protector.load(generator).protect_folder(tmp_path / "in", tmp_path / "out", strip=strip)
    with Image.open(tmp_path / "out" / "a.png") as stored:
        assert (0x010F in stored.getexif()) == maker
        assert 0x8825 not in stored.getexif()
        assert ("xmp" in stored.info) == xmp
        assert "icc_profile" in stored.info
        assert stored.size == (20, 30)
    raw = (tmp_path / "out" / "a.png").read_bytes()
    assert b"GPSLatitude" not in raw
    assert (b"Maker" in raw) == maker


def test_previews_of_the_unprotected_photo_do_not_get_out() -> None:
    import struct

    preview = io.BytesIO()
    Image.new("RGB", (16, 12), "red").save(preview, "JPEG")
    thumb = preview.getvalue()
    # one tag in the first directory, then a second one that points at a preview
    first = struct.pack("<H", 1) + struct.pack("<HHII", 0x010F, 2, 4, int.from_bytes(b"Mak\0", "little"))
    second_at = 8 + len(first) + 4
    second = struct.pack("<H", 2) + struct.pack("<HHII", 0x0201, 4, 1, second_at + 2 + 24 + 4)
    second += struct.pack("<HHII", 0x0202, 4, 1, len(thumb)) + struct.pack("<I", 0)
    block = b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + struct.pack("<I", second_at) + second + thumb
    file = io.BytesIO()
    picture().save(file, "JPEG", exif=block)
    assert thumb in file.getvalue()
    photo, copy = read_photo(file.getvalue()), io.BytesIO()
    save_photo(photo, copy, "png")
    assert b"Mak" in copy.getvalue()
    assert thumb[20:] not in copy.getvalue()


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_16_bit_gray_keeps_its_depth_and_the_scaled_bound(gray_generator: Path, tmp_path: Path, kind: str) -> None:
    pixels = RNG.integers(0, 65536, (20, 30)).astype(np.uint16)
    write(tmp_path / "in" / f"a.{kind}", Image.fromarray(pixels))
    assert main(["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={gray_generator}"]) == 0
    change = np.abs(decoded(tmp_path / "out" / "a.png") - pixels)
    low, high = np.quantile(pixels, [0.001, 0.999], method="inverted_cdf")
    assert 257 < change.max() <= 8 / 255 * (high - low)
    entry = lines(tmp_path / "out")[f"a.{kind}"]
    assert entry.bits == 16
    assert entry.linf == pytest.approx(change.max() * 255 / (high - low), abs=0.01)  # tests/test_display.py has more
    assert main(["verify", str(tmp_path / "out"), f"source={tmp_path / 'in'}"]) == 0
    assert (
        main(["protect", str(tmp_path / "in"), str(tmp_path / "webp"), f"generator={gray_generator}", "format=webp"])
        == 1
    )
    assert "WebP holds 8 bits" in lines(tmp_path / "webp")[f"a.{kind}"].skipped


def test_profiles_of_other_colours_are_named_as_lost() -> None:
    file = io.BytesIO()
    picture().convert("CMYK").save(file, "JPEG", icc_profile=b"\0" * 16 + b"CMYK" + b"\0" * 200)
    photo = read_photo(file.getvalue())
    assert photo.metadata.icc == b""
    assert photo.dropped == {"colour profile": "of other colours than those stored"}


# what is left out


def bad_files(folder: Path) -> dict[str, str]:
    """Files that cannot be protected, by the reason that is given."""
    folder.mkdir(parents=True)
    noise = io.BytesIO()
    picture(200, 200).save(noise, "JPEG")
    (folder / "truncated.jpg").write_bytes(noise.getvalue()[:3000])
    (folder / "empty.png").write_bytes(b"")
    (folder / "paper.jpg").write_bytes(b"%PDF-1.7\n" + b"x" * 500)
    frames = [picture(), picture()]
    frames[0].save(folder / "pages.tif", save_all=True, append_images=frames[1:])
    bomb = io.BytesIO()
    picture(4, 4, 1).save(bomb, "PNG")
    import struct
    import zlib

    head = struct.pack(">II", 30000, 30000) + bomb.getvalue()[24:29]
    data = bomb.getvalue()
    data = data[:16] + head + struct.pack(">I", zlib.crc32(b"IHDR" + head)) + data[33:]
    (folder / "bomb.png").write_bytes(data)
    deep = bytearray(bomb.getvalue())
    deep_head = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(24) for _ in range(4)))
    (folder / "deep.png").write_bytes(
        bytes(deep[:8])
        + b"".join(
            struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d))
            for k, d in ((b"IHDR", deep_head), (b"IDAT", rows), (b"IEND", b""))
        )
    )
    (folder / "deep.ppm").write_bytes(b"P6 2 2 65535\n" + bytes(24))
    Image.fromarray(np.zeros((4, 4), np.float32)).save(folder / "float.tif")
    picture().save(folder / ".hidden.png")
    (folder / "camera.cr2").write_bytes(b"raw")
    os.symlink("nowhere.png", folder / "broken.png")
    os.symlink("loop.png", folder / "loop.png")
    os.symlink(".", folder / "circle")
    os.mkfifo(folder / "pipe.png")
    return {
        "truncated.jpg": "truncated",
        "empty.png": "empty file",
        "paper.jpg": "no image in a known format",
        "pages.tif": "2 pages; one expected",
        "bomb.png": "exceeds limit",
        "deep.png": "16-bit colour",
        "deep.ppm": "16-bit colour",
        "float.tif": "floating-point pixels",
        ".hidden.png": "hidden",
        "camera.cr2": ".cr2 files are not read",
        "broken.png": "No such file",
        "loop.png": "Too many levels of symbolic links",
        "circle/": "link to a folder",
        "pipe.png": "no ordinary file",
    }


def test_what_cannot_be_protected_is_named_and_stops_nothing(
    generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = bad_files(tmp_path / "in")
    write(tmp_path / "in" / "good.png", picture())
    (tmp_path / "in" / "notes.txt").write_text("no photo")
    assert main(["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={generator}"]) == 1
    found = lines(tmp_path / "out")
    assert set(found) == {*wanted, "good.png"}
    for name, reason in wanted.items():
        assert reason in found[name].skipped, name
    assert set(content(tmp_path / "out")) == {"good.png", MANIFEST, "report.html", ".lock"}
    shown = capsys.readouterr().out
    assert "left out: empty.png: empty file" in shown
    assert "not copied, since no photos by their content: 1 files" in shown
    page = (tmp_path / "out" / "report.html").read_text()
    for name in wanted:
        assert name in page
    assert "JPEG" in page
    assert "1 .txt" in page
    assert main(["verify", str(tmp_path / "out")]) == 0


def test_16_bits_stay_gray_with_a_generator_for_colour(generator: Path, tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.png", Image.fromarray(np.arange(0, 64000, 1000, np.uint16).reshape(8, 8)))
    assert main(["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={generator}"]) == 0
    with Image.open(tmp_path / "out" / "a.png") as stored:
        assert stored.mode == "I;16"


def test_folders_that_cannot_be_read_are_named(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    album(tmp_path / "in")
    scan = os.scandir

    def closed(path: Any) -> Any:
        if str(path).endswith("deep"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    summary = Protector.load(generator).protect_folder(tmp_path / "in", tmp_path / "out")
    assert (summary.protected, summary.skipped) == (8, 1)
    assert lines(tmp_path / "out")["b/deep/"].skipped == "folder cannot be read (Permission denied)"


def test_names_that_are_no_utf8(generator: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    name = os.fsencode(tmp_path / "in") + b"/caf\xe9.png"
    try:
        Path(os.fsdecode(name)).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    picture().save(os.fsdecode(name))
    (tmp_path / "in" / "bad\udcff.png").write_bytes(b"")
    assert main(["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={generator}"]) == 1
    assert os.path.exists(os.fsencode(tmp_path / "out") + b"/caf\xe9.png")
    assert main(["verify", str(tmp_path / "out"), f"source={tmp_path / 'in'}"]) == 1  # bad\udcff.png has no copy


def test_names_of_copies(tmp_path: Path) -> None:
    for name in (
        "one.jpg", "two.jpg", "two.png", "Three.jpg", "three.jpg", "four.webp", "five.a.jpg", "five.jpg",
        "four.png/x.jpg", "Dir/x.jpg", "dir/x.jpg", "manifest.jsonl/x.jpg", "six.jpg", "six.png", "six.jpg.bmp",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()

    def tag(name: str) -> str:
        return hashlib.sha256(name.encode()).hexdigest()[:8]

    found = list(PhotoTree(tmp_path, ".png", (MANIFEST,)))
    names = {item.source: item.target for item in found}
    assert names == {
        "one.jpg": "one.png",
        "two.jpg": "two.jpg.png",
        "two.png": "two.png.png",
        "Three.jpg": f"Three.{tag('Three.jpg')}.png",
        "three.jpg": f"three.{tag('three.jpg')}.png",
        "four.webp": "four.webp.png",  # four.png is a folder
        "five.a.jpg": "five.a.png",
        "five.jpg": "five.png",
        "six.png": "six.png.png",
        "six.jpg": f"six.{tag('six.jpg')}.png",
        "six.jpg.bmp": f"six.jpg.{tag('six.jpg.bmp')}.png",
        "four.png/x.jpg": "four.png/x.png",
        "Dir/x.jpg": f"Dir.{tag('Dir')}/x.png",
        "dir/x.jpg": f"dir.{tag('dir')}/x.png",
        "manifest.jsonl/x.jpg": f"manifest.jsonl.{tag('manifest.jsonl')}/x.png",
    }
    # a name that has been taken on purpose is left out, and said
    for name in (f"Three.{tag('Three.jpg')}.jpg", f"Dir.{tag('Dir')}/y.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    targets = [item.target for item in PhotoTree(tmp_path, ".png", (MANIFEST,)) if item.target]
    assert len(targets) == len({target.casefold() for target in targets})
    reasons = {item.source: item.reason for item in PhotoTree(tmp_path, ".png", (MANIFEST,)) if item.reason}
    assert all("rename one" in reason for reason in reasons.values())
    assert "Dir/" in reasons


def test_the_walk_is_in_the_order_that_manifests_are_merged_in(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/z.jpg", "a/b/c.jpg", "a.x/y.jpg", "a b.jpg", "z/0.jpg", "B/9.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    walked = [found.source for found in PhotoTree(tmp_path, ".png")]
    assert len(walked) == 7
    assert walked == sorted(walked, key=order)


# refusals


@pytest.mark.parametrize(
    ("source", "dest", "message"),
    [
        ("in", "in", "is the folder of the photos itself"),
        ("in", "in/out", "is inside"),
        ("in/b", ".", "contains the photos' own folder"),
        ("in", "link/out", "is inside"),
        ("nowhere", "out", "no folder"),
        ("in", "file", "is a file"),
        ("in", "full", "was not made by this program"),
        ("empty", "out", "has no photos (files: 1 .txt)"),
    ],
)
def test_places_that_are_refused(
    generator: Path, tmp_path: Path, source: str, dest: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    album(tmp_path / "in", 2)
    os.symlink(tmp_path / "in", tmp_path / "link")
    for name in ("file", "full/x.txt", "empty/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = content(tmp_path)
    places = [str(tmp_path / source), str(tmp_path / dest)]
    assert main(["protect", *places, f"generator={generator}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert content(tmp_path) == before


def test_requests_that_are_refused(
    generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    album(tmp_path / "in", 2)
    for arguments, message in (
        (["protect"], "source: is missing"),
        (["protect", "in"], "dest: is missing"),
        (["protect", "in", "out", "more"], "more: expected key=value"),
        (["protect", "in", "out", "format=gif"], "format: expected one of png, webp, jpeg"),
        (["protect", "in", "out", "fit=true", "generator=in"], "generator: contradicts fit=true"),
        (["protect", "in", "out", "run=x"], "fit: run and options are read with fit=true only"),
        (["protect", "in", "out", "fit=true"], "clusters: 2 photos are too few for 10 groups of 10"),
        (["export", "x.bin"], "out: 'x.bin' does not end in .onnx"),
        (["protect", "in", "out", "epsilon=4"], "epsilon: no such key"),
        (["protect", "in", "out", "generator=in"], "holds no generator.safetensors"),
        (["verify", "nowhere"], "none found"),
        (["inspect", "in/00.png", f"generator={generator}", "out=in/00.png"], "is the photo itself"),
        (["inspect", "nowhere.png", f"generator={generator}"], "cannot be read"),
    ):
        assert main(arguments) == 2, arguments
        assert message in capsys.readouterr().err, arguments
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_given_is_taken_and_named(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "first" / "seed-0"
    run.mkdir(parents=True)
    for path in (generator, generator.with_suffix(".json")):
        (run / path.name).write_bytes(path.read_bytes())
    results = {"chance": 0.5, "mean": {"clean": {"accuracy": {"last": 0.97}}, "fast": {"accuracy": {"last": 0.123}}}}
    (run.parent / "results.json").write_text(json.dumps(results))
    write(tmp_path / "in" / "a.jpg", picture())
    assert main(["protect", "source=in", "dest=out", "generator=runs/first"]) == 0
    assert "runs/first/seed-0/generator.safetensors, trained on tiny: cat, dog" in capsys.readouterr().out
    assert main(["protect", "source=in", "dest=other"]) == 0
    assert "(the one that ships)" in capsys.readouterr().out, "a run that happens to lie there is not taken"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "12.3 %" in page
    assert "97.0 %" in page
    assert "50.0 %" in page
    for other in ("http:", "https:", str(tmp_path)):
        assert other not in page


def test_a_dry_run_writes_nothing(generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    album(tmp_path / "in", 3)
    (tmp_path / "in" / "x.cr2").touch()
    before = content(tmp_path)
    options = [f"generator={generator}", "dry_run=true"]
    assert main(["protect", str(tmp_path / "in"), str(tmp_path / "out"), *options]) == 1
    assert content(tmp_path) == before
    shown = capsys.readouterr().out
    assert "b/01.png -> b/01.png" in shown
    assert "3 photos would be protected, 1 left out before they are read" in shown


# resuming


class Killed(BaseException):
    pass


def dying(monkeypatch: pytest.MonkeyPatch, name: str, calls: int) -> None:
    """The n-th call of a function of os, made by the writer of folders, does not happen, and nothing after it."""
    true, count = getattr(os, name), [0]

    def call(*arguments: Any, **options: Any) -> Any:
        count[0] += 1
        if count[0] > calls:
            raise Killed
        return true(*arguments, **options)

    monkeypatch.setattr(photo_folder.os, name, call)


@pytest.mark.parametrize(("calls", "workers"), [(0, 1), (1, 3), (5, 1), (11, 3), (12, 2)])
def test_a_run_cut_off_anywhere_resumes_to_the_same_bytes(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int, workers: int
) -> None:
    protector = Protector.load(generator)
    album(tmp_path / "in")
    protector.protect_folder(tmp_path / "in", tmp_path / "whole", workers=2)
    with monkeypatch.context() as patch:
        dying(patch, "replace", calls)
        with pytest.raises(Killed):
            protector.protect_folder(tmp_path / "in", tmp_path / "cut", workers=workers)
    assert not (tmp_path / "cut" / MANIFEST).exists()
    with (tmp_path / "cut" / PARTIAL).open("a") as partial:
        partial.write('{"source": "torn')
    (tmp_path / "cut" / ".unfinished").mkdir()
    (tmp_path / "cut" / ".unfinished" / "3").write_bytes(b"half a file")
    summary = protector.protect_folder(tmp_path / "in", tmp_path / "cut", workers=workers)
    assert summary.protected == 12
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    again = protector.protect_folder(tmp_path / "in", tmp_path / "cut", workers=workers)
    assert (again.kept, again.left) == (12, 0)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_cut_off_twice_forgets_nothing(generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protector = Protector.load(generator)
    album(tmp_path / "in")
    whole = protector.protect_folder(tmp_path / "in", tmp_path / "out")
    assert whole.kept == 0
    before = content(tmp_path / "out")
    for name in ("00.png", "b/01.png"):
        (tmp_path / "out" / name).write_bytes(b"damaged")
    for calls in (1, 2, 1):  # the first is the manifest's own
        with monkeypatch.context() as patch:
            dying(patch, "replace", calls)
            with pytest.raises(Killed):
                protector.protect_folder(tmp_path / "in", tmp_path / "out", workers=1)
    assert {entry.source for entry in entries(tmp_path / "out" / PREVIOUS)} == set(lines_of_sources(tmp_path / "in"))
    summary = protector.protect_folder(tmp_path / "in", tmp_path / "out")
    assert summary.kept >= 10
    assert content(tmp_path / "out") == before


def lines_of_sources(folder: Path) -> list[str]:
    return [found.source for found in PhotoTree(folder, ".png")]


def test_a_process_killed_with_9_resumes_to_the_same_bytes(generator: Path, tmp_path: Path) -> None:
    album(tmp_path / "in")
    script = (
        "import os, signal\nfrom photos import folder as photo_folder\nfrom photos.protector import Protector\n"
        "true, count = os.replace, [0]\n"
        "def replace(*arguments):\n    count[0] += 1\n"
        "    true(*arguments)\n"
        "    if count[0] == 6: os.kill(os.getpid(), signal.SIGKILL)\n"
        "photo_folder.os.replace = replace\n"
        f"Protector.load({str(generator)!r}).protect_folder({str(tmp_path / 'in')!r}, {str(tmp_path / 'cut')!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert (tmp_path / "cut" / PARTIAL).exists()
    places = [str(tmp_path / "in"), f"generator={generator}"]
    assert main(["protect", places[0], str(tmp_path / "cut"), places[1]]) == 0
    assert main(["protect", places[0], str(tmp_path / "whole"), places[1]]) == 0
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_what_is_there_is_verified_and_only_what_changed_is_done_again(generator: Path, tmp_path: Path) -> None:
    protector = Protector.load(generator)
    album(tmp_path / "in")
    protector.protect_folder(tmp_path / "in", tmp_path / "out")
    before = content(tmp_path / "out")
    (tmp_path / "out" / "00.png").write_bytes(b"damaged")
    (tmp_path / "out" / "b" / "04.png").unlink()
    summary = protector.protect_folder(tmp_path / "in", tmp_path / "out")
    assert (summary.protected, summary.kept) == (12, 10)
    assert content(tmp_path / "out") == before
    write(tmp_path / "in" / "03.png", picture())  # another photo of the same name
    write(tmp_path / "in" / "01 new.png", picture())
    (tmp_path / "in" / "06.png").unlink()
    summary = protector.protect_folder(tmp_path / "in", tmp_path / "out")
    assert (summary.protected, summary.kept, summary.left) == (12, 10, 1)
    assert (tmp_path / "out" / "06.png").exists()  # never deleted, but named
    assert main(["verify", str(tmp_path / "out")]) == 1


def test_another_generator_or_other_options_are_refused(
    generator: Path, gray_generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    album(tmp_path / "in", 3)
    places = ["protect", str(tmp_path / "in"), str(tmp_path / "out")]
    assert main([*places, f"generator={generator}"]) == 0
    before = content(tmp_path / "out")
    for options, message in (
        ([f"generator={gray_generator}"], "was made with another generator"),
        ([f"generator={generator}", "strip=gps"], "was made with strip none, now gps is asked for"),
        ([f"generator={generator}", "format=webp"], "was made with output png, now webp is asked for"),
    ):
        assert main([*places, *options]) == 2
        assert message in capsys.readouterr().err
        assert content(tmp_path / "out") == before


def test_two_processes_on_one_folder(generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from filelock import FileLock

    album(tmp_path / "in", 3)
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"):
        assert main(["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={generator}"]) == 2
    assert "another process is writing to" in capsys.readouterr().err
    assert main(["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={generator}"]) == 0


def test_a_full_disk_is_one_line_and_nothing_half_written(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    album(tmp_path / "in")
    places = ["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={generator}", "workers=1"]
    true, written = photo_folder.save_photo, [0]

    def full(photo: Photo, file: Any, output: Any) -> None:
        written[0] += 1
        if written[0] > 4:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        true(photo, file, output)

    with monkeypatch.context() as patch:
        patch.setattr(photo_folder, "save_photo", full)
        assert main(places) == 2
    error = capsys.readouterr().err
    assert error == f"error: {tmp_path / 'out'}: No space left on device; make room, then: the same command\n"
    left = content(tmp_path / "out")
    assert set(left) == {"00.png", "03.png", "06.png", "09.png", PARTIAL, ".lock"}
    for name in left:
        if name.endswith(".png"):
            decoded(tmp_path / "out" / name)
    assert main(places) == 0
    assert main(["verify", str(tmp_path / "out"), f"source={tmp_path / 'in'}"]) == 0


def test_a_copy_that_does_not_decode_to_what_was_meant_is_never_named(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    album(tmp_path / "in", 1)
    true = photo_folder.save_photo

    def wrong(photo: Photo, file: Any, output: Any) -> None:
        true(Photo(photo.pixels ^ 1), file, output)

    monkeypatch.setattr(photo_folder, "save_photo", wrong)
    monkeypatch.setattr(photo_write, "SAMPLE", 1)
    assert main(["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={generator}"]) == 2
    assert "decodes to other pixels" in capsys.readouterr().err
    assert "00.png" not in content(tmp_path / "out")


def test_which_copies_are_decoded_again() -> None:
    still = Photo(RNG.integers(0, 256, (6, 8, 3)).astype(np.uint8))
    hashes = [hashlib.sha256(bytes([number])).hexdigest() for number in range(256)]
    chosen = [to_be_decoded(still, "png", one) for one in hashes]
    assert chosen == [to_be_decoded(still, "webp", one) for one in hashes]
    assert 8 <= sum(chosen) <= 26
    film = replace(still, animation=Animation((9, 9), 0))
    assert all(to_be_decoded(still, "jpeg", one) and to_be_decoded(film, "png", one) for one in hashes)


@pytest.mark.parametrize(("shape", "step"), [((300, 500, 3), 1), ((1024, 1700, 3), 2), ((2100, 1601, 1), 3)])
def test_large_photos_are_read_from_small_copies_of_all_their_pixels(shape: tuple[int, ...], step: int) -> None:
    pixels = np.asarray(smooth(*shape[:2]))[..., : shape[2]]
    photo = Photo(pixels.copy())
    assert photo.overview.size == (-(-shape[1] // step), -(-shape[0] // step))
    for size in ((128, 128), (96, 64)):
        wanted = ImageOps.fit(photo.image(), size[::-1], Image.Resampling.LANCZOS)
        found = photo_noise.reduced(photo, shape[2], size)
        assert np.abs(found.reshape(size[0], size[1], -1) - np.asarray(wanted, int).reshape(found.shape)).max() <= 2
    seen = photo.overview
    noise = noise_of(network(), torch.zeros(1, 2), photo, shape[2], 8.0)
    assert photo.overview is seen
    add_noise(photo, noise)
    assert photo.overview is not seen


def test_changes_add_up_exactly_whatever_their_size() -> None:
    for most in (8, 11, 12, 255):
        before = RNG.integers(0, 256, (400, 500, 3)).astype(np.uint8)
        change = RNG.integers(-most, most + 1, before.shape)
        after = (before + change).clip(0, 255).astype(np.uint8)
        found, true = change_between(Photo(before), Photo(after)), after.astype(int) - before
        assert found.squares == np.square(true).sum()
        assert found.sums == tuple(true.sum((0, 1)))
        assert found.largest == np.abs(true).max()


def test_a_protection_that_breaks_its_bound_writes_nothing(generator: Path, tmp_path: Path) -> None:
    from datamodules.config import DataError

    album(tmp_path / "in", 1)
    protector = Protector.load(generator)
    protector.card = replace(protector.card, epsilon=2.0)
    protector.generator.epsilon = 1.0
    header = protector.header("png", "none")
    protector.card = replace(protector.card, epsilon=8.0)
    with pytest.raises(DataError, match="was changed by 8 grey levels, above ε = 2"):
        photo_folder.write_folder(
            tmp_path / "in",
            tmp_path / "out",
            header,
            lambda photos, sources: protector.protect_photos(photos),
            1,
            lambda s: None,
            lambda p, s: None,
        )
    assert "00.png" not in content(tmp_path / "out")


def test_links_in_the_destination_lead_nowhere(generator: Path, tmp_path: Path) -> None:
    album(tmp_path / "in")
    before = content(tmp_path / "in")
    protector = Protector.load(generator)
    write(tmp_path / "first" / "x.png", picture())
    protector.protect_folder(tmp_path / "first", tmp_path / "out")
    os.symlink(tmp_path / "in" / "b", tmp_path / "out" / "b")  # would write over the photos
    summary = protector.protect_folder(tmp_path / "in", tmp_path / "out")
    assert summary.skipped == 8
    assert "b is a link in the destination" in lines(tmp_path / "out")["b/01.png"].skipped
    assert content(tmp_path / "in") == before


# verify and inspect


def test_verify_names_what_is_changed_missing_added_or_beyond_the_bound(
    generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    album(tmp_path / "in")
    assert main(["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={generator}"]) == 0
    out = tmp_path / "out"
    assert main(["verify", str(out)]) == 0
    (out / "00.png").write_bytes((out / "03.png").read_bytes())
    (out / "b" / "01.png").unlink()
    (out / "b" / "new.txt").write_text("added")
    capsys.readouterr()
    assert main(["verify", str(out)]) == 1
    shown = capsys.readouterr().out
    assert "00.png: is not the file that the manifest describes" in shown
    assert "b/01.png: is in the manifest, but cannot be read (No such file or directory)" in shown
    assert "b/new.txt: is not in the manifest" in shown
    assert "3 faults" in shown
    # with a manifest made to match, the bound itself is looked at
    pixels = decoded(out / "03.png")
    Image.fromarray((pixels + 20).clip(0, 255).astype(np.uint8)).save(out / "03.png")
    text, entry = (out / MANIFEST).read_text(), lines(out)["03.png"]
    import hashlib

    digest = hashlib.sha256((out / "03.png").read_bytes()).hexdigest()
    (out / MANIFEST).write_text(text.replace(entry.protected_sha256, digest))
    write(tmp_path / "in" / "06.png", picture())
    assert main(["verify", str(out), f"source={tmp_path / 'in'}"]) == 1
    shown = capsys.readouterr().out
    assert "03.png: differs from 03.png by 2" in shown
    assert "06.png: its photo 06.png has changed since it was protected" in shown


def test_manifests_that_are_damaged(generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    album(tmp_path / "in", 3)
    places = ["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={generator}"]
    assert main(places) == 0
    manifest = tmp_path / "out" / MANIFEST
    text = manifest.read_text()
    for content_, message in (
        (text.replace('"format": 2', '"format": 9', 1), "made by another version"),
        ("nonsense\n" + text, "no manifest of this program"),
        (text.replace('"path"', '"way"', 1), "line 2 is damaged"),
    ):
        manifest.write_text(content_)
        for command in (["verify", str(tmp_path / "out")], places):
            (tmp_path / "out" / PREVIOUS).unlink(missing_ok=True)
            (tmp_path / "out" / PARTIAL).unlink(missing_ok=True)
            manifest.write_text(content_)
            assert main(command) == 2
            assert message in capsys.readouterr().err


@pytest.mark.parametrize("size", [(1, 1), (40, 1300)])
def test_inspect_shows_before_after_and_noise(
    generator: Path, tmp_path: Path, size: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.png", Image.fromarray(np.full((*size, 3), 120, np.uint8)))
    before = path.read_bytes()
    assert main(["inspect", str(path), f"generator={generator}", f"out={tmp_path / 'shown.png'}"]) == 0
    assert path.read_bytes() == before
    shown = decoded(tmp_path / "shown.png")
    height, width = min(size[0], 512), min(size[1], 512)
    assert shown.shape == (height, 3 * width + 8, 3)
    assert (shown[:, :width] == 120).all()
    change = shown[:, width + 4 : 2 * width + 4] - 120
    assert 0 < np.abs(change).max() <= 8
    noise = shown[:, 2 * width + 8 :]
    assert np.abs(noise - (127.5 + change * 127.5 / 8)).max() <= 1
    out = capsys.readouterr().out
    assert f"{size[1]}×{size[0]}, 8 bits; largest change" in out
    assert "read as 'cat'" in out or "read as 'dog'" in out


def test_a_large_photo_needs_little_more_than_its_pixels(generator: Path) -> None:
    photo = Photo(np.full((2000, 3000, 3), 128, np.uint8))
    wanted = Protector.load(generator).protect_photo(Photo(np.full((400, 600, 3), 128, np.uint8)))[0]
    after, change = Protector.load(generator).protect_photo(photo)
    assert after is photo  # in place
    assert change.largest <= 8
    means = after.pixels.reshape(400, 5, 600, 5, 3).mean((1, 3))
    assert np.abs(means - wanted.pixels).max() < 1.1  # one field, wherever strips begin


def test_32_bit_pictures_are_refused_from_python(generator: Path) -> None:
    with pytest.raises(BadImage, match="floating-point"):
        Protector.load(generator).protect(Image.fromarray(np.zeros((4, 4), np.float32)))


def test_entries_are_what_the_docs_say() -> None:
    text = (ROOT / "docs" / "PROTECT.md").read_text()
    for name in Entry.__dataclass_fields__:
        assert f"`{name}`" in text, name


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(37, 61, 3), (61, 40), (90, 50, 4), (9, 12, 3)])
def test_the_middle_alone_has_the_pixels_of_the_whole_one(
    orientation: int, shape: tuple[int, ...], tmp_path: Path
) -> None:
    tags = Image.Exif()
    tags[274] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(RNG.integers(0, 256, shape).astype(np.uint8)).save(path, exif=tags)
    whole, middle = read_photo(path.read_bytes()), read_middle(path, 32)
    height, width = whole.pixels.shape[:2]
    rows, columns = (slice(start, start + 32) for start in (max(0, height - 32) // 2, max(0, width - 32) // 2))
    assert np.array_equal(middle.pixels, whole.pixels[rows, columns])
    if whole.alpha is None:
        assert middle.alpha is None
    else:
        assert np.array_equal(middle.alpha, whole.alpha[rows, columns])


def test_the_middle_is_there_where_exif_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(image: Image.Image, in_place: bool) -> None:
        raise SyntaxError("not a TIFF file")  # as Pillow does with some blocks

    path = write(tmp_path / "damaged.jpg", picture(50, 40))
    monkeypatch.setattr(ImageOps, "exif_transpose", damaged)
    whole, middle = read_photo(path.read_bytes()), read_middle(path, 16)
    height, width = whole.pixels.shape[:2]
    top, left = (height - 16) // 2, (width - 16) // 2
    assert np.array_equal(middle.pixels, whole.pixels[top : top + 16, left : left + 16])
