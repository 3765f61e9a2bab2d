"""What happens to published photos on their way into a training set: chains of steps, each done by Pillow. Ours.

Sizes and qualities are of the order that platforms and collectors use; no platform is meant. What is smaller than a
step asks for is never enlarged by it.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image

Step = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Chain:
    """Steps in order.

    Attributes:
        does: in words.
        steps: each takes a picture (L or RGB) and gives one of the same mode.
    """

    does: str
    steps: tuple[Step, ...]


def _long_edge(image: Image.Image, pixels: int) -> Image.Image:
    share = pixels / max(image.size)
    return image if share >= 1 else _scaled(image, share, Image.Resampling.LANCZOS)


def _short_edge(image: Image.Image, pixels: int) -> Image.Image:
    share = pixels / min(image.size)
    return image if share >= 1 else _scaled(image, share, Image.Resampling.BILINEAR)


def _scaled(image: Image.Image, share: float, kernel: Image.Resampling) -> Image.Image:
    width, height = (max(1, round(share * side)) for side in image.size)
    return image.resize((width, height), kernel)


def _centre(image: Image.Image, pixels: int) -> Image.Image:
    width, height = min(image.width, pixels), min(image.height, pixels)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def coded(image: Image.Image, **options: Any) -> Image.Image:
    """A picture (L or RGB) after it was saved by Pillow with these options, and opened again."""
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return Image.open(buffer).convert(image.mode)  # WebP has no gray


def _jpeg(quality: int) -> Step:
    return partial(coded, format="JPEG", quality=quality, subsampling=2)


CHAINS: dict[str, Chain] = {
    "web": Chain("long edge 2,048, JPEG 85", (partial(_long_edge, pixels=2048), _jpeg(85))),
    "social": Chain("long edge 1,080, JPEG 75", (partial(_long_edge, pixels=1080), _jpeg(75))),
    "messenger": Chain("long edge 1,600, JPEG 70, twice", (partial(_long_edge, pixels=1600), _jpeg(70)) * 2),
    "thumbnail": Chain(
        "long edge 256, WebP 75", (partial(_long_edge, pixels=256), partial(coded, format="WEBP", quality=75))
    ),
    "dataset": Chain(
        "short edge 256, the centre's 224×224, JPEG 90",
        (partial(_short_edge, pixels=256), partial(_centre, pixels=224), _jpeg(90)),
    ),
    "screenshot": Chain(
        "three quarters of the size (bicubic), without loss",
        (partial(_scaled, share=0.75, kernel=Image.Resampling.BICUBIC),),
    ),
}


def after(image: Image.Image, chain: str) -> Image.Image:
    """A picture (L or RGB) after a chain; its size may be smaller."""
    for step in CHAINS[chain].steps:
        image = step(image)
    return image
