"""From a photo to the file that is published, without loss but for JPEG; and whether a file is what was meant."""

from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from PIL import Image

from datamodules.decode import BadImage
from photos import dicom
from photos.description.embed import NAMES
from photos.description.metadata import Inserting, Output, for_output, unheld, webp_options
from photos.display import ROWS
from photos.photo import Photo
from photos.read import frames_of, pixels_of

SAMPLE = 16  # of so many copies without loss one is decoded again
Z_RLE = 3  # zlib's strategy
WEBP_SIDE, JPEG_SIDE = 16383, 65535


def save_photo(photo: Photo, file: IO[bytes], output: Output, quality: int = 0) -> None:
    """Writes a photo; the same photo gives the same bytes (with the same Pillow). What is DICOM stays DICOM.

    Args:
        photo: with its noise.
        file: to write to.
        output: ``png`` and ``webp`` are without loss; ``jpeg`` is not (``photos.jpeg``).
        quality: of JPEG, 1 to 100.

    Raises:
        BadImage: the format cannot hold it, or not how its pixels are to be shown.
        OSError: the disk is full, or what else writing raises.
    """
    if photo.dicom:
        photo.dicom.save(photo.pixels, file)
        return
    _check(photo, output)
    options: dict[str, Any] = {}
    if photo.animation:
        later = [photo.frame(number).image() for number in range(1, photo.frames)]
        options = {"save_all": True, "append_images": later, "duration": list(photo.animation.durations)}
        options["loop"] = photo.animation.loop
    image, target = photo.image(), cast(IO[bytes], Inserting(file, for_output(photo.metadata, output)))
    if output == "png":
        # the noise is as fine as pixels can hold: higher levels take several times as long and gain a few percent
        # runs alone are looked for: a quarter faster than level 1, and 4 % larger
        image.save(target, "PNG", compress_level=1, compress_type=Z_RLE, **options)
    elif output == "jpeg":
        # 4:4:4, since the noise has colour; tables made for the picture cost time and gain a few percent
        image.save(target, "JPEG", quality=quality, subsampling=0)
    else:
        # exact: colours under transparent pixels stay too
        described = webp_options(photo.metadata)
        image.save(file, "WEBP", lossless=True, exact=True, method=0, quality=0, **described, **options)


def _check(photo: Photo, output: Output) -> None:
    """Refuses what a format cannot hold."""
    if reason := unheld(photo.metadata, output):
        raise BadImage(reason)
    if output == "png":
        return
    name, side = NAMES[output], WEBP_SIDE if output == "webp" else JPEG_SIDE
    if photo.bits == 16:
        raise BadImage(f"16-bit gray, and {name} holds 8 bits; use format=png")
    if max(photo.width, photo.height) > side:
        raise BadImage(f"{photo.width}×{photo.height} pixels, and {name} holds {side} per side; use format=png")
    if output == "jpeg" and photo.alpha is not None:
        raise BadImage("transparency, and JPEG holds none; use format=png")
    if output == "jpeg" and photo.animation:
        raise BadImage("an animation, and JPEG holds one picture; use format=png or webp")


def to_be_decoded(photo: Photo, output: Output, sha256: str) -> bool:
    """Whether a copy is decoded again, whole, before it gets its name.

    The bound is measured on the pixels that are encoded. What an encoder without loss makes of them can only be other
    pixels where it is faulty: so one of ``SAMPLE`` still pictures in PNG or WebP is decoded, and all of whatever else.

    Args:
        photo: with its noise.
        output: the format of the copy.
        sha256: of the owner's file, which decides; so that the choice depends on nothing else.
    """
    still = output in ("png", "webp") and not photo.animation and not photo.dicom
    return not still or int(sha256[:8], 16) % SAMPLE == 0


def stored_as(photo: Photo, path: Path) -> bool:
    """Whether a file decodes to exactly that photo's pixels, alpha and timing; compared in strips, to save memory."""
    if photo.dicom:
        return dicom.stored_in(path, photo.pixels)
    with Image.open(path) as image:
        if image.size != (photo.width, photo.height):
            return False
        if not photo.animation:
            image.load()
            return _equal(image, photo)
        stored, durations = frames_of(image)
        if tuple(durations) != photo.animation.durations or image.info.get("loop", 1) != photo.animation.loop:
            return False
        return all(_equal(Image.fromarray(one), photo.frame(number)) for number, one in enumerate(stored))


def _equal(image: Image.Image, photo: Photo) -> bool:
    for top in range(0, photo.height, ROWS):
        strip = image.crop((0, top, photo.width, min(top + ROWS, photo.height)))
        rows = slice(top, top + ROWS)
        pixels, alpha = pixels_of(strip)
        if alpha is None:  # WebP leaves out an alpha that is opaque everywhere
            alpha = np.full(pixels.shape[:2], 255, np.uint8)
        if not np.array_equal(pixels, np.broadcast_to(photo.pixels[rows], pixels.shape)):
            return False
        opaque = photo.alpha is None
        if not np.array_equal(alpha, np.full_like(alpha, 255) if opaque else cast(np.ndarray, photo.alpha)[rows]):
            return False
    return True
