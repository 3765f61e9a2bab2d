"""Learning rates by batches, of victims and of the three networks."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def make_schedule(optimizer: Optimizer, steps: int, warmup: float, constant: bool = False) -> LambdaLR:
    """Learning rate by batch: linear from 0 over the share ``warmup`` of ``steps``, then half a cosine to 0.

    Args:
        optimizer: its learning rate is the peak.
        steps: batches of the whole training.
        warmup: in [0, 1).
        constant: stay at the peak instead.
    """
    rise = warmup * steps

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        if constant:
            return 1.0
        return (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, steps - rise)))) / 2

    return LambdaLR(optimizer, factor)
