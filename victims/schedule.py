"""Learning rates by batches, of victims and of the three networks; the optimizers of victims."""

import math

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from victims.config import Recipe
from victims.loop import make_optimizer


def make_schedule(
    optimizer: Optimizer,
    steps: int,
    warmup: float,
    constant: bool = False,
    milestones: tuple[float, ...] | None = None,
    gamma: float = 0.1,
) -> LambdaLR:
    """Learning rate by batch: linear from 0 over the share ``warmup`` of ``steps``, then half a cosine to 0.

    Args:
        optimizer: its learning rate is the peak.
        steps: batches of the whole training.
        warmup: in [0, 1).
        constant: stay at the peak instead.
        milestones: shares of ``steps`` after which the rate is multiplied by ``gamma``, instead of the cosine.
        gamma: see ``milestones``.
    """
    rise = warmup * steps

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        if constant:
            return 1.0
        if milestones is not None:
            return gamma ** sum(step >= round(share * steps) for share in milestones)
        return (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, steps - rise)))) / 2

    return LambdaLR(optimizer, factor)


def victim_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """The optimizer that a recipe names; on a GPU all parameters in one kernel."""
    fused = True if next(model.parameters()).is_cuda else None  # on CPUs as before, to the last bit
    sgd = recipe.optimizer == "sgd"
    return make_optimizer(
        model.parameters(), recipe.optimizer, recipe.lr, recipe.momentum if sgd else 0.9, recipe.weight_decay,
        sgd and recipe.nesterov, fused,
    )  # fmt: skip
