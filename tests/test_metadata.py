"""What describes a photo: every item of every format, into copies of every format, and not a word too much."""

import base64
import io
import re
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from photos.description.iptc import Dataset, Resource, read_iim, read_resources, write_iim, write_resources
from photos.description.items import tells_place
from photos.description.metadata import (
    Inserting,
    Insertion,
    Metadata,
    Output,
    Strip,
    compare,
    for_output,
    inventory,
    places,
    previews,
    read_metadata,
    unheld,
    webp_options,
)

RNG = np.random.default_rng(0)
PIXELS = Image.fromarray(RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8))
OUTPUTS: list[Output] = ["png", "webp", "jpeg"]
HEAD, TAIL = (
    (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"'
        ' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:Ext="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        ' xmlns:core="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
        ' xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'
        ' xmlns:Container="http://ns.google.com/photos/1.0/container/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        ' xmlns:Item="http://ns.google.com/photos/1.0/container/item/" xmlns:xmpGImg="http://ns.adobe.com/xap/1.0/g/img/"'
    ),
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>',
)


def packet(elements: str = "", attributes: str = "") -> bytes:
    return f"{HEAD} {attributes}>{elements}{TAIL}".encode()


def encoded(kind: str, image: Image.Image = PIXELS, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


THUMB = encoded("JPEG", PIXELS.resize((8, 6)))
FILM = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"a film" * 9


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(*segments: bytes, after: bytes = b"", **options: Any) -> bytes:
    data = encoded("JPEG", quality=92, **options)
    return data[:20] + b"".join(segments) + data[20:] + after


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: tuple[bytes, bytes], after: bytes = b"", **options: Any) -> bytes:
    data = encoded("PNG", **options)
    return data[:33] + b"".join(chunk(*each) for each in chunks) + data[33:] + after


def directory(*entries: tuple[int, int, int, bytes], at: int = 8, following: int = 0) -> bytes:
    """One of TIFF, little-endian; values of above four bytes behind it."""
    values, table = b"", b""
    start = at + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        inline = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", start + len(values))
        table += struct.pack("<HHI", tag, kind, count) + inline
        values += value + b"\0" * (len(value) % 2) if len(value) > 4 else b""
    return struct.pack("<H", len(entries)) + table + struct.pack("<I", following) + values


def block(*entries: tuple[int, int, int, bytes], more: bytes = b"") -> bytes:
    first = directory(*entries)
    return b"II*\0\x08\0\0\0" + (directory(*entries, following=8 + len(first)) if more else first) + more


def ascii_tag(tag: int, text: bytes) -> tuple[int, int, int, bytes]:
    return tag, 2, len(text) + 1, text + b"\0"


def described() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8298] = 6, "Maker", "Copyright of the owner"
    exif[0x8769] = {0x9003: "2020:01:01 00:00:00", 0x927C: b"notes of the maker", 0x829A: 0.004, 0xA005: {1: "R98"}}
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 1.5)}
    return exif


def credits(*more: Dataset) -> bytes:
    values = [
        Dataset(2, 0, b"\0\4"),
        Dataset(2, 116, b"Line of copyright"),
        Dataset(2, 25, b"one"),
        Dataset(2, 25, b"two"),
    ]
    return write_resources(
        [Resource(b"8BIM", 0x0404, b"", write_iim([*values, *more])), Resource(b"8BIM", 0x040A, b"", b"\1")]
    )


def copied(data: bytes, output: Output, strip: Strip = "none") -> tuple[bytes, Metadata]:
    """A copy as 'protect' writes it, of pixels of one kind."""
    metadata, buffer = read_metadata(data, strip), io.BytesIO()
    options: dict[str, Any] = {"png": {}, "jpeg": {"quality": 92}, "webp": {"lossless": True}}[output]
    if output == "webp":
        options |= webp_options(metadata)
    PIXELS.save(Inserting(buffer, for_output(metadata, output)), output.upper(), **options)  # type: ignore[arg-type]
    return buffer.getvalue(), metadata


def fates(data: bytes, output: Output, strip: Strip = "none") -> tuple[list[str], list[str], bytes]:
    """What is kept and lost, after what must be so of every copy."""
    copy, metadata = copied(data, output, strip)
    source, stored = inventory(data), inventory(copy)
    found = compare(data, copy, metadata.dropped)
    assert found.added == []
    assert previews(copy) == []
    assert strip == "none" or places(copy) == []
    missing = source.keys() - found.kept
    assert set(found.kept) <= source.keys()
    assert found.lost == sorted(f"{n} ({metadata.dropped[n]})" if n in metadata.dropped else n for n in missing)
    assert len(stored) <= len(found.kept)
    with Image.open(io.BytesIO(copy)) as image:
        image.load()
        assert image.size == PIXELS.size
        assert output == "jpeg" or np.array_equal(np.asarray(image), np.asarray(PIXELS))
    return found.kept, found.lost, copy


# every format


FULL_JPEG = jpeg(
    segment(0xE0, b"JFXX\0\x10" + THUMB),
    segment(0xE2, b"MPF\0II*\0" + bytes(40)),
    segment(
        0xED, b"Photoshop 3.0\0" + credits() + write_resources([Resource(b"8BIM", 0x040C, b"", bytes(28) + THUMB)])
    ),
    segment(0xEB, b"JP\0\0\0\0jumb"),
    segment(0xE5, b"RMETA\0values"),
    after=THUMB + bytes(5) + FILM,
    exif=described(),
    xmp=packet(attributes='dc:source="here" tiff:Orientation="6"'),
    icc_profile=profile(),
    comment=b"for the catalogue",
    dpi=(300, 300),
)
DESCRIBED = ["EXIF Copyright", "EXIF DateTimeOriginal", "EXIF ExposureTime", "EXIF GPS GPSLatitude"]
DESCRIBED += ["EXIF GPS GPSLatitudeRef", "EXIF Interop InteropIndex", "EXIF Make", "EXIF MakerNote"]
IPTC = ["IPTC ApplicationRecordVersion", "IPTC CopyrightNotice", "IPTC Keywords"]
FLAG = "Photoshop resource 0x040A (copyright flag)"
PREVIEWS = [f"{5 + len(FILM)} bytes after the picture", "JFXX preview", "Photoshop resource 0x040C (thumbnail)"]
PREVIEWS += ["list of pictures (MPF)", "second picture"]
LOST = [f"{name} (an unprotected copy)" for name in PREVIEWS if "MPF" not in name]
LOST += ["JPEG segment APP11 'JP'", "JPEG segment APP5 'RMETA'", "list of pictures (MPF) (tells of another picture)"]


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_jpegs_description_is_kept_or_named(output: Output) -> None:
    kept, lost, copy = fates(FULL_JPEG, output)
    assert previews(FULL_JPEG) == sorted(PREVIEWS)
    held = [*DESCRIBED, "XMP dc:source", "colour profile", "resolution"]
    if output == "webp":
        assert lost == sorted([*LOST, *IPTC, FLAG, "comment"])
    else:
        held += [*IPTC, FLAG, "comment"]
        assert lost == sorted(LOST)
    assert kept == sorted(held)
    assert THUMB[20:] not in copy
    assert b"a film" not in copy
    with Image.open(io.BytesIO(copy)) as image:
        image.load()
        exif = image.getexif()
        assert 0x0112 not in exif
        assert exif[0x8298] == "Copyright of the owner"
        assert exif.get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"
        assert exif.get_ifd(0xA005)[1] == "R98"
        assert exif.get_ifd(0x8825)[2] == (52.0, 30.0, 1.5)
        assert image.info["icc_profile"] == profile()
        xmp = image.info["xmp"]
        assert b'dc:source="here"' in xmp
        assert b"Orientation" not in xmp
        assert b"<?xpacket begin=" in xmp
        if output == "png":
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
            assert image.info["Comment"] == "for the catalogue"
            digits = "".join(image.info["Raw profile type iptc"].split("\n")[3:])
            assert bytes.fromhex(digits) == credits()
        elif output == "jpeg":
            assert image.info["dpi"] == (300, 300)
            assert image.info["comment"] == b"for the catalogue"
            assert image.info["photoshop"][0x0404] == read_resources(credits())[0][0].body
        else:
            assert (exif[0x011A], exif[0x011B], exif[0x0128]) == (300, 300, 2)


PNG_TEXTS = PngInfo()
PNG_TEXTS.add_text("Author", "somebody")
PNG_TEXTS.add_text("Copyright", "all rights reserved", zip=True)
PNG_TEXTS.add_itxt("Description", "Größe 5 €")
PNG_TEXTS.add_itxt("Title", "Straße", "de", "Titel")
PNG_TEXTS.add_text("Comment", "for the catalogue")
ENDS = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
FULL_PNG = png(
    (b"gAMA", struct.pack(">I", 45455)),
    (b"cHRM", ENDS),
    (b"sRGB", b"\0"),
    (b"cICP", bytes([1, 13, 0, 1])),
    (b"mDCV", bytes(24)),
    (b"cLLI", bytes(8)),
    (b"pHYs", struct.pack(">IIB", 11811, 5906, 1)),
    (b"tIME", bytes(7)),
    (b"bKGD", bytes(6)),
    (b"vpAg", bytes(9)),
    (b"prVw", THUMB),
    (b"zTXt", b"Raw profile type 8bim\0\0" + zlib.compress(f"\n8bim\n {len(credits())}\n{credits().hex()}\n".encode())),
    (b"tEXt", b"Preview\0" + base64.b64encode(THUMB)),
    (b"tEXt", b"Raw profile type exif\0\nexif\n 9\nzz\n"),
    after=b"more",
    pnginfo=PNG_TEXTS,
    exif=described(),
)
PNG_COLOURS = ["cICP", "cLLI", "chromaticities", "gamma", "mDCV", "sRGB intent"]
PNG_LOST = [
    "4 bytes after the picture",
    "PNG chunk bKGD (it may depend on the pixels)",
    "PNG chunk prVw (an unprotected copy)",
    "PNG chunk tIME (the pixels have changed)",
    "PNG text Preview (an unprotected copy)",
    "PNG text Raw profile type exif (damaged)",
]


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_pngs_description_is_kept_or_named(output: Output) -> None:
    kept, lost, copy = fates(FULL_PNG, output)
    held = [*DESCRIBED, "PNG text Description", "PNG text Author", "resolution"]
    in_png = [*IPTC, FLAG, *PNG_COLOURS, "PNG chunk vpAg", "PNG text Title"]
    gone = list(PNG_LOST)
    if output == "png":
        held += [*in_png, "PNG text Copyright", "PNG text Comment"]
    else:
        # EXIF has a copyright of its own
        gone += [*PNG_COLOURS, "PNG chunk vpAg", "PNG text Title", "PNG text Copyright"]
        (held if output == "jpeg" else gone).extend([*IPTC, FLAG, "PNG text Comment"])
    assert lost == sorted(gone)
    assert kept == sorted(held)
    with Image.open(io.BytesIO(copy)) as image:
        image.load()
        if output == "png":
            assert image.info["gamma"] == 0.45455
            assert image.info["chromaticity"] == (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
            assert image.info["Description"] == "Größe 5 €"
            assert image.info["Title"].tkey == "Titel"
            # turned upright, with its resolution
            assert image.info["dpi"] == pytest.approx((150, 300), abs=0.02)
        else:
            assert image.getexif()[0x013B] == "somebody"
            assert image.getexif()[0x010E].encode("latin-1").decode() == "Größe 5 €"


def test_a_webps_description_is_kept_or_named() -> None:
    data = encoded("WEBP", lossless=True, exif=described(), xmp=packet("<dc:title>T</dc:title>"), icc_profile=profile())
    extra = b"ANNO" + struct.pack("<I", 6) + b"noted!"
    data = b"RIFF" + struct.pack("<I", len(data) - 8 + len(extra)) + data[8:] + extra + b"rest"
    for output in OUTPUTS:
        kept, lost, _ = fates(data, output)
        assert lost == ["4 bytes after the picture", "WebP chunk ANNO"]
        assert kept == sorted([*DESCRIBED, "XMP dc:title", "colour profile"])


def tiff() -> bytes:
    exif = Image.Exif()
    plain = described()
    plain[0x8769].pop(0xA005)  # which Pillow damages in a TIFF
    exif.load(plain.tobytes())
    exif[700], exif[33723], exif[0x010E], exif[0x0132] = (
        packet("<dc:title>T</dc:title>"),
        read_resources(credits())[0][0].body,
        "Text",
        "2020",
    )
    exif[33550] = (1.0, 1.0, 0.0)
    small = PIXELS.resize((9, 9))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    return encoded("TIFF", save_all=True, append_images=[small, PIXELS], exif=exif, icc_profile=profile(), dpi=(72, 96))


def test_a_tiffs_description_is_kept_or_named() -> None:
    data = tiff()
    assert "EXIF tag 0x830E" in places(data)
    described_by = ["EXIF DateTime", "EXIF ImageDescription", "EXIF tag 0x830E", "XMP dc:title", "colour profile"]
    for output in OUTPUTS:
        kept, lost, copy = fates(data, output)
        others = [name for name in inventory(data) if "page" in name]
        assert len(others) == 2
        gone = [f"{name} (an unprotected copy)" for name in others]
        assert lost == sorted([*gone, *(IPTC if output == "webp" else [])])
        assert set(kept) >= {*described_by, "resolution", "EXIF Copyright", "EXIF GPS GPSLatitude"}
        assert not any(re.search("Strip|Bits|Compression|Orientation|ImageWidth", name) for name in inventory(data))
        assert inventory(copy)["resolution"] == inventory(data)["resolution"] == b"96.0 72.0"  # turned upright
    assert not [name for name in inventory(copied(data, "png", "gps")[0]) if "830E" in name]  # of a map


@pytest.mark.parametrize(
    ("data", "items"),
    [
        (encoded("GIF", PIXELS.quantize(8), comment=b"a note"), {"comment": b"a note"}),
        (encoded("BMP", dpi=(300, 150)), {"resolution": b"300.0 150.0"}),
        (b"P6\n# a note\n1 1\n#b\n255\nabcrest", {"comment": b"a note", "comment (2)": b"b", "4 bytes after the picture": b"rest"}),
        (b"P3 1 1 255\n1 2 3 # end", {"comment": b"end"}),
    ],
)  # fmt: skip
def test_small_formats(data: bytes, items: dict[str, bytes]) -> None:
    assert inventory(data) == items
    kept, lost, _ = fates(data, "png")
    assert sorted([*kept, *lost]) == sorted(items)
    assert lost == [name for name in items if "after" in name]


def test_gif_and_bmp_hold_xmp_and_colours() -> None:
    magic = bytes([1, *range(255, -1, -1), 0])
    words = packet("<dc:title>T</dc:title>")
    gif = encoded("GIF", PIXELS.quantize(8))
    at = 13 + (3 << (gif[10] & 7) + 1)
    data = gif[:at] + b"\x21\xff\x0bXMP DataXMP" + words + magic + b"\x21\xff\x0bNETSCAPE2.0\3\1\0\0\0" + gif[at:]
    data = data.replace(b"NETSCAPE2.0", b"OTHERSOFT10")
    assert inventory(data) == {"XMP dc:title": b"T", "GIF extension OTHERSOFT10": b"\1\0\0"}
    assert fates(data, "jpeg")[:2] == (["XMP dc:title"], ["GIF extension OTHERSOFT10"])
    assert inventory(data.replace(b"OTHERSOFT10", b"NETSCAPE2.0")) == {"XMP dc:title": b"T"}  # how often it is repeated

    def bmp(space: bytes, colours: bytes, behind: bytes) -> bytes:
        info = struct.pack("<IiiHHIIiiII", 124, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0) + bytes(16) + space + colours
        info += struct.pack("<IIII", 0, 128, len(behind), 0)
        return b"BM" + struct.pack("<IHHI", 142 + len(behind), 0, 0, 138) + info + b"abc\0" + behind

    linear = struct.pack("<12I", *(round(v * 2**30) for v in SRGB_XYZ), 65536, 65536, 65536)
    metadata = read_metadata(bmp(bytes(4), linear, b""))
    assert metadata.colour[b"gAMA"] == struct.pack(">I", 100000)
    assert struct.unpack(">8I", metadata.colour[b"cHRM"]) == pytest.approx(struct.unpack(">8I", ENDS), abs=20)
    assert unheld(metadata, "jpeg") == "gAMA 1.0, which JPEG cannot hold; use format=png"
    assert read_metadata(bmp(b"DEBM", bytes(48), profile())).icc == profile()
    assert fates(bmp(b"DEBM", bytes(48), profile()), "webp")[:2] == (["colour profile"], [])


SRGB_XYZ = (0.4124, 0.2126, 0.0193, 0.3576, 0.7152, 0.1192, 0.1805, 0.0722, 0.9505)


def test_avif_and_heic() -> None:
    data = encoded("AVIF", exif=described(), xmp=packet("<dc:title>T</dc:title>"), icc_profile=profile())
    for output in OUTPUTS:
        assert fates(data, output)[:2] == (sorted([*DESCRIBED, "XMP dc:title", "colour profile"]), [])
    heif = pytest.importorskip("pillow_heif")
    large = Image.fromarray(RNG.integers(0, 256, (256, 256, 3)).astype(np.uint8))
    file, buffer = heif.from_pillow(large), io.BytesIO()
    file.add_from_pillow(PIXELS.resize((64, 64)))
    file.save(buffer, exif=described().tobytes(), xmp=packet("<dc:title>T</dc:title>"), thumbnails=[64])
    assert previews(buffer.getvalue()) == ["preview", "second picture"]
    kept, lost, _ = fates(buffer.getvalue(), "png")
    assert lost == ["preview (an unprotected copy)", "second picture (an unprotected copy)"]
    assert kept == sorted([*DESCRIBED, "XMP dc:title"])
    buffer = io.BytesIO()
    heif.from_pillow(large.convert("RGBA")).save(
        buffer, color_primaries=12, transfer_characteristics=16, matrix_coefficients=9, full_range_flag=0
    )
    assert inventory(buffer.getvalue()) == {"cICP": b"12 16"}  # and transparency is no second picture
    copy, metadata = copied(buffer.getvalue(), "png")
    assert chunk(b"cICP", bytes([12, 16, 0, 1])) in copy
    assert unheld(metadata, "webp") == "cICP 12/16, which WebP cannot hold; use format=png"


def box(kind: bytes, *content: bytes) -> bytes:
    return struct.pack(">I", 8 + sum(map(len, content))) + kind + b"".join(content)


def test_every_picture_of_a_heif_is_told_from_the_parts_of_the_first() -> None:
    """A grid of two tiles, with transparency, depth, two gain maps, and texts."""
    kinds = [b"grid", b"hvc1", b"hvc1", b"hvc1", b"hvc1", b"hvc1", b"tmap", b"mime", b"uri "]
    extra = {8: b"text/plain\0", 9: b"urn:own\0"}
    infe = [
        box(b"infe", b"\2\0\0\0", struct.pack(">HH", i, 0), kind, b"name\0", extra.get(i, b""))
        for i, kind in enumerate(kinds, 1)
    ]
    names = (
        b"urn:mpeg:hevc:2015:auxid:1\0",
        b"urn:mpeg:hevc:2015:auxid:2\0",
        b"urn:com:apple:photo:2020:aux:hdrgainmap\0",
    )
    properties = [box(b"auxC", bytes(4), name) for name in names]
    properties += [box(b"clli", struct.pack(">HH", 1000, 400)), box(b"mdcv", bytes(range(24))), box(b"udes", b"a text")]
    uses = b"".join(struct.pack(">HBB", item, 1, at) for item, at in ((4, 1), (5, 2), (6, 3))) + struct.pack(
        ">HBBBB", 1, 3, 4, 5, 6
    )
    refer = [(b"dimg", 1, 2, 3), (b"dimg", 7, 1, 6), (b"auxl", 4, 1), (b"auxl", 5, 1), (b"auxl", 6, 1)]
    iref = [box(kind, struct.pack(f">HH{len(to)}H", source, len(to), *to)) for kind, source, *to in refer]
    places_ = b"".join(struct.pack(">HHHHII", i, 1, 0, 1, i, 1) for i in range(1, 10))
    meta = box(
        b"meta", bytes(4), box(b"pitm", bytes(4), b"\0\1"), box(b"iinf", bytes(4), b"\0\x09", *infe),
        box(b"iref", bytes(4), *iref), box(b"idat", b"0123456789"),
        box(b"iprp", box(b"ipco", *properties), box(b"ipma", bytes(4), struct.pack(">I", 4), uses)),
        box(b"iloc", b"\1\0\0\0\x44\0\0\x09", places_),
    )  # fmt: skip
    data = box(b"ftyp", b"heic", bytes(4), b"mif1heic") + meta + box(b"free", b"left") + box(b"mdat", b"") + b"rest"
    found = inventory(data)
    assert previews(data) == ["depth map", "gain map", "gain map (2)"]
    assert found.keys() == {
        *previews(data), "HEIF item text/plain", "HEIF item uri", "cLLI", "mDCV", "HEIF property udes", "HEIF box free",
        "4 bytes after the picture",
    }  # fmt: skip
    assert found["HEIF item text/plain"] == b"8"
    assert found["cLLI"] == struct.pack(">II", 10_000_000, 4_000_000)
    assert found["mDCV"] == bytes([8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7, *range(12, 24)])


# colours and resolution


@pytest.mark.parametrize(
    ("colour", "icc", "reason"),
    [
        ({b"gAMA": struct.pack(">I", 45455), b"cHRM": ENDS, b"sRGB": b"\0"}, b"", ""),
        ({b"gAMA": struct.pack(">I", 45455)}, b"", ""),
        ({b"cICP": bytes([1, 13, 0, 1])}, b"", ""),
        ({b"gAMA": struct.pack(">I", 100000)}, b"", "gAMA 1.0, which {} cannot hold; use format=png"),
        ({b"gAMA": struct.pack(">I", 100000)}, b"profile", ""),
        ({b"cICP": bytes([9, 16, 0, 1])}, b"profile", "cICP 9/16, which {} cannot hold; use format=png"),
        ({b"cHRM": struct.pack(">8I", *range(8))}, b"", "cHRM of other colours than sRGB's, which {} cannot hold; use format=png"),
    ],
)  # fmt: skip
def test_what_says_how_pixels_are_shown_is_held_or_a_reason(
    colour: dict[bytes, bytes], icc: bytes, reason: str
) -> None:
    metadata = Metadata(colour=colour, icc=icc)
    assert unheld(metadata, "png") == ""
    assert unheld(metadata, "webp") == reason.format("WebP")
    assert unheld(metadata, "jpeg") == reason.format("JPEG")


def test_a_profile_too_large_for_readers_of_png_is_a_reason() -> None:
    assert "use format=webp" in unheld(Metadata(icc=bytes(1 << 21)), "png")
    large = RNG.bytes(200_000)
    data = jpeg(icc_profile=large)
    for output in OUTPUTS:
        with Image.open(io.BytesIO(fates(data, output)[2])) as image:
            assert image.info["icc_profile"] == large


@pytest.mark.parametrize(
    ("source", "value"),
    [
        (jpeg(dpi=(300, 150)), b"300.0 150.0"),
        (png((b"pHYs", struct.pack(">IIB", 5001, 5001, 1))), b"127.0 127.0"),
        (png((b"pHYs", struct.pack(">IIB", 5013, 4013, 1))), b"127.3 101.9"),  # no whole number of an inch or cm
        (png((b"pHYs", struct.pack(">IIB", 4, 3, 0))), b"aspect 1.3333"),
        (encoded("BMP", dpi=(96, 96)), b"96.0 96.0"),
        (encoded("TIFF", x_resolution=96.06, y_resolution=96.06, resolution_unit=2), b"96.1 96.1"),
        (encoded("TIFF", x_resolution=96.151, y_resolution=96, resolution_unit=2), b"96.2 96.0"),
        (encoded("TIFF", x_resolution=118.5, y_resolution=118.5, resolution_unit=3), b"301.0 301.0"),
    ],
)
@pytest.mark.parametrize("strip", ["none", "gps", "all"])
def test_resolution_goes_from_any_format_into_any(source: bytes, value: bytes, strip: Strip) -> None:
    assert inventory(source)["resolution"] == value
    for output in OUTPUTS:
        kept, _, copy = fates(source, output, strip)
        assert "resolution" in kept
        if output == "png" and b"aspect" not in value:
            with Image.open(io.BytesIO(copy)) as image:
                assert image.info["dpi"] == pytest.approx([float(v) for v in value.split()], abs=0.07)


def test_the_formats_resolution_goes_before_that_of_exif() -> None:
    exif = Image.Exif()
    exif[0x011A], exif[0x011B], exif[0x0128] = 72.0, 72.0, 2
    data = jpeg(exif=exif, dpi=(300, 300))
    assert inventory(data) == {"resolution": b"300.0 300.0", "EXIF resolution": b"72.0 72.0"}
    assert fates(data, "png")[1] == fates(data, "jpeg")[1] == []
    assert fates(data, "webp")[1] == ["EXIF resolution"]


# places


LOCATED = packet(
    '<Ext:LocationCreated><rdf:Bag><rdf:li rdf:parseType="Resource"><Ext:Sublocation>secret1</Ext:Sublocation>'
    '<Ext:Event>secret2</Ext:Event></rdf:li></rdf:Bag></Ext:LocationCreated>'
    '<Ext:LocationShown><rdf:Bag><rdf:li><rdf:Description Ext:CountryName="secret3"/></rdf:li></rdf:Bag></Ext:LocationShown>'
    '<core:CreatorContactInfo core:CiAdrCity="secret4" core:CiEmailWork="me@x"/>'
    '<own:homeStreet xmlns:own="urn:own">secret5</own:homeStreet><gpslatitude>secret6</gpslatitude>'
    '<dc:description><rdf:Alt><rdf:li xml:lang="de">Wo gps &amp; City\nstehen</rdf:li></rdf:Alt></dc:description>'
    '<dc:subject><rdf:Bag><rdf:li>one</rdf:li><rdf:li>two</rdf:li></rdf:Bag></dc:subject>'
    '<dc:relation>geo:52.1,13.2</dc:relation><!-- secret7 --><dc:rights>&lt;City&gt;secret8</dc:rights>'
    f'<dc:type>{base64.b64encode(bytes(300)).decode()}</dc:type>',
    'photoshop:City="secret9" exif:GPSAltitude="secret10" core:Location="secret11"',
)  # fmt: skip


@pytest.mark.parametrize("output", OUTPUTS)
def test_no_place_is_left_in_xmp(output: Output) -> None:
    data = jpeg(xmp=LOCATED)
    assert fates(data, output)[1] == []
    kept, lost, copy = fates(data, output, "gps")
    assert kept == ["XMP core:CreatorContactInfo/core:CiEmailWork", "XMP dc:description", "XMP dc:subject"]
    assert b"secret" not in copy
    assert b"geo:" not in copy
    assert b"LocationCreated><" not in copy
    assert "XMP Ext:LocationCreated/Ext:Event (tells a place)" in lost
    assert "XMP comment (may tell a place)" in lost
    assert inventory(copy)["XMP dc:description"] == b"de: Wo gps & City\nstehen"
    assert inventory(copy)["XMP dc:subject"] == b"one\ntwo"


def test_odd_prefixes_and_undeclared_ones() -> None:
    odd = LOCATED.replace(b"photoshop:", b"ps0:").replace(b":photoshop=", b":ps0=")
    assert "XMP ps0:City" in places(jpeg(xmp=odd))
    assert b"secret" not in copied(jpeg(xmp=odd), "png", "gps")[0]
    undeclared = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:creator="Me"/>'
    undeclared += b"<exif:GPSLatitude>52,30N</exif:GPSLatitude></x:xmpmeta>"
    assert inventory(jpeg(xmp=undeclared)) == {"XMP dc:creator": b"Me", "XMP exif:GPSLatitude": b"52,30N"}
    for strip, names in (("none", 2), ("gps", 1)):
        assert len(fates(jpeg(xmp=undeclared), "png", strip)[0]) == names  # type: ignore[arg-type]


def test_an_unchanged_packet_keeps_its_bytes() -> None:
    same = packet("<dc:title>  T </dc:title>  ", "dc:source='a&#10;b'")
    assert read_metadata(jpeg(xmp=same + b"  \n")).xmp == same
    changed = read_metadata(
        jpeg(xmp=packet("<dc:title>  T </dc:title>", "dc:source='a&#10;b' photoshop:City='x'")), "gps"
    )
    assert inventory(jpeg(xmp=changed.xmp)) == {"XMP dc:title": b"  T ", "XMP dc:source": b"a\nb"}


def test_no_place_is_left_in_iptc_exif_texts_and_what_nobody_can_read() -> None:
    numbers = (26, 27, 90, 92, 95, 100, 101, 99)
    body = credits(*(Dataset(2, number, b"secret") for number in numbers), Dataset(2, 120, b"gps in a caption"))
    unknown = write_resources([Resource(b"8BIM", 0x0FA0, b"", b"secret")])
    data = jpeg(segment(0xED, b"Photoshop 3.0\0" + body + unknown), exif=described(), comment=b"in the City by gps")
    assert len([name for name in places(data) if name.startswith("IPTC")]) == 7
    kept, lost, copy = fates(data, "jpeg", "gps")
    assert b"secret" not in copy
    assert b"notes of the maker" not in copy
    assert {"IPTC Caption-Abstract", "IPTC CopyrightNotice", FLAG, "comment", "EXIF Make"} <= set(kept)
    assert "IPTC 2:99 (may tell a place)" in lost
    assert "IPTC Province-State (tells a place)" in lost
    assert "EXIF MakerNote (may tell a place)" in lost
    assert len(lost) == 8 + 1 + 3
    texts = PngInfo()
    for keyword in ("exif:GPSLatitude", "City", "Raw profile type odd"):
        texts.add_text(keyword, "secret")
    texts.add_text("Title", "the city of gps")
    kept, lost, copy = fates(png((b"vpAg", b"secret"), (b"oFFs", bytes(9)), pnginfo=texts), "png", "gps")
    assert (kept, len(lost)) == (["PNG chunk oFFs", "PNG text Title"], 4)
    assert b"secret" not in copy


@pytest.mark.parametrize(
    ("name", "place"),
    [
        *((name, True) for name in ("GPSLatitude", "sub_location", "WorldRegion", "PostalCode", "geoHash", "LatLon")),
        *((name, True) for name in ("ISOCountryCode", "CiAdrCity", "PMCity", "gpsinfo", "IPAddressCity")),
        *((name, False) for name in ("Citation", "EmailAddress", "GeometricDistortion", "SubjectLocation", "Region")),
        *((name, False) for name in ("AltTextAccessibility", "Allocation", "AuthorsPosition", "ISOSpeedLatitudeyyy")),
    ],
)
def test_a_place_is_told_by_words(name: str, place: bool) -> None:
    assert tells_place(name) == place


@pytest.mark.parametrize("data", [FULL_JPEG, FULL_PNG, jpeg(xmp=LOCATED)])
@pytest.mark.parametrize("output", OUTPUTS)
def test_nothing_but_colours_and_resolution_is_left_by_strip_all(data: bytes, output: Output) -> None:
    kept, _, copy = fates(data, output, "all")
    assert set(kept) <= {"colour profile", "resolution", *PNG_COLOURS}
    assert set(inventory(copy)) == set(kept)
    assert not re.search(b"Maker|secret|catalogue|copyright", copy)


def test_credits_go_into_exif_where_nothing_else_holds_them() -> None:
    body = credits(Dataset(2, 80, "Größe".encode()), Dataset(2, 120, b"A caption"))
    data = jpeg(segment(0xED, b"Photoshop 3.0\0" + body))
    kept, lost, copy = fates(data, "webp")
    assert kept == ["IPTC By-line", "IPTC Caption-Abstract", "IPTC CopyrightNotice"]
    assert lost == ["IPTC ApplicationRecordVersion", "IPTC Keywords", FLAG]
    with Image.open(io.BytesIO(copy)) as image:
        assert image.getexif()[0x8298] == "Line of copyright"


# other pictures


def test_every_other_picture_goes() -> None:
    packed = base64.b64encode(THUMB).decode()
    words = packet(
        f'<xmp:Thumbnails><rdf:Alt><rdf:li rdf:parseType="Resource"><xmpGImg:image>{packed[:64]}&#xA;{packed[64:]}'
        '</xmpGImg:image><xmpGImg:width>8</xmpGImg:width></rdf:li></rdf:Alt></xmp:Thumbnails>'
        '<Container:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap"/>'
        f'</rdf:li></rdf:Seq></Container:Directory><own:data xmlns:own="urn:own">x{packed}</own:data>'
        "<dc:title>T</dc:title>",
        'hdrgm:Version="1.0" GCamera:MotionPhoto="1" GCamera:other="2"',
    )  # fmt: skip
    more = directory((0x0201, 4, 1, bytes(4)), at=0)
    more = directory(
        (0x0103, 3, 1, b"\6\0"),
        (0x0201, 4, 1, struct.pack("<I", 400)),
        (0x0202, 4, 1, struct.pack("<I", len(THUMB))),
        at=0,
    )
    exif = block(ascii_tag(0x010F, b"Maker"), (0xC7A1, 7, len(THUMB), THUMB), more=more)
    exif = exif.ljust(400, b"\0")[:400] + THUMB if len(exif) <= 400 else exif + THUMB
    gain = jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet(attributes='hdrgm:Version="1.0"')))
    raw = b"Photoshop 3.0\0" + write_resources([Resource(b"8BIM", 0x0409, b"", bytes(99))])  # blue, green, red
    data = jpeg(
        segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0"),
        segment(0xED, raw),
        xmp=words,
        exif=b"Exif\0\0" + exif,
        after=gain,
    )
    for output in OUTPUTS:
        kept, lost, copy = fates(data, output)
        assert kept == ["EXIF Make", "XMP GCamera:other", "XMP dc:title"]
        assert lost == [
            "EXIF preview (an unprotected copy)",
            "EXIF tag 0xC7A1 (an unprotected copy)",
            "Photoshop resource 0x0409 (thumbnail) (an unprotected copy)",
            "XMP Container:Directory/Container:Item/Item:Semantic (tells of another picture)",
            "XMP GCamera:MotionPhoto (tells of another picture)",
            "XMP hdrgm:Version (tells of another picture)",
            "XMP own:data (an unprotected copy)",
            "XMP xmp:Thumbnails/xmpGImg:image (an unprotected copy)",
            "XMP xmp:Thumbnails/xmpGImg:width (tells of another picture)",
            "gain map (an unprotected copy)",
            "gain map parameters (tells of another picture)",
        ]
        assert len(previews(data)) == len(lost)
        assert THUMB[20:60] not in copy
        assert packed[64:100].encode() not in copy


# damage


def test_damaged_tags_are_named_and_the_others_kept() -> None:
    data = jpeg(exif=b"Exif\0\0" + block(ascii_tag(0x010F, b"Maker"), ascii_tag(0x013B, b"Somebody")))
    at = data.index(struct.pack("<HHI", 0x013B, 2, 9)) + 8
    broken = data[:at] + struct.pack("<I", 9999) + data[at + 4 :]
    for output in OUTPUTS:
        assert fates(broken, output)[:2] == (["EXIF Make"], ["EXIF tag Artist (damaged)"])
        assert fates(jpeg(exif=b"Exif\0\0nonsense"), output)[:2] == ([], ["EXIF (damaged)"])
        assert fates(jpeg(xmp=LOCATED[:-20]), output)[:2] == ([], ["XMP (damaged)"])
        assert fates(jpeg(segment(0xED, b"Photoshop 3.0\x008BIM")), output)[1] == ["Photoshop resources (damaged)"]
        chunks = png((b"pHYs", bytes(8)), (b"gAMA", b"1"), (b"iCCP", b"no zlib"), (b"ABCd", b"1"), (b"vpag", b"1"))
        assert fates(chunks, output)[0] == []
    bomb = b'<!DOCTYPE x [<!ENTITY a "b">]>' + packet("<dc:title>&a;</dc:title>")
    assert inventory(jpeg(xmp=bomb)).keys() == {"XMP (damaged)"}
    assert inventory(jpeg(xmp=b"<a>" * 900 + b"</a>" * 900)).keys() == {"XMP (damaged)"}


def test_long_xmp_of_a_jpeg_takes_several_segments() -> None:
    words = packet(f"<dc:title>T</dc:title><dc:rights>{'long ' * 30000}</dc:rights>")
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", words.decode())
    data = png(pnginfo=texts)
    kept, lost, copy = fates(data, "jpeg")
    assert (kept, lost) == (["XMP dc:rights", "XMP dc:title"], [])
    assert copy.count(b"http://ns.adobe.com/xmp/extension/\0") == 3
    assert fates(copy, "png")[:2] == (kept, [])  # and back
    cut = copy.replace(b"http://ns.adobe.com/xmp/extension/\0", b"http://ns.adobe.com/XMP/extension/\0", 1)
    assert "second XMP packet (damaged)" in inventory(cut)


def test_too_much_for_a_segment_is_lost_and_named() -> None:
    maker = (0x927C, 7, 70000, RNG.bytes(70000).replace(b"\xff", b"\0"))
    data = png((b"eXIf", block(ascii_tag(0x010F, b"Maker"), maker)), (b"tEXt", b"Comment\0" + b"long" * 20000))
    assert fates(data, "jpeg")[:2] == (["EXIF Make"], ["EXIF MakerNote", "PNG text Comment"])
    assert fates(data, "png")[1] == []


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_is_too_much(data: st.DataObject) -> None:
    source = bytearray(FILES[data.draw(st.sampled_from(sorted(FILES)))])
    head = min(len(source), 4000)
    for at, value in data.draw(st.lists(st.tuples(st.integers(2, head - 1), st.integers(0, 255)), max_size=30)):
        source[at] = value
    damaged = bytes(source[: data.draw(st.integers(2, len(source)))])
    assert isinstance(inventory(damaged), dict)
    assert set(previews(damaged)) | set(places(damaged)) <= set(inventory(damaged))
    strip: Strip = data.draw(st.sampled_from(["none", "gps", "all"]))
    fates(damaged, data.draw(st.sampled_from(OUTPUTS)), strip)


TIFF, AVIF = tiff(), encoded("AVIF", exif=described(), xmp=packet("<dc:title>T</dc:title>"))
GIF, WEBP = encoded("GIF", PIXELS.quantize(8), comment=b"a note"), encoded("WEBP", exif=described(), xmp=LOCATED)
FILES = {"jpeg": FULL_JPEG, "png": FULL_PNG, "tiff": TIFF, "avif": AVIF, "gif": GIF, "webp": WEBP}


# of any description: what is in the copy is kept, what is not is lost


def words(number: int) -> str:
    return f"token{number:03}x"


TAGS = (0x010E, 0x010F, 0x0110, 0x013B, 0x8298)
XMP_NAMES = ("dc:title", "dc:source", "photoshop:City", "photoshop:Headline", "core:Location", "exif:GPSLongitude")
SETS = (5, 25, 80, 90, 101, 105, 116, 120)
KEYWORDS = ("Author", "Title", "Comment", "City", "Warning", "GPS place", "Description")


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(["jpeg", "png"]),
    st.lists(st.sampled_from(TAGS), unique=True),
    st.lists(st.sampled_from(XMP_NAMES), unique=True),
    st.lists(st.sampled_from(SETS), unique=True),
    st.lists(st.sampled_from(KEYWORDS)),
    st.lists(st.binary(min_size=1, max_size=20)),
    st.integers(0, 3),
    st.sampled_from(OUTPUTS),
    st.sampled_from(["none", "gps", "all"]),
)
def test_nothing_is_in_a_copy_that_is_not_kept_and_nothing_missing_that_is_not_lost(
    kind: str,
    tags: list[int],
    names: list[str],
    sets: list[int],
    keywords: list[str],
    blobs: list[bytes],
    after: int,
    output: Output,
    strip: Strip,
) -> None:
    numbers = iter(range(1000))
    exif = block(*(ascii_tag(tag, words(next(numbers)).encode()) for tag in sorted(tags)))
    xmp = packet("".join(f"<{name}>{words(next(numbers))}</{name}>" for name in names))
    iim = write_iim([Dataset(2, number, words(next(numbers)).encode()) for number in sets])
    resources = write_resources([Resource(b"8BIM", 0x0404, b"", iim)] if iim else [])
    behind = words(next(numbers)).encode() if after else b""
    if kind == "jpeg":
        comments = [segment(0xFE, words(next(numbers)).encode()) for _ in keywords]
        others = [segment(0xE4, blob + words(next(numbers)).encode()) for blob in blobs]
        parts = [segment(0xE1, b"Exif\0\0" + exif)] if tags else []
        parts += [segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp)] if names else []
        parts += [segment(0xED, b"Photoshop 3.0\0" + resources)] if resources else []
        data = jpeg(*parts, *comments, *others, after=behind)
    else:
        chunks = [(b"tEXt", f"{keyword}\0{words(next(numbers))}".encode()) for keyword in keywords]
        chunks += [(b"abCd", blob + words(next(numbers)).encode()) for blob in blobs]
        chunks += [(b"eXIf", exif)] if tags else []
        chunks += [(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)] if names else []
        digits = f"\niptc\n{len(resources)}\n{resources.hex()}\n".encode()
        chunks += [(b"tEXt", b"Raw profile type iptc\0" + digits)] if resources else []
        data = png(*chunks, after=behind)
    kept, _, copy = fates(data, output, strip)
    profiles = re.findall(rb"zTXtRaw profile type iptc\0\0(.*?)(?=\0\0..[a-zA-Z]{4})", copy, re.DOTALL)
    wrapped = [zlib.decompressobj().decompress(found).split(b"\n", 3)[3] for found in profiles]
    seen = copy + b"".join(bytes.fromhex(found.replace(b"\n", b"").decode()) for found in wrapped)
    values = inventory(data)
    for name, value in values.items():
        for token in re.findall(rb"token\d{3}x", value):
            assert (token in seen) == (name in kept), (name, token)
    assert set(re.findall(rb"token\d{3}x", seen)) <= set(re.findall(rb"token\d{3}x", b" ".join(values.values())))


# pieces


def test_inserting_puts_bytes_where_they_belong_however_it_is_written() -> None:
    data = bytes(range(100))
    for step in (1, 7, 33, 34, 100):
        for insertion in (Insertion(33, b"new"), Insertion(2, b"new", 18), Insertion()):
            file = io.BytesIO()
            into = Inserting(file, insertion)
            for at in range(0, 100, step):
                assert into.write(data[at : at + step]) == len(data[at : at + step])
            offset, block_, skip = insertion
            assert file.getvalue() == data[:offset] + block_ + data[offset + skip :]


def test_iptc_and_resources_come_back() -> None:
    values = [Dataset(1, 90, b"\x1b%G"), Dataset(2, 120, b"long" * 9000), Dataset(2, 25, b"")]
    assert read_iim(write_iim(values) + bytes(3)) == (values, b"")
    resources = [Resource(b"8BIM", 0x0404, b"", b"odd"), Resource(b"8BIM", 0x07D0, b"path", b"even")]
    assert read_resources(write_resources(resources)) == (resources, b"")
    assert read_iim(b"\x1c\2\5\0\7abc") == ([], b"\x1c\2\5\0\7abc")


def test_large_iptc_can_be_read_from_a_png() -> None:
    large = write_resources([Resource(b"8BIM", 0x07D0, b"", RNG.bytes(600_000).replace(b"\xff", b"\0"))])
    parts = [large[at : at + 60000] for at in range(0, len(large), 60000)]
    assert fates(jpeg(*(segment(0xED, b"Photoshop 3.0\0" + part) for part in parts)), "png")[1] == []


def test_a_file_need_not_be_in_memory(tmp_path: Path) -> None:
    import mmap

    for name, data in (("a.jpg", FULL_JPEG), ("a.png", FULL_PNG), ("a.tif", TIFF), ("a.avif", AVIF), ("a.gif", GIF)):
        (tmp_path / name).write_bytes(data)
        with (tmp_path / name).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert inventory(mapped) == inventory(data)
            assert read_metadata(mapped) == read_metadata(data)
