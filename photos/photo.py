"""An owner's photo, whole: every pixel at its own size, transparency, and what describes it; written without loss.

What becomes of what (``datamodules.decode`` is for training images, which are brought to one form; here all is kept):

==================  =================================================================================================
EXIF orientation    the pixels are turned upright and the tag is dropped, in XMP too
EXIF, XMP           kept, written anew by Pillow; the small preview that EXIF may hold is dropped, an unprotected copy
colour profile      kept where it fits the stored colours; that of a CMYK picture is not
alpha               kept as it is, 8 bits
palette, 1-bit      as RGB (transparent entries: alpha) and as gray
CMYK, YCbCr, LAB    as RGB, by Pillow, without colour profiles
16-bit gray         stays 16-bit
16-bit colour       refused: Pillow would cut it to 8 bits
DICOM               stays DICOM, at its own depth (``photos.dicom``)
several frames      refused; of a camera's MPO the first picture
IPTC, comments      not kept, nor are PNG's texts and gamma
==================  =================================================================================================
"""

import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from datamodules.decode import FORMATS, BadImage, bad_images, loaded, opened, plain
from photos import dicom as dicom_file

Output = Literal["png", "webp", "jpeg"]
NAMES = {"png": "PNG", "webp": "WebP", "jpeg": "JPEG"}
SUFFIX: dict[Output, str] = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
Strip = Literal["none", "gps", "all"]
SMALL = 1_000_000  # pixels; photos up to it are read by the generator several at a time
ROWS = 256  # of a strip, where pictures are compared
Z_RLE = 3  # zlib's strategy
WEBP_SIDE, JPEG_SIDE = 16383, 65535
ORIENTATION, GPS = 0x0112, 0x8825
# of a TIFF, whose other tags say where its pixels lie: description, camera, resolution, software, date, artist,
# copyright, and the blocks of EXIF and GPS
TIFF_KEPT = (270, 271, 272, 282, 283, 296, 305, 306, 315, 33432, 34665, GPS)


@dataclass(frozen=True)
class Change:
    """What was done to a photo, in its own grey levels (255 or 65535, say, is white).

    Attributes:
        largest: change of a pixel.
        squares: sum of the squared changes over all pixels and channels.
        values: how many those are.
        peak: the highest level.
    """

    largest: int
    squares: int
    values: int
    peak: int

    @property
    def levels(self) -> float:
        """The largest change in grey levels of 255."""
        return self.largest * 255 / self.peak

    @property
    def psnr(self) -> float | None:
        """Peak signal-to-noise ratio in dB; None where nothing changed."""
        return 10 * float(np.log10(self.peak**2 * self.values / self.squares)) if self.squares else None


@dataclass
class Photo:
    """A photo, upright.

    Attributes:
        pixels: uint8 or uint16, H×W×C, C = 1 or 3; 16 bits only with C = 1. From 0 to ``peak``.
        alpha: uint8 H×W, or None.
        exif: a block of EXIF without orientation and preview; empty for none.
        icc: colour profile; empty for none.
        xmp: packet of XMP; empty for none.
        lost: what the file had that is not kept, in a few words each.
        peak: of the pixels' range; 0 is made to that of their type (255 or 65535). A DICOM file may store fewer bits.
        dicom: what else a DICOM file holds; None for others.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    exif: bytes = b""
    icc: bytes = b""
    xmp: str = ""
    lost: list[str] = field(default_factory=list)
    peak: int = 0
    dicom: "dicom_file.Shell | None" = None

    def __post_init__(self) -> None:
        self.peak = self.peak or int(np.iinfo(self.pixels.dtype).max)

    @property
    def bits(self) -> int:
        """8 or 16, a pixel and channel; of DICOM what it stores."""
        return self.peak.bit_length()

    def eight(self) -> np.ndarray:
        """The pixels as they are looked at: uint8 H×W×C, a DICOM file's whole range as gray, white where it says so."""
        if self.peak == 255 and self.dicom is None:
            return self.pixels
        pixels = np.rint(self.pixels * np.float32(255 / self.peak)).astype(np.uint8)
        return 255 - pixels if self.dicom and self.dicom.inverted else pixels

    def image(self) -> Image.Image:
        """The picture alone, as L, LA, RGB, RGBA or I;16."""
        gray = self.pixels.shape[2] == 1
        image = Image.fromarray(self.pixels[..., 0] if gray else self.pixels)
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        return image

    def in_colour(self) -> "Photo":
        """The same with three channels; the profile of a gray picture is not kept.

        Raises:
            BadImage: it has 16 bits, which Pillow can store for gray alone.
        """
        if self.pixels.shape[2] == 3:
            return self
        if self.dicom or self.bits > 8:
            kind = "DICOM in gray" if self.dicom else "16-bit gray"
            raise BadImage(f"{kind}, and the generator is for colour; use one that was trained on gray images")
        lost = [*self.lost, *(["colour profile (of gray)"] if self.icc else [])]
        return Photo(np.repeat(self.pixels, 3, 2), self.alpha, self.exif, b"", self.xmp, lost)


def read_photo(data: bytes, strip: Strip = "none") -> Photo:
    """A photo from a file's bytes.

    Args:
        data: of the file.
        strip: ``gps`` leaves out where it was taken, ``all`` EXIF and XMP altogether.

    Raises:
        BadImage: empty, unreadable, of several frames, of a depth that would be lost, or above 179 megapixels.
    """
    with bad_images():
        if dicom_file.is_dicom(data):
            pixels, peak, shell = dicom_file.decode_dicom(data, strip == "none")
            return Photo(pixels, peak=peak, dicom=shell)
        image = opened(data)
        if image.mode not in ("I", "F") and not image.mode.startswith("I;16") and _deep(image):
            raise BadImage("16-bit colour or transparency, which would be cut to 8 bits; convert it to 8 bits first")
        return photo_of(loaded(image), strip)


def read_middle(path: Path, side: int) -> Photo:
    """The middle of a photo, at most ``side`` pixels wide and high, upright; less memory than all of it would take.

    Raises:
        BadImage: as ``read_photo``.
        OSError: the file cannot be read.
    """
    with bad_images():
        data = path.read_bytes()
        if dicom_file.is_dicom(data):
            whole = read_photo(data)
            height, width = whole.pixels.shape[:2]
            left, top, right, bottom = _middle(width, height, side)
            return replace(whole, pixels=np.ascontiguousarray(whole.pixels[top:bottom, left:right]))
        image = opened(data)
        del data
        return photo_of(loaded(image), middle=side)


def _middle(width: int, height: int, side: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of it."""
    left, top = max(0, width - side) // 2, max(0, height - side) // 2
    return left, top, min(left + side, width), min(top + side, height)


def pixels_in(data: bytes) -> int:
    """Width times height as the file's head says; 0 where it says nothing. Of DICOM no less than they are."""
    if dicom_file.is_dicom(data):
        return len(data)
    try:
        width, height = Image.open(io.BytesIO(data), formats=FORMATS).size
        return width * height
    except Exception:  # what is wrong is told by whoever reads it
        return 0


def photo_of(image: Image.Image, strip: Strip = "none", middle: int = 0) -> Photo:
    """A photo from a loaded picture, which is turned upright in place.

    Args:
        image: as decoded.
        strip: as for ``read_photo``.
        middle: side of the part in the middle that is kept; 0 keeps all.

    Raises:
        BadImage: its pixels have 32 bits.
    """
    exif, lost = b"", []
    try:
        tags = image.getexif()
        ImageOps.exif_transpose(image, in_place=True)
        tags.pop(ORIENTATION, None)
        if strip == "gps":
            tags.pop(GPS, None)
        if image.format == "TIFF":
            for tag in [tag for tag in tags if tag not in TIFF_KEPT]:
                tags.pop(tag)
        if len(tags) and strip != "all":
            exif = tags.tobytes()
    except Exception:  # a damaged block raises anything; the picture is as its pixels say then, as viewers show it
        lost.append("EXIF (damaged)")
    xmp = "" if strip == "all" else _xmp(image, lost)
    if strip == "gps" and "gps" in xmp.lower():
        lost.append("XMP (it tells a place)")
        xmp = ""
    icc = image.info.get("icc_profile") or b""
    pixels, alpha = _pixels(image.crop(_middle(*image.size, middle)) if middle else image)
    if icc and icc[16:20] != (b"GRAY" if pixels.shape[2] == 1 else b"RGB "):
        lost.append("colour profile (of other colours than those stored)")
        icc = b""
    return Photo(pixels, alpha, exif, icc, xmp, lost)


def _deep(image: Image.Image) -> bool:
    """Whether a file that is not loaded yet stores 16 bits, which its mode does not show."""
    layouts = [str(tile[3]) for tile in getattr(image, "tile", ())]
    return any(";16" in layout for layout in layouts) or (image.format == "PPM" and "65535" in layouts[0])


def _xmp(image: Image.Image, lost: list[str]) -> str:
    found: Any = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    if not found and image.format == "TIFF":
        found = image.tag_v2.get(700) or b""  # type: ignore[attr-defined]
    try:
        return found if isinstance(found, str) else bytes(found).decode()
    except (UnicodeDecodeError, TypeError, ValueError):
        lost.append("XMP (damaged)")
        return ""


def _pixels(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours H×W×C and alpha H×W, both copies."""
    if image.mode.startswith("I;16"):
        if "transparency" in image.info:
            raise BadImage("16-bit gray with a transparent level, which noise would move; convert it to 8 bits first")
        return np.array(image).astype(np.uint16)[..., None], None
    clear = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    if not clear:
        return _copied(plain(image)), None
    both = image.convert("LA" if image.mode in ("L", "1", "LA", "La") else "RGBA")
    stored = np.array(both)
    return np.ascontiguousarray(stored[..., :-1]), stored[..., -1].copy()


def _copied(image: Image.Image) -> np.ndarray:
    """The pixels of an L or RGB picture, H×W×C, in strips: Pillow makes two copies of what it is asked for at once."""
    pixels = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    for top in range(0, image.height, ROWS):
        bottom = min(top + ROWS, image.height)
        strip = image if (top, bottom) == (0, image.height) else image.crop((0, top, image.width, bottom))
        pixels[top:bottom] = np.asarray(strip).reshape(bottom - top, image.width, -1)
    return pixels


def save_photo(photo: Photo, file: IO[bytes], output: Output, quality: int = 0) -> None:
    """Writes a photo; the same photo gives the same bytes (with the same Pillow). What is DICOM stays DICOM.

    Args:
        photo: with its noise.
        file: to write to.
        output: ``png`` and ``webp`` are without loss; ``jpeg`` is not (``photos.jpeg``).
        quality: of JPEG, 1 to 100.

    Raises:
        BadImage: WebP or JPEG cannot hold it.
        OSError: the disk is full, or what else writing raises.
    """
    if photo.dicom:
        photo.dicom.save(photo.pixels, file)
        return
    image, options = photo.image(), {}
    if photo.exif:
        options["exif"] = photo.exif
    if photo.icc:
        options["icc_profile"] = photo.icc
    if output == "png":
        texts = PngInfo()
        if photo.xmp:
            texts.add_itxt("XML:com.adobe.xmp", photo.xmp)
        # the noise is as fine as pixels can hold: higher levels take several times as long and gain a few percent
        # runs alone are looked for: a quarter faster than level 1, and 4 % larger
        image.save(file, "PNG", compress_level=1, compress_type=Z_RLE, pnginfo=texts, **options)
        return
    if photo.bits == 16:
        raise BadImage(f"16-bit gray, and {NAMES[output]} holds 8 bits; use format=png")
    side = WEBP_SIDE if output == "webp" else JPEG_SIDE
    if max(image.size) > side:
        raise BadImage(f"{image.width}×{image.height} pixels, and {NAMES[output]} holds {side} a side; use format=png")
    if photo.xmp:
        options["xmp"] = photo.xmp.encode()
    if output == "jpeg":
        if photo.alpha is not None:
            raise BadImage("transparency, and JPEG holds none; use format=png")
        # 4:4:4, since the noise has colour; tables made for the picture cost time and gain a few percent
        image.save(file, "JPEG", quality=quality, subsampling=0, **options)
        return
    # exact: colours under transparent pixels stay too
    image.save(file, "WEBP", lossless=True, exact=True, method=0, quality=0, **options)


def stored_as(photo: Photo, path: Path) -> bool:
    """Whether a file decodes to exactly that photo's pixels and alpha; compared in strips, to save memory."""
    if photo.dicom:
        return np.array_equal(dicom_file.decode_dicom(path.read_bytes())[0], photo.pixels)
    with Image.open(path) as image:
        image.load()
        height, width = photo.pixels.shape[:2]
        if image.size != (width, height):
            return False
        for top in range(0, height, ROWS):
            strip = image.crop((0, top, width, min(top + ROWS, height)))
            rows = slice(top, top + ROWS)
            pixels, alpha = _pixels(strip)
            if alpha is None:  # WebP leaves out an alpha that is opaque everywhere
                alpha = np.full(pixels.shape[:2], 255, np.uint8)
            if not np.array_equal(pixels, np.broadcast_to(photo.pixels[rows], pixels.shape)):
                return False
            if photo.alpha is not None and not np.array_equal(alpha, photo.alpha[rows]):
                return False
    return True
