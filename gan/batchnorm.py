"""Batch normalisation over the global batch of several CPU processes (torch's own SyncBatchNorm is for GPUs alone)."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SyncBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose statistics in training are those of all processes' images together, gradients included.

    With it, two processes compute what one computes on the global batch, also when their shares differ in size.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalises float B×C×H×W by the statistics of every process's B images."""
        if not self.training or not dist.is_initialized():
            return super().forward(input)
        channels = input.shape[1]
        count = input.new_full((1,), input.numel() / channels)
        sums, total = all_reduce(torch.cat([input.sum((0, 2, 3)), count])).split([channels, 1])
        mean = sums / total
        centred = input - mean[:, None, None]
        var = all_reduce(centred.square().sum((0, 2, 3))) / total  # two passes: E[x²] − E[x]² would cancel
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked += 1
                rate = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, rate)
                self.running_var.lerp_(var * total / (total - 1), rate)
        scale = (var + self.eps).rsqrt()
        normal = centred * scale[:, None, None]
        if self.affine:
            normal = normal * self.weight[:, None, None] + self.bias[:, None, None]
        found: Tensor = normal
        return found


def convert_sync_batch_norm(network: nn.Module) -> nn.Module:
    """Turns every plain BatchNorm2d of a network into a synchronised one, in place; parameters and their names stay."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm2d
    return network
