"""Passes through networks, counted as they happen: what a method costs on any machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from datamodules.protected import Passes


class Tally:
    """Counts the images that go forward and back through networks, by hooks on them; no formula.

    A backward pass is counted whenever a gradient reaches a network's output, so a second one through the same output
    (of a gradient that is differentiated itself) is another.

    Args:
        networks: that are watched from now on; more can be added.

    Attributes:
        forward: images that went forward.
        backward: images whose gradient came back.
    """

    def __init__(self, *networks: nn.Module) -> None:
        self.forward = self.backward = 0
        for network in networks:
            self.watch(network)

    def watch(self, network: nn.Module) -> None:
        """Counts this network's passes too."""
        network.register_forward_hook(self._went)

    @contextmanager
    def everywhere(self, *kinds: type[nn.Module]) -> Iterator[None]:
        """Counts the passes of all networks of these kinds, those too that are only made inside."""

        def went(network: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(network, kinds):
                self._went(network, inputs, output)

        hook = register_module_forward_hook(went)
        try:
            yield
        finally:
            hook.remove()

    def passes(self, images: int) -> Passes:
        """What was counted, for each of so many images."""
        return Passes(self.forward / images, self.backward / images)

    def _went(self, network: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        self.forward += len(output)
        if output.requires_grad:
            output.register_hook(self._came)

    def _came(self, gradient: Tensor) -> None:
        self.backward += len(gradient)
