"""GIF, BMP and PPM taken apart, as ``photos.description.containers`` does with JPEG, PNG and WebP."""

import re
import struct

from photos.description.containers import Pieces
from photos.description.items import Data, density, trailing

GIF_XMP, GIF_ICC = b"XMP DataXMP", b"ICCRGBG1012"
GIF_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")  # how often an animation is repeated
GIF_MAGIC = 257  # bytes behind a packet of XMP, which lead a reader of blocks to its end


def gif_pieces(data: Data) -> Pieces:
    """Of a GIF: comments and the extensions of programs."""
    pieces = Pieces()
    flags, ratio = data[10], data[12]
    if ratio:
        pieces.density = density(64, ratio + 15, "aspect")  # pixels are wider where there are fewer of them
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while at < len(data) and data[at] != 0x3B:
        if data[at] == 0x2C:  # a frame
            local = data[at + 9]
            at += 11 + (3 << (local & 7) + 1 if local & 0x80 else 0)
            at = _blocks(data, at)[1]
        elif data[at] == 0x21:
            body, end = _blocks(data, at + 2)
            _extension(pieces, data[at + 1], body, data[at + 2 : end])
            at = end
        else:
            break
    pieces.others += trailing(data, at + 1)
    return pieces


def _blocks(data: Data, at: int) -> tuple[list[bytes], int]:
    found = []
    while at < len(data) and data[at]:
        found.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return found, at + 1


def _extension(pieces: Pieces, label: int, body: list[bytes], raw: bytes) -> None:
    if label == 0xFE:
        pieces.comments.append(b"".join(body))
    elif label == 0x01:
        pieces.other("GIF text over the picture", b"".join(body))
    elif label == 0xFF and body and body[0] == GIF_XMP:
        pieces.xmp.append(raw[12:-1][:-GIF_MAGIC])  # a packet stands there as it is, not in blocks
    elif label == 0xFF and body and body[0] == GIF_ICC:
        pieces.icc.append(b"".join(body[1:]))
    elif label != 0xF9 and not (label == 0xFF and body and body[0] in GIF_LOOPS):
        name = body[0].decode("latin-1") if body else f"0x{label:02X}"
        pieces.other(f"GIF extension {name}", b"".join(body[1:]))


def bmp_pieces(data: Data) -> Pieces:
    """Of a BMP: resolution, and of its later versions the colours."""
    pieces = Pieces()
    start, size = struct.unpack("<II", data[10:18])
    if size < 40:  # the oldest has neither
        return pieces
    width, height, _, bits, packing, length, x, y = struct.unpack("<iiHHIIii", data[18:46])
    pieces.density = density(x, y, "metre")
    end = start + (length if packing else (width * bits + 31) // 32 * 4 * abs(height))
    if size >= 108:
        end = max(end, _bmp_colours(pieces, data, size))
    pieces.others += trailing(data, end)
    return pieces


def _bmp_colours(pieces: Pieces, data: Data, size: int) -> int:
    """Where the profile ends, if there is one."""
    space = data[70:74]
    if space == b"\0\0\0\0":  # calibrated: the ends of the colours, X Y Z as 2.30 bits, and gamma as 16.16
        _calibrated(pieces, struct.unpack("<9I", data[74:110]), struct.unpack("<3I", data[110:122]))
    if size < 124 or space not in (b"DEBM", b"KNIL"):
        return 0
    at, length = struct.unpack("<II", data[126:134])
    profile = data[14 + at : 14 + at + length]
    if space == b"DEBM":
        pieces.icc.append(profile)
    else:
        pieces.other("name of a colour profile", profile)
    found: int = 14 + at + length
    return found


def _calibrated(pieces: Pieces, ends: tuple[int, ...], gammas: tuple[int, ...]) -> None:
    if gammas[0] and len(set(gammas)) == 1:
        pieces.colour[b"gAMA"] = struct.pack(">I", min(round(100000 * 65536 / gammas[0]), 2**31 - 1))
    totals = [sum(ends[at : at + 3]) for at in (0, 3, 6)]
    if not all(totals):
        return
    white = [sum(ends[at::3]) for at in (0, 1, 2)]
    pairs = [(white[0] / sum(white), white[1] / sum(white))]
    pairs += [(ends[3 * i] / totals[i], ends[3 * i + 1] / totals[i]) for i in range(3)]
    pieces.colour[b"cHRM"] = struct.pack(">8I", *(round(100000 * value) for pair in pairs for value in pair))


def ppm_pieces(data: Data) -> Pieces:
    """Of a PPM, PGM or PBM: comments in the head, and what is behind the pixels."""
    pieces, kind, at = Pieces(), data[:2], 2
    numbers: list[int] = []
    needed = 2 if kind in (b"P1", b"P4") else 3
    while len(numbers) < needed and at < len(data):
        found = re.match(rb"[ \t\r\n]*(?:#([^\r\n]*)|(\d+))", data[at : at + 70_000])
        if not found:
            return pieces
        if found[1] is not None:
            pieces.comments.append(found[1].strip())
        else:
            numbers.append(int(found[2]))
        at += found.end()
    if kind in (b"P4", b"P5", b"P6") and len(numbers) == needed:
        width, height = numbers[:2]
        row = (width + 7) // 8 if kind == b"P4" else width * (3 if kind == b"P6" else 1) * (1 + (numbers[2] > 255))
        pieces.others += trailing(data, at + 1 + row * height)
    elif kind in (b"P1", b"P2", b"P3"):
        pieces.comments += [found.strip() for found in re.findall(rb"#([^\r\n]*)", data[at:])]
    return pieces
