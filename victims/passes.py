"""Passes through networks, counted as they happen: what a method costs on any machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from datamodules.protection import Passes


class PassCounter:
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
            self.attach(network)

    def attach(self, network: nn.Module) -> None:
        """Counts this network's passes too."""
        network.register_forward_hook(self._on_forward)

    @contextmanager
    def count_all(self, *kinds: type[nn.Module]) -> Iterator[None]:
        """Counts the passes of all networks of these kinds, those too that are only made inside."""

        def on_forward(network: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(network, kinds):
                self._on_forward(network, inputs, output)

        hook = register_module_forward_hook(on_forward)
        try:
            yield
        finally:
            hook.remove()

    def passes(self, images: int) -> Passes:
        """What was counted, for each of so many images."""
        return Passes(self.forward / images, self.backward / images)

    def _on_forward(self, network: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        self.forward += len(output)
        if output.requires_grad:
            output.register_hook(self._on_backward)

    def _on_backward(self, gradient: Tensor) -> None:
        self.backward += len(gradient)
