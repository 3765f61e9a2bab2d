"""A classifier trained on the clean images, against which noise is crafted, and the crafting by signed steps."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.config_crafted import SurrogateConfig
from datamodules.augment import augment, draws
from datamodules.images import ImageSet, to_float
from victims.classifier import build_classifier
from victims.loop import equal_batches, make_optimizer, signed_descent, train_epochs
from victims.passes import PassCounter

# mean loss of a batch: of its images (float B×C×H×W in [0, 1]), their noise (the same, in pixel units) and labels
Objective = Callable[[Tensor, Tensor, Tensor], Tensor]


def train_surrogate(
    options: SurrogateConfig,
    train: ImageSet,
    classes: int,
    seed: int,
    device: torch.device,
    progress: Callable[[float], None],
    model: nn.Module | None = None,
    counter: PassCounter | None = None,
) -> nn.Module:
    """A classifier trained on clean images by SGD with cosine learning rate, in evaluation mode, its weights fixed.

    Args:
        options: architecture and training.
        train: the images.
        classes: number of classes K.
        seed: of the augmentation; global torch random state decides weights and order.
        device: of everything.
        progress: called with the share that is done, in [0, 1].
        model: trained instead of a new one of ``options.arch``.
        counter: counts the passes of the training, and all later ones through the classifier.

    Raises:
        ValueError: the architecture is unknown or cannot take these images.
    """
    channels, height, width = train.shape
    model = model or build_classifier(options.arch, classes, channels, (height, width))
    if counter is not None:
        counter.attach(model)
    model.to(device).to(memory_format=torch.channels_last).train()
    images, labels = train.images.to(device), train.labels.to(device)
    learner = model
    optimizer = make_optimizer(
        learner.parameters(), "sgd", options.lr, options.momentum, weight_decay=options.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)

    def loss(rows: Tensor, epoch: int, step: int) -> Tensor:
        batch = augment(to_float(images[rows]), options.augment, draws(seed, epoch, step))
        return F.cross_entropy(learner(batch.contiguous(memory_format=torch.channels_last)), labels[rows])

    batches = partial(equal_batches, len(train), options.batch_size, device)
    for epoch, _ in enumerate(train_epochs(range(options.epochs), batches, loss, optimizer), 1):
        schedule.step()
        progress(epoch / options.epochs)
    return model.eval().requires_grad_(False)


def signed_steps(
    objective: Objective,
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    bound: float,
    steps: int,
    length: float,
    stay: bool,
) -> Tensor:
    """Noise after T steps δ ← clip_ε(δ − α·sign ∇_δ objective(x, δ, y)).

    Args:
        objective: what is to become small; a mean over the batch.
        images: float B×C×H×W in [0, 1].
        labels: int64 B.
        noise: float B×C×H×W, the start.
        bound: ε in [0, 1] pixel units.
        steps: T.
        length: α, in [0, 1] pixel units.
        stay: whether x + δ is kept in [0, 1] too.

    Returns:
        float B×C×H×W, within ±ε.
    """

    def limit(noise: Tensor) -> Tensor:
        noise = noise.clamp(-bound, bound)
        return (images + noise).clamp(0, 1) - images if stay else noise

    return signed_descent(lambda noise: objective(images, noise, labels), noise, steps, length, limit)


def craft(
    objective: Objective,
    train: ImageSet,
    start: Callable[[tuple[int, ...]], Tensor],
    options: tuple[float, int, float],
    batch_size: int,
    device: torch.device,
    progress: Callable[[float], None],
    stay: bool = True,
    made: list[Tensor] | None = None,
    save: Callable[[list[Tensor]], None] = lambda _: None,
) -> Tensor:
    """Noise for all images, batch by batch, float N×C×H×W on the CPU.

    Args:
        objective: what is to become small.
        train: the images.
        start: the noise to start from, of a shape, on the CPU.
        options: bound, steps and length of a step, as for ``signed_steps``.
        batch_size: images together.
        device: of the objective.
        progress: called with the share that is done, in [0, 1].
        stay: as for ``signed_steps``.
        made: noise of the first batches, which is there already.
        save: called after each batch with the noise of all batches so far.
    """
    bound, steps, length = options
    made = list(made or [])
    for rows in torch.arange(len(train)).split(batch_size)[len(made) :]:
        images, labels = to_float(train.pixels(rows)).to(device), train.labels[rows].to(device)
        noise = start(tuple(images.shape)).clamp(-bound, bound).to(device)
        made.append(signed_steps(objective, images, labels, noise, bound, steps, length, stay).cpu())
        progress(float(rows[-1] + 1) / len(train))
        save(made)
    return torch.cat(made)
