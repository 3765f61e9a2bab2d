"""Descriptions written into PNG, WebP and JPEG: as bytes that go between those of Pillow's encoder, or its options."""

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

from photos.description import tiff
from photos.description.containers import EXIF_HEAD, EXTENDED_HEAD, ICC_HEAD, PHOTOSHOP_HEAD, XMP_HEAD, XMP_KEYWORD
from photos.description.iptc import IIM, read_iim, read_resources
from photos.description.items import Density, Output, Text

NAMES = {"png": "PNG", "webp": "WebP", "jpeg": "JPEG"}
SEGMENT = 65533  # bytes that a JPEG segment holds
PACKED = 1 << 20  # bytes that Pillow unpacks of a PNG's text or profile; beyond that it cannot read the file
PNG_START, JFIF_START, JFIF_END = 33, 2, 20  # behind IHDR; before and behind JFIF's segment
# what says the same in formats that do not have both: PNG's texts, EXIF's tags (and their numbers), IPTC's values
EXIF_OF_TEXTS = {"Author": 0x013B, "Copyright": 0x8298, "Description": 0x010E, "Software": 0x0131}
EXIF_OF_IPTC = {(2, 80): 0x013B, (2, 116): 0x8298, (2, 120): 0x010E}
SRGB_GAMMA, SRGB_ENDS = 45455, (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


@dataclass
class Metadata:
    """What of a photo's description goes into its copy.

    Attributes:
        exif: block from its byte order on, without the letters "Exif" before it; no orientation, no preview.
        icc: colour profile.
        xmp: packet, in UTF-8.
        photoshop: its resources, IPTC among them.
        comments: of JPEG, GIF and PPM, as stored.
        texts: of PNG.
        density: resolution, of the upright picture.
        colour: PNG's chunks on how pixels are shown, by type: gAMA, cHRM, sRGB, cICP, mDCV, cLLI.
        chunks: PNG's others that may be copied, as type and content.
        dropped: why an item (``photos.description.metadata.inventory``) does not go into the copy.
    """

    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""
    photoshop: bytes = b""
    comments: list[bytes] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    density: Density | None = None
    colour: dict[bytes, bytes] = field(default_factory=dict)
    chunks: list[tuple[bytes, bytes]] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)


class Insertion(NamedTuple):
    """Bytes that go into a file at ``offset``, instead of the next ``skip`` ones."""

    offset: int = 0
    block: bytes = b""
    skip: int = 0


class Inserting(io.RawIOBase):
    """A file to write to, which puts an insertion between what is written; nothing is held in memory.

    Args:
        file: where it goes.
        insertion: of ``for_output``.
    """

    def __init__(self, file: IO[bytes], insertion: Insertion) -> None:
        super().__init__()
        self._file, self._insertion, self._at = file, insertion, 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        """All of it.

        Raises:
            OSError: as the file's own.
        """
        offset, block, skip = self._insertion
        data = memoryview(data).cast("B")
        start, self._at = self._at, self._at + len(data)
        if block and start <= offset < self._at:
            self._file.write(data[: offset - start])
            self._file.write(block)
        before = max(0, min(offset - start, len(data)))
        behind = max(before, min(offset + skip - start, len(data)))
        if not (block and start <= offset < self._at):
            self._file.write(data[:before])
        self._file.write(data[behind:])
        return len(data)


def for_output(metadata: Metadata, output: Output) -> Insertion:
    """The description as it goes into what Pillow's encoder writes of the pixels alone; of WebP nothing."""
    if output == "png":
        return Insertion(PNG_START, png_block(metadata))
    if output == "webp":
        return Insertion()
    jfif, rest = _jfif(metadata.density), _jpeg_segments(metadata)
    return Insertion(JFIF_START, jfif + rest, JFIF_END - JFIF_START) if jfif else Insertion(JFIF_END, rest)


def unheld(metadata: Metadata, output: Output) -> str:
    """The reason why a format cannot hold how the pixels are to be shown; empty if it can.

    Of PNG's several ways to say it the first in this order counts: cICP, profile, sRGB, gAMA with cHRM.
    """
    colour = metadata.colour
    if output == "png":
        size = len(metadata.icc)
        return (
            f"colour profile of {size:,} bytes; readers of PNG take {PACKED:,}; use format=webp"
            if size > PACKED
            else ""
        )
    advice = f"which {NAMES[output]} cannot hold; use format=png"
    if found := colour.get(b"cICP"):
        standard = found[0] == 1 and found[1] == 13 and found[3] == 1
        return "" if standard else f"cICP {found[0]}/{found[1]}, {advice}"
    if metadata.icc or b"sRGB" in colour:
        return ""
    gamma = int.from_bytes(colour[b"gAMA"], "big") if b"gAMA" in colour else SRGB_GAMMA
    if abs(gamma - SRGB_GAMMA) > 500:  # one grey level
        return f"gAMA {gamma / 100000}, {advice}"
    ends = struct.unpack(">8I", colour[b"cHRM"]) if b"cHRM" in colour else SRGB_ENDS
    if any(abs(a - b) > 200 for a, b in zip(ends, SRGB_ENDS, strict=True)):
        return f"cHRM of other colours than sRGB's, {advice}"
    return ""


# PNG


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_block(metadata: Metadata) -> bytes:
    """All of it as chunks that stand before the pixels."""
    chunks = [(kind, body) for kind, body in metadata.colour.items() if kind != b"sRGB" or not metadata.icc]
    if metadata.icc:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.density:
        chunks.append((b"pHYs", _physical(metadata.density)))
    chunks += [_png_text(text) for text in (*_comments_as_texts(metadata), *metadata.texts)]
    if metadata.xmp:
        chunks.append((b"iTXt", XMP_KEYWORD.encode() + b"\0\0\0\0\0" + metadata.xmp))
    if metadata.photoshop:
        chunks.append(_raw_profile(metadata.photoshop))
    if metadata.exif:
        chunks.append((b"eXIf", metadata.exif))
    return b"".join(png_chunk(kind, body) for kind, body in [*chunks, *metadata.chunks])


def _raw_profile(body: bytes) -> tuple[bytes, bytes]:
    """As ImageMagick writes it, and most programs read it."""
    digits, keyword = body.hex(), b"Raw profile type iptc\0"
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = f"\niptc\n{len(body):8}\n{lines}\n".encode()
    return (b"zTXt", keyword + b"\0" + zlib.compress(text)) if len(text) <= PACKED else (b"tEXt", keyword + text)


def _physical(density: Density) -> bytes:
    if density.unit == "aspect":
        scale = 1 if float(density.x).is_integer() and float(density.y).is_integer() else 1000
        return struct.pack(">IIB", *_whole(density.x * scale, density.y * scale, 2**31 - 1), 0)
    if density.unit == "metre":
        return struct.pack(">IIB", *_whole(density.x, density.y, 2**31 - 1), 1)
    x, y = density.dpi
    return struct.pack(">IIB", *_whole(x / 0.0254, y / 0.0254, 2**31 - 1), 1)


def _whole(x: float, y: float, highest: int) -> tuple[int, int]:
    return min(max(round(x), 1), highest), min(max(round(y), 1), highest)


def _comment(data: bytes) -> str:
    try:
        return data.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return data.rstrip(b"\0").decode("latin-1")


def _comments_as_texts(metadata: Metadata) -> list[Text]:
    texts = [Text("Comment", _comment(data)) for data in metadata.comments]
    return [text for text in texts if "\0" not in text.text]


def _png_text(text: Text) -> tuple[bytes, bytes]:
    keyword = text.keyword.encode("latin-1") + b"\0"
    if not (text.language or text.translated):
        try:
            return b"tEXt", keyword + text.text.encode("latin-1")
        except UnicodeEncodeError:
            pass
    language, translated = text.language.encode("latin-1"), text.translated.encode()
    return b"iTXt", keyword + b"\0\0" + language + b"\0" + translated + b"\0" + text.text.encode()


# EXIF of formats that hold no texts, no resolution, no IPTC


def _exif(metadata: Metadata, iptc: bool, density: bool, limit: int = 1 << 30) -> bytes:
    """EXIF with what only it can hold there: texts, and with ``iptc`` its credits, and with ``density`` that."""
    block = tiff.read_block(metadata.exif) if metadata.exif else tiff.Block()
    texts: dict[int, str] = {}
    for text in metadata.texts:
        if text.keyword in EXIF_OF_TEXTS and not (text.language or text.translated):
            texts.setdefault(EXIF_OF_TEXTS[text.keyword], text.text)
    if iptc:
        for tag, value in _credits(metadata.photoshop).items():
            texts.setdefault(tag, value)
    block = tiff.with_texts(block, texts)
    if density and metadata.density:
        block = tiff.with_density(block, metadata.density)
    return tiff.write_block(block, limit)


def _credits(photoshop: bytes) -> dict[int, str]:
    found: dict[int, list[str]] = {}
    for resource in read_resources(photoshop)[0]:
        for dataset in read_iim(resource.body)[0] if resource.number == IIM else []:
            if tag := EXIF_OF_IPTC.get((dataset.record, dataset.number)):
                found.setdefault(tag, []).append(_comment(dataset.value))
    return {tag: "\n".join(values) for tag, values in found.items()}


def webp_options(metadata: Metadata) -> dict[str, bytes]:
    """Of Pillow's encoder for WebP."""
    options = {
        "exif": _exif(metadata, iptc=True, density=True),
        "xmp": metadata.xmp,
        "icc_profile": metadata.icc,
    }
    return {name: value for name, value in options.items() if value}


# JPEG


def _jfif(density: Density | None) -> bytes:
    """The first segment with that resolution; empty where its whole numbers cannot hold it."""
    if density is None:
        return b""
    x, y = (density.x, density.y) if density.unit == "aspect" else density.dpi
    choices = [(0, x, y)] if density.unit == "aspect" else [(1, x, y), (2, x / 2.54, y / 2.54)]
    for unit, across, down in choices:
        whole = _whole(across, down, 65535)
        if all(abs(a - b) < 0.02 for a, b in zip(whole, (across, down), strict=True)):
            return struct.pack(">HH5sHBHHBB", 0xFFE0, 16, b"JFIF\0", 0x0101, unit, *whole, 0, 0)
    return b""


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _jpeg_segments(metadata: Metadata) -> bytes:
    own = metadata.density is not None and not _jfif(metadata.density)
    exif = _exif(metadata, iptc=False, density=own, limit=SEGMENT - len(EXIF_HEAD))
    segments = [_segment(0xE1, EXIF_HEAD + exif)] if exif else []
    segments += _xmp_segments(metadata.xmp) if metadata.xmp else []
    parts = _split(metadata.icc, SEGMENT - len(ICC_HEAD) - 2)
    if len(parts) < 256:
        segments += [_segment(0xE2, ICC_HEAD + bytes([i, len(parts)]) + part) for i, part in enumerate(parts, 1)]
    for part in _split(metadata.photoshop, SEGMENT - len(PHOTOSHOP_HEAD)):
        segments.append(_segment(0xED, PHOTOSHOP_HEAD + part))
    texts = [text.text.encode() for text in metadata.texts if text.keyword == "Comment" and not any(text[2:])]
    segments += [_segment(0xFE, comment) for comment in (*metadata.comments, *texts) if len(comment) <= SEGMENT]
    return b"".join(segments)


def _split(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _xmp_segments(packet: bytes) -> list[bytes]:
    """One segment; of a longer packet one that refers to the others, as Adobe's specification has it."""
    if len(packet) <= SEGMENT - len(XMP_HEAD):
        return [_segment(0xE1, XMP_HEAD + packet)]
    guid = hashlib.md5(packet, usedforsecurity=False).hexdigest().upper().encode()
    main = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="'
    )
    segments = [_segment(0xE1, XMP_HEAD + main + guid + b'"/></rdf:RDF></x:xmpmeta>')]
    size = SEGMENT - len(EXTENDED_HEAD) - 40
    for at in range(0, len(packet), size):
        head = EXTENDED_HEAD + guid + struct.pack(">II", len(packet), at)
        segments.append(_segment(0xE1, head + packet[at : at + size]))
    return segments
