"""What is to be known of every protection: paper, bound, needs and cost, for the table of docs/METHODS.md."""

from dataclasses import dataclass

from baselines.capabilities import STATED
from baselines.config import BaselinesConfig
from baselines.registry import make_protection

IMAGES = 50_000  # of the set that published costs are of
NORMS = {"linf": "L∞", "l2": "L2", "l0": "L0", None: "none"}


@dataclass(frozen=True)
class MethodInfo:
    """A row.

    Attributes:
        method: ``method=`` of the command line, with what decides its bound or needs.
        title: full name.
        paper: where it is published.
        norm: of the bound; ``none`` for none.
        labels: whether protecting needs labels.
        images: which images can be protected.
        cost: passes through a network for each image, with the default options, on IMAGES images.
    """

    method: str
    title: str
    paper: str
    norm: str
    labels: bool
    images: str
    cost: str


def method_infos() -> list[MethodInfo]:
    """A row for every protection: ConfounderGAN, then the baselines in the order of ``BaselinesConfig``."""
    rows = []
    for name, stated in STATED.items():
        protection, cost = make_protection(name, BaselinesConfig(), 8.0), stated().cost(IMAGES)
        norm, labels = NORMS[protection.norm], not protection.label_free
        rows.append(MethodInfo(name, stated.title, stated.paper, norm, labels, stated.images, cost))
    return rows
