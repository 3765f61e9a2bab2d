"""An owner's photo in memory, whole: every pixel at its own size, transparency, and what describes it. Ours.

Reading is in ``photos.read``, writing in ``photos.write``, what describes a photo in ``photos.description.metadata``.
"""

import io
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from PIL import Image, ImageCms

from datamodules.decode import BadImage, plain
from photos.change import Change, ChangeAccumulator
from photos.description.metadata import COLOUR_NAMES, Metadata, Output
from photos.dicom import REPLACED, DicomTemplate
from photos.display import ROWS, WHITE, Display, display_of_values

SUFFIX: dict[Output, str] = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
SMALL = 1_000_000  # pixels; photos up to it are read by the generator several at a time
OVERVIEW, OVERVIEW_STRIP = 512, 1 << 18  # pixels per side of a small copy, at least; pixels that are reduced at a time
CONVERTED = "the pixels were converted to sRGB by it"


@dataclass(frozen=True)
class Animation:
    """How the frames of a photo follow each other.

    Attributes:
        durations: of each frame, in milliseconds.
        loop: how often they are repeated; 0 for ever.
    """

    durations: tuple[int, ...]
    loop: int


@dataclass
class Photo:
    """A photo, upright.

    Attributes:
        pixels: uint8 or uint16, H×W×C, C = 1 or 3; 16 bits only with C = 1. From 0 to ``peak``. Several frames lie one
            below the other.
        alpha: uint8 H×W, or None.
        metadata: what describes it and goes into the copy.
        peak: of the pixels' range; 0 is made to that of their type (255 or 65535). A DICOM file may store fewer bits.
        dicom: what else a DICOM file holds; None for others.
        display: how bright values are displayed; None for 8 bits that are displayed as they are. Of 16 bits without one
            it is made of the values.
        animation: None for a single picture; frames of DICOM have no times here.

    Raises:
        BadImage: 16 bits whose displayed range cannot be told.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    metadata: Metadata = field(default_factory=Metadata)
    peak: int = 0
    dicom: DicomTemplate | None = None
    display: Display | None = None
    animation: Animation | None = None

    def __post_init__(self) -> None:
        self.peak = self.peak or int(np.iinfo(self.pixels.dtype).max)
        if self.display is None and self.peak == WHITE:
            self.display = display_of_values(self.pixels)

    @property
    def bits(self) -> int:
        """8 or 16, per pixel and channel; of DICOM what it stores."""
        return self.peak.bit_length()

    @property
    def frames(self) -> int:
        """How many pictures it has."""
        return len(self.animation.durations) if self.animation else 1

    @property
    def height(self) -> int:
        """Of one frame, in pixels."""
        return len(self.pixels) // self.frames

    @property
    def width(self) -> int:
        """In pixels."""
        found: int = self.pixels.shape[1]
        return found

    @property
    def dropped(self) -> dict[str, str]:
        """What of the file's description does not go into the copy, and why."""
        return {**REPLACED, **self.dicom.dropped} if self.dicom else self.metadata.dropped

    def eight(self, display: Display | None = None) -> np.ndarray:
        """The picture as it is displayed: uint8 H×W×C, in the view that a viewer opens with.

        Args:
            display: to show it in that of another photo of the same depth, as a copy in its source's; else in its own.
        """
        return _eight(self.pixels, display or self.display)

    def frame(self, number: int) -> "Photo":
        """One frame as a picture of its own, whose pixels are those of the photo, not copies."""
        rows = slice(number * self.height, (number + 1) * self.height)
        return replace(
            self, pixels=self.pixels[rows], alpha=None if self.alpha is None else self.alpha[rows], animation=None
        )

    def image(self) -> Image.Image:
        """The picture alone, as L, LA, RGB, RGBA or I;16; of an animation the first frame."""
        first = self.frame(0) if self.animation else self
        gray = first.pixels.shape[2] == 1
        image = Image.fromarray(first.pixels[..., 0] if gray else first.pixels)
        if first.alpha is not None:
            image.putalpha(Image.fromarray(first.alpha))
        return image

    @cached_property
    def overview(self) -> Image.Image:
        """The picture as it is displayed, as L or RGB, at least ``OVERVIEW`` pixels wide and high where it was.

        Transparent pixels are over white; of several frames the middle one is shown, since the first may be empty.
        Large photos are reduced by a whole number, to the mean over squares, strip by strip: in a fifth of the time
        that a resampling filter takes for all of their pixels. What is read from it is a quarter of its size, at most.
        """
        frame = self.frame(self.frames // 2) if self.animation else self
        step = max(1, min(self.width, self.height) // OVERVIEW)
        rows = max(1, OVERVIEW_STRIP // (self.width * step)) * step
        parts = []
        for top in range(0, self.height, rows):
            alpha = None if frame.alpha is None else frame.alpha[top : top + rows]
            strip = Photo(_eight(frame.pixels[top : top + rows], self.display), alpha)
            part = plain(strip.image())
            parts.append(np.asarray(part.reduce(step) if step > 1 else part))
        return Image.fromarray(np.concatenate(parts))

    def forget_overview(self) -> None:
        """To be called where pixels change."""
        self.__dict__.pop("overview", None)

    def in_colour(self) -> "Photo":
        """The same with three channels; a colour profile of gray is worked into the pixels.

        Raises:
            BadImage: it has 16 bits, which Pillow can store for gray alone.
        """
        if self.pixels.shape[2] == 3:
            return self
        if self.dicom or self.bits > 8:
            kind = "DICOM in gray" if self.dicom else "16-bit gray"
            raise BadImage(f"{kind}, and the generator is for colour; use one that was trained on gray images")
        if self.metadata.icc:
            image = to_srgb(Image.fromarray(self.pixels[..., 0]), self.metadata.icc)
            metadata = without_profile(self.metadata, CONVERTED if image else "of gray; the copy has colours")
            if image:
                return replace(self, pixels=np.array(image), metadata=metadata)
            return replace(self, pixels=np.repeat(self.pixels, 3, 2), metadata=metadata)
        return replace(self, pixels=np.repeat(self.pixels, 3, 2))


def _eight(pixels: np.ndarray, display: Display | None) -> np.ndarray:
    return pixels if display is None else display.eight(pixels)


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """A picture in sRGB, as its colour profile says; None where that cannot be used."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def without_profile(metadata: Metadata, reason: str) -> Metadata:
    """The same without the colour profile, and without PNG's chunks that say how other pixels were to be shown."""
    gone = {"colour profile": reason} | {COLOUR_NAMES[kind]: reason for kind in metadata.colour}
    return replace(metadata, icc=b"", colour={}, dropped={**metadata.dropped, **gone})


def change_between(before: Photo, after: Photo) -> Change:
    """What was done to a photo, as its own display shows it: a copy is judged in that of its source.

    Args:
        before: the photo.
        after: of the same size, channels and depth.

    Raises:
        ValueError: they are not of the same size, channels or depth.
    """
    if before.pixels.shape != after.pixels.shape or before.peak != after.peak:
        raise ValueError("photos of different sizes, channels or depths cannot be compared")
    accumulator = ChangeAccumulator(before.display, before.peak, before.pixels.shape[2])
    for top in range(0, len(before.pixels), ROWS):
        accumulator.add(before.pixels[top : top + ROWS], after.pixels[top : top + ROWS])
    return accumulator.change()
