"""Training a victim: what somebody who collected the images does with them."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_auroc

from datamodules.augment import augment, draws, own_randomness
from datamodules.images import ImageSet, to_float
from datamodules.split import divide
from victims.classifier import build_classifier
from victims.config import Recipe
from victims.defences import operations
from victims.lessons import taught
from victims.purify import Purified, through
from victims.schedule import make_schedule
from victims.sift import sift

METRICS = ("accuracy", "balanced_accuracy", "macro_auroc")
VAL_FRACTION = 0.1
CHECKS = 10  # how often a victim is measured, at most: measuring each of many epochs would cost as much as training


@dataclass(frozen=True)
class VictimReport:
    """What became of a victim.

    Attributes:
        curve: one mapping for each measured epoch (``epoch``, from 1): the METRICS on the clean test images (fractions
            in [0, 1]), ``val_accuracy`` on a part of its own training images that was kept from it, and ``loss`` on the
            training images. All epochs are measured up to CHECKS of them, else CHECKS evenly spread ones and the last.
        images: how many it had, less those that its defence dropped.
        seconds: wall time.
        model: the trained classifier, in evaluation mode; it takes images as they are and purifies them itself.
    """

    curve: list[dict[str, float]]
    images: int
    seconds: float
    model: nn.Module

    def scores(self) -> dict[str, dict[str, float]]:
        """Each metric at the last epoch, at its own peak, and where the kept part would stop, of the measured epochs.

        The peak is chosen by the test images, hence an upper bound that no thief can reach knowingly.
        """
        best = max(range(len(self.curve)), key=lambda epoch: self.curve[epoch]["val_accuracy"])
        return {
            metric: {
                "last": self.curve[-1][metric],
                "peak": max(epoch[metric] for epoch in self.curve),
                "selected": self.curve[best][metric],
            }
            for metric in METRICS
        }


def train_victim(
    train: ImageSet,
    test: ImageSet,
    classes: int,
    recipe: Recipe,
    seed: int,
    device: torch.device | None = None,
    progress: Callable[[], None] = lambda: None,
) -> VictimReport:
    """Trains a classifier on images and measures it on clean ones; a pure function of its arguments.

    Global random state is neither read nor changed, so a GAN run is the same with and without it. What a defence does
    to pixels is done to every image: those it trains on, the kept ones and the clean ones.

    Args:
        train: what the victim trains on, as decoded from disk. A tenth, stratified, is kept from it for selection.
        test: clean images.
        classes: number of classes K.
        recipe: architecture, training and defence.
        seed: of the initialisation, the order, the augmentation and the defence.
        device: None: the CPU.
        progress: called after every epoch.

    Raises:
        ValueError: the architecture is unknown or cannot take these images, or the defence is unknown.
        FloatingPointError: the loss is not finite.
    """
    started = time.perf_counter()
    device = device or torch.device("cpu")
    kept_rows, used_rows = divide(train.labels, [VAL_FRACTION], seed)
    used, kept = train.subset(used_rows), train.subset(kept_rows)
    defence, plain = operations(recipe.defence), replace(recipe, defence="none")

    def brief(images: ImageSet, other: Recipe) -> nn.Module:
        with own_randomness(seed, device):
            model = _fresh(other, classes, train.shape, device)
            for _ in _epochs(model, images, other, classes, seed, device):
                pass
        return model

    curve: list[dict[str, float]] = []
    with own_randomness(seed, device), torch.enable_grad():
        used, purifiers = sift(defence, used, plain, brief, seed, device)
        test_images, kept_images = through(purifiers, test.images), through(purifiers, kept.images)
        model = _fresh(recipe, classes, train.shape, device)
        for epoch, loss in enumerate(_epochs(model, used, recipe, classes, seed, device), 1):
            progress()
            if not math.isfinite(loss):  # it would answer at chance, as if the images were protected
                raise FloatingPointError(
                    f"the victim's loss is {loss:g} in its epoch {epoch}; lower victim.lr or take another recipe"
                )
            if not measured(epoch, recipe.epochs):
                continue
            scores = measure(predict(model, test_images, device), test.labels, classes)
            val = (predict(model, kept_images, device).argmax(1) == kept.labels).float().mean().item()
            curve.append({"epoch": epoch} | scores | {"val_accuracy": val, "loss": loss})
    whole = Purified(model, purifiers) if purifiers else model
    return VictimReport(curve, len(used) + len(kept), time.perf_counter() - started, whole.eval())


def _fresh(recipe: Recipe, classes: int, shape: tuple[int, int, int], device: torch.device) -> nn.Module:
    channels, height, width = shape
    model = build_classifier(recipe.arch, classes, channels, (height, width))
    model.to(device).to(memory_format=torch.channels_last)
    return model


def _epochs(
    model: nn.Module, train: ImageSet, recipe: Recipe, classes: int, seed: int, device: torch.device
) -> Iterator[float]:
    """Trains a model, and gives the mean loss after every epoch; draws the order from torch's global random state."""
    defence = operations(recipe.defence)
    images, labels = train.images.to(device), train.labels.to(device)
    batches = max(1, len(train) // recipe.batch_size)
    optimizer = victim_optimizer(model, recipe)
    schedule = make_schedule(optimizer, recipe.epochs * batches, recipe.warmup)
    for epoch in range(recipe.epochs):
        model.train()
        total = torch.zeros((), device=device)
        # equal batches of at least batch_size: no crumb for batch norm to stumble over
        for step, rows in enumerate(torch.randperm(len(train)).to(device).tensor_split(batches)):
            generator = draws(seed, epoch, step)
            batch = augment(to_float(images.index_select(0, rows)), recipe.augment, generator)
            batch, targets = taught(defence, model, batch, labels[rows], classes, generator)
            loss = F.cross_entropy(model(batch.contiguous(memory_format=torch.channels_last)), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if recipe.clip:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
            schedule.step()
            total += loss.detach()
        yield total.item() / batches


def measured(epoch: int, epochs: int) -> bool:
    """Whether a victim is measured after this epoch (from 1): CHECKS times, evenly spread, the last one among them."""
    return epochs <= CHECKS or epoch * CHECKS // epochs > (epoch - 1) * CHECKS // epochs


def victim_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer that a recipe names."""
    parameters, decay = model.parameters(), recipe.weight_decay
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, recipe.lr, weight_decay=decay)
    return torch.optim.SGD(parameters, recipe.lr, recipe.momentum, weight_decay=decay, nesterov=recipe.nesterov)


def predict(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """Class probabilities, float N×K on the CPU, for images, uint8 N×C×H×W; puts the model in evaluation mode."""
    model.eval()
    with torch.no_grad():
        parts = [
            model(to_float(part.to(device)).contiguous(memory_format=torch.channels_last)) for part in images.split(512)
        ]
        return torch.cat(parts).float().softmax(1).cpu()


def measure(probabilities: Tensor, labels: Tensor, classes: int) -> dict[str, float]:
    """The METRICS, each in [0, 1], from probabilities (float N×K) and labels (int64 N)."""
    values = (
        multiclass_accuracy(probabilities, labels, classes, average="micro"),
        multiclass_accuracy(probabilities, labels, classes, average="macro"),
        multiclass_auroc(probabilities, labels, classes, average="macro"),
    )
    return {name: value.item() for name, value in zip(METRICS, values, strict=True)}
