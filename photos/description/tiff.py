"""Directories of TIFF, of which EXIF is made: every tag as it is stored, the damaged ones too, and written again.

Pillow's own reader leaves out damaged tags without a word, and changes types when it writes.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from PIL import ExifTags

from photos.description.items import Data, Density, Item, density, holds_picture, plain_text, short

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
CODES = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
ASCII, SHORT, RATIONAL, UNDEFINED = 2, 3, 5, 7
WIDER = {16: 4, 17: 9, 18: 4}  # BigTIFF's, as what plain TIFF has
ORIENTATION, EXIF, GPS, INTEROP, SUB = 0x0112, 0x8769, 0x8825, 0xA005, 0x014A
XMP, IPTC, PHOTOSHOP, ICC = 0x02BC, 0x83BB, 0x8649, 0x8773
X, Y, UNIT = 0x011A, 0x011B, 0x0128
MAKER_NOTE, DNG_PRIVATE = 0x927C, 0xC634
GROUPS = {EXIF: "Exif", GPS: "GPS", INTEROP: "Interop"}
POINTS = (0x0111, 0x0144, 0x0201)  # to pixels
# how pixels are stored: no description, and false of a copy
LAYOUT = frozenset(
    {*range(0x00FE, 0x0104), 0x0106, *range(0x0107, 0x010B), 0x0111, ORIENTATION, *range(0x0115, 0x011A), 0x011C}
    | {0x0120, 0x0121, 0x0124, 0x0125, 0x013D, *range(0x0140, 0x0149), SUB, 0x014C, 0x014E, 0x0150}
    | {*range(0x0152, 0x0157), 0x015A, 0x015B, *range(0x0200, 0x020A), *range(0x0211, 0x0215), 0x828D, 0x828E}
)
GEO = frozenset({33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113, 50844})  # of maps and aerial pictures
HOLD_PICTURES = frozenset({0x935C, 0x501B, 0xC68C, 0xC7A1})  # Photoshop's layers, a thumbnail, a raw file
# opaque types whose content the standard defines
DEFINED = frozenset(
    {0x9000, 0x9101, 0xA000, 0x9286, 0xA300, 0xA301, 0xA302, 0xA40B, 0x8828, 0xA20C, 0x920C, 0x9216, 0xA462}
    | {*range(0x9C9B, 0x9CA0), 0xC612, 0xC613}
)
INTEROP_NAMES = {1: "InteropIndex", 2: "InteropVersion"}


@dataclass(frozen=True)
class Entry:
    """A tag: its value is as stored, in the byte order of its block."""

    tag: int
    kind: int
    count: int
    value: bytes
    damaged: bool = False


@dataclass
class Block:
    """An EXIF block or a TIFF.

    Attributes:
        order: ``<`` or ``>``, of bytes.
        directories: ``IFD0``, ``Exif``, ``GPS``, ``Interop``, those that there are.
        others: of other pictures in it; kind and content.
        broken: what could not be read, by name.
    """

    order: str = ">"
    directories: dict[str, list[Entry]] = field(default_factory=dict)
    others: list[tuple[str, bytes]] = field(default_factory=list)
    broken: dict[str, bytes] = field(default_factory=dict)

    def entry(self, tag: int, group: str = "IFD0") -> Entry | None:
        """The first whole one of that tag."""
        return next((e for e in self.directories.get(group, []) if e.tag == tag and not e.damaged), None)

    def numbers(self, entry: Entry | None) -> list[float]:
        """A tag's values; none for a text, or where a fraction has no denominator."""
        try:
            return [float(value) for value in _values(entry, self.order)] if entry else []
        except (ValueError, OverflowError, ZeroDivisionError):
            return []


class _Reader:
    def __init__(self, data: Data, file: bool) -> None:
        self.data, self.file = data, file
        head = data[:16]
        self.order = {b"II": "<", b"MM": ">"}[head[:2]]
        self.big = self.number("H", 2) == 43
        if self.number("H", 2) not in (42, 43):
            raise ValueError("no TIFF")
        self.block = Block(self.order)
        self.seen: set[int] = set()
        self.budget = 4 * len(data) + (1 << 16)  # bytes; a damaged file may refer to the same ones many times

    def number(self, code: str, at: int) -> int:
        size = struct.calcsize("=" + code)
        return int(struct.unpack(self.order + code, self.data[at : at + size])[0])

    def directory(self, at: int) -> tuple[list[Entry], int, bool]:
        """The entries, where the next directory is, and whether this one is whole."""
        if at in self.seen or not 8 <= at < len(self.data):
            return [], 0, False
        self.seen.add(at)
        counts, step = ("Q", 20) if self.big else ("H", 12)
        start = at + (8 if self.big else 2)
        number = self.number(counts, at)
        whole = start + number * step <= len(self.data)
        number = min(number, (len(self.data) - start) // step)
        entries = [self.entry(start + i * step) for i in range(number)]
        after = start + number * step
        try:
            following = self.number("Q" if self.big else "I", after) if whole else 0
        except struct.error:  # some writers leave it out
            following = 0
        return entries, following, whole

    def entry(self, at: int) -> Entry:
        tag, kind = self.number("H", at), self.number("H", at + 2)
        count = self.number("Q" if self.big else "I", at + 4)
        inline, place = (8, at + 12) if self.big else (4, at + 8)
        size = SIZES.get(kind, 0) * count
        raw = self.data[place : place + inline]
        self.budget -= size
        if not 0 < size <= len(self.data) or self.budget < 0:
            return Entry(tag, kind, count, raw, True)
        if size <= inline:
            return Entry(tag, kind, count, raw[:size])
        offset = self.number("Q" if self.big else "I", place)
        value = self.data[offset : offset + size]
        return Entry(tag, kind, count, value, len(value) < size)

    def read(self) -> Block:
        entries, following, whole = self.directory(self.number("Q", 8) if self.big else self.number("I", 4))
        if not whole:
            self.block.broken["EXIF (damaged)"] = short(self.data[: 1 << 16])
        self.block.directories["IFD0"] = entries
        self.below(entries)
        if not self.file and any(e.tag in POINTS for e in entries):
            self.block.others.append(("EXIF preview", self.content(entries)))
        while following and following not in self.seen:
            entries, following, _ = self.directory(following)
            small = any(e.tag == 0x00FE and e.value.strip(b"\0") == b"\1" for e in entries)
            name = ("preview page" if small else "second page") if self.file else "EXIF preview"
            self.block.others.append((name, self.content(entries)))
        return self.block

    def below(self, entries: list[Entry]) -> None:
        """Reads the directories that these refer to."""
        for entry in entries:
            group = GROUPS.get(entry.tag)
            if group:
                found, _, whole = self.directory(self.offsets(entry)[0] if not entry.damaged else 0)
                if not whole:
                    self.block.broken[f"EXIF {group} (damaged)"] = repr(entry.value).encode()
                elif group not in self.block.directories:
                    self.block.directories[group] = found
                    self.below(found)
            elif entry.tag == SUB:
                name = "preview page" if self.file else "EXIF preview"
                for offset in [0] if entry.damaged else self.offsets(entry):
                    self.block.others.append((name, self.content(self.directory(offset)[0])))

    def offsets(self, entry: Entry) -> list[int]:
        return [int(value) for value in _values(entry, self.order)] or [0]

    def content(self, entries: list[Entry]) -> bytes:
        """Of a directory and the picture that it points at."""
        found = [repr((e.tag, e.kind, e.value)).encode() for e in entries]
        for at, length in ((0x0201, 0x0202), (0x0111, 0x0117), (0x0144, 0x0145)):
            ats, lengths = ([e for e in entries if e.tag == tag and not e.damaged] for tag in (at, length))
            if ats and lengths:
                places = zip(self.offsets(ats[0]), self.offsets(lengths[0]), strict=False)
                found += [self.data[start : start + size] for start, size in places]
        return short(b"".join(found))


def read_block(data: Data, file: bool = False) -> Block:
    """A block of EXIF (without the letters "Exif" before it), or a whole TIFF.

    Raises:
        ValueError: it is none.
    """
    try:
        return _Reader(data, file).read()
    except (struct.error, KeyError, IndexError, OverflowError) as error:
        raise ValueError("no TIFF") from error


def _values(entry: Entry, order: str) -> list[int | Fraction | float]:
    value, kind, count = entry.value, entry.kind, entry.count
    if kind in CODES:
        return list(struct.unpack(f"{order}{count}{CODES[kind]}", value))
    if kind in (5, 10):
        pairs = struct.unpack(f"{order}{2 * count}{'I' if kind == 5 else 'i'}", value)
        return [Fraction(a, b) for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
    if kind in (11, 12):
        return list(struct.unpack(f"{order}{count}{'f' if kind == 11 else 'd'}", value))
    raise ValueError("a text")


def value_of(entry: Entry, order: str) -> bytes:
    """A tag's value as an item's: the same in either byte order, and in any width of integers."""
    if entry.kind == ASCII:
        return plain_text(entry.value)
    if entry.kind in (1, UNDEFINED) and len(entry.value) > 250:
        return short(entry.value)
    try:
        return short(" ".join(str(value) for value in _values(entry, order)).encode())
    except ZeroDivisionError:  # 0/0 stands for "unknown"
        pairs = struct.unpack(f"{order}{2 * entry.count}{'I' if entry.kind == 5 else 'i'}", entry.value)
        return short(" ".join(f"{a}/{b}" for a, b in zip(pairs[::2], pairs[1::2], strict=True)).encode())


def name_of(tag: int, group: str, damaged: bool = False) -> str:
    """Of a tag: ``EXIF Artist``, ``EXIF GPS GPSLatitude``, ``EXIF tag 0xABCD``."""
    names = {"GPS": ExifTags.GPSTAGS, "Interop": {**ExifTags.TAGS, **INTEROP_NAMES}}.get(group, ExifTags.TAGS)
    prefix = "EXIF " + (f"{group} " if group in ("GPS", "Interop") else "")
    if damaged:
        return f"{prefix}tag {names.get(tag, f'0x{tag:04X}')} (damaged)"
    return prefix + names.get(tag, f"tag 0x{tag:04X}")


def exif_items(block: Block, number: int = 0) -> list[Item]:
    """Every tag that is neither how pixels are stored, nor resolution, nor a block of another standard."""
    items = []
    folded = (X, Y, UNIT) if density_of(block) else ()
    for group, entries in block.directories.items():
        for at, entry in enumerate(entries):
            if entry.tag in GROUPS or entry.tag in LAYOUT:
                continue
            inner = group == "IFD0" and entry.tag in (XMP, IPTC, PHOTOSHOP, ICC) and not entry.damaged
            if inner or (group == "IFD0" and entry.tag in folded):
                continue
            items.append(_item(block, group, at, entry, number))
    items += [Item(name, value, picture=True) for name, value in block.others]
    return items + [Item(name, value, damaged=True) for name, value in block.broken.items()]


def _item(block: Block, group: str, at: int, entry: Entry, number: int) -> Item:
    name = name_of(entry.tag, group, entry.damaged)
    value = short(entry.value) if entry.damaged else value_of(entry, block.order)
    blob = entry.kind in (1, UNDEFINED) and entry.count > 4 and entry.tag not in DEFINED
    unknown = "tag 0x" in name
    return Item(
        name,
        value,
        "exif",
        (group, at),
        number,
        picture=entry.tag in HOLD_PICTURES or holds_picture(entry.value),
        place=group == "GPS" or entry.tag in GEO,
        opaque=group != "GPS" and (blob or unknown or entry.tag in (MAKER_NOTE, DNG_PRIVATE)),
        damaged=entry.damaged,
    )


def density_of(block: Block) -> Density | None:
    """The resolution that its tags tell, if they tell one."""
    x, y = (block.numbers(block.entry(tag)) for tag in (X, Y))
    unit = block.numbers(block.entry(UNIT)) or [2]
    if len(x) != 1 or len(y) != 1 or unit[0] not in (1, 2, 3):
        return None
    return density(x[0], y[0], {1: "aspect", 2: "inch", 3: "cm"}[int(unit[0])])  # type: ignore[arg-type]


def orientation_of(block: Block) -> int:
    """1 to 8; 1 is upright."""
    found = block.numbers(block.entry(ORIENTATION))
    return int(found[0]) if found and found[0] in range(1, 9) else 1


def kept(block: Block, dropped: set[object], turned: bool) -> Block:
    """A block for a copy.

    Args:
        block: as read.
        dropped: keys of the items that do not go into it.
        turned: width and height change places, and with them the two resolutions.
    """
    found: dict[str, list[Entry]] = {}
    for group, entries in block.directories.items():
        chosen = [e for at, e in enumerate(entries) if (group, at) not in dropped and not e.damaged]
        skipped = LAYOUT.union(GROUPS, (XMP, IPTC, PHOTOSHOP, ICC) if group == "IFD0" else ())
        found[group] = [e for e in chosen if e.tag not in skipped and _fits(e, block.order)]
    if turned and density_of(block):
        swapped = {X: Y, Y: X}
        found["IFD0"] = [
            Entry(swapped.get(e.tag, e.tag), e.kind, e.count, e.value, e.damaged) for e in found.get("IFD0", [])
        ]
    return Block(block.order, {group: entries for group, entries in found.items() if entries})


def with_texts(block: Block, texts: dict[int, str]) -> Block:
    """The same with these tags of text, where it has none of them yet."""
    new = [_text(tag, text) for tag, text in texts.items() if not block.entry(tag)]
    return _with(block, new) if new else block


def _text(tag: int, text: str) -> Entry:
    value = text.encode() + b"\0"
    return Entry(tag, ASCII, len(value), value)


def with_density(block: Block, found: Density) -> Block:
    """The same with that resolution, instead of its own."""
    unit = {"aspect": 1, "inch": 2, "cm": 3, "metre": 2}[found.unit]
    pair = found.dpi if found.unit == "metre" else (found.x, found.y)
    new = [Entry(tag, RATIONAL, 1, _rational(value, block.order)) for tag, value in zip((X, Y), pair, strict=True)]
    return _with(block, [*new, Entry(UNIT, SHORT, 1, struct.pack(block.order + "H", unit))])


def _rational(value: float, order: str) -> bytes:
    fraction = Fraction(value).limit_denominator(10000)
    return struct.pack(order + "2I", fraction.numerator, fraction.denominator)


def _with(block: Block, new: list[Entry]) -> Block:
    tags = {entry.tag for entry in new}
    old = [entry for entry in block.directories.get("IFD0", []) if entry.tag not in tags]
    return Block(block.order, {**block.directories, "IFD0": old + new})


def without_resolution(block: Block) -> Block:
    """The same without resolution."""
    kept_entries = [e for e in block.directories.get("IFD0", []) if e.tag not in (X, Y, UNIT)]
    return Block(block.order, {**block.directories, "IFD0": kept_entries})


def write_block(block: Block, limit: int = 1 << 30) -> bytes:
    """As bytes; empty if there is nothing in it. Of what is above the limit, the largest tags are left out."""
    directories = {group: list(entries) for group, entries in block.directories.items() if entries}
    while directories:
        written = _written(block.order, directories)
        if len(written) <= limit:
            return written
        group, entry = max(
            ((g, e) for g, entries in directories.items() for e in entries), key=lambda pair: len(pair[1].value)
        )
        directories[group].remove(entry)
        directories = {group: entries for group, entries in directories.items() if entries}
    return b""


def _written(order: str, directories: dict[str, list[Entry]]) -> bytes:
    """Each directory behind the other; where one lies depends on the lengths alone of those before."""
    parents = {"Exif": "IFD0", "GPS": "IFD0", "Interop": "Exif"}
    content = {
        group: [entry for entry in directories.get(group, []) if entry.tag not in GROUPS]  # no pointers of before
        for group in ("IFD0", "Exif", "GPS", "Interop")
    }
    for group, tag in (("Interop", INTEROP), ("GPS", GPS), ("Exif", EXIF)):
        if content[group]:
            content[parents[group]].append(Entry(tag, 4, 1, b"\0\0\0\0"))
    starts, at = {}, 8
    for group, entries in content.items():
        if entries or group == "IFD0":
            starts[group] = at
            at += len(_directory(order, entries, 0))
    for tag, group in GROUPS.items():
        if group in starts:
            pointer = Entry(tag, 4, 1, struct.pack(order + "I", starts[group]))
            inside = content[parents[group]]
            inside[-1 - [e.tag for e in reversed(inside)].index(tag)] = pointer
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return head + b"".join(_directory(order, content[group], start) for group, start in starts.items())


def _directory(order: str, entries: Iterable[Entry], start: int) -> bytes:
    entries = sorted((_plain(entry, order) for entry in entries), key=lambda entry: entry.tag)
    at = start + 2 + 12 * len(entries) + 4
    table, values = [struct.pack(order + "H", len(entries))], []
    for entry in entries:
        inline = entry.value.ljust(4, b"\0")
        if len(entry.value) > 4:
            padded = entry.value + b"\0" * (len(entry.value) % 2)
            inline = struct.pack(order + "I", at)
            values.append(padded)
            at += len(padded)
        table.append(struct.pack(order + "HHI", entry.tag, entry.kind, entry.count) + inline)
    return b"".join([*table, b"\0\0\0\0", *values])


def _fits(entry: Entry, order: str) -> bool:
    """Whether plain TIFF can hold a number of BigTIFF's types."""
    if entry.kind not in WIDER:
        return True
    low, high = (0, 2**32 - 1) if WIDER[entry.kind] == 4 else (-(2**31), 2**31 - 1)
    return all(low <= value <= high for value in _values(entry, order))


def _plain(entry: Entry, order: str) -> Entry:
    """An entry of BigTIFF's types as plain TIFF has it."""
    if entry.kind not in WIDER:
        return entry
    kind = WIDER[entry.kind]
    value = struct.pack(f"{order}{entry.count}{CODES[kind]}", *_values(entry, order))
    return Entry(entry.tag, kind, entry.count, value)
