"""Training a victim: what somebody who collected the images does with them."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_auroc

from datamodules.augment import augment, draws, isolated_rng
from datamodules.images import ImageSet, to_float
from datamodules.split import stratified_group_split
from victims.batch_stage import apply_batch_stage
from victims.classifier import body_of, build_classifier
from victims.config import PROBED, PUBLISHED, RECIPES, Recipe
from victims.dataset_stage import apply_dataset_stage
from victims.defences import operations
from victims.input_stage import Purified, Purifier, apply_input_stage, rounded
from victims.loop import equal_batches, train_epochs
from victims.model_stage import apply_model_stage
from victims.neighbours import Neighbours
from victims.pairs import Pairs
from victims.pretrained import build_pretrained
from victims.schedule import make_schedule, victim_optimizer
from victims.selfsup import pretrain

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
            With early stopping all are, and what came after the best one is thrown away. Of a probe: its own epochs.
        images: how many it had, less those that its defence dropped.
        seconds: wall time.
        model: the trained classifier, in evaluation mode; it takes images as they are and purifies them itself.
    """

    curve: list[dict[str, float]]
    images: int
    seconds: float
    model: nn.Module

    def scores(self) -> dict[str, dict[str, float]]:
        """Each metric at the last epoch, at its own peak, and where the held-out part would stop, of the measured
        epochs.

        The peak is chosen by the test images, hence an upper bound that no attacker can reach knowingly.
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
    pairs: Pairs | None = None,
    clean: Tensor | None = None,
) -> VictimReport:
    """Trains a classifier on images and measures it on clean ones; a pure function of its arguments.

    Global random state is neither read nor changed, so a GAN run is the same with and without it. What a defence does
    to pixels is done to every image: those it trains on, the kept ones and the clean ones.

    Args:
        train: what the victim trains on, as decoded from disk. A tenth, stratified, is kept from it for selection.
        test: clean images.
        classes: number of classes K.
        recipe: architecture, start, training and defence. Which images are protected is settled before: ``share`` and
            ``class_share`` say nothing here.
        seed: of the initialisation, the order, the augmentation and the defence.
        device: None: the CPU.
        progress: called after every epoch (of what is learned without labels, where something is).
        pairs: pictures of the attacker's own that the same protection protected, for a defence that learns from them.
        clean: bool N, which of the images are clean, for ``recipe.clean_epochs``; None: all.

    Raises:
        ValueError: the architecture is unknown or cannot take these images, the defence is unknown or lacks pairs, or
            the device does not know the number format.
        FloatingPointError: the loss is not finite.
        Unavailable: there are no such pretrained weights.
        DataError: they are damaged.
    """
    started = time.perf_counter()
    device = device or torch.device("cpu")
    kept_rows, used_rows = stratified_group_split(train.labels, [VAL_FRACTION], seed)
    used, kept = train.subset(used_rows), train.subset(kept_rows)
    first = used if clean is None else used.subset(clean[used_rows].nonzero()[:, 0])
    defence, plain = operations(recipe.defence), replace(recipe, defence="none")

    def brief(images: ImageSet, other: Recipe) -> nn.Module:
        with isolated_rng(seed, device):
            model = build(other, classes, images.shape, device)
            for _ in epochs_of(model, images, other, classes, seed, device):
                pass
        return model

    curve: list[dict[str, float]] = []
    before: list[Purifier] = [partial(_sized, side=recipe.size)] if recipe.size else []
    with isolated_rng(seed, device), torch.enable_grad():
        if before:
            used, kept = (ImageSet(apply_input_stage(before, part.images), part.labels) for part in (used, kept))
            if pairs:
                pairs = Pairs(apply_input_stage(before, pairs.clean), apply_input_stage(before, pairs.protected))
        used, purifiers = apply_dataset_stage(defence, used, plain, brief, seed, device, pairs)
        seen, test_inputs = used, apply_input_stage(before + purifiers, test.images)
        kept_inputs = apply_input_stage(purifiers, kept.images)
        model = build(recipe, classes, used.shape, device)
        body: nn.Module | None = None
        epoch_done = progress
        if recipe.start in PROBED:
            body = _body(model, recipe, used.images, seed, device, progress)
            if recipe.start == "self_supervised":
                epoch_done, recipe = (lambda: None), _probing(recipe)
            inputs, test_inputs, kept_inputs = (
                _features(body, part, device) for part in (used.images, test_inputs, kept_inputs)
            )
            seen = ImageSet(inputs, used.labels)
            model = _head(inputs.shape[1], classes, device)
        if recipe.clean_epochs:
            begin = ImageSet(apply_input_stage(before + purifiers, first.images), first.labels)
            for _ in epochs_of(model, begin, replace(recipe, epochs=recipe.clean_epochs), classes, seed, device):
                pass
        if recipe.start == "neighbours":  # there is nothing to learn
            model = Neighbours(seen.images, seen.labels, classes).to(device)
            epochs = iter([F.cross_entropy(_outputs(model, seen.images, device), seen.labels).item()])
        else:
            average = ModelEmaV3(model, recipe.ema, use_warmup=True) if recipe.ema else None
            epochs = epochs_of(model, seen, recipe, classes, seed, device, average)
            model = average.module if average else model  # what is measured
        best = 0
        kept_weights: dict[str, Tensor] = {}
        for epoch, loss in enumerate(epochs, 1):
            epoch_done()
            if not math.isfinite(loss):  # it would answer at chance, as if the images were protected
                raise FloatingPointError(
                    f"the victim's loss is {loss:g} in its epoch {epoch}; lower victim.lr or take another recipe"
                )
            if not recipe.patience and not measured(epoch, recipe.epochs):
                continue
            answering = apply_model_stage(defence, model, seed)
            scores = measure(predict(answering, test_inputs, device), test.labels, classes)
            val = (predict(answering, kept_inputs, device).argmax(1) == kept.labels).float().mean().item()
            curve.append({"epoch": epoch} | scores | {"val_accuracy": val, "loss": loss})
            if recipe.patience:
                if not kept_weights or val > curve[best]["val_accuracy"]:
                    best = epoch - 1
                    kept_weights = {name: value.clone() for name, value in model.state_dict().items()}
                elif epoch - 1 - best >= recipe.patience:
                    break
        if recipe.patience:
            del curve[best + 1 :]
            model.load_state_dict(kept_weights)
        model = apply_model_stage(defence, model, seed)
    whole = nn.Sequential(body, _Flat(), model) if body else model
    if before or purifiers:
        whole = Purified(whole, before + purifiers)
    return VictimReport(curve, len(used) + len(kept), time.perf_counter() - started, whole.eval())


def _sized(images: Tensor, side: int) -> Tensor:
    """Images, uint8 N×C×H×W, brought to ``side`` pixels per side (bilinear, antialiased)."""
    if images.shape[2:] == (side, side):
        return images
    return rounded(F.interpolate(to_float(images), (side, side), mode="bilinear", antialias=True))


def build(recipe: Recipe, classes: int, shape: tuple[int, int, int], device: torch.device) -> nn.Module:
    channels, height, width = shape
    if recipe.start in PUBLISHED:
        model: nn.Module = build_pretrained(recipe.arch, classes, recipe.weights)
    else:
        model = build_classifier(recipe.arch, classes, channels, (height, width))
    model.to(device).to(memory_format=torch.channels_last)
    return model


def _body(
    model: nn.Module, recipe: Recipe, images: Tensor, seed: int, device: torch.device, progress: Callable[[], None]
) -> nn.Module:
    """A network without its last layer, its weights as a probe finds them: published, or learned without labels."""
    if isinstance(model, nn.Sequential):  # of build_pretrained
        return model[0].requires_grad_(False)
    body = body_of(model)
    pretrain(body, images, recipe, seed, device, progress)
    return body.requires_grad_(False)


def _probing(recipe: Recipe) -> Recipe:
    """How the linear layer is trained on what was learned without labels."""
    kept = ("arch", "smoothing", "patience", "precision")
    return replace(RECIPES["probe"], **{key: getattr(recipe, key) for key in kept})


def _head(width: int, classes: int, device: torch.device) -> nn.Module:
    """A linear layer on features, float B×D×1×1, each brought to mean 0 and deviation 1 first."""
    return nn.Sequential(nn.BatchNorm2d(width, affine=False), nn.Flatten(), nn.Linear(width, classes)).to(device)


class _Flat(nn.Module):
    """Features, float B×D, as a head takes them: B×D×1×1."""

    def forward(self, features: Tensor) -> Tensor:
        return features[:, :, None, None]


def _features(body: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """Features, float N×D×1×1 on the CPU, of images, uint8 N×C×H×W."""
    return _outputs(body, images, device)[:, :, None, None]


def epochs_of(
    model: nn.Module,
    train: ImageSet,
    recipe: Recipe,
    classes: int,
    seed: int,
    device: torch.device,
    average: ModelEmaV3 | None = None,
) -> Iterator[float]:
    """Trains a model, and gives the mean loss after every epoch; draws the order from torch's global random state.

    ``average`` follows the model's weights step by step. The whole set lies on the device (as uint8; features of a
    probe as float); nothing waits for it inside an epoch.
    """
    changes = operations(recipe.techniques) + operations(recipe.defence)
    images, labels = train.images.to(device), train.labels.to(device)
    optimizer = victim_optimizer(model, recipe)
    schedule = make_schedule(
        optimizer,
        recipe.epochs * max(1, len(train) // recipe.batch_size),
        recipe.warmup,
        milestones=recipe.milestones,
        gamma=recipe.gamma,
    )
    learner = torch.compile(model) if recipe.compile else model  # measuring stays as it is: other sizes, few batches

    def loss(rows: Tensor, epoch: int, step: int) -> Tensor:
        if step == 0:
            model.train()  # it was measured after the epoch before
        generator = draws(seed, epoch, step)
        batch = augment(_pixels(images.index_select(0, rows)), recipe.augment, generator)
        with _arithmetic(recipe, device):
            batch, targets = apply_batch_stage(changes, model, batch, labels[rows], classes, generator)
            logits = learner(batch.contiguous(memory_format=torch.channels_last))
            return F.cross_entropy(logits, targets, label_smoothing=recipe.smoothing)

    def after(number: int) -> None:
        schedule.step()
        if average:
            average.update(model, number)

    batches = partial(equal_batches, len(train), recipe.batch_size, device)
    yield from train_epochs(range(recipe.epochs), batches, loss, optimizer, recipe.clip, after)


def _pixels(batch: Tensor) -> Tensor:
    """uint8 pixels as floats in [0, 1]; a probe's features as they are."""
    return to_float(batch) if batch.dtype == torch.uint8 else batch


def _arithmetic(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    if recipe.precision == "fp32":
        return nullcontext()
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_bf16_supported()):
        raise ValueError(f"victim.precision: this device ({device.type}) has no bf16; leave it at fp32")
    return torch.autocast(device.type, torch.bfloat16)


def measured(epoch: int, epochs: int) -> bool:
    """Whether a victim is measured after this epoch (from 1): CHECKS times, evenly spread, the last one among them."""
    return epochs <= CHECKS or epoch * CHECKS // epochs > (epoch - 1) * CHECKS // epochs


def predict(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """Class probabilities, float N×K on the CPU, for images, uint8 N×C×H×W; puts the model in evaluation mode."""
    return _outputs(model, images, device).softmax(1)


def _outputs(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """What a model gives for images, float on the CPU; puts it in evaluation mode."""
    model.eval()
    with torch.no_grad():
        parts = [
            model(_pixels(part.to(device)).contiguous(memory_format=torch.channels_last)) for part in images.split(512)
        ]
        return torch.cat(parts).float().cpu()


def measure(probabilities: Tensor, labels: Tensor, classes: int) -> dict[str, float]:
    """The METRICS, each in [0, 1], from probabilities (float N×K) and labels (int64 N)."""
    values = (
        multiclass_accuracy(probabilities, labels, classes, average="micro"),
        multiclass_accuracy(probabilities, labels, classes, average="macro"),
        multiclass_auroc(probabilities, labels, classes, average="macro"),
    )
    return {name: value.item() for name, value in zip(METRICS, values, strict=True)}
