"""Optimizers and learning-rate schedules, by batches; victims use the same schedule."""

import math

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gan.config import NetworkConfig


def make_optimizer(network: nn.Module, options: NetworkConfig) -> Optimizer:
    """The optimizer that a network's options name."""
    parameters = [p for p in network.parameters() if p.requires_grad]  # a frozen encoder has none
    lr, decay = options.lr, options.weight_decay
    if options.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr, momentum=options.beta1, weight_decay=decay)
    kind = torch.optim.Adam if options.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr, betas=(options.beta1, 0.999), weight_decay=decay)


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
