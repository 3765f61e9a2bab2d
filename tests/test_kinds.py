"""Every kind of file that owners have: what of it is kept, dropped and refused. The table of docs/PROTECT.md is made here.

    CONFOUNDERGAN_REWRITE=1 pytest tests/test_kinds.py      # after a change that is meant

Each kind is one file, protected as 'protect' does it; what stands in the table is what its manifest says, which is
checked against the two files.
"""

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from albums import RNG, decoded, lines, stored_generator
from PIL import Image, ImageCms
from test_metadata import FULL_JPEG, FULL_PNG, encoded, packet, profile, tiff

from photos.description.metadata import Strip, compare_items
from photos.folder import Summary
from photos.manifest import Entry
from photos.protector import SHIPPED, Protector, amplified
from photos.read import items_of, places_in, previews_in, read_photo

pytest.importorskip("pydicom")
pytest.importorskip("gdcm")
pytest.importorskip("pylibjxl")
from phantoms import compressed, ct, dicom, jpeg_in_ybr, xray

DOCS = Path(__file__).parents[1] / "docs" / "PROTECT.md"
START, END = "<!-- from tests/test_kinds.py -->", "<!-- end -->"
COLOURS = RNG.integers(0, 256, (24, 32, 3)).astype(np.uint8)
# by libjxl's own encoder: three frames of 8×8 pixels; 4×4 pixels of 16 bits
MOVING_JXL = (
    "ff0a41044d002026080401001c004b188b15820300080401003c004b188b15801dd4ff0018d0af9ad000080405003c004b188b15805dd4ff00"
    "1892ae9a4002"
)
DEEP_JXL = (
    "0000000c4a584c200d0a870a00000014667479706a786c20000000006a786c20000000096a786c6c0a0000006b6a786c63ff0a1810fc00142d"
    "020804010050014b188b150a2504f58cba031cdd2717080800792ecfe5b93c97e7f25c9ecb73792ecfe5b93c97e7f25c9ef7ee6dffd09751d8"
    "32d7b8c73dee718f7bdce31ef778291aef4bd80006000066f0ea4c924b9293e44c02"
)
FRAMES = [Image.fromarray(RNG.integers(0, 256, (24, 32, 3)).astype(np.uint8)) for _ in range(3)]


@dataclass(frozen=True)
class Kind:
    """A file, and what is to become of it.

    Attributes:
        title: in the table.
        name: of the file; its suffix need not be right.
        data: its bytes.
        copy: the kind of the copy; empty where it is refused.
        strip: which description is left out.
        refused: what the reason says.
    """

    title: str
    name: str
    data: bytes
    copy: str = "PNG"
    strip: Strip = "none"
    refused: str = ""


def moving(kind: str) -> bytes:
    return encoded(kind, FRAMES[0], save_all=True, append_images=FRAMES[1:], duration=[100, 200, 50], loop=0)


def cmyk() -> bytes:
    picture = Image.fromarray(COLOURS).convert("CMYK")
    return encoded("JPEG", picture, quality=95)


def deep_png() -> bytes:
    import struct
    import zlib

    rows = zlib.compress(b"".join(b"\0" + bytes(24) for _ in range(4)))
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    made = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def with_preview_page() -> bytes:
    large, small = Image.fromarray(COLOURS), Image.fromarray(COLOURS).resize((8, 6))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    return encoded("TIFF", large, save_all=True, append_images=[small])


def preview_first() -> bytes:
    small, large = Image.fromarray(COLOURS).resize((8, 6)), Image.fromarray(COLOURS)
    large.encoderinfo = {"tiffinfo": {254: 0}}
    return encoded("TIFF", small, save_all=True, append_images=[large], tiffinfo={254: 1})


def heic(bits: int = 8) -> bytes:
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    if bits > 8:
        deep = RNG.integers(0, 65536, (64, 64, 3)).astype(np.uint16)
        heif.from_bytes("RGB;16", (64, 64), deep.tobytes()).save(buffer, bit_depth=bits)
    else:
        exif = Image.Exif()
        exif[0x010F] = "Phone"
        large = Image.fromarray(RNG.integers(0, 256, (256, 256, 3)).astype(np.uint8))
        heif.from_pillow(large).save(buffer, exif=exif.tobytes(), thumbnails=[64])
    return buffer.getvalue()


def jxl() -> bytes:
    import pylibjxl

    found: bytes = pylibjxl.encode(
        np.dstack([COLOURS, COLOURS[..., 0]]), lossless=True, exif=b"Exif\0\0" + exif().tobytes(), icc=profile(),
        xmp=packet("<dc:title>T</dc:title>"),
    )  # fmt: skip
    return found


def jxl_of_jpeg() -> bytes:
    import pylibjxl

    turned = exif()
    turned[0x0112] = 6
    found: bytes = pylibjxl.jpeg_to_jxl(encoded("JPEG", Image.fromarray(COLOURS), exif=turned, dpi=(300, 300)))
    return found


def report_of_findings() -> bytes:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    found, text = Dataset(), io.BytesIO()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.SOPClassUID = found.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    found.save_as(text, enforce_file_format=True)
    return text.getvalue()


def gray_profile() -> bytes:
    """sRGB's own bytes, said to be of gray: no program can use it."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    data[16:20] = b"GRAY"
    return bytes(data)


def clear() -> Image.Image:
    alpha = Image.fromarray(RNG.integers(0, 256, (24, 32)).astype(np.uint8))
    picture = Image.fromarray(COLOURS)
    picture.putalpha(alpha)
    return picture


def kinds() -> list[Kind]:
    """All of them, in the order of the table."""
    colours, gray = Image.fromarray(COLOURS), Image.fromarray(COLOURS[..., 0])
    deep = Image.fromarray(RNG.integers(20, 1800, (24, 32)).astype(np.uint16))
    frames = np.concatenate([xray(64, seed) for seed in range(3)])
    window = {"WindowCenter": 40, "WindowWidth": 400, "RescaleSlope": 1, "RescaleIntercept": 0}
    return [
        Kind("JPEG of a camera, with all that it may hold", "camera.JPG", FULL_JPEG),
        Kind("the same, `strip=gps`", "camera.jpg", FULL_JPEG, strip="gps"),
        Kind("the same, `strip=all`", "camera.jpg", FULL_JPEG, strip="all"),
        Kind("JPEG under any other name", "edited.jpg_original", encoded("JPEG", colours, dpi=(300, 300))),
        Kind("JPEG in CMYK", "print.jpg", cmyk()),
        Kind("PNG with all that it may hold", "full.png", FULL_PNG),
        Kind("PNG with transparency", "clear.png", encoded("PNG", clear())),
        Kind("PNG in gray with a profile of gray", "gray.png", encoded("PNG", gray, icc_profile=gray_profile())),
        Kind("PNG in 16-bit gray", "deep.png", encoded("PNG", deep)),
        Kind("PNG in 16-bit colour", "deeper.png", deep_png(), "", refused="16-bit colour"),
        Kind("WebP", "a.webp", encoded("WEBP", colours, lossless=True, exif=exif(), xmp=packet("<dc:title>T</dc:title>"))),
        Kind("TIFF with previews of its one page", "scan.tif", with_preview_page()),
        Kind("TIFF whose first page is a preview", "scan.tiff", preview_first()),
        Kind("TIFF of several pages", "pages.tif", tiff(), "", refused="2 pages; one expected"),
        Kind("TIFF in 16-bit gray", "deep.tif", encoded("TIFF", deep, dpi=(300, 300))),
        Kind("TIFF of floating-point numbers", "float.tif", encoded("TIFF", Image.fromarray(np.ones((9, 9), np.float32))), "",
             refused="floating-point pixels"),
        Kind("BMP", "a.bmp", encoded("BMP", colours, dpi=(300, 300))),
        Kind("PPM, PGM", "a.ppm", b"P6\n# a note\n2 1\n255\nabcdef"),
        Kind("GIF", "a.gif", encoded("GIF", colours.quantize(8), comment=b"a note")),
        Kind("animated GIF", "moving.gif", moving("GIF")),
        Kind("animated PNG", "moving.png", moving("PNG")),
        Kind("animated WebP", "moving.webp", encoded("WEBP", FRAMES[0], save_all=True, append_images=FRAMES[1:], duration=[100, 200, 50], loop=0, lossless=True)),
        Kind("AVIF", "a.avif", encoded("AVIF", colours, exif=exif(), icc_profile=profile())),
        Kind("animated AVIF", "moving.avif", encoded("AVIF", FRAMES[0], save_all=True, append_images=FRAMES[1:], duration=100)),
        Kind("HEIC, under the name of a JPEG", "phone.jpg", heic()),
        Kind("HEIC of 10 bits", "deep.heic", heic(10), "", refused="10 bits per channel"),
        Kind("JPEG XL", "a.jxl", jxl(), strip="none"),
        Kind("JPEG XL made of a JPEG, upright by its EXIF", "turned.jxl", jxl_of_jpeg()),
        Kind("animated JPEG XL", "moving.jxl", bytes.fromhex(MOVING_JXL), "", refused="an animation in JPEG XL"),
        Kind("JPEG XL of 16 bits", "deep.jxl", bytes.fromhex(DEEP_JXL), "", refused="16 bits per channel"),
        Kind("CT slice, 16 bits with a window", "IM000001", dicom(ct(64), 16, **window), "DICOM"),
        Kind("X-ray, 12 bits without a window", "scan.IMA", dicom(xray(64), 12), "DICOM"),
        Kind("the same, `strip=gps` or `all`", "scan.dcm", dicom(xray(64), 12), "", "gps", "take names out with a tool"),
        Kind("DICOM of several frames", "frames.dcm", dicom(frames, 12, NumberOfFrames=3, Rows=64), "DICOM"),
        Kind("DICOM in JPEG 2000 without loss (so RLE, JPEG-LS, lossless JPEG)", "packed.dcm", compressed(dicom(xray(64), 12), "JPEG2000Lossless"), "DICOM"),
        Kind("DICOM in lossy JPEG (so JPEG-LS, JPEG 2000)", "ultrasound.dcm", jpeg_in_ybr(colours), "DICOM"),
        Kind("DICOM in lossy JPEG of 12 bits", "extended.dcm", compressed(dicom(xray(64), 12), "JPEGExtendedProcess2_4"), "", refused="that cannot be decoded"),
        Kind("DICOM without a picture", "report.dcm", report_of_findings(), "", refused="no picture in it (Basic Text SR"),
        Kind("JPEG 2000", "a.jp2", encoded("JPEG2000", colours), "", refused="JPEG 2000 files are not read"),
        Kind("a camera's raw file", "a.nef", encoded("TIFF", colours), "", refused="camera raw (.nef) files are not read"),
        Kind("truncated", "cut.jpg", encoded("JPEG", colours.resize((640, 480)))[:9000], "", refused="truncated"),
        Kind("empty", "empty.jpg", b"", "", refused="empty file"),
    ]  # fmt: skip


def exif() -> Image.Exif:
    found = Image.Exif()
    found[0x010F], found[0x8298] = "Maker", "all rights reserved"
    return found


@pytest.fixture(scope="module")
def protectors(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Protector]:
    return {
        channels: Protector.load(stored_generator(tmp_path_factory.mktemp(f"kinds{channels}"), channels))
        for channels in (1, 3)
    }


def protected(kind: Kind, protectors: dict[int, Protector], folder: Path) -> tuple[Summary, Path, Path]:
    source, dest = folder / "in", folder / "out"
    source.mkdir()
    (source / kind.name).write_bytes(kind.data)
    deep = kind.copy == "DICOM" or "16-bit gray" in kind.title or "DICOM" in kind.title or ".dcm" in kind.name
    summary = protectors[1 if deep else 3].protect_folder(source, dest, strip=kind.strip)
    return summary, source, dest


ALL = kinds()


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.title)
def test_a_kind_of_file(kind: Kind, protectors: dict[int, Protector], tmp_path: Path) -> None:
    summary, _, dest = protected(kind, protectors, tmp_path)
    [line] = lines(dest).values()
    if not kind.copy:
        assert kind.refused in line.skipped
        assert (summary.protected, summary.skipped) == (0, 1)
        return
    assert isinstance(line, Entry), line
    copy = (dest / line.path).read_bytes()
    assert line.path.endswith({"PNG": ".png", "DICOM": ".dcm"}[kind.copy])
    # what the manifest says is what the files say
    before, after = items_of(kind.data), items_of(copy)
    dropped = read_photo(kind.data, kind.strip).in_colour().dropped if kind.copy == "PNG" and line.bits == 8 else None
    if dropped is None:
        dropped = read_photo(kind.data, kind.strip).dropped
    found = compare_items(before, after, dropped)
    assert (line.kept, line.lost, line.added) == (found.kept, found.lost, found.added)
    lost = [next(name for name in before if told == name or told.startswith(f"{name} (")) for told in line.lost]
    assert sorted([*line.kept, *lost]) == sorted(before)
    assert previews_in(copy) == []
    assert kind.strip == "none" or places_in(copy) == []
    # the bound is that of what is displayed
    assert 0 < line.linf <= 8
    photo, now = read_photo(kind.data), read_photo(copy, protected=True)
    assert (line.width, line.height) == (photo.width, photo.height) == (now.width, now.height)
    assert now.frames == photo.frames
    if photo.animation:
        assert now.animation == photo.animation


def table(protectors: dict[int, Protector], folders: Iterator[Path]) -> str:
    """The table of docs/PROTECT.md."""
    rows = ["| file | copy | kept | not in the copy |", "|---|---|---|---|"]
    for kind, folder in zip(ALL, folders, strict=False):
        _, _, dest = protected(kind, protectors, folder)
        [line] = lines(dest).values()
        if not isinstance(line, Entry):
            rows.append(f"| {kind.title} | refused | | {line.skipped} |")
            continue
        copy = kind.copy + (f", displayed by {line.displayed}" if line.displayed else "")
        frames = read_photo(kind.data).frames
        copy += f", {frames} frames" if frames > 1 else ""
        rows.append(f"| {kind.title} | {copy} | {folded(line.kept or [])} | {folded(line.lost)} |")
    return "\n".join(rows)


def folded(names: list[str]) -> str:
    """Items of one standard behind its name once, and those with one reason together."""
    groups: dict[str, dict[str, list[str]]] = {}
    for text in names:
        name, _, reason = text.partition(" (") if text.endswith(")") and "0x" not in text else (text, "", "")
        if "0x" in text and text.count(" (") > 1:
            name, _, reason = text.rpartition(" (")
        standard = next(
            (one for one in ("EXIF GPS", "EXIF", "XMP", "IPTC", "PNG text") if name.startswith(f"{one} ")), ""
        )
        groups.setdefault(reason.rstrip(")"), {}).setdefault(standard, []).append(name.removeprefix(standard).strip())
    parts = []
    for reason, standards in groups.items():
        told = "; ".join(f"{standard} {', '.join(found)}".strip() for standard, found in standards.items())
        parts.append(f"{told} ({reason})" if reason else told)
    return re.sub(r"\|", "\\\\|", "; ".join(parts)) or "–"


def test_the_table_of_the_docs_is_this_one(
    protectors: dict[int, Protector], tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = table(protectors, (tmp_path_factory.mktemp("kind") for _ in ALL))
    text = DOCS.read_text()
    before, _, rest = text.partition(START)
    inside, _, after = rest.partition(END)
    if os.environ.get("CONFOUNDERGAN_REWRITE"):
        DOCS.write_text(f"{before}{START}\n{found}\n{END}{after}")
        inside = f"\n{found}\n"
    assert inside.strip() == found


def test_no_pixel_of_a_frame_passes_the_bound(protectors: dict[int, Protector], tmp_path: Path) -> None:
    for name, kind in (("a.gif", "GIF"), ("a.png", "PNG"), ("a.webp", "WEBP")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / name).write_bytes(moving(kind))
        for output in ("png", "webp"):
            dest = tmp_path / f"{kind}-{output}"
            protectors[3].protect_folder(tmp_path / kind, dest, format=output)
            [line] = lines(dest).values()
            with Image.open(tmp_path / kind / name) as given, Image.open(dest / line.path) as stored:
                assert stored.n_frames == given.n_frames == 3
                for number in range(3):
                    given.seek(number)
                    stored.seek(number)
                    change = np.asarray(stored.convert("RGB")).astype(int) - np.asarray(given.convert("RGB"))
                    assert 0 < np.abs(change).max() <= 8
                    assert stored.info["duration"] == given.info["duration"]
                assert stored.info["loop"] == 0
    (tmp_path / "still").mkdir()
    (tmp_path / "still" / "a.gif").write_bytes(moving("GIF"))
    protectors[3].protect_folder(tmp_path / "still", tmp_path / "jpeg", format="jpeg")
    assert "an animation, and JPEG holds one picture" in lines(tmp_path / "jpeg")["a.gif"].skipped


def test_profiles_are_worked_into_pixels_whose_colours_change(tmp_path: Path) -> None:
    gamma = ImageCms.createProfile("LAB")
    lab = Image.fromarray(COLOURS).convert("RGB")
    made = ImageCms.profileToProfile(lab, ImageCms.createProfile("sRGB"), gamma, outputMode="LAB")
    space = ImageCms.ImageCmsProfile(gamma).tobytes()
    data = encoded("TIFF", made, icc_profile=space)
    photo = read_photo(data)
    assert photo.dropped["colour profile"] == "the pixels were converted to sRGB by it"
    assert np.abs(photo.pixels.astype(int) - COLOURS).mean() < 12  # 8 bits of LAB, and colours outside of it
    assert decoded(put(tmp_path / "a.png", COLOURS)).shape == photo.pixels.shape


def put(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_the_picture_of_the_docs_shows_what_is_displayed_before_and_after() -> None:
    rows = []
    for data in (
        dicom(ct(256), 16, WindowCenter=40, WindowWidth=400, RescaleSlope=1, RescaleIntercept=0),
        dicom(xray(256), 12),
    ):
        before, after = read_photo(data), Protector.load(SHIPPED).protect_photo(read_photo(data))[0]
        rows.append(np.asarray(amplified(before, after, 8.0)))
        change = rows[-1][:, 260:516].astype(int) - rows[-1][:, :256]
        assert 0 < np.abs(change).max() <= 8
        # the range is displayed, black to white, and not a strip of gray in all that could be stored
        assert rows[-1][:, :256].min() == 0
        assert rows[-1][:, :256].max() == 255
    picture = np.concatenate([rows[0], np.full((4, rows[0].shape[1], 3), 255, np.uint8), rows[1]])
    path = DOCS.parent / "pictures" / "displayed.png"
    if os.environ.get("CONFOUNDERGAN_REWRITE"):
        Image.fromarray(picture[..., 0]).save(path, optimize=True)
    assert np.abs(decoded(path) - picture[..., 0]).mean() < 1  # a class is read in floating point
