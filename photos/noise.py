"""A trained generator on photos of any size, at their own resolution.

The noise is a coarse field of colours on the picture's own coordinates (``gan.field``), made from the photo's class and
from the whole photo, both seen in small copies. So a photo of any size needs no overlapping pieces and no blending: the
field is made once, and enlarged and added strip by strip; the strips add up to the whole, bit for bit. Ours.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from datamodules.images import to_float
from gan.field import NoiseField
from gan.noise import SIDE
from gan.protection import NoiseMaker
from photos.change import Change, ChangeAccumulator
from photos.photo import SMALL, Photo
from photos.texture import texture_gate

STRIP = 1 << 16  # pixels that are worked on at a time; what is made of them fits a cache
BATCH = 8  # small photos that are read at a time; more is hardly faster


@dataclass(frozen=True)
class PhotoNoise:
    """The noise of one photo, in its own stored levels.

    Attributes:
        field: of the noise as it is displayed.
        scale: stored levels for a displayed change from black to white; negative where higher values are darker, so
            that the noise looks as it does on others.
        bound: largest change of a stored value.
        gate: the share of it that each place gets; None for all of it everywhere.
    """

    field: NoiseField
    scale: float
    bound: int
    gate: NoiseField | None = None

    def rows(self, height: int, width: int, rows: slice) -> np.ndarray:
        """The noise of some rows of a picture of this size: int16 (or int32) h×W×C, rounded and within the bound."""
        noise = self.field.rows(height, width, rows)
        noise *= np.float32(self.scale)
        if self.gate is not None:
            noise *= self.gate.rows(height, width, rows)
        np.rint(noise, out=noise)
        kind = np.int16 if self.bound < 1 << 15 else np.int32
        return noise.clip(-self.bound, self.bound, out=noise).astype(kind)

    def cut(self, levels: int) -> "PhotoNoise":
        """The same cut to so many stored levels."""
        return replace(self, bound=min(self.bound, levels))


def reduced(photo: Photo, channels: int, size: tuple[int, int]) -> np.ndarray:
    """The copy that the code is read from: uint8 H×W×C, of the size and channels that the generator was trained on.

    The largest centred part of that shape, resized by Lanczos, transparent pixels over white, as training images are by
    default (``data.aspect=crop``). Of more than 8 bits the picture is read as it is displayed.
    """
    image = shown(photo, channels)
    return np.asarray(ImageOps.fit(image, size[::-1], Image.Resampling.LANCZOS)).reshape(*size, channels)


def whole(photo: Photo, channels: int, side: int = SIDE) -> np.ndarray:
    """The copy that the field is made from: uint8 side×side×C, the whole photo squeezed to a square.

    As it is displayed, as in ``reduced``; by Pillow's bilinear filter, which takes the mean over what a pixel covers as
    the generator's own reduction of training images does.
    """
    image = shown(photo, channels).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(side, side, channels)


def shown(photo: Photo, channels: int) -> Image.Image:
    """The photo as it is displayed, in gray or colour, a small copy where it is large (``Photo.overview``)."""
    image, mode = photo.overview, "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def fused(generator: NoiseMaker) -> NoiseMaker:
    """A copy for reading: batch norms of its frozen readers are worked into the convolutions before them.

    Codes differ from the generator's own by rounding.
    """
    copied = copy.deepcopy(generator)
    assert isinstance(copied, nn.Module)
    _fuse(copied.eval())  # nothing but its readers has batch norms
    copied.to(memory_format=torch.channels_last)
    return copied


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
    generator: NoiseMaker, photos: Sequence[Photo], channels: int, size: tuple[int, int], batch: int = BATCH
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
def independent(generator: NoiseMaker, channels: int, size: tuple[int, int], batch: int = BATCH) -> bool:
    """Whether an image's code has the same bits wherever it is in a batch, whatever the others are; tried on noise."""
    device = next(generator.parameters()).device
    source = torch.Generator().manual_seed(0)
    images = torch.rand(2 * batch - 1, channels, *size, generator=source).to(device)
    codes = generator.code(images[:batch])
    others = generator.code(torch.cat([images[batch:], images[:1]]))
    return torch.equal(codes.flip(0), generator.code(images[:batch].flip(0))) and torch.equal(codes[0], others[-1])


@torch.inference_mode()
def noise_of(
    generator: NoiseMaker, code: Tensor, photo: Photo, channels: int, epsilon: float, smooth: float = 1.0
) -> PhotoNoise:
    """The noise of a photo; it depends on nothing but its code and the photo.

    The bound is ε of what is displayed, in every view that the file states (``photos.display``).

    Args:
        generator: trained.
        code: float 1×K.
        photo: of any size.
        channels: of the noise, 1 or 3.
        epsilon: in grey levels of 255.
        smooth: the share of the noise that smooth areas get; 1 for all.

    Raises:
        BadImage: the bound is less than one stored level.
    """
    display = photo.display
    bound = int(epsilon) if display is None else display.bound(epsilon)
    scale = 255 if display is None else bound * 255 / epsilon * (-1 if display.falling else 1)
    image = torch.from_numpy(whole(photo, channels).copy()).permute(2, 0, 1)[None]
    gate = None if smooth == 1 else texture_gate(photo, smooth)
    return PhotoNoise(generator.field(code, to_float(image).to(code.device)), scale, bound, gate)


def add_noise(photo: Photo, noise: PhotoNoise, strip: int = STRIP) -> Change:
    """Adds noise to a photo's pixels, in place; to every frame of an animation the same.

    No value comes out of 0 to 255, or of the range of the values that a picture with a display has; padding stays as it
    is, and a pixel that would become padding too.

    Args:
        photo: with as many channels as the noise, or three where the noise has one.
        noise: of ``noise_of``.
        strip: pixels worked on at a time.
    """
    display, height, width = photo.display, photo.height, photo.width
    accumulator = ChangeAccumulator(display, photo.peak, photo.pixels.shape[2])
    photo.forget_overview()
    lowest, highest = (0, photo.peak) if display is None else (display.lowest, display.highest)
    frames = [photo.frame(number) for number in range(photo.frames)]
    for rows in _strips(height, width, strip):
        added = noise.rows(height, width, rows)
        for frame in frames:
            before = frame.pixels[rows].astype(accumulator.kind)
            after = np.add(before, added, dtype=accumulator.kind)
            np.clip(after, lowest, highest, out=after)
            if display and display.padding:
                np.copyto(after, before, where=display.is_padding(before) | display.is_padding(after))
            frame.pixels[rows] = after
            accumulator.add(before, after)
    return accumulator.change()


def _strips(height: int, width: int, pixels: int) -> list[slice]:
    """Rows of an image in strips of about so many pixels."""
    rows = max(1, pixels // width)
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]
