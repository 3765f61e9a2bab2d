"""Learning without labels on the collected images: SimCLR (Chen et al., ICML 2020), made small.

Two views of each image; a network and a small projection learn to tell which views belong together. Labels play
no part, so noise that only encodes labels has less to offer. Ours: milder views than there (no hue, no blur), small
batches.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.augment import augment, draws
from datamodules.images import to_float
from victims.config import Recipe
from victims.loop import equal_batches, train_epochs
from victims.schedule import make_schedule, victim_optimizer

TEMPERATURE = 0.5
PROJECTION = 64


def views(images: Tensor, generator: torch.Generator) -> Tensor:
    """One view of each image: a random part, enlarged to the whole; flip, brightness, contrast; gray for a fifth.

    Args:
        images: float B×C×H×W in [0, 1].
        generator: CPU generator of the draws.

    Returns:
        float B×C×H×W in [0, 1].
    """
    images = augment(images, "zoom+flip+brightness+contrast", generator)
    gray = (torch.rand(len(images), 1, 1, 1, generator=generator) < 0.2).to(images.device)
    return torch.where(gray, images.mean(1, keepdim=True).expand_as(images), images)


def contrast_loss(first: Tensor, second: Tensor) -> Tensor:
    """NT-Xent (Sohn 2016; Chen et al. 2020, eq. 1) of two views' projections, float B×D each; B ≥ 2."""
    both = F.normalize(torch.cat([first, second]), dim=1)
    logits = both @ both.T / TEMPERATURE
    logits = logits.masked_fill(torch.eye(len(both), dtype=torch.bool, device=both.device), float("-inf"))
    partner = torch.arange(len(both), device=both.device).roll(len(first))
    return F.cross_entropy(logits, partner)


def pretrain(
    body: nn.Module,
    images: Tensor,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Trains a network without labels, in place; torch's global random state gives the order and the projection.

    Args:
        body: float B×C×H×W in [0, 1] to features, float B×D; on the device.
        images: uint8 N×C×H×W.
        recipe: epochs, batch size, optimizer and rate.
        seed: of the views.
        device: of the training.
        progress: called after every epoch.
    """
    images = images.to(device)
    body.eval()
    with torch.no_grad():
        width = body(to_float(images[:1])).shape[1]
    projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, PROJECTION)).to(device)
    learned = nn.ModuleList([body, projection])
    optimizer = victim_optimizer(learned, recipe)
    schedule = make_schedule(optimizer, recipe.epochs * max(1, len(images) // recipe.batch_size), recipe.warmup)

    def loss(rows: Tensor, epoch: int, step: int) -> Tensor:
        generator = draws(seed, epoch, step)
        batch = to_float(images.index_select(0, rows))
        pair = torch.cat([views(batch, generator), views(batch, generator)])
        first, second = projection(body(pair.contiguous(memory_format=torch.channels_last))).chunk(2)
        return contrast_loss(first, second)

    learned.train()
    batches = partial(equal_batches, len(images), recipe.batch_size, device)
    for _ in train_epochs(range(recipe.epochs), batches, loss, optimizer, after=lambda _: schedule.step()):
        progress()
