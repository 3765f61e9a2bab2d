"""From a file's bytes, or stored pixels, to uint8 H×W×C at the size that the options ask for.

What is done with what is no plain 8-bit RGB or gray (each row has a test):

==================  =================================================================================================
EXIF orientation    applied
palette             its colours; its transparency as alpha
alpha               composited over white, as a page would show it
CMYK, YCbCr, LAB    converted to RGB by Pillow, without colour profiles; Adobe's inverted CMYK is known
16-bit gray         the full range 0–65535 to 0–255 (divided by 257, rounded); of 16-bit colour Pillow takes the upper 8
1-bit               0 and 255
gray as RGB         the one channel three times; RGB as gray: ITU-R 601 luma
several frames      refused (GIF, WebP, PNG, TIFF); of a camera's MPO the first picture, which is the photo
==================  =================================================================================================

Colour profiles are ignored, as every training pipeline does.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from datamodules.config import Aspect

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm")
_LANCZOS = Image.Resampling.LANCZOS
Image.init()  # all formats at once: threads must not find half of them; an MPO opens as JPEG


class BadImage(Exception):
    """An image that cannot be used; the message is the reason, in a few words."""


@dataclass(frozen=True)
class TargetFormat:
    """What every image is brought to.

    Attributes:
        size: pixels per side; 0 keeps the image's own size.
        aspect: ``crop`` (the largest centred square), ``pad`` (black bars), ``resize`` (the shape is not kept).
        channels: 1 gray, 3 RGB.
    """

    size: int
    aspect: Aspect
    channels: int


def decode(data: bytes, form: TargetFormat) -> np.ndarray:
    """An encoded image as uint8 H×W×C, C = ``form.channels``.

    Large JPEGs are decoded at a half, a quarter or an eighth of their size where that is still twice the size asked for
    (libjpeg's scaled decoding, several times faster), then resized by Lanczos.

    Pillow warns of much that is harmless (damaged EXIF blocks, palettes); callers silence it, from one thread.

    Raises:
        BadImage: empty, unreadable, of several frames, or above Pillow's limit of 179 megapixels.
    """
    with bad_images():
        image = opened(data)
        if form.size:
            image.draft(None, (2 * form.size, 2 * form.size))
        return fit(plain(ImageOps.exif_transpose(loaded(image))), form)


@contextmanager
def bad_images() -> Iterator[None]:
    """Whatever Pillow raises inside on a damaged file, as BadImage: a dozen kinds, none of which may end a run."""
    try:
        yield
    except BadImage:
        raise
    except Exception as error:
        raise BadImage(_reason(error)) from error


def opened(data: bytes) -> Image.Image:
    """An image whose pixels are not decoded yet.

    Raises:
        BadImage: empty, or of several frames (of a camera's MPO the first counts). Else what Pillow raises.
    """
    if not data:
        raise BadImage("empty file")
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    frames = getattr(image, "n_frames", 1)
    if image.format != "MPO" and frames > 1:
        raise BadImage(f"{frames} frames; one expected")
    return image


def loaded(image: Image.Image) -> Image.Image:
    """The same with its pixels decoded, in a mode of as many bits as the file has."""
    image.load()
    if image.mode == "I" and image.format == "PPM":  # a 16-bit .pgm, which Pillow brings to 0–65535
        return Image.fromarray(np.asarray(image).astype(np.uint16))
    return image


def read(path: Path, form: TargetFormat) -> np.ndarray:
    """An image file as ``decode`` gives it.

    Raises:
        BadImage: as ``decode``, or the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadImage(f"cannot be read ({error.strerror})") from error
    return decode(data, form)


def refit(pixels: np.ndarray, form: TargetFormat) -> np.ndarray:
    """Stored pixels, uint8 H×W×C, in that form; the array itself if it has it already."""
    height, width, channels = pixels.shape
    if channels == form.channels and (not form.size or height == width == form.size):
        return pixels
    return fit(Image.fromarray(pixels[..., 0] if channels == 1 else pixels), form)


def fit(image: Image.Image, form: TargetFormat) -> np.ndarray:
    """A gray or RGB picture as uint8 H×W×C in that form."""
    mode = "L" if form.channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    width, height = image.size
    if form.size and (width, height) != (form.size, form.size):
        image = _resized(image, form)
    return np.asarray(image).reshape(image.height, image.width, form.channels)


def _resized(image: Image.Image, form: TargetFormat) -> Image.Image:
    size, (width, height) = form.size, image.size
    if form.aspect == "resize":
        return image.resize((size, size), _LANCZOS)
    if form.aspect == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return image.resize((size, size), _LANCZOS, box=(left, top, left + side, top + side))
    scale = size / max(width, height)
    inner = image.resize((max(1, round(width * scale)), max(1, round(height * scale))), _LANCZOS)
    padded = Image.new(image.mode, (size, size))
    padded.paste(inner, ((size - inner.width) // 2, (size - inner.height) // 2))
    return padded


def plain(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes as L or RGB.

    Raises:
        BadImage: its pixels have 32 bits.
    """
    if image.mode in ("L", "RGB"):
        if "transparency" not in image.info:
            return image
        image = image.convert("RGBA")
    if image.mode.startswith("I;16"):
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise BadImage("32-bit pixels; 8 or 16 bits expected")
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def _reason(error: Exception) -> str:
    """An exception of Pillow's in a few words."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "cannot identify image file" in text:
        return "no image in a known format"
    return text[:120]
