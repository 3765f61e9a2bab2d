"""Copies as JPEG: the bound is measured on the decoded file, so quality rises, then noise is cut, until it holds.

JPEG moves pixels by itself: at quality 95 by up to a dozen levels, at 100 by two or three. What is left of the noise is
measured too, since much of it lies where JPEG keeps least. Decoders differ by a level here and there; measured is what
Pillow's (libjpeg-turbo) gives. Ours.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from datamodules.decode import BadImage
from photos.change import Change
from photos.display import ROWS
from photos.photo import Photo, change_between
from photos.read import read_photo
from photos.write import save_photo

QUALITIES = (97, 99, 100)  # tried above the one asked for


@dataclass(frozen=True)
class Encoded:
    """A copy that keeps the bound.

    Attributes:
        data: the file.
        photo: what it decodes to.
        change: between the photo and that.
        quality: of the file.
        kept: share of the noise that was meant and is there after decoding: ⟨change, noise⟩ / ⟨noise, noise⟩; None
            where no noise was meant.
    """

    data: bytes
    photo: Photo
    change: Change
    quality: int
    kept: float | None


def encode_jpeg(before: Photo, noisy: Callable[[int], Photo], epsilon: float, quality: int) -> Encoded:
    """A photo with as much noise, in as small a file, as keeps the bound when decoded.

    Args:
        before: the photo.
        noisy: a copy of it with its noise, cut to so many levels; cutting keeps more of it than scaling.
        epsilon: the bound in grey levels of 255.
        quality: the lowest that may be used, 1 to 100.

    Raises:
        BadImage: JPEG cannot hold it, or moves a pixel past the bound at any quality, with a single level of noise.
    """
    most = int(epsilon)
    whole = noisy(most)
    tries = [(q, most) for q in (quality, *(q for q in QUALITIES if q > quality))]
    for q, levels in tries + [(100, levels) for levels in range(most - 1, 0, -1)]:
        buffer = io.BytesIO()
        save_photo(whole if levels == most else noisy(levels), buffer, "jpeg", q)
        after = read_photo(buffer.getvalue())
        change = change_between(before, after)
        if change.levels <= epsilon:
            kept = _kept(before.pixels, whole.pixels, after.pixels)
            after.metadata = before.metadata
            return Encoded(buffer.getvalue(), after, change, q, kept)
    raise BadImage(f"JPEG alone moves a pixel by more than ε = {epsilon:g} levels, at quality 100 too; use format=png")


def _kept(before: np.ndarray, meant: np.ndarray, after: np.ndarray) -> float | None:
    common = whole = 0
    for top in range(0, len(before), ROWS):
        own = before[top : top + ROWS].astype(np.float64).ravel()
        noise = meant[top : top + ROWS].ravel() - own
        common += int(noise @ (after[top : top + ROWS].ravel() - own))
        whole += int(noise @ noise)
    return common / whole if whole else None
