"""XMP: a packet's properties, and a packet without some of them; its parser refuses DTDs and entities."""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.dom import Node
from xml.sax.saxutils import escape, quoteattr

from defusedxml import expatbuilder

from photos.description.items import BASE64, Item, holds_picture, short, tells_place

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
META = "adobe:ns:meta/"
TIFF = "http://ns.adobe.com/tiff/1.0/"
NOTE = "http://ns.adobe.com/xmp/note/"
COMMENT = ("", "comment", "")  # of XML, which is no property, but text all the same
DEPTH = 100  # of elements in each other
SYNTAX = ("RDF", "Description", "Bag", "Seq", "Alt", "li", "value")
# beginnings of namespaces whose properties are pictures, or tell of other pictures in the file
OF_PICTURES = (
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/1.0/image/",
    "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/dd/",
    "http://ns.adobe.com/hdr-gain-map/",
    "http://ns.adobe.com/xap/1.0/g/img/",
    "http://ns.apple.com/HDRGainMap/",
    "http://ns.apple.com/pixeldatainfo/",
    "http://ns.apple.com/depthData/",
)
GCAMERA = "http://ns.google.com/photos/1.0/camera/"
# where a packet uses a prefix that it does not declare
USUAL = {
    "rdf": RDF, "x": META, "tiff": TIFF, "xmpNote": NOTE, "GCamera": GCAMERA, "Camera": GCAMERA,
    "Container": OF_PICTURES[0], "Item": OF_PICTURES[0] + "item/", "GContainer": OF_PICTURES[0],
    "GImage": OF_PICTURES[1], "GDepth": OF_PICTURES[2], "Device": OF_PICTURES[3], "hdrgm": OF_PICTURES[4],
    "xmpGImg": OF_PICTURES[5], "xapGImg": OF_PICTURES[5], "HDRGainMap": OF_PICTURES[6], "apdi": OF_PICTURES[7],
}  # fmt: skip


@dataclass
class _Property:
    """All values at one path of a packet, and where they stand."""

    values: list[str] = field(default_factory=list)
    nodes: list[tuple[Any, str]] = field(default_factory=list)  # an element and its attribute; "" is its text
    steps: tuple[tuple[str, str, str], ...] = ()  # namespace, local name, prefix


class Packet:
    """A parsed packet.

    Raises:
        ValueError: no XML, or one with a DTD or entities.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data.rstrip(b"\0 \r\n\t")
        try:
            # without namespaces: many a packet uses a prefix that it does not declare
            self.document = expatbuilder.parseString(self.data, namespaces=False, forbid_dtd=True)
            if _depth(self.document) > DEPTH:
                raise ValueError("too deep")
            self.properties = _properties(self.document)
        except Exception as error:  # expat's, defusedxml's, of codecs, of depth
            raise ValueError("XMP cannot be parsed") from error

    def items(self, number: int = 0) -> list[Item]:
        """A property each; orientation is none, nor the note of a second packet."""
        return [_item(name, prop, number) for name, prop in self.properties.items() if not _left_out(prop)]

    def without(self, dropped: set[object]) -> bytes:
        """The packet without properties of these names, nor orientation; the same bytes if it has none of them."""
        going = [p for name, p in self.properties.items() if name in dropped or _left_out(p)]
        if not going:
            return self.data if _is_utf8(self.data) else self.written()
        for prop in going:
            for element, attribute in prop.nodes:
                _remove(element, attribute)
        return self.written() if _properties(self.document) else b""

    def join(self, other: "Packet") -> None:
        """Takes over the properties of the second packet that a JPEG may have for what is above 64 KB."""
        rdf = next((e for e in _elements(self.document) if _step(e, e.tagName)[:2] == (RDF, "RDF")), None)
        if rdf is None:
            raise ValueError("XMP without RDF")
        for element in list(_elements(other.document)):
            if _step(element, element.tagName)[:2] == (RDF, "Description") and not _inside_property(element):
                for name, value in _declared(element).items():
                    element.setAttribute(name, value)
                rdf.appendChild(element)
        self.properties = _properties(self.document)
        self.data = self.written()

    def written(self) -> bytes:
        """As bytes, with the prefixes and instructions that it had."""
        return "".join(_text_of(node) for node in self.document.childNodes).encode()


def is_picture_text(value: str) -> bool:
    """Whether base64 in it is a picture, or has one in it."""
    packed = re.sub(r"\s+", "", value)
    # a letter before it would shift every byte
    return any(holds_picture(_decoded(found[shift:])) for found in BASE64.findall(packed) for shift in range(4))


def orientation_in(packet: Packet) -> int:
    """1 to 8; 1 is upright."""
    found = [p.values[0].strip() for p in packet.properties.values() if p.steps[-1:] and _is_orientation(p)]
    return int(found[0]) if found and found[0] in tuple("12345678") else 1


def _decoded(text: str) -> bytes:
    text = text.replace("-", "+").replace("_", "/").rstrip("=")
    text = text[: len(text) - (len(text) % 4 == 1)]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""


def _is_utf8(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def _item(name: str, prop: _Property, number: int) -> Item:
    value = "\n".join(prop.values)
    packed = re.sub(r"\s+", "", value)
    markup = re.search(r"<[A-Za-z?!/]", value) is not None
    refers = any(_of_pictures(*step[:2]) for step in prop.steps)
    picture = is_picture_text(value)
    return Item(
        f"XMP {name}",
        short(value.encode()),
        "xmp",
        name,
        number,
        picture=refers or picture,
        place=any(tells_place(local) for _, local, _ in prop.steps) or re.match(r"\s*geo:[-\d]", value) is not None,
        opaque=markup
        or not prop.steps
        or COMMENT in prop.steps
        or (len(packed) >= 200 and BASE64.fullmatch(packed) is not None),
        reason="an unprotected copy" if picture else "tells of another picture" if refers else "",
    )


def _of_pictures(namespace: str, local: str) -> bool:
    if namespace == GCAMERA:
        return local.startswith(("MotionPhoto", "MicroVideo"))
    return namespace.startswith(OF_PICTURES) or local in ("Thumbnails", "Thumbnail")


def _is_orientation(prop: _Property) -> bool:
    return prop.steps[-1][:2] == (TIFF, "Orientation")


def _left_out(prop: _Property) -> bool:
    return bool(prop.steps) and (_is_orientation(prop) or prop.steps[-1][:2] == (NOTE, "HasExtendedXMP"))


def _elements(node: Any) -> Iterator[Any]:
    for child in node.childNodes:
        if child.nodeType == Node.ELEMENT_NODE:
            yield child
            yield from _elements(child)


def _depth(document: Any) -> int:
    level, depth = [document], 0
    while level:
        level, depth = [child for node in level for child in node.childNodes], depth + 1
    return depth


def _step(element: Any, name: str) -> tuple[str, str, str]:
    """Namespace, local name and prefix of an element's or attribute's name."""
    prefix, _, local = name.rpartition(":")
    node, key = element, f"xmlns:{prefix}" if prefix else "xmlns"
    while node is not None and node.nodeType == Node.ELEMENT_NODE:
        if node.hasAttribute(key):
            return node.getAttribute(key), local, prefix
        node = node.parentNode
    return USUAL.get(prefix, ""), local, prefix


def _is_syntax(step: tuple[str, str, str]) -> bool:
    return (step[0] == RDF and step[1] in SYNTAX) or (step[0] == META and step[1] in ("xmpmeta", "xapmeta"))


def _inside_property(element: Any) -> bool:
    node = element.parentNode
    while node is not None and node.nodeType == Node.ELEMENT_NODE:
        if not _is_syntax(_step(node, node.tagName)):
            return True
        node = node.parentNode
    return False


def _declared(element: Any) -> dict[str, str]:
    """The prefixes that are known where it stands."""
    found: dict[str, str] = {}
    node = element
    while node is not None and node.nodeType == Node.ELEMENT_NODE:
        found = {**{k: v for k, v in node.attributes.items() if k.startswith("xmlns")}, **found}
        node = node.parentNode
    return found


def _properties(document: Any) -> dict[str, _Property]:
    found: dict[str, _Property] = {}
    for child in document.childNodes:
        if child.nodeType == Node.ELEMENT_NODE:
            _walk(child, (), found)
        elif child.nodeType == Node.COMMENT_NODE or not _is_packet_mark(child):
            _add(found, (COMMENT,), child.data, child, "")
    return found


def _is_packet_mark(node: Any) -> bool:
    return node.nodeType == Node.PROCESSING_INSTRUCTION_NODE and node.target in ("xpacket", "xml", "adobe-xap-filters")


def _add(
    found: dict[str, _Property], steps: tuple[tuple[str, str, str], ...], value: str, element: Any, attribute: str
) -> None:
    name = "/".join(f"{prefix}:{local}" if prefix else local for _, local, prefix in steps) or "text"
    prop = found.setdefault(name, _Property(steps=steps))
    if prop.steps and prop.steps != steps:  # the same prefix for two namespaces: told apart by a number
        prop = found.setdefault(f"{name} [{steps[-1][0]}]", _Property(steps=steps))
    prop.values.append(value)
    prop.nodes.append((element, attribute))


def _walk(element: Any, above: tuple[tuple[str, str, str], ...], found: dict[str, _Property]) -> None:
    own = _step(element, element.tagName)
    steps = above if _is_syntax(own) else (*above, own)
    language = element.getAttribute("xml:lang")
    inner = _attributes(element, steps, found)
    text = []
    for child in element.childNodes:
        if child.nodeType == Node.ELEMENT_NODE:
            _walk(child, steps, found)
            inner = True
        elif child.nodeType in (Node.TEXT_NODE, Node.CDATA_SECTION_NODE):
            text.append(child.data)
        else:
            _add(found, (*steps, COMMENT), child.data, child, "")
    value = "".join(text)
    # an empty element is a property, unless it is there for what is in it
    if value.strip() or (not inner and not _is_syntax(own)):
        _add(found, steps, f"{language}: {value}" if language else value, element, "")


def _attributes(element: Any, steps: tuple[tuple[str, str, str], ...], found: dict[str, _Property]) -> bool:
    any_found = False
    for name, value in list(element.attributes.items()):
        step = _step(element, name) if ":" in name else ("", name, "")
        if name.startswith("xmlns") or name.startswith("xml:"):
            continue
        if _is_framing(element, name) and (not value.strip() or step[1] == "parseType" or value.startswith("uuid:")):
            continue
        transparent = step[0] == RDF and step[1] in ("resource", "value")
        _add(found, steps if transparent else (*steps, step), value, element, name)
        any_found = True
    return any_found


def _remove(element: Any, attribute: str) -> None:
    """Takes a value out, and whatever is left empty by that."""
    if attribute:
        if element.hasAttribute(attribute):
            element.removeAttribute(attribute)
    elif element.nodeType == Node.ELEMENT_NODE:
        for child in [c for c in element.childNodes if c.nodeType in (Node.TEXT_NODE, Node.CDATA_SECTION_NODE)]:
            element.removeChild(child)
    else:
        element.parentNode.removeChild(element)
        return
    while element is not None and element.nodeType == Node.ELEMENT_NODE and _is_empty(element):
        parent = element.parentNode
        if parent is None or parent.nodeType != Node.ELEMENT_NODE:
            return
        parent.removeChild(element)
        element = parent


def _is_empty(element: Any) -> bool:
    if _step(element, element.tagName)[1] in ("RDF", "xmpmeta"):
        return False
    if any(not _is_framing(element, name) for name, _ in element.attributes.items()):
        return False
    return not any(child.nodeType != Node.TEXT_NODE or child.data.strip() for child in element.childNodes)


def _is_framing(element: Any, name: str) -> bool:
    return name.startswith("xml") or (":" in name and _step(element, name)[:2] in {(RDF, "about"), (RDF, "parseType")})


def _text_of(node: Any) -> str:
    """A node as text; the standard library's own writer turns line breaks in attributes into blanks."""
    kind = node.nodeType
    if kind == Node.TEXT_NODE:
        return escape(node.data)
    if kind == Node.CDATA_SECTION_NODE:
        return escape(node.data)
    if kind == Node.COMMENT_NODE:
        return f"<!--{node.data}-->"
    if kind == Node.PROCESSING_INSTRUCTION_NODE:
        return "" if node.target == "xml" else f"<?{node.target} {node.data}?>"
    attributes = "".join(f" {name}={quoteattr(value)}" for name, value in node.attributes.items())
    inside = "".join(_text_of(child) for child in node.childNodes)
    return f"<{node.tagName}{attributes}>{inside}</{node.tagName}>" if inside else f"<{node.tagName}{attributes}/>"


def packet_items(packets: Iterable[bytes]) -> tuple[list[Item], list[Packet]]:
    """Items of all packets of a file, and those that can be parsed; the first is the one that is copied."""
    items: list[Item] = []
    read: list[Packet] = []
    for data in packets:
        if not data.strip(b"\0 \r\n\t"):
            continue
        try:
            read.append(Packet(data))
            items += read[-1].items(len(read) - 1)
        except ValueError:
            items.append(Item("XMP (damaged)", short(data), picture=holds_picture(data), damaged=True))
    return items, read
