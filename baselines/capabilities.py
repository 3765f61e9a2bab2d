"""What is known of a protection before it is built; free of torch, so that ``--help`` is fast.

Nothing asks for its name. It is stated by the class of its options (``MethodOptions``): ConfounderGAN's, and those of
``BaselinesConfig``.
"""

from typing import TYPE_CHECKING, Literal

from baselines.config import MIXED, OWN, BaselinesConfig
from datamodules.method import MethodOptions
from gan.config import NAME, GanConfig

DEFAULT_METHOD = NAME  # of the option ``method``, and of results and grids that name none
STATED: dict[str, type[MethodOptions]] = {
    NAME: GanConfig,
    **{name: type(options) for name, options in BaselinesConfig().methods().items()},
}
TRANSFERABLE = [name for name, stated in STATED.items() if stated.transferable]
if TYPE_CHECKING:
    AnyMethod = str
else:
    AnyMethod = Literal[(*STATED, MIXED, OWN)]


def capabilities(method: str) -> type[MethodOptions]:
    """What is stated of the protection of that name (``method=``); nothing beyond the usual of one from outside."""
    return STATED.get(method, MethodOptions)
