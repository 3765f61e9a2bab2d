"""What is known of a protection before it is built; free of torch, so that ``--help`` is fast.

A new protection that can more than ``fit`` and ``protect`` gets one line in CAPABILITIES, which says the same as its
class (``FittedByTrainer``, ``Transferable`` and ``Classifying`` of datamodules/protection.py; a test compares them).
"""

from dataclasses import dataclass

from gan.config import NAME

DEFAULT_METHOD = NAME  # of the option ``method``, and of results and grids that name none


@dataclass(frozen=True)
class Capabilities:
    """What a protection can do beyond ``fit`` and ``protect``.

    Attributes:
        uses_trainer: is fitted by Lightning's Trainer: on several devices, with its profiler and the user's callbacks.
        transferable: leaves a generator's file, which protects other data without their labels.
        classifies: states the class that it reads from each unseen image.
    """

    uses_trainer: bool = False
    transferable: bool = False
    classifies: bool = False


CAPABILITIES = {NAME: Capabilities(uses_trainer=True, transferable=True, classifies=True)}
TRANSFERABLE = [name for name, can in CAPABILITIES.items() if can.transferable]


def capabilities(method: str) -> Capabilities:
    """What the protection of that name (``method=``) can do."""
    return CAPABILITIES.get(method, Capabilities())
