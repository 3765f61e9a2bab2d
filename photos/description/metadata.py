"""What describes a photo, from its file into its copy, and what became of it.

=====================  ==============================================================================================
how pixels are shown   colour profile, gAMA, cHRM, sRGB, cICP: kept, or ``unheld`` says why a format cannot
resolution, comments   kept, as the copy's format has them: pHYs, JFIF or EXIF; a PNG text, a JPEG segment
EXIF, XMP, IPTC        kept tag by tag; orientation goes, since the pixels are turned upright
PNG texts              kept in PNG; in other formats EXIF and comments hold some
other pictures         previews, second pictures, gain maps, films and what refers to them never go into a copy
damaged                never goes into a copy
places                 ``strip=gps``: whatever tells one goes, and whatever nobody can tell of
=====================  ==============================================================================================

Nothing goes without a word: ``compare`` names what the copy has and has not, from the two files.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from photos.description import tiff
from photos.description.boxes import boxes_pieces, is_boxes
from photos.description.containers import Pieces, jpeg_pieces, png_pieces, text_item, webp_pieces
from photos.description.embed import Inserting, Insertion, Metadata, for_output, unheld, webp_options
from photos.description.iptc import IIM, Resource, photoshop_items, photoshop_kept, read_resources, write_resources
from photos.description.items import (
    Data,
    Density,
    Item,
    Output,
    Strip,
    Text,
    density,
    holds_picture,
    named,
    plain_text,
    short,
)
from photos.description.jxl import is_jxl, jxl_pieces
from photos.description.simple import bmp_pieces, gif_pieces, ppm_pieces
from photos.description.xmp import Packet, is_picture_text, orientation_in, packet_items

__all__ = [
    "COLOUR_NAMES", "Comparison", "Data", "Density", "Inserting", "Insertion", "Metadata", "Output", "Strip", "Text",
    "compare", "compare_items", "for_output", "inventory", "places", "previews", "read_metadata", "unheld",
    "webp_options",
]  # fmt: skip

READERS: list[tuple[Callable[[Data], bool], Callable[[Data], Pieces]]] = [
    (lambda data: data[:2] == b"\xff\xd8", jpeg_pieces),
    (lambda data: data[:8] == b"\x89PNG\r\n\x1a\n", png_pieces),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", webp_pieces),
    (lambda data: data[:4] in (b"GIF8",), gif_pieces),
    (lambda data: data[:2] == b"BM", bmp_pieces),
    (lambda data: re.match(rb"P[1-6]\s", data[:3]) is not None, ppm_pieces),
    (is_jxl, jxl_pieces),
    (lambda data: len(data) >= 20 and is_boxes(data), boxes_pieces),
]
COLOUR_NAMES = {
    b"gAMA": "gamma", b"cHRM": "chromaticities", b"sRGB": "sRGB intent", b"cICP": "cICP", b"mDCV": "mDCV",
    b"cLLI": "cLLI",
}  # fmt: skip
HARMLESS_CHUNKS = (b"oFFs", b"gIFg")
# items that say the same in formats that do not have both
SAME = [
    ("comment", "PNG text Comment"),
    ("PNG text Author", "EXIF Artist"),
    ("PNG text Copyright", "EXIF Copyright"),
    ("PNG text Description", "EXIF ImageDescription"),
    ("PNG text Software", "EXIF Software"),
    ("IPTC By-line", "EXIF Artist"),
    ("IPTC CopyrightNotice", "EXIF Copyright"),
    ("IPTC Caption-Abstract", "EXIF ImageDescription"),
]
NUMBERED = re.compile(r" \(\d+\)$")


@dataclass(frozen=True)
class Comparison:
    """What became of a description.

    Attributes:
        kept: items that the copy holds as the source did.
        lost: those that it does not, each with the reason in brackets where one is known.
        added: items of the copy alone.
    """

    kept: list[str]
    lost: list[str]
    added: list[str]


@dataclass
class _Source:
    """A file taken apart and parsed."""

    pieces: Pieces
    blocks: list[tiff.Block] = field(default_factory=list)
    packets: list[Packet] = field(default_factory=list)
    resources: list[Resource] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    density: Density | None = None
    turned: bool = False

    def dropped(self, part: str, strip: Strip) -> set[object]:
        """Keys of the items of a part that do not go into a copy."""
        own = [item for item in self.items if item.part == part and item.block == 0]
        return {item.key for item in own if item.why_dropped(strip) is not None}


def read_metadata(data: Data, strip: Strip = "none") -> Metadata:
    """What of a file's description goes into a copy.

    Args:
        data: of a JPEG, PNG, WebP, TIFF, GIF, BMP, PPM, AVIF, HEIC or JPEG XL; anything else has no description.
        strip: ``gps`` leaves out what tells a place, ``all`` all but resolution and how the pixels are shown.
    """
    source = _read(data)
    reasons = {item.name: item.why_dropped(strip) for item in source.items}
    metadata = Metadata(density=source.density, colour=dict(source.pieces.colour))
    metadata.dropped = {name: why for name, why in reasons.items() if why and not name.endswith("(damaged)")}
    metadata.icc = source.pieces.icc[0] if source.pieces.icc else b""
    if source.blocks and strip != "all":
        block = tiff.kept(source.blocks[0], source.dropped("exif", strip), source.turned)
        metadata.exif = tiff.write_block(block)
    if source.packets and strip != "all":
        metadata.xmp = source.packets[0].without(source.dropped("xmp", strip))
    metadata.photoshop = write_resources(photoshop_kept(source.resources, source.dropped("photoshop", strip)))
    for part in ("comments", "texts", "chunks"):
        gone = source.dropped(part, strip)
        setattr(metadata, part, [x for at, x in enumerate(getattr(source.pieces, part)) if at not in gone])
    return metadata


def inventory(data: Data) -> dict[str, bytes]:
    """Every item of a file that is neither pixels nor how they are stored: a plain name, and a value.

    The value is the same for the same content in any format. DICOM has no items here.
    """
    return {item.name: item.value for item in _read(data).items}


def places(data: Data) -> list[str]:
    """Names of the items that tell a place."""
    return sorted({item.name for item in _read(data).items if item.place})


def previews(data: Data) -> list[str]:
    """Names of the items that hold another picture, or refer to one."""
    return sorted({item.name for item in _read(data).items if item.picture})


def compare(source: Data, copy: Data, dropped: Mapping[str, str]) -> Comparison:
    """What of a source's items a copy holds, whatever was meant to.

    Args:
        source: the file's bytes.
        copy: those of its copy, whose pixels do not count.
        dropped: reasons, by item (``Metadata.dropped``).
    """
    return compare_items(inventory(source), inventory(copy), dropped)


def compare_items(source: Mapping[str, bytes], copy: Mapping[str, bytes], dropped: Mapping[str, str]) -> Comparison:
    """The same from two inventories."""
    left, kept, lost = dict(copy), [], []
    for name, value in source.items():
        same = [other for other in _candidates(name) if _has(copy, other, value)]
        if same:
            kept.append(name)
            for other in same:
                left = {key: v for key, v in left.items() if not (_base(key) == other and _equal(other, v, value))}
        else:
            lost.append(f"{name} ({dropped[name]})" if dropped.get(name) else name)
    return Comparison(sorted(kept), sorted(lost), sorted(left))


def _base(name: str) -> str:
    return NUMBERED.sub("", name)


def _candidates(name: str) -> list[str]:
    """The names that an item may have in a copy."""
    base = _base(name)
    return [base, *(b for a, b in SAME if a == base), *(a for a, b in SAME if b == base)]


def _has(copy: Mapping[str, bytes], name: str, value: bytes) -> bool:
    return any(_base(key) == name and _equal(name, found, value) for key, found in copy.items())


def _equal(name: str, a: bytes, b: bytes) -> bool:
    """Whether two values say the same; resolution is stored by the inch or the metre, each rounded."""
    if a == b or not name.endswith("resolution"):
        return a == b
    try:
        first, second = ([float(number) for number in value.split()] for value in (a, b))
    except ValueError:  # one is an aspect
        return False
    return all(abs(x - y) < 0.11 for x, y in zip(first, second, strict=True))


# from a file to its items


def _read(data: Data) -> _Source:
    """Whatever a file holds; a piece that cannot be read is an item, too."""
    source = _Source(Pieces())
    try:
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            source.blocks.append(tiff.read_block(data, file=True))
        else:
            source.pieces = next((read(data) for fits, read in READERS if fits(data)), source.pieces)
    except Exception:  # damaged files raise anything; Pillow may still find their pixels
        source.pieces.others.append(Item("description (damaged)", short(data[: 1 << 20]), damaged=True))
    _parse(source)
    return source


def _parse(source: _Source) -> None:
    pieces, items = source.pieces, []
    for exif in pieces.exif:
        try:
            source.blocks.append(tiff.read_block(exif))
        except ValueError:
            items.append(Item("EXIF (damaged)", short(exif), picture=holds_picture(exif), damaged=True))
    if source.blocks:
        _take_over(source.blocks[0], pieces)
    items += _photoshop(source)
    found, source.packets = packet_items(pieces.xmp)
    if pieces.extended:
        found = _join(source, found)
    items += found
    for number, block in enumerate(source.blocks):
        items += tiff.exif_items(block, number)
    _orient(source)
    items = [*_resolutions(source), *items, *_others(pieces)]
    source.items = named(items)


def _take_over(block: tiff.Block, pieces: Pieces) -> None:
    """Blocks of other standards that tags hold."""
    homes = {tiff.XMP: pieces.xmp, tiff.IPTC: pieces.iptc, tiff.PHOTOSHOP: pieces.photoshop, tiff.ICC: pieces.icc}
    for tag, home in homes.items():
        if entry := block.entry(tag):
            home.append(entry.value)


def _photoshop(source: _Source) -> list[Item]:
    rests = []
    for data in source.pieces.photoshop:
        found, rest = read_resources(data)
        source.resources += [resource for resource in found if resource not in source.resources]
        rests.append(rest)
    for data in source.pieces.iptc:
        known = [resource.body.rstrip(b"\0") for resource in source.resources if resource.number == IIM]
        if data.rstrip(b"\0") not in known:
            source.resources.append(Resource(b"8BIM", IIM, b"", data))
    source.pieces.xmp += [resource.body for resource in source.resources if resource.number == 0x0424]
    return photoshop_items(source.resources, b"".join(rests))


def _join(source: _Source, items: list[Item]) -> list[Item]:
    """The items with those of a JPEG's second packet, which belongs to its first."""
    extended = source.pieces.extended
    try:
        second = Packet(extended)
        if not source.packets:
            source.packets.append(second)
        else:
            source.packets[0].join(second)
    except ValueError:
        damaged = Item("second XMP packet (damaged)", short(extended), picture=holds_picture(extended), damaged=True)
        return [*items, damaged]
    return [*(i for i in items if i.damaged), *(i for n, p in enumerate(source.packets) for i in p.items(n))]


def _orient(source: _Source) -> None:
    """Sets whether width and height change places where the picture is turned upright."""
    way = 1
    if source.blocks:
        way = tiff.orientation_of(source.blocks[0])
    if source.packets and not (source.blocks and source.blocks[0].entry(tiff.ORIENTATION)):
        way = orientation_in(source.packets[0])
    source.turned = way >= 5


def _resolutions(source: _Source) -> list[Item]:
    """The format's own resolution, else that of EXIF; if they differ, both."""

    def upright(found: Density | None) -> Density | None:
        return density(found.y, found.x, found.unit) if found and source.turned else found

    own = upright(source.pieces.density)
    exif = upright(tiff.density_of(source.blocks[0])) if source.blocks else None
    source.density = own or exif
    items = [Item("resolution", source.density.value(), shown=True)] if source.density else []
    if own and exif and not _equal("resolution", own.value(), exif.value()):
        items.append(Item("EXIF resolution", exif.value()))
    return items


def _others(pieces: Pieces) -> list[Item]:
    items = [Item("colour profile", short(data), shown=True) for data in pieces.icc]
    for kind, body in pieces.colour.items():
        value = b"%d %d" % (body[0], body[1]) + (b"" if body[3] else b" narrow") if kind == b"cICP" else body
        items.append(Item(COLOUR_NAMES[kind], value, shown=True))
    for at, data in enumerate(pieces.comments):
        text = data.rstrip(b"\0")
        picture = holds_picture(data) or is_picture_text(data.decode("latin-1"))
        items.append(Item("comment", plain_text(data), "comments", at, picture=picture, opaque=b"\0" in text))
    items += [text_item(at, text) for at, text in enumerate(pieces.texts)]
    for at, (kind, body) in enumerate(pieces.chunks):
        opaque = kind not in HARMLESS_CHUNKS
        items.append(Item(f"PNG chunk {kind.decode('latin-1')}", short(body), "chunks", at, opaque=opaque))
    return items + pieces.others
