"""From an owner's file to a photo.

What becomes of what (``datamodules.decode`` is for training images, which are brought to one form; here all is kept;
docs/PROTECT.md has the whole table):

==================  =================================================================================================
EXIF orientation    the pixels are turned upright
alpha               kept as it is, 8 bits
palette, 1-bit      as RGB (transparent entries: alpha) and as gray
CMYK, LAB           as sRGB by their colour profile; without one as Pillow converts them
16-bit gray         stays 16-bit
more bits, floats   refused: Pillow would cut them to 8 bits, or nothing says how they are displayed
DICOM               stays DICOM, at its own depth, every frame (``photos.dicom``)
animations          every frame
several pages       of a TIFF the only one that is no preview; else refused
several pictures    of a camera's MPO the first, of HEIC the main one
==================  =================================================================================================
"""

import io
from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np
import pillow_heif
from PIL import Image, ImageOps, TiffImagePlugin

from datamodules import decode
from datamodules.decode import BadImage, bad_images, loaded, plain
from photos import dicom
from photos.description import metadata
from photos.description.jxl import decode_jxl, is_jxl, jxl_size
from photos.description.metadata import Metadata, Strip, read_metadata
from photos.dicom_pixels import FLOATING, MOST
from photos.dicom_pixels import pixels_in as dicom_pixels_in
from photos.display import ROWS, WHITE
from photos.kinds import HEAD, READ, kind_of
from photos.photo import CONVERTED, Animation, Photo, to_srgb, without_profile

FORMATS = (*decode.FORMATS, "AVIF", "HEIF")
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
SUBFILE, PHOTOMETRIC, SUB_IFDS = 254, 262, 330
DEEP = "16-bit colour or transparency, which would be cut to 8 bits; convert it to 8 bits first"

pillow_heif.register_heif_opener(thumbnails=False)


def read_photo(data: bytes, strip: Strip = "none", protected: bool = False) -> Photo:
    """A photo from a file's bytes.

    Args:
        data: of the file.
        strip: ``gps`` leaves out what tells a place, ``all`` all but resolution and how pixels are shown.
        protected: it may be a copy of this program's; only DICOM says whether it is.

    Raises:
        BadImage: empty, unreadable, of several pages, of a depth that would be lost, or above 179 megapixels; of a
            displayed range that cannot be told; protected already.
    """
    with bad_images():
        if dicom.is_dicom(data):
            pixels, template = dicom.decode_dicom(data, strip == "none")
            if template.protected and not protected:
                raise BadImage("protected already by this program; give the original")
            frames, peak = template.layout.frames, template.layout.peak
            animation = Animation((0,) * frames, 0) if frames > 1 else None
            return Photo(pixels, peak=peak, dicom=template, display=template.display, animation=animation)
        image = _opened(data)
        described = read_metadata(data, strip)
        if image.format in ANIMATED and getattr(image, "n_frames", 1) > 1:
            return _animation(image, described)
        return photo_of(loaded(image), described)


def read_middle(path: Path, side: int) -> Photo:
    """The middle of a photo, at most ``side`` pixels wide and high, upright; less memory than all of it would take.

    Raises:
        BadImage: as ``read_photo``.
        OSError: the file cannot be read.
    """
    with bad_images():
        data = path.read_bytes()
        if dicom.is_dicom(data):
            return _middle(read_photo(data, protected=True), side)
        image = _opened(data)
        described = read_metadata(data, "all")  # the profile decides about colours
        del data
        return photo_of(loaded(image), described, side)


def pixels_in(data: bytes) -> int:
    """Width times height times frames as the file's head says, 0 where it says nothing."""
    if dicom.is_dicom(data):
        return dicom_pixels_in(data)
    try:
        if is_jxl(data):
            width, height = jxl_size(data)
            return width * height
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        return image.width * image.height * (getattr(image, "n_frames", 1) if image.format in ANIMATED else 1)
    except Exception:  # what is wrong is told by whoever reads it
        return 0


def items_of(data: metadata.Data) -> dict[str, bytes]:
    """Every item of a file that describes its picture: name and value (``photos.description.metadata.inventory``)."""
    return dicom.inventory(data) if dicom.is_dicom(data[:HEAD]) else metadata.inventory(data)


def places_in(data: bytes) -> list[str]:
    """Names of the items that tell a place; of DICOM, whose places are not looked for, none."""
    return [] if dicom.is_dicom(data) else metadata.places(data)


def previews_in(data: bytes) -> list[str]:
    """Names of the items that hold another picture, or refer to one."""
    if not dicom.is_dicom(data):
        return metadata.previews(data)
    dropped = dicom.decode_dicom(data, True)[1].dropped
    return [name for name, reason in dropped.items() if reason == dicom.OTHER_COPY]


def photo_of(image: Image.Image, described: Metadata | None = None, middle: int = 0) -> Photo:
    """A photo from a loaded picture, which is turned upright in place.

    Args:
        image: as decoded.
        described: what describes it; None for nothing.
        middle: side of the part in the middle that is kept; 0 keeps all.

    Raises:
        BadImage: its pixels have 32 bits; or 16, and their displayed range cannot be told.
    """
    described = described or Metadata()
    with suppress(Exception):  # of a damaged block; the picture is as its pixels say then, as viewers show it
        ImageOps.exif_transpose(image, in_place=True)
    deep = image.mode.startswith("I;16")  # whose display is that of all of it
    part = image.crop(_box(*image.size, middle)) if middle and not deep else image
    if described.icc and image.mode in ("CMYK", "LAB") and (converted := to_srgb(part, described.icc)):
        part, described = converted, without_profile(described, CONVERTED)
    pixels, alpha = pixels_of(part)
    if deep and image.format == "TIFF" and _tags(image).get(PHOTOMETRIC) == 0:
        np.subtract(WHITE, pixels, out=pixels)  # 0 is white there, and in no other format; Pillow knows it of 8 bits
    if described.icc and described.icc[16:20] != (b"GRAY" if pixels.shape[2] == 1 else b"RGB "):
        described = without_profile(described, "of other colours than those stored")
    photo = Photo(pixels, alpha, described)
    return _middle(photo, middle) if middle and deep else photo


def _middle(photo: Photo, side: int) -> Photo:
    """The middle of a photo without alpha, in the display of all of it."""
    left, top, right, bottom = _box(photo.width, photo.height, side)
    pixels = np.ascontiguousarray(photo.pixels[top:bottom, left:right])
    return Photo(pixels, None, photo.metadata, photo.peak, photo.dicom, photo.display)


def _box(width: int, height: int, side: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the middle."""
    left, top = max(0, width - side) // 2, max(0, height - side) // 2
    return left, top, min(left + side, width), min(top + side, height)


def _opened(data: bytes) -> Image.Image:
    """A picture whose pixels are not decoded yet, of at most 8 bits per channel or 16-bit gray.

    Raises:
        BadImage: empty, unknown, deeper, or of several pages. Else what Pillow raises.
    """
    if not data:
        raise BadImage("empty file")
    kind = kind_of(data[:HEAD])
    if kind and kind not in READ:
        raise BadImage(f"{kind} files are not read; convert them to PNG, TIFF or JPEG")
    if is_jxl(data):
        return Image.fromarray(decode_jxl(data))
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16") and _deep(image):
        raise BadImage(DEEP)
    bits = _bits(image, data)
    if bits > 8:
        raise BadImage(f"{kind} of {bits} bits per channel, which would be cut to 8; convert it to 8 bits first")
    if image.format == "TIFF":
        _seek_main(cast(TiffImagePlugin.TiffImageFile, image))
    return image


def _deep(image: Image.Image) -> bool:
    """Whether a file that is not loaded yet stores 16 bits, which its mode does not show."""
    layouts = [str(tile[3]) for tile in getattr(image, "tile", ())]
    return any(";16" in layout for layout in layouts) or (image.format == "PPM" and "65535" in layouts[0])


def _bits(image: Image.Image, data: bytes) -> int:
    """Of a channel of an AVIF or HEIC; 8 of others."""
    if image.format == "HEIF":
        return int(image.info.get("bit_depth", 8))
    at = data.find(b"av1C") + 4 if image.format == "AVIF" else 0
    if at < 4:  # the record of the AV1 codec: marker, profile, then two flags in its third byte
        return 8
    return (8, 10, 12)[(data[at + 2] >> 6 & 1) + ((data[at + 2] >> 6 & 1) & (data[at + 2] >> 5 & 1))]


def _tags(image: Image.Image) -> TiffImagePlugin.ImageFileDirectory_v2:
    return cast(TiffImagePlugin.TiffImageFile, image).tag_v2


def _seek_main(image: TiffImagePlugin.TiffImageFile) -> None:
    """Goes to the page of a TIFF that is no preview of another.

    Raises:
        BadImage: there are several, or none.
    """
    pages, mains = image.n_frames, []
    for page in range(pages):
        image.seek(page)
        if not int(image.tag_v2.get(SUBFILE, 0)) & 1:
            mains.append(page)
    if not mains:
        inner = " (its picture is in a directory below: a camera's raw file)" if SUB_IFDS in image.tag_v2 else ""
        raise BadImage(f"holds a preview alone{inner}; export it as TIFF or JPEG")
    if len(mains) > 1:
        raise BadImage(f"{len(mains)} pages; one expected: save each as a file of its own")
    image.seek(mains[0])


def pixels_of(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours H×W×C and alpha H×W of a loaded picture, both copies.

    Raises:
        BadImage: of 32 bits, or 16 with a transparent level.
    """
    if image.mode == "F":
        raise BadImage(FLOATING)
    if image.mode == "I":
        raise BadImage("32-bit or signed whole numbers, whose displayed range the file does not state")
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


def frames_of(image: Image.Image) -> tuple[list[np.ndarray], list[int]]:
    """The frames of an animation, uint8 H×W×4, and how long each is shown, in milliseconds; like ones are joined."""
    frames: list[np.ndarray] = []
    durations: list[int] = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        image.load()
        duration = round(float(image.info.get("duration", 0)))
        frame = np.array(image.convert("RGBA"))
        if frames and np.array_equal(frame, frames[-1]):
            durations[-1] += duration
        else:
            frames.append(frame)
            durations.append(duration)
    return frames, durations


def _animation(image: Image.Image, described: Metadata) -> Photo:
    """All frames of an animation.

    Raises:
        BadImage: they are too many, or a still picture lies beside them.
    """
    if getattr(image, "default_image", False):
        raise BadImage("an animation with a still picture of its own; save each as a file of its own")
    if image.width * image.height * image.n_frames > MOST:  # type: ignore[attr-defined]
        raise BadImage(f"{image.n_frames} frames of together more than 179 megapixels")  # type: ignore[attr-defined]
    loop = int(image.info.get("loop", 1))
    stacked, durations = frames_of(image)
    if len(stacked) == 1:
        return photo_of(Image.fromarray(stacked[0]), described)
    pixels = np.concatenate(stacked)
    alpha = None if (pixels[..., 3] == 255).all() else pixels[..., 3].copy()
    if described.icc and described.icc[16:20] != b"RGB ":
        described = without_profile(described, "of other colours than those stored")
    colours = np.ascontiguousarray(pixels[..., :3])
    return Photo(colours, alpha, described, animation=Animation(tuple(durations), loop))
