"""What the options of every protection state of it, beside its keys. Free of torch, so that ``--help`` is fast."""

from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Self

FITTED, SHAPE, ALL = "those it was fitted on", "any of the fitted shape and classes", "any"
GENERATED = "any of the fitted channels"
NONE = "no network"


class MethodOptions:
    """The base of every protection's options: its class, what can be done with it, and its row of docs/METHODS.md.

    Attributes:
        made_by: ``module.Class`` of the protection, imported when it is chosen; called with these options, and with ε
            where ``bounded``.
        bounded: whether it takes the L∞ bound in grey levels.
        title: full name.
        paper: where it is published.
        images: which images can be protected.
        uses_trainer: is fitted by Lightning's Trainer (``FittedByTrainer`` of datamodules/protection.py): on several
            devices, with its profiler and the user's callbacks.
        transferable: leaves a generator's file (``Transferable``), which protects other data without their labels.
        classifies: states the class that it reads from each unseen image (``Classifying``).
    """

    made_by: ClassVar[str] = ""
    bounded: ClassVar[bool] = True
    title: ClassVar[str] = ""
    paper: ClassVar[str] = "–"
    images: ClassVar[str] = FITTED
    uses_trainer: ClassVar[bool] = False
    transferable: ClassVar[bool] = False
    classifies: ClassVar[bool] = False

    def implied(self, images: int) -> float:
        """Backward passes per image that the published algorithm takes with these options, counted by hand.

        The least that it can do; 0 where no network is trained.

        Args:
            images: that are fitted on.
        """
        return 0.0

    def cost(self, images: int) -> str:
        """``implied`` in words, for the table."""
        passes = self.implied(images)
        return f"{passes:.0f}" if passes else NONE

    def archs(self) -> dict[str, str]:
        """The architectures that are named, by key below these options: those called ``arch``, also in sections."""
        return dict(_archs(self))

    def shortened(self) -> Self:
        """The same with few steps, for a check that everything runs."""
        return self


def _archs(options: Any, prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for item in fields(options):
        value = getattr(options, item.name)
        if is_dataclass(value):
            found += _archs(value, f"{prefix}{item.name}.")
        elif item.name == "arch":
            found.append((f"{prefix}arch", value))
    return found
