"""Files of each format taken apart: JPEG's segments, the chunks of PNG and WebP, GIF, BMP and PPM.

``boxes`` does the same for AVIF and HEIC, ``tiff`` for TIFF. What says how pixels are stored is left out.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from photos.description.items import Data, Density, Item, Text, density, holds_picture, short, tells_place, trailing
from photos.description.xmp import is_picture_text

TEXT_LIMIT = 1 << 26  # bytes of an unpacked PNG text
EXIF_HEAD = b"Exif\0\0"
XMP_HEAD, EXTENDED_HEAD = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
PHOTOSHOP_HEAD, ICC_HEAD, MPF_HEAD = b"Photoshop 3.0\0", b"ICC_PROFILE\0", b"MPF\0"
XMP_KEYWORD = "XML:com.adobe.xmp"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# frames of an animation are what the file shows, and no other pictures
PNG_LAYOUT = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"sBIT", b"iDOT", b"acTL", b"fcTL", b"fdAT")
PNG_COLOUR = {  # with the size that they must have
    b"gAMA": ("gamma", 4), b"cHRM": ("chromaticities", 32), b"sRGB": ("sRGB intent", 1), b"cICP": ("cICP", 4),
    b"mDCV": ("mDCV", 24), b"cLLI": ("cLLI", 8),
}  # fmt: skip
PNG_REASONS = {
    b"tIME": "the pixels have changed",
    b"dSIG": "the pixels have changed",
    b"caBX": "the pixels have changed",
}
WEBP_LAYOUT = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@dataclass
class Pieces:
    """What a file holds besides its pixels, by standard.

    Attributes:
        exif: blocks without the letters before them; the first is the one that counts.
        xmp: packets.
        extended: of a JPEG, the second packet for what is above 64 KB.
        icc: colour profiles.
        photoshop: resources.
        iptc: IPTC-IIM outside of such.
        comments: as stored.
        texts: of PNG.
        density: of the format itself, not EXIF's.
        colour: PNG's chunks on how pixels are shown, or what other formats have of them, as such chunks.
        chunks: PNG's others that may be copied.
        others: all else, as items.
    """

    exif: list[bytes] = field(default_factory=list)
    xmp: list[bytes] = field(default_factory=list)
    extended: bytes = b""
    icc: list[bytes] = field(default_factory=list)
    photoshop: list[bytes] = field(default_factory=list)
    iptc: list[bytes] = field(default_factory=list)
    comments: list[bytes] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    density: Density | None = None
    colour: dict[bytes, bytes] = field(default_factory=dict)
    chunks: list[tuple[bytes, bytes]] = field(default_factory=list)
    others: list[Item] = field(default_factory=list)

    def other(self, name: str, value: bytes, picture: bool = False, reason: str = "") -> None:
        """Adds what no copy holds."""
        self.others.append(
            Item(name, short(value), picture=picture or holds_picture(value), opaque=True, reason=reason)
        )

    def damaged(self, name: str, value: bytes) -> None:
        """Adds what cannot be read."""
        self.others.append(Item(f"{name} (damaged)", short(value), picture=holds_picture(value), damaged=True))


# JPEG


def jpeg_segments(data: Data, start: int = 0) -> Iterator[tuple[int, bytes, int]]:
    """Marker, content and end of each segment; the last is that of the end of the picture (0xD9) or of the file (0)."""
    at = start + 2
    while found := MARKER.search(data, at):
        marker, at = data[found.start() + 1], found.end()
        if marker == 0xD9:
            yield marker, b"", at
            return
        if marker in (0x01, 0xD8):
            continue
        size = int.from_bytes(data[at : at + 2], "big")
        if size < 2 or at + size > len(data):
            break
        at += size
        yield marker, data[at - size + 2 : at], at
    yield 0, b"", len(data)


def jpeg_pieces(data: Data) -> Pieces:
    """Of a JPEG; the pictures that MPO and phones put behind it are named."""
    pieces = Pieces()
    unknown: dict[str, list[bytes]] = {}
    parts: list[bytes] = []
    profile: list[bytes] = []
    end = len(data)
    for marker, body, end in jpeg_segments(data):  # noqa: B007
        if marker == 0xFE:
            pieces.comments.append(body)
        elif marker == 0xE1 and body.startswith(EXTENDED_HEAD):
            parts.append(body[len(EXTENDED_HEAD) :])
        elif marker == 0xE2 and body.startswith(ICC_HEAD):
            profile.append(body[len(ICC_HEAD) :])
        elif 0xE0 <= marker <= 0xEF:
            _segment(pieces, marker, body, unknown)
    for name, content in unknown.items():
        pieces.other(name, b"".join(content))
    if profile:
        pieces.icc.append(b"".join(part[2:] for part in sorted(profile, key=lambda part: part[:1])))
    if parts:
        _extended(pieces, parts)
    pieces.others += _behind_jpeg(data, end)
    return pieces


def _segment(pieces: Pieces, marker: int, body: bytes, unknown: dict[str, list[bytes]]) -> None:
    if marker == 0xE0 and body.startswith(b"JFIF\0"):
        _jfif(pieces, body)
    elif marker == 0xE0 and body.startswith(b"JFXX\0"):
        pieces.other("JFXX preview", body, True)
    elif marker == 0xE1 and body.startswith(EXIF_HEAD[:5]):
        pieces.exif.append(body[6:])
    elif marker == 0xE1 and body.startswith(XMP_HEAD):
        pieces.xmp.append(body[len(XMP_HEAD) :])
    elif marker == 0xE2 and body.startswith(MPF_HEAD):
        pieces.other("list of pictures (MPF)", body, True, "tells of another picture")
    elif marker == 0xE2 and b"iso:ts:21496" in body[:40]:
        pieces.other("gain map parameters", body, True, "tells of another picture")
    elif marker == 0xED and body.startswith(PHOTOSHOP_HEAD):
        pieces.photoshop = [b"".join([*pieces.photoshop, body[len(PHOTOSHOP_HEAD) :]])]  # one may take several segments
    elif not (marker == 0xEE and body.startswith(b"Adobe")):
        identifier = re.match(rb"[ -~]{0,32}", body)
        quoted = f" '{identifier[0].decode()}'" if identifier and identifier[0] else ""
        unknown.setdefault(f"JPEG segment APP{marker - 0xE0}{quoted}", []).append(body)


def _jfif(pieces: Pieces, body: bytes) -> None:
    if len(body) < 14:
        pieces.damaged("JFIF", body)
        return
    unit, x, y, width, height = struct.unpack(">BHHBB", body[7:14])
    if unit in (0, 1, 2) and not pieces.density:
        pieces.density = density(x, y, ("aspect", "inch", "cm")[unit])
    if width and height:
        pieces.other("JFIF preview", body[14:], True)


def _extended(pieces: Pieces, parts: list[bytes]) -> None:
    """Puts the parts of the longest second packet together; each tells its packet, that one's length and its place."""
    packets: dict[bytes, dict[int, bytes]] = {}
    for part in parts:
        packets.setdefault(part[:36], {})[int.from_bytes(part[36:40], "big")] = part[40:]
    for head, found in packets.items():
        whole = b"".join(found[at] for at in sorted(found))
        if len(whole) != int.from_bytes(head[32:36], "big") or pieces.extended:
            pieces.damaged("second XMP packet", whole)
        else:
            pieces.extended = whole


def _behind_jpeg(data: Data, end: int) -> list[Item]:
    items = []
    while end < len(data):
        start = end
        while start < len(data) and data[start] == 0:
            start += 1
        if data[start : start + 3] != b"\xff\xd8\xff":
            break
        last, gain = end, False
        for marker, body, last in jpeg_segments(data, start):  # noqa: B007
            gain |= 0xE1 <= marker <= 0xE2 and re.search(rb"hdr-gain-map|HDRGainMap|iso:ts:21496", body) is not None
        items.append(Item("gain map" if gain else "second picture", short(data[start:last]), picture=True))
        end = last
    return items + trailing(data, end)


# PNG


def png_pieces(data: Data) -> Pieces:
    """Of a PNG; checksums do not count."""
    pieces, at = Pieces(), len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        end = at + 12 + size
        if end > len(data) + 4:  # the last checksum may be cut off
            break
        if kind not in PNG_LAYOUT:
            _chunk(pieces, kind, data[at + 8 : at + 8 + size])
        at = end
        if kind == b"IEND":
            break
    pieces.others += trailing(data, at)
    return pieces


def _chunk(pieces: Pieces, kind: bytes, body: bytes) -> None:
    if kind in PNG_COLOUR:
        name, size = PNG_COLOUR[kind]
        if len(body) != size or kind in pieces.colour:
            pieces.damaged(name, body)
        else:
            pieces.colour[kind] = body
    elif kind in (b"tEXt", b"zTXt", b"iTXt"):
        _text_chunk(pieces, kind, body)
    elif kind == b"iCCP":
        try:
            pieces.icc.append(_unpacked(body.split(b"\0", 1)[1][1:]))
        except (ValueError, IndexError):
            pieces.damaged("colour profile", body)
    elif kind == b"eXIf":
        pieces.exif.insert(0, body[6:] if body.startswith(EXIF_HEAD) else body)
    elif kind == b"pHYs":
        if len(body) != 9 or pieces.density:
            pieces.damaged("resolution", body)
        else:
            x, y, unit = struct.unpack(">IIB", body)
            pieces.density = density(x, y, "metre" if unit == 1 else "aspect")
    elif not re.fullmatch(rb"[a-z][A-Za-z][A-Z][a-z]", kind) or holds_picture(body):  # none that may be copied unread
        reason = "" if holds_picture(body) else PNG_REASONS.get(kind, "it may depend on the pixels")
        name = kind.decode() if kind.isalpha() else f"0x{kind.hex()}"
        pieces.other(f"PNG chunk {name}", body, reason=reason)
    else:
        pieces.chunks.append((kind, body))


def _unpacked(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        value = unpacker.decompress(packed, TEXT_LIMIT)
    except zlib.error as error:
        raise ValueError("damaged") from error
    if not unpacker.eof:
        raise ValueError("cut off or too long")
    return value


def _text_chunk(pieces: Pieces, kind: bytes, body: bytes) -> None:
    keyword, _, rest = body.partition(b"\0")
    name = keyword.decode("latin-1")
    try:
        if kind == b"tEXt":
            text = Text(name, rest.decode("latin-1"))
        elif kind == b"zTXt":
            text = Text(name, _unpacked(rest[1:]).decode("latin-1"))
        else:
            packed, rest = rest[:1], rest[2:]
            language, translated, value = rest.split(b"\0", 2)
            value = _unpacked(value) if packed == b"\1" else value
            text = Text(name, value.decode(), language.decode("latin-1"), translated.decode())
        if not 0 < len(name) < 80 or "\0" in text.text:
            raise ValueError("no keyword, or no text")
    except (ValueError, IndexError):  # UnicodeDecodeError too
        pieces.damaged(f"PNG text {name}".rstrip(), body)
        return
    if name == XMP_KEYWORD:
        pieces.xmp.insert(0, text.text.encode())
    elif not (name.startswith("Raw profile type ") and _raw_profile(pieces, name[17:], text.text)):
        pieces.texts.append(text)


def _raw_profile(pieces: Pieces, kind: str, text: str) -> bool:
    """Reads what ImageMagick wraps into a text as hexadecimal digits; False where the kind is unknown."""
    if kind not in ("exif", "APP1", "xmp", "iptc", "8bim", "icc", "icm"):
        return False
    try:
        body = bytes.fromhex("".join(text.strip().split("\n")[2:]))
    except ValueError:
        body = b""
    if not body:
        pieces.damaged(f"PNG text Raw profile type {kind}", text.encode())
    elif body.startswith(EXIF_HEAD) or kind == "exif":
        pieces.exif.append(body.removeprefix(EXIF_HEAD))
    elif kind in ("APP1", "xmp"):
        pieces.xmp.append(body.removeprefix(XMP_HEAD))
    elif kind in ("iptc", "8bim"):
        body = body.removeprefix(PHOTOSHOP_HEAD)
        (pieces.photoshop if body[:4] == b"8BIM" else pieces.iptc).append(body)
    else:
        pieces.icc.append(body)
    return True


def text_item(at: int, text: Text) -> Item:
    """Of a PNG text."""
    value = text.text if not (text.language or text.translated) else "\n".join(text[1:])
    digits = re.sub(r"\s+", "", text.text)
    raw = bytes.fromhex("".join(re.findall(r"(?:[0-9a-fA-F]{2}){16,}", digits)))
    picture = is_picture_text(text.text) or holds_picture(raw) or holds_picture(text.text.encode("latin-1", "replace"))
    opaque = text.keyword.startswith("Raw profile type ") or re.search(r"<[A-Za-z?!/]", text.text) is not None
    place = tells_place(text.keyword) or tells_place(text.translated)
    return Item(
        f"PNG text {text.keyword}", short(value.encode()), "texts", at, picture=picture, place=place, opaque=opaque
    )


# WebP


def webp_pieces(data: Data) -> Pieces:
    """Of a WebP."""
    pieces, at = Pieces(), 12
    end = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while at + 8 <= end:
        kind, size = struct.unpack("<4sI", data[at : at + 8])
        body = data[at + 8 : at + 8 + size] if kind not in WEBP_LAYOUT else b""
        if kind == b"EXIF":
            pieces.exif.append(body[6:] if body.startswith(EXIF_HEAD) else body)
        elif kind == b"XMP ":
            pieces.xmp.append(body)
        elif kind == b"ICCP":
            pieces.icc.append(body)
        elif kind not in WEBP_LAYOUT:
            name = kind.decode().strip() if kind.strip().isalnum() else f"0x{kind.hex()}"
            pieces.other(f"WebP chunk {name}", body)
        at += 8 + size + size % 2
    pieces.others += trailing(data, max(min(at, len(data)), end))
    return pieces
