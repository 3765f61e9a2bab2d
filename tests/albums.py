"""Photos, folders of them and an untrained generator, for the tests of what owners use."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from baselines.config import PatternsConfig
from baselines.patterns.network import PatternGenerator, build_pattern_generator
from gan.config import ClassifierConfig, NoiseConfig
from gan.networks import Generator, build_generator
from gan.protection import GeneratorCard, save_generator
from photos.manifest import MANIFEST, lines_of

CLASSIFIER, NOISE = ClassifierConfig(pretrained="none", arch="linear", hidden=16), NoiseConfig(width=8, code=8)
OPTIONS = {"classifier": asdict(CLASSIFIER), "noise": asdict(NOISE)}
CARD = GeneratorCard(3, 8.0, OPTIONS, "tiny", "123", ["cat", "dog"], 10, [16, 16], 0, 1, {"torch": "x"})
RNG = np.random.default_rng(0)


def network(channels: int = 3, **classifier: Any) -> Generator:
    """An untrained generator for 16×16 images of two classes; ``classifier``: what of its options is other."""
    torch.manual_seed(0)
    return build_generator(replace(CLASSIFIER, **classifier), NOISE, channels, 2, 8 / 255, (16, 16)).eval()


def patterns_network(channels: int = 3, **options: Any) -> PatternGenerator:
    """One of the first build (baselines/patterns), whose files are still read."""
    torch.manual_seed(0)
    chosen = PatternsConfig(encoder="conv", width=8, levels=2, hidden=16, **{"auxiliary_classifier": "none"} | options)
    net = build_pattern_generator(chosen, channels, 2, 8 / 255, (16, 16), load=False).eval()
    if chosen.pattern == "tints":
        means = torch.rand(40, 2 * channels) * 255
        means[:, 0] = 100 + torch.rand(40)  # one direction varies little, so that colours are levelled out there
        net.choose_colour_patterns(means, torch.arange(40) % 2)
    return net


def stored_generator(folder: Path, channels: int = 3) -> Path:
    """A file of an untrained generator, with its card."""
    path = folder / "generator.safetensors"
    save_generator(path, network(channels), replace(CARD, channels=channels))
    return path


def picture(height: int = 20, width: int = 30, channels: int = 3) -> Image.Image:
    pixels = RNG.integers(0, 256, (height, width, channels)).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def smooth(height: int = 64, width: int = 80) -> Image.Image:
    """A photo such as cameras take: JPEG moves its pixels little."""
    return picture(4, 5).resize((width, height), Image.Resampling.BICUBIC)


def write(path: Path, image: Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    os.utime(path, ns=(10**18, 10**18 + 12345))
    return path


def album(folder: Path, count: int = 12) -> Path:
    """Photos in three folders."""
    for i in range(count):
        write(folder / ("", "b/", "b/deep/")[i % 3] / f"{i:02d}.png", picture(10 + i, 31 - i))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def lines(dest: Path) -> dict[str, Any]:
    return {line.source: line for line in lines_of(dest / MANIFEST)}


def decoded(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(np.int64)
