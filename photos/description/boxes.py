"""AVIF and HEIC taken apart: boxes of ISO-BMFF, whose list of items tells pictures from descriptions."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from photos.description.containers import EXIF_HEAD, Pieces
from photos.description.items import Data, holds_picture, trailing

BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
LAYOUT = (b"ftyp", b"mdat", b"meta", b"pitm", b"iloc", b"iinf", b"iprp", b"iref", b"hdlr", b"dinf", b"idat")
PROPERTY_LAYOUT = frozenset(
    b"ispe pixi hvcC av1C avcC lhvC vvcC jpgC irot imir clap colr auxC a1op a1lx lsel rloc rref oinf tols".split()
)
ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1", b"urn:mpeg:avc:2015:auxid:1")
DEPTH = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth", b"urn:mpeg:hevc:2015:auxid:2")
PICTURES = (b"hvc1", b"av01", b"avc1", b"lhv1", b"vvc1", b"jpeg", b"j2k1", b"grid", b"iovl", b"iden", b"tmap", b"unci")
SRGB_NCLX = ((1, 13), (2, 2))  # and what says nothing


@dataclass
class _Meta:
    primary: int = 0
    types: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)  # an item's type, and of mime its kind
    places: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)  # in file or idat, offset, length
    references: list[tuple[bytes, int, list[int]]] = field(default_factory=list)
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    used: dict[int, list[int]] = field(default_factory=dict)  # of an item, the numbers of its properties
    stored: bytes = b""


def is_boxes(data: Data) -> bool:
    """Whether a file is AVIF or HEIC."""
    return data[4:8] == b"ftyp" and any(brand in BRANDS for brand in struct.unpack("4s4x4s", data[8:20]))


def boxes(data: Data, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start of the content and end of each box; a damaged one ends the list."""
    while at + 8 <= end:
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        start = at + 8
        if size == 1:
            size, start = struct.unpack(">Q", data[at + 8 : at + 16])[0], at + 16
        elif size == 0:
            size = end - at
        if at + size > end or at + size < start:
            return
        yield kind, start, at + size
        at += size


def boxes_pieces(data: Data) -> Pieces:
    """Of an AVIF or HEIC."""
    pieces, last, meta = Pieces(), 0, _Meta()
    for kind, start, last in boxes(data, 0, len(data)):
        if kind == b"meta":
            meta = _read_meta(data, start, last)
        elif kind == b"moov" and data[8:12] == b"avis":  # the frames of an animation, which are what the file shows
            continue
        elif kind == b"moov":
            pieces.other("sequence of pictures", data[start:last], True)
        elif kind in (b"free", b"skip"):
            if data[start:last].strip(b"\0"):
                pieces.other(f"HEIF box {kind.decode()}", data[start:last])
        elif kind not in LAYOUT:
            pieces.other(f"HEIF box {kind.decode('latin-1')}", data[start:last])
    pieces.others += trailing(data, last)
    for item, (kind, mime) in meta.types.items():
        _item(pieces, meta, item, kind, mime, data)
    for at in meta.used.get(meta.primary, []):
        if 0 < at <= len(meta.properties):
            _property(pieces, *meta.properties[at - 1])
    return pieces


def _read_meta(data: Data, start: int, end: int) -> _Meta:
    meta = _Meta()
    for kind, at, last in boxes(data, start + 4, end):
        body = data[at:last]
        if kind == b"pitm":
            meta.primary = int.from_bytes(body[4 : 6 if body[0] == 0 else 8], "big")
        elif kind == b"iinf":
            _read_names(meta, body)
        elif kind == b"iloc":
            _read_places(meta, body)
        elif kind == b"iref":
            _read_references(meta, body)
        elif kind == b"iprp":
            _read_properties(meta, body)
        elif kind == b"idat":
            meta.stored = body
    return meta


def _read_names(meta: _Meta, body: bytes) -> None:
    for kind, at, last in boxes(body, 6 if body[0] == 0 else 8, len(body)):
        if kind != b"infe" or body[at] < 2:
            continue
        wide = body[at] > 2
        number = int.from_bytes(body[at + 4 : at + (8 if wide else 6)], "big")
        start = at + (10 if wide else 8)
        texts = body[start + 4 : last].split(b"\0")
        meta.types[number] = body[start : start + 4], texts[1] if len(texts) > 1 else b""


def _read_places(meta: _Meta, body: bytes) -> None:
    version, sizes, more = body[0], body[4], body[5]
    offset, length, base, index = sizes >> 4, sizes & 15, more >> 4, (more & 15) if version else 0
    at, wide = 6, 4 if version == 2 else 2

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(body):
            raise ValueError("cut off")
        return int.from_bytes(body[at - size : at], "big")

    for _ in range(number(wide)):
        item = number(wide)
        method = number(2) & 15 if version else 0
        number(2)
        start = number(base)
        extents = []
        for _ in range(number(2)):
            number(index)
            extents.append((method, start + number(offset), number(length)))
        meta.places[item] = extents


def _read_references(meta: _Meta, body: bytes) -> None:
    size = 2 if body[0] == 0 else 4
    for kind, at, last in boxes(body, 4, len(body)):
        found = [int.from_bytes(body[i : i + size], "big") for i in range(at, at + size, size)]
        others = [int.from_bytes(body[i : i + size], "big") for i in range(at + size + 2, last, size)]
        meta.references.append((kind, found[0], others))


def _read_properties(meta: _Meta, body: bytes) -> None:
    for kind, at, last in boxes(body, 0, len(body)):
        if kind == b"ipco":
            meta.properties = [(name, body[start:end]) for name, start, end in boxes(body, at, last)]
        elif kind == b"ipma":
            _read_uses(meta, body[at:last])


def _read_uses(meta: _Meta, body: bytes) -> None:
    width, step = (4 if body[0] else 2), (2 if body[3] & 1 else 1)
    at = 8
    for _ in range(int.from_bytes(body[4:8], "big")):
        item, number = int.from_bytes(body[at : at + width], "big"), body[at + width]
        start, at = at + width + 1, at + width + 1 + number * step
        marks = [int.from_bytes(body[i : i + step], "big") for i in range(start, at, step)]
        meta.used.setdefault(item, []).extend(mark & (0x7FFF if step == 2 else 0x7F) for mark in marks)


def _content(meta: _Meta, item: int, data: Data) -> bytes:
    found = []
    for method, start, length in meta.places.get(item, []):
        source = meta.stored if method == 1 else data
        found.append(source[start : start + length] if length else source[start:])
    return b"".join(found)


def _item(pieces: Pieces, meta: _Meta, item: int, kind: bytes, mime: bytes, data: Data) -> None:
    if kind in PICTURES:
        if name := _picture(meta, item, kind):
            pieces.other(name, b"%d " % item + _content(meta, item, data), True)
        return
    content = _content(meta, item, data)
    if kind == b"Exif":
        offset = int.from_bytes(content[:4], "big")
        block = content[4 + offset :]
        pieces.exif.append(block[6:] if block.startswith(EXIF_HEAD) else block)
    elif kind == b"mime" and b"rdf+xml" in mime:
        pieces.xmp.append(content)
    else:
        label = (mime if kind == b"mime" else kind).decode("latin-1").strip()
        pieces.other(f"HEIF item {label}", content, holds_picture(content) or mime.startswith((b"image", b"video")))


def _picture(meta: _Meta, item: int, kind: bytes) -> str:
    """What a picture is to the first one; empty for that itself, its tiles and its transparency."""
    if item == meta.primary or _is_tile(meta, item):
        return ""
    uses = {name for name, source, _ in meta.references if source == item}
    if b"thmb" in uses:
        return "preview"
    if kind == b"tmap":
        return "gain map"
    if b"auxl" not in uses:
        return "second picture"
    types = [meta.properties[at - 1] for at in meta.used.get(item, []) if 0 < at <= len(meta.properties)]
    auxiliary = b"".join(body[4:].split(b"\0")[0] for name, body in types if name == b"auxC")
    if auxiliary in ALPHA:
        return ""
    return "depth map" if auxiliary in DEPTH else "gain map" if b"gainmap" in auxiliary.lower() else "auxiliary picture"


def _is_tile(meta: _Meta, item: int) -> bool:
    """Whether it is a part of a picture that is itself looked at, but not of a ``tmap``, whose parts are pictures."""
    owners = [source for name, source, others in meta.references if name == b"dimg" and item in others]
    return any(source in meta.types and meta.types[source][0] != b"tmap" for source in owners)


def _property(pieces: Pieces, kind: bytes, body: bytes) -> None:
    if kind == b"colr" and body[:4] in (b"prof", b"rICC"):
        pieces.icc.append(body[4:])
    elif kind == b"colr" and body[:4] == b"nclx":
        primaries, transfer = struct.unpack(">HH", body[4:8])
        if (primaries, transfer) not in SRGB_NCLX:
            pieces.colour[b"cICP"] = bytes([primaries & 255, transfer & 255, 0, 1])  # as the decoded pixels are: RGB
    elif kind == b"clli":
        pieces.colour[b"cLLI"] = struct.pack(">II", *(10000 * value for value in struct.unpack(">HH", body[:4])))
    elif kind == b"mdcv":
        green, blue, red, white = (body[at : at + 4] for at in (0, 4, 8, 12))
        pieces.colour[b"mDCV"] = red + green + blue + white + body[16:24]
    elif kind == b"pasp" and body[:4] == body[4:8]:
        return
    elif kind not in PROPERTY_LAYOUT:
        pieces.other(f"HEIF property {kind.decode('latin-1')}", body)
