"""What an attacker does to the trained network before it is asked: the weights themselves."""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from datamodules.augment import draws
from victims.defences import Operation


class Mean(nn.Module):
    """The mean answer of several classifiers, as logits: the logarithm of the mean probabilities."""

    def __init__(self, nets: list[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, images: Tensor) -> Tensor:
        """Float B×K of whatever the classifiers take."""
        answers = torch.stack([net(images).log_softmax(1) for net in self.nets])
        found: Tensor = answers.logsumexp(0)
        return found


def perturb(net: nn.Module, seed: int, share: float, copies: int) -> nn.Module:
    """Copies with noise on the weights of linear and convolutional layers: ``share`` of their root mean square."""
    changed = []
    for number in range(copies):
        generator, copy = draws(seed, number), deepcopy(net)
        with torch.no_grad():
            for weight in (p for p in copy.parameters() if p.dim() > 1):
                noise = torch.randn(weight.shape, generator=generator).to(weight.device)
                weight.add_(share * weight.square().mean().sqrt() * noise)
        changed.append(copy)
    return Mean(changed)


MODEL_STAGE: dict[str, Callable[..., nn.Module]] = {f.__name__: f for f in (perturb,)}


def apply_model_stage(operations: list[Operation], net: nn.Module, seed: int) -> nn.Module:
    """A trained network as it answers; itself, unless an operation acts on networks. ``net`` stays as it is.

    Args:
        operations: of the defence, in order; those of other stages are passed over.
        net: a classifier.
        seed: of the draws.
    """
    for name, values in operations:
        if name in MODEL_STAGE:
            net = MODEL_STAGE[name](net, seed, *values)
    return net
