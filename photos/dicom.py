"""DICOM: one picture's pixels at the depth it stores, and all the rest of the file, kept as it is. Needs pydicom.

Read are single frames in gray (8 to 16 bits, signed or not) and 8-bit RGB, in transfer syntaxes without compression:
what a compressed file stores depends on its codec, and a lossy one would move pixels past the bound.

The copy is a derived image, as the standard asks for: ``DERIVED`` in ImageType, and a SOPInstanceUID of its own, made
from the old one and the pixels, so that the same photo gives the same file. Names of patients and all other tags stay.
"""

from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from datamodules.decode import BadImage

MISSING = "DICOM, which needs pydicom: pip install 'confoundergan[dicom]'"
NOTE = "noise against unauthorised training added (confoundergan)"


@dataclass
class Shell:
    """A DICOM file without its pixels.

    Attributes:
        dataset: pydicom's.
        offset: added to stored values, so that the lowest possible one is 0.
        inverted: whether 0 is white (MONOCHROME1).
    """

    dataset: Any
    offset: int
    inverted: bool

    def save(self, pixels: np.ndarray, file: IO[bytes]) -> None:
        """Writes the file with these pixels, as ``decode_dicom`` gave them."""
        from pydicom.uid import generate_uid

        dataset = self.dataset
        kind = np.dtype(f"{'>' if dataset.original_encoding[1] is False else '<'}{_kind(dataset)}")
        stored = (pixels.astype(np.int64) - self.offset).astype(kind)
        if dataset.SamplesPerPixel == 3 and dataset.get("PlanarConfiguration", 0) == 1:
            stored = stored.transpose(2, 0, 1)
        data = stored.tobytes()
        dataset.PixelData = data + b"\0" * (len(data) % 2)
        dataset["PixelData"].VR = "OW" if dataset.BitsAllocated == 16 else "OB"
        for name in ("SmallestImagePixelValue", "LargestImagePixelValue"):
            if name in dataset:
                del dataset[name]
        old = str(dataset.get("SOPInstanceUID", ""))
        uid = generate_uid(entropy_srcs=[old, data.hex()])
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        types = list(dataset.get("ImageType", None) or ["ORIGINAL", "PRIMARY"])
        dataset.ImageType = ["DERIVED", *types[1:]]
        dataset.DerivationDescription = NOTE
        dataset.save_as(file)
        del dataset.PixelData


def is_dicom(data: bytes) -> bool:
    """Whether a file's bytes begin as DICOM's do."""
    return data[128:132] == b"DICM"


def decode_dicom(data: bytes, keep: bool = True) -> tuple[np.ndarray, int, Shell]:
    """Pixels from 0, uint8 or uint16 H×W×C; the highest level that they may have; the rest of the file.

    Args:
        data: of the file.
        keep: the owner keeps descriptions; without it DICOM is refused, since nothing here knows whom a tag names.

    Raises:
        BadImage: no pydicom, or what is not read (see above).
    """
    import io

    try:
        import pydicom
    except ImportError as error:
        raise BadImage(MISSING) from error
    if not keep:
        raise BadImage("DICOM, whose tags strip= does not know; take names out with a tool for it, then strip=none")
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax.is_compressed:
            raise BadImage(f"compressed DICOM ({syntax.name}); decompress it first")
        if int(dataset.get("NumberOfFrames", None) or 1) != 1:
            raise BadImage(f"{dataset.NumberOfFrames} frames; one expected")
        bits, samples = dataset.BitsStored, dataset.SamplesPerPixel
        form = dataset.PhotometricInterpretation
        gray = samples == 1 and form in ("MONOCHROME1", "MONOCHROME2") and 8 <= bits <= dataset.BitsAllocated
        if not (gray or (samples == 3 and form == "RGB" and bits == dataset.BitsAllocated == 8)):
            raise BadImage(
                f"DICOM of {form}, {bits} of {dataset.BitsAllocated} bits; 8- to 16-bit gray, 8-bit RGB are read"
            )
        if dataset.BitsAllocated not in (8, 16) or dataset.HighBit != bits - 1:
            raise BadImage(f"DICOM whose {bits} bits do not end at bit 0 of 8 or 16")
        height, width = dataset.Rows, dataset.Columns
        kind = np.dtype(f"{'>' if dataset.original_encoding[1] is False else '<'}{_kind(dataset)}")
        count = height * width * samples
        if len(dataset.PixelData) < count * kind.itemsize:
            raise BadImage(f"{len(dataset.PixelData)} bytes of pixels; {count * kind.itemsize} expected")
        stored = np.frombuffer(dataset.PixelData, kind, count)
    except BadImage:
        raise
    except Exception as error:  # pydicom raises anything on damaged files
        raise BadImage(f"damaged DICOM ({str(error)[:80] or type(error).__name__})") from error
    if dataset.get("PlanarConfiguration", 0) == 1 and samples == 3:
        stored = stored.reshape(samples, height, width).transpose(1, 2, 0)
    offset = 1 << (bits - 1) if dataset.PixelRepresentation else 0
    pixels = stored.reshape(height, width, samples).astype(np.int32) + offset
    peak = (1 << bits) - 1
    if pixels.min() < 0 or pixels.max() > peak:
        raise BadImage(f"DICOM with values beyond its {bits} bits (overlays are stored that way)")
    del dataset.PixelData
    shell = Shell(dataset, offset, form == "MONOCHROME1")
    return pixels.astype(np.uint8 if bits == 8 else np.uint16), peak, shell


def _kind(dataset: Any) -> str:
    """numpy's name for a stored value, without the order of its bytes."""
    return f"{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}"
