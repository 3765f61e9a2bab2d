"""JPEG XL taken apart, by pylibjxl: its picture, and what describes it, which lies in boxes and the codestream."""

from typing import Any

import numpy as np

from datamodules.decode import BadImage
from photos.description.boxes import boxes
from photos.description.containers import EXIF_HEAD, Pieces
from photos.description.items import Data

MISSING = "JPEG XL, which needs pylibjxl: pip install 'confoundergan[jxl]'"
STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")  # the bare codestream, and one in boxes
# how pixels are stored, and from what a JPEG can be made again
LAYOUT = (b"JXL ", b"ftyp", b"jxll", b"jxlc", b"jxlp", b"jxli", b"jbrd")


def is_jxl(data: Data) -> bool:
    """Whether a file is JPEG XL."""
    return data[:2] == STARTS[0] or data[:12] == STARTS[1]


def _library() -> Any:
    try:
        import pylibjxl
    except ImportError as error:
        raise BadImage(MISSING) from error
    return pylibjxl


def jxl_size(data: bytes) -> tuple[int, int]:
    """Width and height.

    Raises:
        BadImage: no pylibjxl. Else what that raises on a damaged file.
    """
    found = _library().probe(data)
    return found["width"], found["height"]


def decode_jxl(data: bytes) -> np.ndarray:
    """The picture, uint8 H×W or H×W×C, C = 3 or 4 with alpha, upright as the codestream says.

    Raises:
        BadImage: no pylibjxl, an animation, or more than 8 bits. Else what pylibjxl raises on a damaged file.
    """
    found = _library().probe(data)
    if found["have_animation"]:
        raise BadImage("an animation in JPEG XL, of which one frame alone can be read; save it as PNG or WebP")
    if (bits := found["bits_per_sample"]) > 8:
        raise BadImage(f"JPEG XL of {bits} bits per channel, which would be cut to 8; convert it to 8 bits first")
    pixels: np.ndarray = _library().decode(data)
    return pixels


def jxl_pieces(data: Data) -> Pieces:
    """Of a JPEG XL.

    Raises:
        BadImage: no pylibjxl. Else what that raises on a damaged file.
    """
    pieces = Pieces()
    _, found = _library().decode(data[:], metadata=True)
    if profile := found.get("icc"):
        pieces.icc.append(profile)
    if exif := found.get("exif"):
        pieces.exif.append(exif.removeprefix(EXIF_HEAD))
    if packet := found.get("xmp"):
        pieces.xmp.append(packet)
    known = {b"Exif": bool(exif), b"xml ": bool(packet)}
    for kind, start, end in boxes(data, 0, len(data)) if data[:2] != STARTS[0] else ():
        inner = data[start : start + 4] if kind == b"brob" else kind  # packed by Brotli
        if known.pop(inner, False) or inner in LAYOUT:
            continue
        name = "gain map" if inner == b"jhgm" else f"JPEG XL box {inner.decode('latin-1').strip()}"
        pieces.other(name, data[start:end], inner == b"jhgm")
    return pieces
