"""DICOM: pixels at the depth that a file stores, and the rest of the file as it is. Needs pydicom.

Read are gray (8 to 16 bits, signed or not) and 8-bit colour, of one frame or several (``photos.dicom_pixels``).

The copy is a derived image, as the standard asks for (REPLACED). Names of patients and all other tags stay. What does
not: other copies of the picture, anywhere in the file, which nothing protects (icons, pixels in sequences, and whatever
bytes hold a picture in a format that is known by its first bytes); signatures and figures of the unprotected pixels;
and a preamble that tells of a second format. A template says what was left out.

Not found are previews without compression in private elements, since nothing tells them from other numbers.
"""

import hashlib
import io
import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from datamodules.decode import BadImage
from photos.dicom_pixels import PIXELS, PixelLayout, StoredFrames, layout_of, unsigned_frames, written_plainly
from photos.display import Display
from photos.views import dicom_display

MISSING = "DICOM, which needs pydicom: pip install 'confoundergan[dicom]'"
BARE = "DICOM without its 128-byte preamble and file meta information"
NOTE = "noise against unauthorised training added (confoundergan)"
DIRECTORY = b"1.2.840.10008.1.3.10"  # Media Storage Directory Storage
REPLACED = {  # elements whose value in a copy is another, by their names in ``inventory``
    "SOPInstanceUID": "replaced: the copy is an image of its own",
    "file meta MediaStorageSOPInstanceUID": "replaced: the copy is an image of its own",
    "ImageType": "replaced: its first value is DERIVED",
    "DerivationDescription": "the program's note is added",
}
OTHER_COPY = "another copy of the picture, unprotected"
DROPPED = {  # wherever they are
    "IconImageSequence": OTHER_COPY,
    "DigitalSignaturesSequence": "signs the unprotected picture",
    "SmallestImagePixelValue": "may not hold for the copy",
    "LargestImagePixelValue": "may not hold for the copy",
    "ExtendedOffsetTable": "of compressed frames",
    "ExtendedOffsetTableLengths": "of compressed frames",
    "EncapsulatedPixelDataValueTotalLength": "of compressed frames",
}
LONGEST_TEXT = 1024  # characters of a DerivationDescription
LARGE = 1 << 20  # bytes; longer values are read where they are looked at
SHORT = 64  # bytes; longer values are compared by their hash
# the beginnings of JPEG, PNG, WebP, JPEG 2000 (file, codestream), JPEG XL, HEIF and AVIF, and GIF
SIGNATURE = re.compile(
    rb"\xff\xd8\xff[\xc0-\xfe]|\x89PNG\r\n\x1a\n|RIFF....WEBP|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51\0"
    rb"|\0\0\0\x0cJXL \r\n\x87\n|ftyp(?:hei[cxms]|hev[cx]|mif1|msf1|avi[fs])|GIF8[79]a",
    re.DOTALL,
)
FIRST = (0x0000, 0x0001, 0x0005, 0x0006, 0x0008, 0x0012, 0x0013, 0x0014, 0x0016, 0x0018)  # elements of group 8


@dataclass
class DicomTemplate:
    """A DICOM file without its pixels, from which its copy is made.

    Attributes:
        dataset: pydicom's.
        layout: of the pixels in copies.
        display: of its values; None for 8-bit RGB, which is displayed as it is.
        dropped: names of elements that copies do not have, or with another value, with the reason.
        protected: whether the file is a copy of this program's.
    """

    dataset: Any
    layout: PixelLayout
    display: Display | None
    dropped: dict[str, str]
    protected: bool = field(init=False)

    def __post_init__(self) -> None:
        found = self.dataset.get("ImageType", None) or ["ORIGINAL", "PRIMARY"]
        self._types = ["DERIVED", *([] if isinstance(found, str) else list(found)[1:])]
        self._uid = str(self.dataset.get("SOPInstanceUID", ""))
        self._derivation = str(self.dataset.get("DerivationDescription", None) or "")
        self.protected = NOTE in self._derivation

    def save(self, pixels: np.ndarray, file: IO[bytes]) -> None:
        """Writes the file with these pixels, as ``decode_dicom`` gave them; the same pixels give the same bytes.

        Raises:
            BadImage: pydicom cannot write what it could read.
            OSError: the disk is full, or what else writing raises.
        """
        from pydicom.uid import generate_uid

        dataset = self.dataset
        try:
            dataset.PixelData = io.BufferedReader(StoredFrames(pixels, self.layout))
            dataset["PixelData"].VR = "OW" if self.layout.allocated == 16 else "OB"
            digest = hashlib.file_digest(StoredFrames(pixels, self.layout), "sha256").hexdigest()
            uid = generate_uid(entropy_srcs=[self._uid, digest])
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
            dataset.ImageType = self._types
            before = self._derivation[: LONGEST_TEXT - len(NOTE) - 2]
            dataset.DerivationDescription = f"{before}; {NOTE}" if before else NOTE
            dataset.save_as(file)
        except OSError:
            raise
        except Exception as error:  # of pydicom, on elements that it passed over in reading
            raise BadImage(f"DICOM that cannot be written again ({str(error)[:80] or type(error).__name__})") from error
        finally:
            dataset.pop("PixelData", None)


def is_dicom(data: bytes) -> bool:
    """Whether a file's bytes begin as DICOM's do, with a preamble or, of old files, without one."""
    return data[128:132] == b"DICM" or _is_bare(data)


def _is_bare(data: bytes) -> bool:
    """Whether a file begins with an element of the file meta information, or of group 8, and another one follows."""
    group, element = struct.unpack("<HH", data[:4]) if len(data) >= 8 else (0, 0)
    if (group, element) not in ((2, 0), (2, 1)) and not (group == 8 and element in FIRST):
        return False
    explicit = bool(re.fullmatch(rb"[A-Z]{2}", data[4:6]))
    length = int.from_bytes(data[6:8] if explicit else data[4:8], "little")
    if length % 2 or length > 512 or len(data) < 16 + length:
        return False
    after = struct.unpack("<HH", data[8 + length : 12 + length])
    return (group, element) < after <= (0x7FE0, 0x0010)


def is_dicomdir(data: bytes) -> bool:
    """Whether a file is the directory of a DICOM medium, which holds no picture; it needs no pydicom."""
    at = data.find(b"\x02\0\x02\0UI", 132, 132 + 1024)
    if data[128:132] != b"DICM" or at < 0:
        return False
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    return data[at + 8 : at + 8 + length].rstrip(b"\0 ") == DIRECTORY


def decode_dicom(data: bytes, keep: bool = True) -> tuple[np.ndarray, DicomTemplate]:
    """Pixels from 0, uint8 or uint16 (frames · H)×W×C, the frames one below the other; and the rest of the file.

    Args:
        data: of the file.
        keep: the owner keeps descriptions; without it DICOM is refused, since nothing here knows whom a tag names.

    Raises:
        BadImage: no pydicom, or what is not read (see above).
    """
    if data[128:132] != b"DICM":
        raise BadImage(BARE)
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise BadImage(MISSING) from error
    if not keep:
        raise BadImage("DICOM, whose tags strip= does not know; take names out with a tool for it, then strip=none")
    try:
        return _decoded(data)
    except BadImage:
        raise
    except Exception as error:  # pydicom raises anything on damaged files
        raise BadImage(f"damaged DICOM ({str(error)[:80] or type(error).__name__})") from error


def stored_in(path: Path, pixels: np.ndarray) -> bool:
    """Whether a file's frames decode to exactly these pixels, as ``decode_dicom`` gives them; compared one by one."""
    import pydicom

    dataset = pydicom.dcmread(path)
    layout = layout_of(dataset)
    if pixels.shape != (layout.frames * layout.rows, layout.columns, layout.samples):
        return False
    meant = (pixels[top : top + layout.rows] for top in range(0, len(pixels), layout.rows))
    return all(map(np.array_equal, unsigned_frames(dataset, layout), meant))


def _decoded(data: bytes) -> tuple[np.ndarray, DicomTemplate]:
    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(data))
    layout = layout_of(dataset)
    kind = np.uint8 if layout.bits == 8 else np.uint16
    pixels = np.empty((layout.frames * layout.rows, layout.columns, layout.samples), kind)
    for number, frame in enumerate(unsigned_frames(dataset, layout)):
        pixels[number * layout.rows : (number + 1) * layout.rows] = frame
    changed = written_plainly(dataset)
    del dataset.PixelData
    display = dicom_display(dataset, pixels, layout.offset, layout.peak) if layout.samples == 1 else None
    return pixels, DicomTemplate(dataset, layout, display, changed | _cleaned(dataset))


def _cleaned(dataset: Any) -> dict[str, str]:
    """Takes out of a file without pixels what its copy must not have; names and reasons."""
    dropped = {}
    if any(getattr(dataset, "preamble", None) or b""):
        dataset.preamble = bytes(128)
        dropped["preamble"] = "tells of a second format, of the unprotected file"
    found = [(within, tag, name, _reason(within, tag)) for within, tag, name in _elements(dataset)]
    for within, tag, name, reason in found:
        if reason and tag in within:
            del within[tag]
            if not any(name.startswith(f"{other}[") for other in dropped):  # parts of what is gone as a whole
                dropped[name] = reason
    return dropped


def _reason(dataset: Any, tag: Any) -> str:
    """Why an element is left out; empty for those that stay."""
    from pydicom.datadict import keyword_for_tag

    name, value = keyword_for_tag(tag), dataset.get_item(tag).value
    if name in DROPPED:
        return DROPPED[name]
    whole = isinstance(value, bytes) and not _is_sequence(dataset, tag)  # whose elements are looked at one by one
    return OTHER_COPY if name in PIXELS or (whole and holds_picture(value)) else ""


def holds_picture(value: bytes) -> bool:
    """Whether bytes hold a picture in a format that its first bytes tell, anywhere in them; or a sequence with one.

    A private sequence is bytes to whoever does not know it, where a file does not say what its elements are.
    """
    for found in SIGNATURE.finditer(value):
        if found.group()[:2] != b"\xff\xd8":
            return True
        # three bytes alone may be numbers that look like JPEG's; it continues with segments, each of a stated length
        at = found.start() + 2
        after = at + 2 + int.from_bytes(value[at + 2 : at + 4], "big")
        if value[after : after + 1] == b"\xff":
            return True
    for item, pixels in ((b"\xfe\xff\x00\xe0", b"\xe0\x7f\x10\0"), (b"\xff\xfe\xe0\x00", b"\x7f\xe0\0\x10")):
        if value.startswith(item) and pixels in value:
            return True
    return value[:4] in (b"II*\0", b"MM\0*")


def _elements(dataset: Any, path: str = "") -> Iterator[tuple[Any, Any, str]]:
    """Every element, with the dataset that it is in and its name: keywords from the top, and places in sequences."""
    from pydicom.datadict import keyword_for_tag

    for tag in sorted(dataset.keys()):
        if tag.element == 0:  # lengths of groups
            continue
        place = f"({tag.group:04x},{tag.element:04x})"
        name = path + (f"private {place}" if tag.is_private else keyword_for_tag(tag) or f"unknown {place}")
        yield dataset, tag, name
        if _is_sequence(dataset, tag):
            for number, item in enumerate(dataset[tag].value or ()):
                yield from _elements(item, f"{name}[{number}].")


def _is_sequence(dataset: Any, tag: Any) -> bool:
    from pydicom.datadict import dictionary_VR, keyword_for_tag

    kind = dataset.get_item(tag, keep_deferred=True).VR  # None where the file does not say it
    return bool((kind or (dictionary_VR(tag) if keyword_for_tag(tag) else "")) == "SQ")


def inventory(data: bytes | mmap.mmap) -> dict[str, bytes]:
    """What a file holds beside its picture, to be compared with another's by name and value.

    Names are keywords with places in sequences ("SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].
    PixelSpacing"), "private (0009,1001)", "unknown (0018,9999)", or "file meta MediaStorageSOPInstanceUID". Values are
    text in UTF-8; of bytes they are themselves, or their SHA-256 where they are long; of sequences how many items there
    are. Left out are the picture and the lengths of groups.

    Raises:
        BadImage: no pydicom, no DICOM, or damaged.
    """
    if data[128:132] != b"DICM":
        raise BadImage(BARE if _is_bare(data[:1024]) else "no DICOM")
    try:
        import pydicom
    except ImportError as error:
        raise BadImage(MISSING) from error
    try:
        source = cast(IO[bytes], io.BytesIO(data) if isinstance(data, bytes) else data)
        source.seek(0)
        dataset = pydicom.dcmread(source, defer_size=LARGE)  # the pixels need not be read
        found = {f"file meta {name}": _canonical(within, tag) for within, tag, name in _elements(dataset.file_meta)}
        if any(dataset.preamble or b""):
            found["preamble"] = bytes(dataset.preamble or b"")
        return found | {name: _canonical(within, tag) for within, tag, name in _elements(dataset) if name not in PIXELS}
    except Exception as error:  # pydicom raises anything on damaged files
        raise BadImage(f"damaged DICOM ({str(error)[:80] or type(error).__name__})") from error


def _canonical(dataset: Any, tag: Any) -> bytes:
    try:
        element = dataset[tag]
        if element.VR == "SQ":
            return f"{len(element.value or ())} items".encode()
        value = element.value
    except Exception:  # what pydicom cannot read is compared as it is stored
        value = dataset.get_item(tag).value
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value if len(value) <= SHORT else b"sha256 " + hashlib.sha256(value).hexdigest().encode()
    several = [value] if isinstance(value, str | int | float) or not hasattr(value, "__iter__") else list(value)
    if not isinstance(value, str) and hasattr(value, "components"):  # a person's name, which iterates over its letters
        several = [value]
    return "\\".join(map(str, several)).encode(errors="backslashreplace")
