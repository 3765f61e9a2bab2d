"""The confounder's own tests: is the label in the noise, and does the noise decide what a victim answers?

They explain a protection; only a victim's accuracy on clean images is one.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from datamodules.images import ImageSet
from datamodules.split import stratified_group_split
from victims.config import RECIPES
from victims.defences import operations
from victims.input_stage import PURIFIERS, Purifier, apply_input_stage
from victims.train import predict, train_victim

# Probes train without augmentation: the question is what is there to be read.
PROBES = {
    "linear": replace(RECIPES["quick"], arch="linear", epochs=15, lr=0.02, augment="none"),
    "conv": replace(RECIPES["quick"], epochs=8, augment="none"),
}

TRANSFORMATIONS = ("jpeg:75", "jpeg:50", "resize:2", "blur:1", "gray")  # beside which every protection is to be seen
SAMPLE = 256  # images that their effect on the noise is measured on


def noise_of(clean: ImageSet, stored: ImageSet) -> ImageSet:
    """The stored noise as images: mid-grey plus the difference, uint8, with the labels of the images.

    Differences beyond −128 and 127, which methods without an L∞ bound may make, are cut there.
    """
    difference = stored.images.short() - clean.images.short()
    return ImageSet((difference + 128).clamp(0, 255).to(torch.uint8), clean.labels)


class NoiseProbe:
    """Noise-only accuracy: how well a probe reads the label from the noise alone.

    Args:
        probe: ``linear`` or ``conv``.
    """

    def __init__(self, probe: str) -> None:
        self.recipe = PROBES[probe]

    def run(
        self, noise: ImageSet, unseen: ImageSet | None, classes: int, seed: int, device: torch.device
    ) -> dict[str, float | None]:
        """Trains on the noise of four fifths of the generator's training images.

        Returns:
            Accuracy on the noise of the other fifth (``standard``) and of images that the generator never saw
            (``fast``; None without such images).
        """
        held_rows, used_rows = stratified_group_split(noise.labels, [0.2], seed)
        held = noise.subset(held_rows)
        report = train_victim(noise.subset(used_rows), held, classes, self.recipe, seed, device)
        fast = accuracy(report.model, unseen.images, unseen.labels, device) if unseen else None
        return {"standard": report.curve[-1]["accuracy"], "fast": fast}


class Variation:
    """How much of the noise's energy differs from image to image within a class, in [0, 1].

    0 is a table of one noise pattern per class, which its mean takes out; it says that what is published depends on the
    picture.
    """

    def run(self, noise: ImageSet) -> float:
        """Of stored noise, of ``noise_of``: Σ‖n − mean of its class‖² / Σ‖n‖²; 0 where there is none."""
        values = noise.images.float() - 128
        around = values.clone()
        for label in noise.labels.unique():
            around[noise.labels == label] -= values[noise.labels == label].mean(0)
        return (around.square().sum() / values.square().sum().clamp_min(1e-9)).item()


def _with(change: Callable[..., Tensor], values: tuple[float, ...]) -> Purifier:
    return lambda images: change(images, *values)


class Survival:
    """The share of the noise's energy that is left after what happens to published pictures; may be above 1."""

    def run(self, clean: ImageSet, stored: ImageSet) -> dict[str, float]:
        """For each of TRANSFORMATIONS: ‖T(x′) − T(x)‖² / ‖x′ − x‖², over the first SAMPLE images."""
        before, after = clean.images[:SAMPLE], stored.images[:SAMPLE]
        whole = (after.float() - before.float()).square().sum().clamp_min(1e-9)
        found = {}
        for transformation in TRANSFORMATIONS:
            steps: list[Purifier] = [_with(PURIFIERS[name], values) for name, values in operations(transformation)]
            change = apply_input_stage(steps, after).float() - apply_input_stage(steps, before).float()
            found[transformation] = (change.square().sum() / whole).item()
        return found


class SwapTest:
    """How often a victim answers the noise's label when that noise sits on another image."""

    def run(self, model: nn.Module, noise: ImageSet, others: ImageSet, device: torch.device) -> float:
        """Puts noise i on image j of ``others`` (clean, of another class where possible, the same pairs every time).

        Args:
            model: a victim trained on protected images.
            noise: of ``noise_of``.
            others: images that carry no noise.

        Returns:
            The share of answers equal to the noise's label, in [0, 1].
        """
        rows = torch.arange(len(noise)) % len(others)
        for _ in range(len(others)):
            same = others.labels[rows] == noise.labels
            if not same.any():
                break
            rows = torch.where(same, (rows + 1) % len(others), rows)
        mixed = (others.pixels(rows).short() + noise.images.short() - 128).clamp(0, 255).to(torch.uint8)
        return accuracy(model, mixed, noise.labels, device)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor, device: torch.device) -> float:
    """Share of right answers on images (uint8 N×C×H×W), in [0, 1]."""
    return (predict(model, images, device).argmax(1) == labels).float().mean().item()
