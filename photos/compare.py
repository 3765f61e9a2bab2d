"""A photo beside its copy, as the owner's report shows them: the whole picture, and its smoothest part."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from photos.display import Display
from photos.manifest import Entry
from photos.noise import shown
from photos.photo import Photo
from photos.read import read_photo

WHOLE, PART = 640, 320  # pixels per side, at most: of whole pictures and of parts
DARK = 64  # grey levels; darker parts hide noise, and are not what is looked for
VISIBLE = (
    (40, "Hardly anybody sees the noise."),
    (35, "The noise may be seen on smooth areas, by who looks for it."),
    (0, "The noise can be seen on smooth areas."),
)  # PSNR in dB from which it is so


@dataclass(frozen=True)
class Pair:
    """A picture before and after, of the same size; data URIs of WebP without loss.

    Attributes:
        before: the photo.
        after: its copy.
        noise: the change, amplified; gray is none.
        width: in pixels.
        height: likewise.
        scale: of the photo's own width.
    """

    before: str
    after: str
    noise: str
    width: int
    height: int
    scale: float


@dataclass(frozen=True)
class Comparison:
    """A photo and its copy.

    Attributes:
        entry: its line in the manifest.
        whole: the whole picture, shrunk if it is large; None where there is a fault.
        detail: a part at true pixels; None where the whole picture has them.
        visible: what may be seen, in words.
        fault: why they cannot be shown; else empty.
    """

    entry: Entry
    whole: Pair | None = None
    detail: Pair | None = None
    visible: str = ""
    fault: str = ""


def compared(entry: Entry, source: Path, folder: Path, epsilon: float) -> Comparison:
    """A photo beside its copy, both as they are displayed; one of them is in memory at a time.

    Args:
        entry: its line in the manifest.
        source: holds the photos.
        folder: holds the copies.
        epsilon: change in grey levels that the noise's picture shows as black or white.
    """
    try:
        photo = read_photo((source / entry.source).read_bytes())
        image, display = shown(photo, 3), photo.display
        del photo
        box = _smoothest(image) if max(image.size) > WHOLE else None
        before, size = _parts(image, box), image.size
        del image
        after = _parts(_copy(folder / entry.path, display), box)
    except Exception as error:  # a report is made whatever became of a file since; 'verify' tells
        return Comparison(entry, fault=str(error) or type(error).__name__)
    if [one.size for one in before] != [one.size for one in after]:
        return Comparison(entry, fault="the photo and its copy are of different sizes")
    pairs = [_pair(*both, epsilon, size[0]) for both in zip(before, after, strict=True)]
    words = next(text for least, text in VISIBLE if entry.psnr is None or entry.psnr >= least)
    return Comparison(entry, pairs[0], pairs[1] if box else None, words)


def picture_uri(image: Image.Image) -> str:
    """A picture as a data URI, without loss."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, quality=20, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _copy(path: Path, display: Display | None) -> Image.Image:
    """A copy as its photo is displayed."""
    photo = read_photo(path.read_bytes(), protected=True)
    return shown(photo if display is None else Photo(photo.eight(display)), 3)


def _parts(image: Image.Image, box: tuple[int, int, int, int] | None) -> list[Image.Image]:
    part = [image.crop(box)] if box else []
    small = max(image.size) <= WHOLE
    whole = image if small else ImageOps.contain(image, (WHOLE, WHOLE), Image.Resampling.BOX)
    return [whole, *part]


def _pair(before: Image.Image, after: Image.Image, epsilon: float, width: int) -> Pair:
    change = np.asarray(after, np.float32) - np.asarray(before, np.float32)
    noise = Image.fromarray((127.5 + change * (127.5 / epsilon)).round().clip(0, 255).astype(np.uint8))
    uris = picture_uri(before), picture_uri(after), picture_uri(noise)
    return Pair(*uris, *before.size, before.width / width)


def _smoothest(image: Image.Image) -> tuple[int, int, int, int]:
    """Where a part of PART×PART pixels has the smallest steps from pixel to pixel, and is not dark."""
    factor = max(1, max(image.size) // 256)
    gray = np.asarray(image.convert("L").reduce(factor), np.float64)
    steps = np.abs(np.diff(gray, axis=0, append=gray[-1:])) + np.abs(np.diff(gray, axis=1, append=gray[:, -1:]))
    height, width = (min(PART // factor, side) for side in gray.shape)
    rough = _sums(steps, height, width) + 1e6 * (_sums(gray, height, width) < DARK * height * width)
    top, left = (int(place) * factor for place in np.unravel_index(rough.argmin(), rough.shape))
    top, left = max(0, min(top, image.height - PART)), max(0, min(left, image.width - PART))
    return left, top, min(left + PART, image.width), min(top + PART, image.height)


def _sums(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Of every window of so many cells."""
    total = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    rows = total[height:] - total[:-height]
    found: np.ndarray = rows[:, width:] - rows[:, :-width]
    return found
