"""The pixels of a DICOM file, frame by frame: unsigned values from any transfer syntax; back, without compression.

Compressed frames are decoded by GDCM, those of RLE by pydicom itself: one decoder for each syntax, since those of a
lossy one differ by a level here and there, and the bound counts from what was decoded. Luma and colour differences are
turned into RGB. A copy is never compressed: most of these codecs are lossy, and none of them is for noise.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from datamodules.decode import BadImage

MOST = 179_000_000  # pixels of all frames, as Pillow's own limit for one picture
FLOATING = "floating-point pixels, whose displayed range the file does not state"
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
GRAY, COLOUR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
RLE = "1.2.840.10008.1.2.5"
# transfer syntaxes that may lose something, and the names of their standards in attributes (PS3.3 C.7.6.1.1.5)
LOSSY = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
}
# the others that GDCM decodes: JPEG lossless (two), JPEG-LS, JPEG 2000
LOSSLESS = tuple(f"1.2.840.10008.1.2.4.{last}" for last in (57, 70, 80, 90))
NO_DECODER = "which needs python-gdcm: pip install 'confoundergan[dicom]'"


@dataclass(frozen=True)
class PixelLayout:
    """How a file stores its pixels.

    Attributes:
        frames: how many pictures it has.
        rows: of a picture.
        columns: of a picture.
        samples: of a pixel, 1 or 3.
        bits: of a sample, 8 to 16.
        allocated: bits that it takes in the file, 8 or 16.
        signed: whether values may be negative.
        planar: whether a copy's colours lie one behind the other, not pixel by pixel.
        little: byte order of a copy.
    """

    frames: int
    rows: int
    columns: int
    samples: int
    bits: int
    allocated: int
    signed: bool
    planar: bool
    little: bool

    @property
    def offset(self) -> int:
        """Added to stored values, so that the lowest possible one is 0."""
        return 1 << (self.bits - 1) if self.signed else 0

    @property
    def peak(self) -> int:
        """The highest value that there can be, with the offset."""
        return (1 << self.bits) - 1

    @property
    def kind(self) -> np.dtype:
        """numpy's type of a stored value."""
        return np.dtype(f"{'<' if self.little else '>'}{'i' if self.signed else 'u'}{self.allocated // 8}")

    @property
    def size(self) -> int:
        """Bytes of a frame without compression."""
        return self.rows * self.columns * self.samples * self.allocated // 8


def layout_of(dataset: Any) -> PixelLayout:
    """What a file says of its pixels.

    Raises:
        BadImage: what is not read.
    """
    if any(name in dataset for name in PIXELS[1:]):
        raise BadImage(f"DICOM of {FLOATING}")
    if "PixelData" not in dataset:
        kind = dataset.get("SOPClassUID", None) or dataset.file_meta.get("MediaStorageSOPClassUID", None)
        if "Rows" in dataset or (kind and "Image Storage" in kind.name):
            raise BadImage("damaged DICOM (it ends before its pixels)")
        raise BadImage("no picture in it" + (f" ({kind.name})" if kind else ""))
    bits, samples, allocated = int(dataset.BitsStored), int(dataset.SamplesPerPixel), dataset.BitsAllocated
    form, signed = dataset.PhotometricInterpretation, bool(dataset.PixelRepresentation)
    gray = samples == 1 and form in GRAY and 8 <= bits <= allocated
    if not (gray or (samples == 3 and form in COLOUR and bits == allocated == 8 and not signed)):
        raise BadImage(f"DICOM of {form}, {bits} of {allocated} bits; 8- to 16-bit gray, 8-bit colour are read")
    if allocated not in (8, 16) or dataset.HighBit != bits - 1:
        raise BadImage(f"DICOM whose {bits} bits do not end at bit 0 of 8 or 16")
    frames, rows, columns = _size(dataset)
    if frames * rows * columns > MOST:
        raise BadImage(f"{frames} frames of together more than 179 megapixels")
    if not frames * rows * columns:
        raise BadImage(f"{frames} frames of {columns}×{rows} pixels")
    planar = samples == 3 and form == "RGB" and not compressed(dataset) and dataset.get("PlanarConfiguration", 0) == 1
    little = dataset.original_encoding[1] is not False
    return PixelLayout(frames, rows, columns, samples, bits, allocated, signed, planar, little)


def _size(dataset: Any) -> tuple[int, int, int]:
    """Frames, rows and columns."""
    return int(dataset.get("NumberOfFrames", None) or 1), int(dataset.Rows), int(dataset.Columns)


def pixels_in(data: bytes) -> int:
    """Pixels of all frames, as the file says; 0 where it says nothing, or cannot be read."""
    try:
        import pydicom

        head = pydicom.dcmread(io.BytesIO(data), specific_tags=["NumberOfFrames", "Rows", "Columns"])
        frames, rows, columns = _size(head)
        return frames * rows * columns
    except Exception:  # what is wrong is told by whoever reads it
        return 0


def compressed(dataset: Any) -> bool:
    """Whether a file's pixels are."""
    return bool(dataset.file_meta.TransferSyntaxUID.is_compressed)


def unsigned_frames(dataset: Any, layout: PixelLayout) -> Iterator[np.ndarray]:
    """The frames, uint8 or uint16 H×W×C from 0 to ``peak``, one after the other.

    Raises:
        BadImage: they cannot be decoded, or are not what the file says of them.
    """
    native = not compressed(dataset) and dataset.PhotometricInterpretation in (*GRAY, "RGB")
    count = 0
    for stored in _native(dataset, layout) if native else _decoded(dataset):
        wide = stored.reshape(layout.rows, layout.columns, layout.samples).astype(np.int32) + layout.offset
        if wide.min() < 0 or wide.max() > layout.peak:
            raise BadImage(f"DICOM with values beyond its {layout.bits} bits (overlays are stored that way)")
        count += 1
        yield wide.astype(np.uint8 if layout.bits == 8 else np.uint16)
    if count != layout.frames:
        raise BadImage(f"{count} frames in it; {layout.frames} expected")


def _native(dataset: Any, layout: PixelLayout) -> Iterator[np.ndarray]:
    found, data = len(dataset.PixelData), dataset.PixelData
    if found < layout.size * layout.frames:
        raise BadImage(f"{found} bytes of pixels; {layout.size * layout.frames} expected")
    for start in range(0, layout.size * layout.frames, layout.size):
        stored = np.frombuffer(data, layout.kind, layout.size // layout.kind.itemsize, start)
        yield stored.reshape(3, layout.rows, layout.columns).transpose(1, 2, 0) if layout.planar else stored


def _decoded(dataset: Any) -> Iterator[np.ndarray]:
    from pydicom.pixels.decoders.base import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    encoded = compressed(dataset)
    if encoded and syntax not in (RLE, *LOSSY, *LOSSLESS):
        raise BadImage(f"compressed DICOM ({syntax.name}), which is not read; decompress it first")
    decoder, plugin = get_decoder(syntax), "pydicom" if syntax == RLE else "gdcm" if encoded else ""
    if plugin not in ("", *decoder.available_plugins):
        raise BadImage(f"compressed DICOM ({syntax.name}), {NO_DECODER}")
    try:
        for frame, _ in decoder.iter_array(dataset, decoding_plugin=plugin):
            yield frame
    except Exception as error:  # of pydicom and GDCM, on damaged frames and kinds that they do not know
        reason = str(error).splitlines()[-1].strip() if str(error) else type(error).__name__
        if "NoneType" in reason:  # what GDCM gives where it fails
            reason = "damaged"
        raise BadImage(f"compressed DICOM ({syntax.name}) that cannot be decoded ({reason[:100]})") from error


def written_plainly(dataset: Any) -> dict[str, str]:
    """Makes a file's attributes those of pixels without compression, in gray or RGB; what changed, and why."""
    from pydicom.uid import ExplicitVRLittleEndian

    syntax, form, changed = dataset.file_meta.TransferSyntaxUID, dataset.PhotometricInterpretation, {}
    if dataset.SamplesPerPixel == 3 and (compressed(dataset) or form != "RGB"):
        if form != "RGB":
            changed["PhotometricInterpretation"] = f"replaced: {form} became RGB"
            dataset.PhotometricInterpretation = "RGB"
        if dataset.get("PlanarConfiguration", 0) != 0:
            changed["PlanarConfiguration"] = "replaced: the copy's colours lie pixel by pixel"
        dataset.PlanarConfiguration = 0
    if compressed(dataset):
        kind = ", lossy" if syntax in LOSSY else ""
        changed["file meta TransferSyntaxUID"] = f"replaced: it was {syntax.name}{kind}; the copy is not compressed"
        if syntax in LOSSY:
            changed |= _lossy_before(dataset, LOSSY[syntax])
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return changed


def _lossy_before(dataset: Any, method: str) -> dict[str, str]:
    """Keeps on saying that a picture was compressed with loss, as every picture that comes of it has to."""
    if str(dataset.get("LossyImageCompression", None) or "") == "01":
        return {}
    changed = {"LossyImageCompression": "replaced: the file was lossy"} if "LossyImageCompression" in dataset else {}
    dataset.LossyImageCompression = "01"
    if not dataset.get("LossyImageCompressionMethod", None):
        frames, rows, columns = _size(dataset)
        whole = frames * rows * columns * dataset.SamplesPerPixel * dataset.BitsAllocated // 8
        dataset.LossyImageCompressionMethod = method
        dataset.LossyImageCompressionRatio = f"{whole / max(1, len(dataset.PixelData)):.2f}"
    return changed


class StoredFrames(io.RawIOBase):
    """The frames of a photo as a file stores them, made one at a time while it is read.

    Args:
        pixels: unsigned (frames · H)×W×C.
        layout: of the file.
    """

    def __init__(self, pixels: np.ndarray, layout: PixelLayout) -> None:
        self.pixels, self.layout, self.at = pixels, layout, 0
        self.number, self.frame = -1, b""
        self.end = layout.size * layout.frames
        self.end += self.end % 2  # elements have even lengths

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer as far as the frame that it begins in goes; 0 at the end."""
        number, start = divmod(self.at, self.layout.size)
        if number != self.number:
            self.number, self.frame = number, self._stored(number)
        part = self.frame[start : start + len(buffer)]
        buffer[: len(part)] = part
        self.at += len(part)
        return len(part)

    def _stored(self, number: int) -> bytes:
        layout = self.layout
        if number >= layout.frames:
            return bytes(self.end - layout.frames * layout.size)
        frame = self.pixels[number * layout.rows : (number + 1) * layout.rows].astype(np.int32) - layout.offset
        stored = frame.astype(layout.kind)
        return (stored.transpose(2, 0, 1) if layout.planar else stored).tobytes()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of any file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.end}[whence]
        self.at = base + offset
        return self.at

    def tell(self) -> int:
        """As of any file."""
        return self.at

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True
