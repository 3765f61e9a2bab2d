"""A trained generator at work: from stored pixels to stored pixels, without labels; and its file."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from datamodules.files import write_atomic
from datamodules.images import to_float
from gan.config import NAME, ClassifierConfig, NoiseConfig
from gan.field import NoiseField
from gan.networks import Generator, build_generator
from gan.noise import NoiseNetwork

FORMAT = 7
GENERATOR = "generator.safetensors"  # its file in a run folder
SHIPPED = Path(__file__).parent / "shipped" / "noise.safetensors"  # experiments/pretrain.py makes it
NOISE = "noise_network."  # what its part of a generator's weights is called
SEEN = ("width", "code")  # options that decide the shape of a noise network's weights


class GeneratorFileError(Exception):
    """A generator's file or card is missing, damaged, tampered with, or of another version."""


@dataclass(frozen=True)
class GeneratorCard:
    """What is known of a trained generator; stored beside its weights as JSON.

    Attributes:
        channels: 1 or 3, of the images it takes.
        epsilon: bound in grey levels of 255.
        generator: its options: ``classifier`` (ClassifierConfig) and ``noise`` (NoiseConfig).
        data: name of the data it was trained on.
        fingerprint: sha256 over its training images and labels.
        class_names: of the training data.
        images: how many it was trained on.
        size: height and width of the training images.
        seed: of the training.
        epochs: trained.
        versions: of the packages.
        method: name of the protection.
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
    method: str = NAME


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


class NoiseMaker(Protocol):
    """What protects with a trained network need to know of it: ``gan.networks.Generator`` and its like."""

    keeps_gray: bool  # a gray picture gets gray noise, also from a generator that was trained on colour

    def code(self, images: Tensor) -> Tensor:
        """Class logits, float B×K, of images, float B×C×H×W in [0, 1]."""

    def field(self, logits: Tensor, image: Tensor) -> NoiseField:
        """The noise of one picture at any size, from its class logits, float 1×K, and the picture, float 1×C×h×w."""

    def __call__(self, images: Tensor) -> Tensor:
        """The noise, float B×C×H×W in [-ε, ε], of images, float B×C×H×W in [0, 1]."""

    def eval(self) -> Any: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def to(self, *args: Any, **kwargs: Any) -> Any: ...


class TrainedGenerator:
    """Protects images with a trained generator: label-free, one forward pass, deterministic.

    Args:
        generator: the network; it is put in evaluation mode.
        epsilon: the bound in grey levels.
    """

    def __init__(self, generator: NoiseMaker, epsilon: float) -> None:
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
    def classify(self, images: Tensor, chunk: int = 256) -> Tensor:
        """The likeliest class, int64 N on the CPU, of images, uint8 N×C×H×W, by the auxiliary classifier."""
        device = next(self.generator.parameters()).device
        read = [self.generator.code(to_float(part.to(device))) for part in images.split(chunk)]
        return torch.cat(read).argmax(1).cpu()


def save_generator(path: Path, generator: Generator, card: GeneratorCard) -> str:
    """Writes ``path`` (.safetensors) and its card (.json); returns the sha256 of the weights' file."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in generator.state_dict().items()}
    data = save(tensors)
    sha256 = hashlib.sha256(data).hexdigest()
    text = json.dumps({"format": FORMAT, "method": card.method, "sha256": sha256, **asdict(card)}, indent=2)
    for target, content in ((path, data), (path.with_suffix(".json"), text.encode())):
        write_atomic(target, content)
    return sha256


def read_card(path: Path) -> tuple[bytes, dict[str, Any], str]:
    """A generator file's bytes, the fields of its card as they stand there, and the file's sha256.

    Raises:
        GeneratorFileError: file or card is missing or damaged, or they do not belong together.
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
    if not isinstance(fields, dict) or fields.pop("sha256", None) != sha256:
        raise GeneratorFileError(f"{path}: is not the file that its card describes (sha256 differs); get both again")
    return data, fields, sha256


def load_generator(path: Path) -> tuple[TrainedGenerator, GeneratorCard, str]:
    """A trained generator from its .safetensors file, its card, and the file's sha256.

    Raises:
        GeneratorFileError: file or card is missing, damaged, of another version, or they do not belong together.
    """
    data, fields, sha256 = read_card(path)
    if fields.pop("format", None) != FORMAT:
        raise GeneratorFileError(f"{path.with_suffix('.json')}: made by another version of this program; train again")
    try:
        card = GeneratorCard(**fields)
        classifier, noise = ClassifierConfig(**card.generator["classifier"]), NoiseConfig(**card.generator["noise"])
        classes, size = len(card.class_names), (card.size[0], card.size[1])
        generator = build_generator(classifier, noise, card.channels, classes, card.epsilon / 255, size, load=False)
        generator.load_state_dict(load(data))
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise GeneratorFileError(f"{path}: weights and card do not fit ({error}); get both again") from error
    return TrainedGenerator(generator, card.epsilon), card, sha256


def save_noise(path: Path, network: NoiseNetwork, fields: dict[str, Any]) -> str:
    """Writes a noise network alone; its options and ``fields`` are its card. Returns the sha256 of its file."""
    data = save({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()})
    sha256 = hashlib.sha256(data).hexdigest()
    card = {"format": FORMAT, "sha256": sha256, "noise": asdict(network.options), **fields}
    write_atomic(path, data)
    write_atomic(path.with_suffix(".json"), (json.dumps(card, indent=2) + "\n").encode())
    return sha256


def shipped_network() -> tuple[NoiseNetwork, dict[str, Any], str]:
    """The noise network that comes with the package, with its own options; its card's fields; its file's sha256.

    Raises:
        GeneratorFileError: the file is missing or damaged.
    """
    data, fields, sha256 = read_card(SHIPPED)
    try:
        return _noise_network(data, NoiseConfig(**fields["noise"])), fields, sha256
    except (KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise GeneratorFileError(f"{SHIPPED}: weights and card do not fit ({error}); install again") from error


def _noise_network(data: bytes, options: NoiseConfig) -> NoiseNetwork:
    """Of a file that holds it alone, or a whole generator; global random state is left as it was."""
    weights = {key.removeprefix(NOISE): value for key, value in load(data).items()}
    with torch.random.fork_rng(devices=[]):
        network = NoiseNetwork(options)
    network.load_state_dict({key: weights[key] for key in network.state_dict()})
    return network


def start_file(start: str) -> Path:
    """The file that ``gan.start`` means: ``shipped``, a generator's file, or a run's folder."""
    path = SHIPPED if start == "shipped" else Path(start)
    return path if path.suffix == ".safetensors" else path / GENERATOR


def start_network(start: str, options: NoiseConfig) -> NoiseNetwork | None:
    """The noise network that a run starts from.

    Args:
        start: ``none``, ``shipped``, or a generator's file or a run's folder.
        options: of the run's own; those that decide the weights' shape must be the file's.

    Returns:
        The network, with the run's options; None for none.

    Raises:
        GeneratorFileError: there is no such file, it is damaged, or its weights have another shape.
    """
    if start == "none":
        return None
    path = start_file(start)
    data, fields, _ = read_card(path)
    try:
        if fields["format"] != FORMAT:
            raise GeneratorFileError(f"gan.start: {path} was made by another version of this program; train again")
        theirs = fields["noise"] if "noise" in fields else fields["generator"]["noise"]
        for name in SEEN:
            if theirs[name] != getattr(options, name):
                raise GeneratorFileError(
                    f"gan.noise.{name}: is {getattr(options, name)}, but gan.start={start} was trained with "
                    f"{theirs[name]}; set gan.start=none or gan.noise.{name}={theirs[name]}"
                )
        return _noise_network(data, options)
    except (KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise GeneratorFileError(f"gan.start: {path}: weights and card do not fit ({error}); get both again") from error
