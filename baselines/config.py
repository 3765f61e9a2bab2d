"""Options of the baselines, free of torch so that ``--help`` is fast.

Defaults are the published ones, except where the method's own file names a deviation.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from baselines.config_crafted import (
    BaitConfig,
    MiueConfig,
    NtgaConfig,
    RemConfig,
    SemConfig,
    SepConfig,
    SurrogateConfig,
)
from datamodules.config import augment_fault, option
from datamodules.renames import current_fields

Method = Literal[
    "random",
    "lsp",
    "emn",
    "ar",
    "cuda",
    "ops",
    "tap",
    "rem",
    "pil",
    "hypo",
    "deepconfuse",
    "gue",
    "clusters",
    "sem",
    "sep",
    "miue",
    "bait",
    "ntga",
    "patterns",
]
Kind = Literal["sample", "class"]


@dataclass
class RandomConfig:
    """Random sign noise."""

    kind: Kind = option("sample", "sample: every image its own noise; class: all images of a class the same")


@dataclass
class LspConfig:
    """Linearly separable perturbations (Yu et al., KDD 2022)."""

    norm: Literal["linf", "l2"] = option("linf", "linf: every pixel at the bound; l2: a radius, as published")
    block: int = option(8, "side of a block of one colour, in pixels", ge=1)
    radius: float = option(6.0, "norm=l2: the noise's root mean square, in grey levels", gt=0, le=64)
    spread: float = option(
        0.25, "norm=l2: standard deviation of an image's colours from its class's, as a share of these", ge=0
    )


@dataclass
class EmnConfig:
    """Error-minimising noise (Huang et al., ICLR 2021)."""

    kind: Kind = option("sample", "sample: every image its own noise; class: all images of a class the same")
    arch: str = option("narrow", "surrogate: 'narrow' (for CPUs) or any timm model name; published: resnet18")
    surrogate_steps: int = option(10, "batches that the surrogate learns in a round", ge=1)
    steps: int = option(20, "gradient steps of the noise in a round", ge=1)
    step_size: float = option(0.1, "length of such a step, as a share of the bound", gt=0, le=1)
    stop_error: float = option(0.01, "stop when the surrogate errs on less than this share of protected images", ge=0)
    rounds: int = option(50, "stop after so many rounds in any case", ge=1)
    batch_size: int = option(128, "images per step", ge=2)
    lr: float = option(0.1, "learning rate of the surrogate's sgd", gt=0)
    momentum: float = option(0.9, "momentum of the surrogate's sgd", ge=0, lt=1)
    weight_decay: float = option(5e-4, "weight decay of the surrogate", ge=0)
    clip: float = option(5.0, "largest gradient norm of the surrogate; 0 turns clipping off", ge=0)
    augment: str = option("none", "augmentation of what the surrogate learns from: operations joined by +")

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        return augment_fault("baselines.emn.augment", self.augment)


@dataclass
class ArConfig:
    """Autoregressive perturbations (Sandoval-Segura et al., NeurIPS 2022)."""

    radius: float = option(1.0, "L2 bound of a 32×32 image, pixels in [0, 1]; other sizes in proportion", gt=0, le=16)
    largest: float = option(
        5.0, "largest value that the noise of a stable process may reach from a N(0, 1) start", gt=1
    )


@dataclass
class CudaConfig:
    """Convolution-based unlearnable datasets (Sadasivan et al., CVPR 2023)."""

    side: int = option(3, "side of a filter in pixels, odd; published for ImageNet-100: 9", ge=3, le=99)
    blur: float = option(
        0.3, "largest value of a filter beside its centre, 1; published for ImageNet-100: 0.06", gt=0, le=1
    )

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        return [] if self.side % 2 else [f"baselines.cuda.side: expected an odd number, found {self.side}"]


@dataclass
class OpsConfig:
    """One-pixel shortcut (Wu et al., ICLR 2023)."""

    pixels: int = option(1, "pixels changed in an image", ge=1)


@dataclass
class TapConfig:
    """Adversarial examples as poisons (Fowl et al., NeurIPS 2021)."""

    goal: Literal["targeted", "untargeted"] = option(
        "targeted", "targeted: towards the next class; untargeted: away from its own"
    )
    steps: int = option(250, "gradient steps of the noise", ge=1)
    step_size: float = option(0.05, "length of such a step, as a share of the bound", gt=0, le=1)
    restarts: int = option(8, "how often the noise is made; the best is taken", ge=1)
    augment: str = option("crop+flip", "differentiable augmentation in crafting: operations joined by +, or none")
    batch_size: int = option(512, "images crafted together", ge=1)
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        found = augment_fault("baselines.tap.augment", self.augment)
        return found + augment_fault("baselines.tap.surrogate.augment", self.surrogate.augment)


@dataclass
class HypoConfig:
    """Hypocritical perturbations (Tao et al., NeurIPS 2021)."""

    steps: int = option(100, "gradient steps of the noise", ge=1)
    step_size: float = option(0.1, "length of such a step, as a share of the bound", gt=0, le=1)
    batch_size: int = option(512, "images crafted together", ge=1)
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        return augment_fault("baselines.hypo.surrogate.augment", self.surrogate.augment)


@dataclass
class PilConfig:
    """Perturbation-induced linearization (Liu et al., ICLR 2026)."""

    weight: float = option(0.9, "λ, weight of the label in the noise; 1 − λ of the image's losing it", ge=0, le=1)
    steps: int = option(30, "gradient steps of the noise", ge=1)
    step_size: float = option(0.1, "length of such a step, as a share of the bound", gt=0, le=1)
    epochs: int = option(30, "epochs of the linear classifier on the clean images", ge=1)
    batch_size: int = option(512, "images per step, in training and in crafting", ge=2)
    lr: float = option(0.003, "peak learning rate of the linear classifier's sgd, then half a cosine", gt=0)


@dataclass
class DeepConfuseConfig:
    """DeepConfuse (Feng et al., NeurIPS 2019)."""

    arch: str = option(
        "narrow", "classifier whose training is misled: 'narrow' or any timm model name; published: vgg11"
    )
    trials: int = option(1000, "classifiers trained from the start, one after another", ge=1)
    epochs: int = option(20, "epochs of each of them", ge=1)
    batch_size: int = option(256, "images per step", ge=2)
    classifier_lr: float = option(0.01, "learning rate of the classifier's plain sgd", gt=0)
    lr: float = option(1e-4, "learning rate of the generator's Adam", gt=0)
    width: int = option(16, "channels of the generator at full resolution", ge=8)


@dataclass
class GueConfig:
    """Game unlearnable examples (Liu et al., AAAI 2024)."""

    arch: str = option("narrow", "classifier of the game: 'narrow' or any timm model name; published: resnet18")
    epochs: int = option(50, "epochs of the game", ge=1)
    batch_size: int = option(256, "images per step", ge=2)
    steps: int = option(10, "steps in which the classifier's answer is sought, for each batch", ge=1)
    answer_lr: float = option(1e-4, "learning rate of Adam in these steps", gt=0)
    classifier_lr: float = option(0.01, "learning rate of the classifier's plain sgd", gt=0)
    lr: float = option(0.1, "learning rate of the generator's plain sgd", gt=0)
    eta: float = option(1.5, "how fast the classifier must near its answer", gt=0)
    width: int = option(16, "channels of the generator at full resolution", ge=8)


@dataclass
class ClustersConfig:
    """Unlearnable clusters (Zhang et al., CVPR 2023)."""

    count: int = option(10, "clusters", ge=2)
    epochs: int = option(50, "epochs of each generator, of all images", ge=1)
    batch_size: int = option(256, "images per step", ge=1)
    lr: float = option(1e-4, "learning rate of the generators' Adam at the start; it falls as a cosine", gt=0)
    weight_decay: float = option(5e-4, "of the generators' Adam", ge=0)
    width: int = option(16, "channels of a generator at full resolution", ge=8)
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        return augment_fault("baselines.clusters.surrogate.augment", self.surrogate.augment)


@dataclass
class PatternsConfig:
    """Patterns chosen by hand, one per class: the first build of this project."""

    encoder: Literal["efficientnet_lite0", "conv"] = option(
        "efficientnet_lite0", "what reads the image: a frozen network with ImageNet weights; conv: old files alone"
    )
    auxiliary_classifier: str = option(
        "narrow",
        "auxiliary classifier, trained like a victim, whose class code is averaged with the head's; 'narrow' or any "
        "timm model name, or none",
    )
    auxiliary_epochs: int = option(30, "epochs of the auxiliary classifier", ge=1)
    hidden: int = option(512, "width of the head that reads the class", ge=8, le=8192)
    dropout: float = option(0.3, "share of the head's inputs dropped in training", ge=0, lt=1)
    pattern: Literal["waves", "thirds", "tints"] = option(
        "thirds",
        "what stands for a class; waves: period-2 patterns (for small pictures), thirds: period-3 patterns, tints: "
        "colours of middle and rim (for pictures of similar colours)",
    )
    amplitude: float = option(0.75, "share of the bound that the patterns take", gt=0, lt=1)
    mixing: Literal["root", "linear"] = option(
        "root", "weight of a class in the code: the root of its probability, or the probability"
    )
    temperature: float = option(
        0.5,
        "high: doubtful images get mixtures, low: the likeliest class's pattern; 0: calibrated on held-out images",
        ge=0,
    )
    head_epochs: int = option(60, "epochs of the head", ge=0)
    lr: float = option(1e-3, "learning rate of the head's AdamW", gt=0)
    weight_decay: float = option(0.1, "weight decay of the head", ge=0)
    width: int = option(32, "encoder=conv: channels at half resolution, doubled at every halving", ge=4, le=1024)
    levels: int = option(3, "encoder=conv: how many times the image is halved", ge=1, le=6)
    blocks: int = option(1, "encoder=conv: residual blocks per level", ge=0, le=16)

    @classmethod
    def from_card(cls, options: dict[str, Any]) -> "PatternsConfig":
        """From the options of a generator as old cards state them; what was of the game alone is left out."""
        known = {own.name for own in fields(cls)}
        current = current_fields(options, "baselines.patterns")
        return cls(**{name: value for name, value in current.items() if name in known})

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        if self.encoder == "conv":
            return ["baselines.patterns.encoder: conv reads old files alone; fit with efficientnet_lite0"]
        return []


@dataclass
class BaselinesConfig:
    """The options of every baseline."""

    random: RandomConfig = field(default_factory=RandomConfig)
    lsp: LspConfig = field(default_factory=LspConfig)
    emn: EmnConfig = field(default_factory=EmnConfig)
    ar: ArConfig = field(default_factory=ArConfig)
    cuda: CudaConfig = field(default_factory=CudaConfig)
    ops: OpsConfig = field(default_factory=OpsConfig)
    tap: TapConfig = field(default_factory=TapConfig)
    rem: RemConfig = field(default_factory=RemConfig)
    pil: PilConfig = field(default_factory=PilConfig)
    hypo: HypoConfig = field(default_factory=HypoConfig)
    deepconfuse: DeepConfuseConfig = field(default_factory=DeepConfuseConfig)
    gue: GueConfig = field(default_factory=GueConfig)
    clusters: ClustersConfig = field(default_factory=ClustersConfig)
    sem: SemConfig = field(default_factory=SemConfig)
    sep: SepConfig = field(default_factory=SepConfig)
    miue: MiueConfig = field(default_factory=MiueConfig)
    bait: BaitConfig = field(default_factory=BaitConfig)
    ntga: NtgaConfig = field(default_factory=NtgaConfig)
    patterns: PatternsConfig = field(default_factory=PatternsConfig)
    own: str = option("", "method=own: module.Class of a protection of yours, called with ε: examples/my_protection.py")

    def archs(self) -> dict[str, str]:
        """The architectures that are named, by key."""
        found = {
            "baselines.emn.arch": self.emn.arch,
            "baselines.rem.arch": self.rem.arch,
            "baselines.tap.surrogate.arch": self.tap.surrogate.arch,
            "baselines.hypo.surrogate.arch": self.hypo.surrogate.arch,
            "baselines.deepconfuse.arch": self.deepconfuse.arch,
            "baselines.gue.arch": self.gue.arch,
            "baselines.clusters.surrogate.arch": self.clusters.surrogate.arch,
            "baselines.sem.arch": self.sem.arch,
            "baselines.sep.surrogate.arch": self.sep.surrogate.arch,
            "baselines.miue.arch": self.miue.arch,
            "baselines.bait.arch": self.bait.arch,
        }
        if self.patterns.auxiliary_classifier != "none":
            found["baselines.patterns.auxiliary_classifier"] = self.patterns.auxiliary_classifier
        return found

    def shortened(self) -> "BaselinesConfig":
        """Everything once, with few steps."""
        once = replace(self.tap.surrogate, epochs=1)
        return replace(
            self,
            emn=replace(self.emn, rounds=1, steps=2),
            tap=replace(self.tap, restarts=1, steps=2, surrogate=once),
            rem=replace(self.rem, iterations=1, steps=2, samples=2, adversary_steps=2),
            pil=replace(self.pil, epochs=1, steps=2),
            hypo=replace(self.hypo, steps=2, surrogate=replace(self.hypo.surrogate, epochs=1)),
            deepconfuse=replace(self.deepconfuse, trials=1, epochs=1),
            gue=replace(self.gue, epochs=1, steps=2),
            clusters=replace(self.clusters, epochs=1, surrogate=replace(self.clusters.surrogate, epochs=1)),
            sem=replace(self.sem, iterations=1, steps=2, samples=2, adversary_steps=2),
            sep=replace(
                self.sep, checkpoints=1, steps=2, inner_steps=2, surrogate=replace(self.sep.surrogate, epochs=1)
            ),
            miue=replace(self.miue, epochs=1, steps=2),
            bait=replace(self.bait, iterations=3),
            ntga=replace(self.ntga, steps=2, block=64, validation=64),
            patterns=replace(self.patterns, auxiliary_epochs=1, head_epochs=2),
        )
