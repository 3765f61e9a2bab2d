"""What a photo's file holds besides its pixels, piece by piece: an item has a name, a value and what it is like."""

import hashlib
import mmap
import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Data = bytes | mmap.mmap  # of a file; a large copy need not be held in memory
Output = Literal["png", "webp", "jpeg"]
Strip = Literal["none", "gps", "all"]
LONG = 1000  # bytes; a longer value stands as its digest
PICTURE = re.compile(
    rb"\xff\xd8\xff[\xc0-\xfe]|\x89PNG\r\n\x1a\n|RIFF....WEBP|GIF8[79]a|\x00\x00\x00\x0cJXL \r\n"
    rb"|\x00\x00\x00\x0cjP  \r\n|ftyp(?:heic|heix|mif1|msf1|avif|avis|mp4|isom|iso\d|qt  |MSNV|M4V)",
    re.DOTALL,
)
BASE64 = re.compile(r"[A-Za-z0-9+/_-]{64,}={0,2}")

# words of a name that tell a place, wherever they stand; a name is split where a capital or anything but a letter is
_PLACES = """
    gps latitude longitude altitude elevation lat lon lng latlon latlong coordinate coordinates city cities town village
    district suburb neighborhood neighbourhood municipality county state province country nation continent prefecture
    locality location locations loc sublocation place places address addresses addr adr street road postal postcode
    pcode zip zipcode landmark venue poi geo coverage spatial whatthreewords foursquare airport wgs84
"""
# and how one begins where nothing tells the words apart
_STARTS = "gps latitude longitude altitude location sublocation country province city street postal landmark address"
_NO_PLACE = "email mail web ip url mac memory"  # of which an "address" is none
PLACE_WORDS, PLACE_STARTS, NO_PLACE = frozenset(_PLACES.split()), tuple(_STARTS.split()), frozenset(_NO_PLACE.split())
PLACE_PARTS = ("gps", "latitude", "longitude", "geolocation")
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True)
class Item:
    """A piece of what describes a photo.

    Attributes:
        name: plain, and of the standard that defines it.
        value: the same for the same content in any format; a digest where it is long.
        part: of a copy's description that can hold it: ``exif``, ``xmp`` and so on; ``other`` for none.
        key: says which piece of its part it is.
        block: 0 for the first EXIF or XMP of a file, which is the one that is copied.
        picture: it is a picture, or refers to one.
        place: it tells a place.
        opaque: nobody can tell whether it does.
        damaged: it cannot be read.
        shown: it says how the pixels are to be shown, or how large.
        reason: why it is never copied, if it never is.
    """

    name: str
    value: bytes
    part: str = "other"
    key: Hashable = None
    block: int = 0
    picture: bool = False
    place: bool = False
    opaque: bool = False
    damaged: bool = False
    shown: bool = False
    reason: str = ""

    def why_dropped(self, strip: Strip) -> str | None:
        """The reason why it does not go into a copy, in a few words; None if it may go."""
        if self.picture:
            return self.reason or "an unprotected copy"
        if self.damaged:
            return "cannot be parsed"
        if strip == "all" and not self.shown:
            return "strip=all"
        if strip == "gps" and self.place:
            return "tells a place"
        if strip == "gps" and self.opaque:
            return "may tell a place"
        return self.reason or None


class Text(NamedTuple):
    """A PNG text; ``language`` and ``translated`` are empty unless it is international."""

    keyword: str
    text: str
    language: str = ""
    translated: str = ""


class Density(NamedTuple):
    """Pixels for each unit of length; of an ``aspect`` the proportion alone counts."""

    x: float
    y: float
    unit: Literal["inch", "cm", "metre", "aspect"]

    @property
    def dpi(self) -> tuple[float, float]:
        """Pixels for each inch."""
        scale = {"inch": 1.0, "cm": 2.54, "metre": 0.0254, "aspect": 1.0}[self.unit]
        return self.x * scale, self.y * scale

    def value(self) -> bytes:
        """As an item's."""
        if self.unit == "aspect":
            return f"aspect {self.x / self.y:.4f}".encode()
        return "{:.1f} {:.1f}".format(*self.dpi).encode()


def density(x: float, y: float, unit: Literal["inch", "cm", "metre", "aspect"]) -> Density | None:
    """None for one that says nothing: zero, beyond all measure, or square pixels of no size."""
    found = Density(x, y, unit)
    if not all(0.01 <= value <= 1e5 for value in found.dpi) or (unit == "aspect" and x == y):
        return None
    return found


def short(value: bytes) -> bytes:
    """A value, or the digest of a long one."""
    return value if len(value) <= LONG else b"sha256 " + hashlib.sha256(value).hexdigest().encode()


def plain_text(value: bytes) -> bytes:
    """Text as UTF-8, without the zeros behind it; what is no UTF-8 is Latin-1."""
    value = value.rstrip(b"\0")
    try:
        value.decode()
        return short(value)
    except UnicodeDecodeError:
        return short(value.decode("latin-1").encode())


def holds_picture(value: bytes) -> bool:
    """Whether the first bytes of a picture or film stand anywhere in it."""
    return PICTURE.search(value) is not None


def tells_place(name: str) -> bool:
    """Whether a name is of a place: by its words, not its letters (a "citation" is no "city")."""
    words = [word.lower() for word in WORDS.findall(name)]
    if name.startswith(("SubjectLocation", "ISOSpeedLatitude")):  # within the picture; of film
        return False
    if NO_PLACE.intersection(words) and "gps" not in words:
        words = [word for word in words if word not in ("address", "addresses", "location")]
    return ("world" in words and "region" in words) or any(_of_place(word) for word in words)


def _of_place(word: str) -> bool:
    geo = word.startswith("geo") and not word.startswith("geom")  # geometry is none
    return word in PLACE_WORDS or geo or word.startswith(PLACE_STARTS) or any(p in word for p in PLACE_PARTS)


def trailing(data: Data, start: int, after: str = "the picture") -> list[Item]:
    """What stands behind the end of a file's own content."""
    if start >= len(data):
        return []
    rest = data[start:]
    picture = holds_picture(rest)
    return [Item(f"{len(rest):,} bytes after {after}", short(rest), picture=picture)]


def named(items: Iterable[Item]) -> list[Item]:
    """The items, numbered where one name has several values; what says the same twice has one name."""
    numbers: dict[str, dict[bytes, int]] = {}
    found = []
    for item in items:
        values = numbers.setdefault(item.name, {})
        number = values.setdefault(item.value, len(values) + 1)
        found.append(item if number == 1 else replace(item, name=f"{item.name} ({number})"))
    return found
