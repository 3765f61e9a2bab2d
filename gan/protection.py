"""A trained generator at work: from stored pixels to stored pixels, without labels; and its file."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from datamodules.images import to_float
from datamodules.protected import write_atomic
from gan.config import GeneratorConfig
from gan.networks import Generator, build_generator

FORMAT = 4
GENERATOR = "generator.safetensors"  # its file in a run folder


class GeneratorFileError(Exception):
    """A generator's file or card is missing, damaged, tampered with, or of another version."""


@dataclass(frozen=True)
class Card:
    """What is known of a trained generator; stored beside its weights as JSON.

    Attributes:
        channels: 1 or 3, of the images it takes.
        epsilon: bound in grey levels of 255.
        generator: its options (GeneratorConfig).
        data: name of the data it was trained on.
        fingerprint: sha256 over its training images and labels.
        class_names: of the training data.
        images: how many it was trained on.
        size: height and width of the training images.
        seed: of the training.
        epochs: trained.
        versions: of the packages.
    """

    channels: int
    epsilon: float
    generator: dict[str, Any]
    data: str
    fingerprint: str
    class_names: list[str]
    images: int
    size: list[int]
    seed: int
    epochs: int
    versions: dict[str, str]


def quantise(images: Tensor, noise: Tensor, epsilon: float) -> Tensor:
    """Q(clip(x + n, 0, 1)) on the uint8 grid, never further from x than ε.

    The noise is rounded to whole grey levels and clipped there, so that rounding cannot pass the bound, also when ε is
    no whole number of grey levels; negative noise counts as much as positive.

    Args:
        images: uint8 B×C×H×W.
        noise: float B×C×H×W in [0, 1] pixel units.
        epsilon: in grey levels.

    Returns:
        uint8 B×C×H×W.
    """
    steps = (noise * 255).round().clamp(-int(epsilon), int(epsilon)).short()
    return (images.short() + steps).clamp(0, 255).to(torch.uint8)


class TrainedGenerator:
    """Protects images with a trained generator: label-free, one forward pass, deterministic.

    Args:
        generator: the network; it is put in evaluation mode.
        epsilon: the bound in grey levels.
    """

    def __init__(self, generator: Generator, epsilon: float) -> None:
        self.generator, self.epsilon = generator.eval(), epsilon

    @torch.no_grad()
    def protect(self, images: Tensor, chunk: int = 256) -> Tensor:
        """Protected images, uint8 N×C×H×W on the CPU, of images, uint8 N×C×H×W."""
        device = next(self.generator.parameters()).device
        protected = []
        for part in images.split(chunk):
            noise = self.generator(to_float(part.to(device)))
            protected.append(quantise(part.to(device), noise, self.epsilon).cpu())
        return torch.cat(protected)

    @torch.no_grad()
    def name(self, images: Tensor, chunk: int = 256) -> Tensor:
        """The class, int64 N on the CPU, that the generator reads from images, uint8 N×C×H×W, and spells in noise."""
        device = next(self.generator.parameters()).device
        read = [self.generator.code(to_float(part.to(device))) for part in images.split(chunk)]
        return torch.cat(read).argmax(1).cpu()


def save_generator(path: Path, generator: Generator, card: Card) -> str:
    """Writes ``path`` (.safetensors) and its card (.json); returns the sha256 of the weights' file."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in generator.state_dict().items()}
    data = save(tensors)
    sha256 = hashlib.sha256(data).hexdigest()
    text = json.dumps({"format": FORMAT, "method": "confoundergan", "sha256": sha256, **asdict(card)}, indent=2)
    for target, content in ((path, data), (path.with_suffix(".json"), text.encode())):
        write_atomic(target, content)
    return sha256


def load_generator(path: Path) -> tuple[TrainedGenerator, Card, str]:
    """A trained generator from its .safetensors file, its card, and the file's sha256.

    Raises:
        GeneratorFileError: file or card is missing, damaged, of another version, or they do not belong together.
    """
    try:
        data, fields = path.read_bytes(), json.loads(path.with_suffix(".json").read_text())
    except OSError as error:
        raise GeneratorFileError(
            f"{error.filename}: {error.strerror}; a generator is a .safetensors and a .json"
        ) from error
    except ValueError as error:
        raise GeneratorFileError(f"{path.with_suffix('.json')}: no readable card ({error})") from error
    sha256 = hashlib.sha256(data).hexdigest()
    if fields.pop("format", None) != FORMAT:
        raise GeneratorFileError(f"{path.with_suffix('.json')}: made by another version of this program; train again")
    if fields.pop("sha256", None) != sha256:
        raise GeneratorFileError(f"{path}: is not the file that its card describes (sha256 differs); get both again")
    try:
        fields.pop("method")
        card = Card(**fields)
        options = GeneratorConfig(**card.generator)
        classes = len(card.class_names)
        size = (card.size[0], card.size[1])
        generator = build_generator(options, card.channels, classes, card.epsilon / 255, size, load=False)
        generator.load_state_dict(load(data))
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise GeneratorFileError(f"{path}: weights and card do not fit ({error}); get both again") from error
    return TrainedGenerator(generator, card.epsilon), card, sha256
