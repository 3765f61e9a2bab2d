"""What is to be known of every protection: paper, bound, needs and cost, for the table of docs/METHODS.md."""

from dataclasses import dataclass

from baselines.config import BaselinesConfig, Method
from baselines.registry import make_protection
from gan.config import NAME

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


FITTED, SHAPE, ALL = "those it was fitted on", "any of the fitted shape and classes", "any"
GENERATED = "any of the fitted channels"
NONE = "no network"


def implied(method: Method, c: BaselinesConfig, images: int) -> float:
    """Backward passes per image that the published algorithm takes with these options, counted by hand from its steps.

    The least that it can do; 0 where no network is trained. EMN: of one round.

    Args:
        method: the baseline.
        c: options of all.
        images: that are fitted on.
    """
    rem_noise = c.rem.steps * c.rem.samples * (c.rem.adversary_steps + 1)
    rem_drawn = c.rem.iterations * c.rem.batch_size / images
    sem_drawn = c.sem.iterations * c.sem.batch_size / images
    sem_noise = c.sem.steps * c.sem.samples
    auxiliary, head = pattern_passes(c)
    found: dict[Method, float] = {
        "emn": c.emn.surrogate_steps * c.emn.batch_size / images + c.emn.steps,
        "tap": c.tap.surrogate.epochs + c.tap.restarts * c.tap.steps,
        "rem": rem_drawn * (rem_noise + c.rem.adversary_steps + 1) + rem_noise,
        "pil": c.pil.epochs + 2 * c.pil.steps,
        "hypo": c.hypo.surrogate.epochs + c.hypo.steps,
        # f's own step; the tried step; the look after it, back through f, the tried step and g
        "deepconfuse": c.deepconfuse.trials * c.deepconfuse.epochs * (1 + 1 + 3),
        # the answer's steps; f here and at the answer, and g; f on clean images
        "gue": c.gue.epochs * (c.gue.steps + 3 + 1),
        "clusters": c.clusters.surrogate.epochs + c.clusters.count * c.clusters.epochs,
        "sem": sem_drawn * (sem_noise + c.sem.adversary_steps + 1) + sem_noise,
        "sep": c.sep.surrogate.epochs + c.sep.steps * (c.sep.checkpoints + c.sep.inner_steps),
        "miue": c.miue.epochs * (1 + c.miue.steps),
        # the step that is tried and the one that is taken; f′ and g, for every image
        "bait": c.bait.iterations * (2 * c.bait.batch_size / images + 2),
        "patterns": auxiliary + head,
    }
    return float(found.get(method, 0.0))


def pattern_passes(c: BaselinesConfig) -> tuple[float, float]:
    """Backward passes per image through the auxiliary classifier and through the head of ``patterns``.

    A tenth of the images is kept from both, and another tenth of the rest from the classifier.
    """
    used = c.patterns.auxiliary_classifier != "none"
    return 0.9 * 0.9 * c.patterns.auxiliary_epochs * used, 0.9 * c.patterns.head_epochs


def method_infos() -> list[MethodInfo]:
    """A row for every protection: ConfounderGAN, then the baselines in the order of ``Method``."""
    c = BaselinesConfig()
    tap, hypo = c.tap.surrogate.epochs, c.hypo.surrogate.epochs
    auxiliary, head = pattern_passes(c)
    lines: list[tuple[str, str, str, str, str]] = [
        (NAME, "generator with a confounder", "Tian et al., NeurIPS 2022", ALL, "trained once, then 1 forward"),
        ("random", "random signs", "–", ALL, NONE),
        ("lsp", "linearly separable perturbations", "Yu et al., KDD 2022", SHAPE, NONE),
        (
            "emn",
            "error-minimising noise",
            "Huang et al., ICLR 2021",
            FITTED,
            f"{implied('emn', c, IMAGES):.0f} per round",
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
        ("rem", "robust error-minimising noise", "Fu et al., ICLR 2022", FITTED, f"{implied('rem', c, IMAGES):.0f}"),
        (
            "pil",
            "perturbation-induced linearization",
            "Liu et al., ICLR 2026",
            FITTED,
            f"{c.pil.epochs} + 2 × {c.pil.steps}, of one matrix",
        ),
        ("hypo", "hypocritical perturbations", "Tao et al., NeurIPS 2021", FITTED, f"{hypo} + {c.hypo.steps}"),
        (
            "deepconfuse",
            "generator against a classifier's training, unrolled",
            "Feng et al., NeurIPS 2019",
            GENERATED,
            f"{implied('deepconfuse', c, IMAGES):.0f}",
        ),
        (
            "gue",
            "generator in a Stackelberg game",
            "Liu et al., AAAI 2024",
            GENERATED,
            f"{implied('gue', c, IMAGES):.0f}",
        ),
        (
            "clusters",
            "a pattern for each cluster of features",
            "Zhang et al., CVPR 2023",
            "any of the fitted shape",
            f"{implied('clusters', c, IMAGES):.0f}",
        ),
        ("sem", "stable error-minimising noise", "Liu et al., AAAI 2024", FITTED, f"{implied('sem', c, IMAGES):.0f}"),
        (
            "sep",
            "against many states of a classifier's training",
            "Chen et al., ICLR 2023",
            FITTED,
            f"{c.sep.surrogate.epochs} + {c.sep.steps} × ({c.sep.checkpoints} + {c.sep.inner_steps})",
        ),
        (
            "miue",
            "features of a class made alike",
            "ICLR 2026 (2603.03725)",
            FITTED,
            f"{implied('miue', c, IMAGES):.0f}",
        ),
        (
            "bait",
            "noise bound to labels, against a pretrained network",
            "ICLR 2026",
            SHAPE,
            f"{implied('bait', c, IMAGES):.0f}",
        ),
        (
            "ntga",
            "against a network of infinite width",
            "Yuan and Wu, ICML 2021",
            FITTED,
            f"{NONE}; kernels of blocks of {c.ntga.block}",
        ),
        (
            "patterns",
            "chosen patterns, the first build of this project",
            "ours",
            GENERATED,
            f"{auxiliary:.0f} + {head:.0f}, these of two small layers",
        ),
    ]
    rows = []
    for name, title, paper, images, cost in lines:
        protection = make_protection(name, c, 8.0)
        rows.append(MethodInfo(name, title, paper, NORMS[protection.norm], not protection.label_free, images, cost))
    return rows
