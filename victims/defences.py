"""What somebody who collected protected images may try: names, parameters and sources, free of torch.

A defence is written as its operations in order, joined by ``+``, each with its parameters: ``jpeg:10``,
``blur:1+adversarial:4:7``; ``none`` is none. What each stage does is in ``input_stage``, ``dataset_stage``,
``batch_stage`` and ``model_stage``.
"""

import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from datamodules.config import AUGMENTATIONS
from victims.chains import CHAINS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


@dataclass(frozen=True)
class Parameter:
    """One number of an operation.

    Attributes:
        name: what it is, with its unit.
        least: smallest value allowed.
        most: largest value allowed.
        example: a usual value, shown in messages and in docs/DEFENCES.md.
        whole: whole numbers only.
    """

    name: str
    least: float
    most: float
    example: float
    whole: bool = False

    @property
    def described(self) -> str:
        """The parameter in words, with its bounds."""
        return f"{self.name}{', whole' if self.whole else ''}, {self.least:g} to {self.most:g}"

    def fault(self, text: str) -> str | None:
        """What is wrong with a value as it is written, or None."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if self.least <= value <= self.most and (not self.whole or value.is_integer()):
            return None
        return f"expected {self.described}, found {text!r}"

    def value(self, text: str) -> float:
        """A value without fault, as a number."""
        return int(text) if self.whole else float(text)


@dataclass(frozen=True)
class Choice:
    """One word of an operation.

    Attributes:
        name: what it is.
        words: that may be given.
        example: a usual one.
    """

    name: str
    words: tuple[str, ...]
    example: str

    @property
    def described(self) -> str:
        """The parameter in words, with what may be given."""
        return f"{self.name}: {', '.join(self.words)}"

    def fault(self, text: str) -> str | None:
        """What is wrong with a value as it is written, or None."""
        return None if text in self.words else f"expected {self.described}, found {text!r}"

    def value(self, text: str) -> str:
        """A value without fault."""
        return text


@dataclass(frozen=True)
class Defence:
    """An operation.

    Attributes:
        stage: ``input``: a fixed change of every image; ``dataset``: fitted to the collected training images;
            ``batch``: at every step of the training; ``model``: to the trained network.
        does: one line.
        source: a publication, or ``ours``; with the deviations from it.
        parameters: in the order in which they are written.
        change: of stage ``input``, where it needs no library and so stands here: what is done, of images (uint8
            N×C×H×W) and the parameters to uint8 of the same shape. None: the function of its name in the stage's file.
    """

    stage: Literal["input", "dataset", "batch", "model"]
    does: str
    source: str
    parameters: tuple[Parameter | Choice, ...] = ()
    change: "Callable[..., Tensor] | None" = None


class Operation(NamedTuple):
    """An operation with the values of its parameters."""

    name: str
    values: tuple[Any, ...]  # a number for a Parameter, a word for a Choice


ISS = "Liu et al., ICML 2023 (image shortcut squeezing)"

DEFENCES: dict[str, Defence] = {
    "gray": Defence("input", "luma (BT.601) in all three channels; images of one channel stay as they are", ISS),
    "blur": Defence(
        "input",
        "Gaussian blur, cut off at 4 standard deviations, edges mirrored",
        "classical; the field's benchmark names a blur that changes nothing (deviation 0.1), hence the lower bound",
        (Parameter("standard deviation in pixels", 0.3, 10, 1),),
    ),
    "median": Defence("input", "median of each 3×3 pixels, channel by channel, edges mirrored", "classical"),
    "jpeg": Defence(
        "input",
        "compressed and decoded by Pillow, colours at half resolution (4:2:0)",
        ISS,
        (Parameter("quality", 1, 95, 10, whole=True),),
    ),
    "webp": Defence(
        "input",
        "compressed with loss and decoded by Pillow (gray images as gray RGB)",
        "ours, after what platforms do",
        (Parameter("quality", 1, 100, 50, whole=True),),
    ),
    "chain": Defence(
        "input",
        "what happens to published photos, step by step ("
        + "; ".join(f"{name}: {chain.does}" for name, chain in CHAINS.items())
        + "); then brought back to its size (bilinear)",
        "ours, after what platforms and collectors do",
        (Choice("chain", tuple(CHAINS), "social"),),
    ),
    "bits": Defence(
        "input",
        "rounded to 2^bits evenly spaced levels, black and white among them",
        "Xu et al., NDSS 2018 (feature squeezing)",
        (Parameter("bits per channel", 1, 7, 4, whole=True),),
    ),
    "resize": Defence(
        "input",
        "made smaller (bilinear, antialiased), then brought back to its size (bilinear)",
        "ours, after what platforms do",
        (Parameter("factor", 1.1, 16, 2),),
    ),
    "lowpass": Defence(
        "input",
        "cosine transform without the frequencies above a share of the Nyquist frequency (radius in both directions)",
        "ours",
        (Parameter("share that stays", 0.05, 0.95, 0.5),),
    ),
    "sharpen": Defence(
        "input",
        "away from a smoothed copy by a factor (torchvision's adjust_sharpness); the outermost pixels stay",
        "after Kim and Sandoval-Segura (arXiv 2411.01742), with one factor instead of random ones",
        (Parameter("factor", 1.1, 10, 2),),
    ),
    "tv": Defence(
        "input",
        "total variation made smaller: the least ½‖u − x‖² + weight · TV(u), pixels in [0, 1], TV over all channels",
        "Rudin, Osher and Fatemi, 1992, as a defence Guo et al., ICLR 2018; there on a random part of the pixels",
        (Parameter("weight", 0.005, 1, 0.05),),
    ),
    "nlm": Defence(
        "input",
        "non-local means: patches of 3×3 pixels, compared with those up to 4 pixels away",
        "Buades et al., CVPR 2005, as a defence Xu et al., NDSS 2018 (feature squeezing)",
        (Parameter("strength in grey levels", 1, 64, 10),),
    ),
    "project": Defence(
        "dataset",
        "a linear softmax probe is trained; every image loses its part in the span of the probe's weights (QR), and is "
        "clipped and rounded",
        "Sandoval-Segura et al., NeurIPS 2023 (orthogonal projection); there nothing is clipped, only training images "
        "are projected, and the probe has no bias and another training",
        (Parameter("epochs of the probe", 1, 500, 20, whole=True),),
    ),
    "subspace": Defence(
        "dataset",
        "a classifier with 128 rectified units is trained; every image loses its part in the leading directions of the "
        "first layer (singular vectors, each unit times the length of what is read of it), and is clipped and rounded",
        "ours, after Sandoval-Segura et al., NeurIPS 2023: more directions than classes, those that no linear probe "
        "reads among them; project:20+project:20 is the same with a second linear probe",
        (
            Parameter("directions", 1, 128, 32, whole=True),
            Parameter("epochs of the classifier", 1, 500, 20, whole=True),
        ),
    ),
    "filter": Defence(
        "dataset",
        "the victim is trained briefly by its own recipe; the images with the lowest loss are dropped from the "
        "training, whatever their class",
        "ours, after the observation that such noise is learned first",
        (Parameter("share dropped", 0.01, 0.9, 0.3), Parameter("epochs of the brief training", 1, 500, 2, whole=True)),
    ),
    "denoise": Defence(
        "dataset",
        "a small autoencoder (a quarter of the sides, 16 channels) learns to take Gaussian noise off the collected "
        "images; every image passes through it",
        "ours; in the spirit of Yu et al., ICML 2024 (D-VAE), without its variational bottleneck and its "
        "disentangled noise",
        (
            Parameter("standard deviation of the noise in grey levels", 1, 128, 24),
            Parameter("epochs of the autoencoder", 1, 500, 20, whole=True),
        ),
    ),
    "pairs": Defence(
        "dataset",
        "a small U-Net learns to take the noise off, from pictures of the attacker's own that the same generator "
        "protected for him (of part B for victims on A, and the other way round; of the set itself, where a method "
        "protects no new ones); every image passes through it",
        "after BridgePure (Wang et al., 2024); one regression instead of a diffusion bridge",
        (
            Parameter("pictures, at most", 10, 100000, 500, whole=True),
            Parameter("epochs of the U-Net", 1, 500, 40, whole=True),
        ),
    ),
    "mixup": Defence(
        "batch",
        "images and labels mixed with another image's, one Beta(α, α) draw per batch (torchvision)",
        "Zhang et al., ICLR 2018",
        (Parameter("α", 0.05, 10, 1),),
    ),
    "cutmix": Defence(
        "batch",
        "a box from another image, labels in proportion of the areas, one box per batch (torchvision)",
        "Yun et al., ICCV 2019; there in half of the batches of CIFAR",
        (Parameter("α", 0.05, 10, 1),),
    ),
    "noise": Defence(
        "batch",
        "Gaussian noise, fresh in every step, clipped",
        "classical",
        (Parameter("standard deviation in grey levels", 0.5, 128, 16),),
    ),
    "randaugment": Defence(
        "batch",
        "torchvision's RandAugment, each image by its own draws",
        "Cubuk et al., NeurIPS 2020",
        (Parameter("operations per image", 1, 4, 2, whole=True), Parameter("magnitude", 0, 30, 9, whole=True)),
    ),
    "ueraser": Defence(
        "batch",
        "so many strong augmentations of each image (smooth random brightness and contrast, shuffled channels, "
        "TrivialAugment); the one with the largest loss is kept",
        "Qin et al., 2023 (UEraser-max, arXiv 2303.15127); there only in the first epochs, with another library's "
        "fractal fields",
        (Parameter("augmentations to choose from", 2, 20, 5, whole=True),),
    ),
    "adversarial": Defence(
        "batch",
        "trained on adversarial images alone: signed gradient steps from a random start, of 2.5 · bound / steps each, "
        "against the network in evaluation mode",
        "Madry et al., ICLR 2018",
        (Parameter("bound in grey levels", 0.5, 64, 8), Parameter("steps", 1, 100, 10, whole=True)),
    ),
    "perturb": Defence(
        "model",
        "the mean answer of so many copies of the trained network, whose weights each got Gaussian noise of a share of "
        "their own layer's root mean square",
        "ours, after the remark of arXiv 2605.11592 that such noise is learned in a shallow way, as perturbed weights "
        "tell; biases and what normalises stay",
        (Parameter("share", 0.01, 2, 0.2), Parameter("copies", 1, 100, 8, whole=True)),
    ),
}


def example(name: str) -> str:
    """An operation as it is written, with usual values."""
    return written([Operation(name, tuple(p.example for p in DEFENCES[name].parameters))])


def written(operations: list[Operation]) -> str:
    """The one way to write operations down: ``blur:1.0`` is ``blur:1``."""
    return "+".join(":".join([name, *map(_text, values)]) for name, values in operations) or "none"


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def operations(text: str) -> list[Operation]:
    """The operations of a defence as it is written.

    Raises:
        ValueError: an unknown name, or parameters that are missing, too many or out of range; one line.
    """
    return [] if text == "none" else [_operation(part) for part in text.split("+")]


def _operation(part: str) -> Operation:
    name, *texts = part.split(":")
    if name == "none":
        raise ValueError("none is combined with other defences; leave it out")
    if name not in DEFENCES:
        if name in AUGMENTATIONS:
            raise ValueError(f"no defence {name!r}: it is an operation of victim.augment")
        near = difflib.get_close_matches(name, list(DEFENCES), 1)
        hint = f"; did you mean {example(near[0])!r}?" if near else ""
        raise ValueError(f"no defence {name!r}{hint}; expected none, or some of {', '.join(DEFENCES)} joined by +")
    parameters = DEFENCES[name].parameters
    if len(texts) != len(parameters):
        wanted = " and ".join(p.name for p in parameters) or "no parameters"
        raise ValueError(f"{part!r}: {name} takes {wanted}; write {example(name)!r}")
    for parameter, text in zip(parameters, texts, strict=True):
        if fault := parameter.fault(text):
            raise ValueError(f"{part!r}: {fault}")
    return Operation(name, tuple(p.value(text) for p, text in zip(parameters, texts, strict=True)))


def needs_pairs(defence: str) -> bool:
    """Whether an attacker learns from pictures of his own that the very protection protected.

    Raises:
        ValueError: as ``operations``.
    """
    return any(operation.name == "pairs" for operation in operations(defence))


def defence_fault(key: str, text: str) -> list[str]:
    """What is wrong with a defence as it is written; empty when nothing is."""
    try:
        operations(text)
    except ValueError as error:
        return [f"{key}: {error}"]
    return []


def passes(operations: list[Operation]) -> float:
    """Work of a training step as a multiple of a plain one, roughly: for estimates of time alone."""
    work = 1.0
    for name, values in operations:
        if name == "adversarial":
            work += values[1]
        elif name == "ueraser":
            work += values[0] / 3  # forward passes alone
    return work
