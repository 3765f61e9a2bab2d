"""Optimizers of the three networks."""

import torch
from torch import nn
from torch.optim import Optimizer

from gan.config import NetworkConfig


def make_optimizer(network: nn.Module, options: NetworkConfig) -> Optimizer:
    """The optimizer that a network's options name."""
    parameters = [p for p in network.parameters() if p.requires_grad]  # a frozen encoder has none
    lr, decay = options.lr, options.weight_decay
    if options.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr, momentum=options.beta1, weight_decay=decay)
    kind = torch.optim.Adam if options.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr, betas=(options.beta1, 0.999), weight_decay=decay)
