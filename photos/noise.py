"""A trained generator on photos of any size, at their own resolution.

The noise depends on an image through its code (K numbers) and, with tints, through the mean colours of its two zones;
apart from that it is a small tile that repeats. So a photo of any size needs no overlapping pieces and no blending:
the code is read once, from a copy reduced to what the generator was trained on, and the noise is added strip by strip;
the strips add up to the whole, bit for bit. Ours.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from datamodules.decode import plain
from datamodules.images import to_float
from gan.networks import Generator
from gan.textures import ZONES, zones
from photos.change import Change, Tally
from photos.photo import SMALL, Photo

STRIP = 1 << 20  # pixels that are worked on at a time
BATCH = 8  # small photos that are read at a time; more is hardly faster


def reduced(photo: Photo, channels: int, size: tuple[int, int]) -> np.ndarray:
    """The copy that the code is read from: uint8 H×W×C, of the size and channels that the generator was trained on.

    The largest centred part of that shape, resized by Lanczos, transparent pixels over white, as training images are by
    default (``data.aspect=crop``). Of more than 8 bits the picture is read as it is displayed.
    """
    image = plain(photo.image() if photo.display is None else Photo(photo.eight()).image())
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    return np.asarray(ImageOps.fit(image, size[::-1], Image.Resampling.LANCZOS)).reshape(*size, channels)


def fused(generator: Generator) -> Generator:
    """A copy for reading: batch norms of its frozen readers are worked into the convolutions before them.

    Codes differ from the generator's own by rounding.
    """
    copied = copy.deepcopy(generator).eval()
    for reader in (copied.encoder, copied.second):
        if isinstance(reader, nn.Module):
            _fuse(reader)
    return copied.to(memory_format=torch.channels_last)


def _fuse(module: nn.Module) -> None:
    before: tuple[str, nn.Module] | None = None
    for name, child in list(module.named_children()):
        if (
            isinstance(child, nn.BatchNorm2d)
            and before
            and isinstance(before[1], nn.Conv2d)
            and before[1].out_channels == child.num_features
        ):
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, getattr(child, "act", nn.Identity()))  # timm's have their activation inside
            before = None
        else:
            _fuse(child)
            before = name, child


@torch.inference_mode()
def read_codes(
    generator: Generator, photos: Sequence[Photo], channels: int, size: tuple[int, int], batch: int = BATCH
) -> Tensor:
    """The codes, float N×K, of photos; each depends on its photo alone, to the last bit.

    What a processor makes of a batch depends, in the last bits, on how many images are in it, but not on which others
    they are (``independent`` looks whether that holds). So small photos are read in batches of one size, filled up with
    black images, and large ones, where reading costs little beside the rest, alone.

    Args:
        generator: trained.
        photos: N, of any sizes.
        channels: of the generator.
        size: height and width that it was trained on.
        batch: small photos that are read at a time.
    """
    device = next(generator.parameters()).device
    copies = torch.zeros(len(photos), channels, *size, dtype=torch.uint8)
    for place, photo in enumerate(photos):
        copies[place] = torch.from_numpy(reduced(photo, channels, size).copy()).permute(2, 0, 1)
    large = [photo.pixels.shape[0] * photo.pixels.shape[1] > SMALL for photo in photos]
    alone = [place for place, yes in enumerate(large) if yes]
    shared = [place for place, yes in enumerate(large) if not yes]
    codes: dict[int, Tensor] = {}
    for places, count in [([place], 1) for place in alone] + [
        (shared[start : start + batch], batch) for start in range(0, len(shared), batch)
    ]:
        images = torch.zeros(count, channels, *size)
        images[: len(places)] = to_float(copies[places])
        codes |= zip(places, generator.code(images.to(device)), strict=False)
    return torch.stack([codes[place] for place in range(len(photos))])


@torch.inference_mode()
def independent(generator: Generator, channels: int, size: tuple[int, int], batch: int = BATCH) -> bool:
    """Whether an image's code has the same bits wherever it is in a batch, whatever the others are; tried on noise."""
    device = next(generator.parameters()).device
    source = torch.Generator().manual_seed(0)
    images = torch.rand(2 * batch - 1, channels, *size, generator=source).to(device)
    codes = generator.code(images[:batch])
    others = generator.code(torch.cat([images[batch:], images[:1]]))
    return torch.equal(codes.flip(0), generator.code(images[:batch].flip(0))) and torch.equal(codes[0], others[-1])


@torch.no_grad()
def steps_of(
    generator: Generator, code: torch.Tensor, photo: Photo, channels: int, epsilon: float, strip: int = STRIP
) -> np.ndarray:
    """The noise in the photo's own stored levels: int32 Z×t×t×C, a tile a zone, rounded and within the bound.

    The bound is ε of what is displayed, in every view that the file states (``photos.display``). Where higher values
    are darker the noise has the other sign, so that it looks as it does on others.

    Args:
        generator: trained.
        code: float 1×K.
        photo: of any size.
        channels: of the generator.
        epsilon: in grey levels of 255.
        strip: pixels worked on at a time.

    Raises:
        BadImage: the bound is less than one stored level.
    """
    display = photo.display
    bound = int(epsilon) if display is None else display.bound(epsilon)
    scale = 255 if display is None else bound * 255 / epsilon * (-1 if display.falling else 1)
    means = torch.from_numpy(mean_colours(photo, channels, strip))[None].to(code.device) if generator.tinted else None
    tiles = generator.zone_tiles(code, means)[0].cpu().permute(0, 2, 3, 1)
    return (tiles * scale).round().clamp(-bound, bound).int().numpy()


def mean_colours(photo: Photo, channels: int, strip: int = STRIP) -> np.ndarray:
    """``gan.textures.zone_means`` of a photo, float32 (ZONES·C) in [0, 1]; sums of integers: strips do not matter.

    Of more than 8 bits they are those of the displayed picture.
    """
    first = photo.frame(0)
    whole = first.eight()
    height, width, own = first.pixels.shape
    sums, counts = np.zeros((ZONES, channels), np.int64), np.zeros(ZONES, np.int64)
    for rows in _strips(height, width, 1, strip):
        pixels = whole[rows]
        if own > channels:
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
        for zone, mask in enumerate(zones((height, width), rows).bool().numpy()):
            sums[zone] += (pixels * mask[..., None]).sum((0, 1), dtype=np.int64)
            counts[zone] += mask.sum()
    return (sums / np.maximum(counts, 1)[:, None] / 255).astype(np.float32).ravel()


def add_noise(photo: Photo, steps: np.ndarray, strip: int = STRIP) -> Change:
    """Adds noise to a photo's pixels, in place.

    No value comes out of 0 to 255, or of the range of the values that a picture with a display has; padding stays as it
    is, and a pixel that would become padding too.

    Args:
        photo: with as many channels as the noise, or three where the noise has one.
        steps: of ``steps_of``.
        strip: pixels worked on at a time.
    """
    side, display = steps.shape[1], photo.display
    tally = Tally(display, photo.peak, photo.pixels.shape[2])
    lowest, highest = (0, photo.peak) if display is None else (display.lowest, display.highest)
    height, width = photo.height, photo.width
    across = np.tile(steps.astype(tally.kind), (1, 1, -(-width // side), 1))[:, :, :width]
    for frame in map(photo.frame, range(photo.frames)):
        for rows in _strips(height, width, side, strip):
            before = frame.pixels[rows].astype(tally.kind)
            noise = np.tile(across, (1, -(-len(before) // side), 1, 1))[:, : len(before)]
            if len(noise) == 1:
                chosen = noise[0]
            else:
                chosen = np.where(zones((height, width), rows)[0].bool().numpy()[..., None], noise[0], noise[1])
            after = before + chosen
            np.clip(after, lowest, highest, out=after)
            if display and display.padding:
                np.copyto(after, before, where=display.is_padding(before) | display.is_padding(after))
            frame.pixels[rows] = after
            tally.add(before, after)
    return tally.change()


def _strips(height: int, width: int, side: int, pixels: int) -> list[slice]:
    """Rows of an image in strips of about so many pixels, each a whole number of tiles high."""
    rows = max(1, pixels // (width * side)) * side
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]
