"""IPTC-IIM (captions, credits, copyright lines) and the Photoshop resources that hold it."""

import struct
from typing import NamedTuple

from photos.description.items import Item, holds_picture, plain_text, short

IIM = 0x0404
THUMBNAILS = (0x0409, 0x040C)
KNOWN = {
    0x03ED: "resolution",
    IIM: "IPTC",
    0x0409: "thumbnail",
    0x040A: "copyright flag",
    0x040B: "address on the web",
    0x040C: "thumbnail",
    0x040F: "colour profile",
    0x0422: "EXIF",
    0x0423: "EXIF",
    0x0424: "XMP",
    0x0425: "digest of IPTC",
}
HARMLESS = (0x040A, 0x040B)  # tell no place; of the others nobody knows
REPEATED = (0x0422, 0x0423, 0x0424)  # what a file holds elsewhere, unread: with its previews and orientation
SIGNATURES = (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR")

NAMES = {
    (1, 0): "EnvelopeRecordVersion", (1, 5): "Destination", (1, 20): "FileFormat", (1, 22): "FileVersion",
    (1, 30): "ServiceIdentifier", (1, 40): "EnvelopeNumber", (1, 50): "ProductID", (1, 60): "EnvelopePriority",
    (1, 70): "DateSent", (1, 80): "TimeSent", (1, 90): "CodedCharacterSet", (1, 100): "UniqueObjectName",
    (1, 120): "ARMIdentifier", (1, 122): "ARMVersion", (2, 0): "ApplicationRecordVersion",
    (2, 3): "ObjectTypeReference", (2, 4): "ObjectAttributeReference", (2, 5): "ObjectName", (2, 7): "EditStatus",
    (2, 8): "EditorialUpdate", (2, 10): "Urgency", (2, 12): "SubjectReference", (2, 15): "Category",
    (2, 20): "SupplementalCategories", (2, 22): "FixtureIdentifier", (2, 25): "Keywords",
    (2, 26): "ContentLocationCode", (2, 27): "ContentLocationName", (2, 30): "ReleaseDate", (2, 35): "ReleaseTime",
    (2, 37): "ExpirationDate", (2, 38): "ExpirationTime", (2, 40): "SpecialInstructions", (2, 42): "ActionAdvised",
    (2, 45): "ReferenceService", (2, 47): "ReferenceDate", (2, 50): "ReferenceNumber", (2, 55): "DateCreated",
    (2, 60): "TimeCreated", (2, 62): "DigitalCreationDate", (2, 63): "DigitalCreationTime",
    (2, 65): "OriginatingProgram", (2, 70): "ProgramVersion", (2, 75): "ObjectCycle", (2, 80): "By-line",
    (2, 85): "By-lineTitle", (2, 90): "City", (2, 92): "Sub-location", (2, 95): "Province-State",
    (2, 100): "Country-PrimaryLocationCode", (2, 101): "Country-PrimaryLocationName",
    (2, 103): "OriginalTransmissionReference", (2, 105): "Headline", (2, 110): "Credit", (2, 115): "Source",
    (2, 116): "CopyrightNotice", (2, 118): "Contact", (2, 120): "Caption-Abstract", (2, 121): "LocalCaption",
    (2, 122): "Writer-Editor", (2, 125): "RasterizedCaption", (2, 130): "ImageType", (2, 131): "ImageOrientation",
    (2, 135): "LanguageIdentifier", (2, 200): "ObjectPreviewFileFormat", (2, 201): "ObjectPreviewFileVersion",
    (2, 202): "ObjectPreviewData", (8, 10): "SubFile",
}  # fmt: skip
PLACES = frozenset({(2, 26), (2, 27), (2, 90), (2, 92), (2, 95), (2, 100), (2, 101)})
PICTURES = frozenset({(2, 125), (2, 200), (2, 201), (2, 202)})  # with the previews' own format


class Resource(NamedTuple):
    """A Photoshop resource, which has a number, seldom a name, and a content."""

    signature: bytes
    number: int
    name: bytes
    body: bytes


class Dataset(NamedTuple):
    """A value of IPTC-IIM."""

    record: int
    number: int
    value: bytes


def read_resources(data: bytes) -> tuple[list[Resource], bytes]:
    """Photoshop resources, and what behind them is none; zeros do not count."""
    found, at = [], 0
    while data[at : at + 4] in SIGNATURES and at + 12 <= len(data):
        number, length = struct.unpack(">HB", data[at + 4 : at + 7])
        start = at + 7 + length + (length + 1) % 2
        size_field = data[start : start + 4]
        size = struct.unpack(">I", size_field)[0] if len(size_field) == 4 else len(data)
        body = data[start + 4 : start + 4 + size]
        if len(body) < size:
            break
        found.append(Resource(data[at : at + 4], number, data[at + 7 : at + 7 + length], body))
        at = start + 4 + size + size % 2
    return found, data[at:].strip(b"\0")


def write_resources(resources: list[Resource]) -> bytes:
    """The same as bytes."""
    written = []
    for signature, number, name, body in resources:
        head = signature + struct.pack(">HB", number, len(name)) + name + b"\0" * ((len(name) + 1) % 2)
        written.append(head + struct.pack(">I", len(body)) + body + b"\0" * (len(body) % 2))
    return b"".join(written)


def read_iim(data: bytes) -> tuple[list[Dataset], bytes]:
    """Values of IPTC-IIM, and what behind them is none; zeros do not count."""
    found, at = [], 0
    while data[at : at + 1] == b"\x1c" and at + 5 <= len(data):
        record, number, size = struct.unpack(">BBH", data[at + 1 : at + 5])
        start = at + 5
        if size & 0x8000:  # the length of the length, of a long value
            width = size & 0x7FFF
            size, start = int.from_bytes(data[start : start + width], "big"), start + width
        value = data[start : start + size]
        if len(value) < size:
            break
        found.append(Dataset(record, number, value))
        at = start + size
    return found, data[at:].strip(b"\0")


def write_iim(datasets: list[Dataset]) -> bytes:
    """The same as bytes."""
    written = []
    for record, number, value in datasets:
        length = struct.pack(">H", len(value)) if len(value) < 0x8000 else struct.pack(">HI", 0x8004, len(value))
        written.append(bytes([0x1C, record, number]) + length + value)
    return b"".join(written)


def photoshop_items(resources: list[Resource], rest: bytes) -> list[Item]:
    """Each value of IPTC and each other resource."""
    items = []
    for at, resource in enumerate(resources):
        if resource.number == IIM:
            items += _iim_items(resource.body)
        elif resource.number != 0x0424:  # XMP, which is read as such
            items.append(_resource_item(at, resource))
    if rest:
        items.append(Item("Photoshop resources (damaged)", short(rest), picture=holds_picture(rest), damaged=True))
    return items


def _resource_item(at: int, resource: Resource) -> Item:
    known = KNOWN.get(resource.number)
    name = f"Photoshop resource 0x{resource.number:04X}" + (f" ({known})" if known else "")
    return Item(
        name,
        short(resource.name + b"\0" + resource.body if resource.name else resource.body),
        "photoshop",
        at,
        picture=resource.number in THUMBNAILS or holds_picture(resource.body),
        opaque=resource.number not in HARMLESS,
        reason="repeats what is elsewhere" if resource.number in REPEATED else "",
    )


def _iim_items(data: bytes) -> list[Item]:
    datasets, rest = read_iim(data)
    values: dict[tuple[int, int], list[bytes]] = {}
    for dataset in datasets:
        values.setdefault(dataset[:2], []).append(dataset.value)
    items = [_iim_item(key, found) for key, found in values.items()]
    if rest:
        items.append(Item("IPTC (damaged)", short(rest), picture=holds_picture(rest), damaged=True))
    return items


def _iim_item(key: tuple[int, int], values: list[bytes]) -> Item:
    name = NAMES.get(key, f"{key[0]}:{key[1]:02d}")
    whole = b"".join(values)
    picture = key in PICTURES or key[0] in (7, 8, 9) or holds_picture(whole)
    return Item(
        f"IPTC {name}",
        short(b"\n".join(plain_text(value) for value in values)),
        "photoshop",
        key,
        picture=picture,
        place=key in PLACES,
        opaque=key not in NAMES,
    )


def photoshop_kept(resources: list[Resource], dropped: set[object]) -> list[Resource]:
    """The resources without the items of these keys, nor what is damaged; XMP is not among them."""
    kept = []
    for at, resource in enumerate(resources):
        if resource.number == IIM:
            datasets = [d for d in read_iim(resource.body)[0] if d[:2] not in dropped]
            if datasets:
                kept.append(resource._replace(body=write_iim(datasets)))
        elif resource.number != 0x0424 and at not in dropped:
            kept.append(resource)
    return kept
