"""What is to be known of every protection: paper, bound, needs and cost, for the table of docs/METHODS.md."""

from dataclasses import dataclass

from baselines.config import BaselinesConfig, Method
from baselines.registry import make_protection

IMAGES = 50_000  # of the set that published costs are of
NORMS = {"linf": "L∞", "l2": "L2", "l0": "L0", None: "none"}


@dataclass(frozen=True)
class Facts:
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


FITTED, SHAPE, ALL = "those it was fitted on", "any of the fitted shape and classes", "any"
NONE = "no network"


def facts() -> list[Facts]:
    """A row for every baseline, in the order of ``Method``."""
    c = BaselinesConfig()
    emn = c.emn.surrogate_steps * c.emn.batch_size / IMAGES + c.emn.steps + 1
    rem = c.rem.steps * c.rem.samples * (c.rem.adversary_steps + 1)
    learned = c.rem.iterations * c.rem.batch_size / IMAGES * (rem + c.rem.adversary_steps + 1)
    tap, hypo = c.tap.surrogate.epochs, c.hypo.surrogate.epochs
    lines: list[tuple[Method, str, str, str, str]] = [
        ("random", "random signs", "–", ALL, NONE),
        ("lsp", "linearly separable perturbations", "Yu et al., KDD 2022", SHAPE, NONE),
        (
            "emn",
            "error-minimising noise",
            "Huang et al., ICLR 2021",
            FITTED,
            f"{emn:.0f} a round",
        ),
        ("ar", "autoregressive perturbations", "Sandoval-Segura et al., NeurIPS 2022", SHAPE, NONE),
        ("cuda", "class-wise convolution", "Sadasivan et al., CVPR 2023", SHAPE, NONE),
        ("ops", "one-pixel shortcut", "Wu et al., ICLR 2023", SHAPE, f"{NONE}; all places and colours are tried"),
        (
            "tap",
            "targeted (or untargeted) adversarial examples",
            "Fowl et al., NeurIPS 2021",
            FITTED,
            f"{tap} + {c.tap.restarts} × {c.tap.steps}",
        ),
        ("rem", "robust error-minimising noise", "Fu et al., ICLR 2022", FITTED, f"{learned + rem:.0f}"),
        (
            "pil",
            "perturbation-induced linearization",
            "Liu et al., ICLR 2026",
            FITTED,
            f"{c.pil.epochs} + 2 × {c.pil.steps}, of one matrix",
        ),
        ("hypo", "hypocritical perturbations", "Tao et al., NeurIPS 2021", FITTED, f"{hypo} + {c.hypo.steps}"),
    ]
    rows = []
    for name, title, paper, images, cost in lines:
        protection = make_protection(name, c, 8.0)
        rows.append(Facts(name, title, paper, NORMS[protection.norm], not protection.label_free, images, cost))
    return rows
