"""A trained generator on photos of any size, at their own resolution.

The noise depends on an image through its code (K numbers) and, with tints, through the mean colours of its two zones;
apart from that it is a small tile that repeats. So a photo of any size needs no overlapping pieces and no blending:
the code is read once, from a copy reduced to what the generator was trained on, and the noise is added strip by strip;
the strips add up to the whole, bit for bit. Ours.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps

from datamodules.decode import plain
from datamodules.images import to_float
from datamodules.photo import Photo
from gan.networks import Generator
from gan.textures import ZONES, zones

STRIP = 1 << 20  # pixels that are worked on at a time


@dataclass(frozen=True)
class Change:
    """What the noise did to a photo, in its own grey levels (255 or 65535 is white).

    Attributes:
        largest: change of a pixel.
        squares: sum of the squared changes over all pixels and channels.
        values: how many those are.
        peak: 255 or 65535.
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


def reduced(photo: Photo, channels: int, size: tuple[int, int]) -> np.ndarray:
    """The copy that the code is read from: uint8 H×W×C, of the size and channels that the generator was trained on.

    The largest centred part of that shape, resized by Lanczos, transparent pixels over white, as training images are by
    default (``data.aspect=crop``).
    """
    image = plain(photo.image())
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    return np.asarray(ImageOps.fit(image, size[::-1], Image.Resampling.LANCZOS)).reshape(*size, channels)


@torch.no_grad()
def read_code(generator: Generator, photo: Photo, channels: int, size: tuple[int, int]) -> torch.Tensor:
    """The code, float 1×K, of a photo, read alone: it must not depend, to the last bit, on what shares a batch."""
    pixels = torch.from_numpy(reduced(photo, channels, size).copy()).permute(2, 0, 1)[None]
    device = next(generator.parameters()).device
    return generator.code(to_float(pixels.to(device)))


@torch.no_grad()
def steps_of(
    generator: Generator, code: torch.Tensor, photo: Photo, channels: int, epsilon: float, strip: int = STRIP
) -> np.ndarray:
    """The noise in the photo's own grey levels: int32 Z×t×t×C, a tile a zone, rounded and within the bound.

    Args:
        generator: trained.
        code: float 1×K.
        photo: of any size.
        channels: of the generator.
        epsilon: in grey levels of 255.
        strip: pixels worked on at a time.
    """
    means = torch.from_numpy(mean_colours(photo, channels, strip))[None].to(code.device) if generator.tinted else None
    tiles = generator.zone_tiles(code, means)[0].cpu().permute(0, 2, 3, 1)
    peak = np.iinfo(photo.pixels.dtype).max
    bound = int(epsilon * peak / 255)
    return (tiles * peak).round().clamp(-bound, bound).int().numpy()


def mean_colours(photo: Photo, channels: int, strip: int = STRIP) -> np.ndarray:
    """``gan.textures.zone_means`` of a photo, float32 (ZONES·C) in [0, 1]; sums of integers: strips do not matter."""
    height, width, own = photo.pixels.shape
    sums, counts = np.zeros((ZONES, channels), np.int64), np.zeros(ZONES, np.int64)
    for rows in _strips(height, width, 1, strip):
        pixels = photo.pixels[rows]
        if own > channels:
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
        for zone, mask in enumerate(zones((height, width), rows).bool().numpy()):
            sums[zone] += (pixels * mask[..., None]).sum((0, 1), dtype=np.int64)
            counts[zone] += mask.sum()
    peak = np.iinfo(photo.pixels.dtype).max
    return (sums / np.maximum(counts, 1)[:, None] / peak).astype(np.float32).ravel()


def add_noise(photo: Photo, steps: np.ndarray, strip: int = STRIP) -> Change:
    """Adds noise to a photo's pixels, in place.

    Args:
        photo: with as many channels as the noise, or three where the noise has one.
        steps: of ``steps_of``.
        strip: pixels worked on at a time.
    """
    height, width = photo.pixels.shape[:2]
    side, peak = steps.shape[1], int(np.iinfo(photo.pixels.dtype).max)
    across = np.tile(steps, (1, 1, -(-width // side), 1))[:, :, :width]
    largest = squares = 0
    for rows in _strips(height, width, side, strip):
        before = photo.pixels[rows].astype(np.int32)
        noise = np.tile(across, (1, -(-len(before) // side), 1, 1))[:, : len(before)]
        if len(noise) == 1:
            chosen = noise[0]
        else:
            chosen = np.where(zones((height, width), rows)[0].bool().numpy()[..., None], noise[0], noise[1])
        after = np.clip(before + chosen, 0, peak)
        photo.pixels[rows] = after
        change = np.abs(after - before)
        largest = max(largest, int(change.max()))
        squares += int((change.astype(np.int64) ** 2).sum())
    return Change(largest, squares, photo.pixels.size, peak)


def _strips(height: int, width: int, side: int, pixels: int) -> list[slice]:
    """Rows of an image in strips of about so many pixels, each a whole number of tiles high."""
    rows = max(1, pixels // (width * side)) * side
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]
