"""The baselines: each one's options with what they state of it, and one line of ``BaselinesConfig``, the registry.

Free of torch, so that ``--help`` is fast. Defaults are the published ones, except where the method's own file names a
deviation.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal

from baselines.config_crafted import (
    BaitConfig,
    EmnConfig,
    HypoConfig,
    Kind,
    MiueConfig,
    NtgaConfig,
    RemConfig,
    SemConfig,
    SepConfig,
    SurrogateConfig,
    TapConfig,
)
from datamodules.config import augment_fault, option
from datamodules.method import ALL, GENERATED, NONE, SHAPE, MethodOptions
from datamodules.renames import current_fields
from gan.config import NAME


@dataclass
class RandomConfig(MethodOptions):
    """Random sign noise."""

    made_by: ClassVar[str] = "baselines.random_noise.RandomNoise"
    title: ClassVar[str] = "random signs"
    paper: ClassVar[str] = "–"
    images: ClassVar[str] = ALL

    kind: Kind = option("sample", "sample: every image its own noise; class: all images of a class the same")


@dataclass
class LspConfig(MethodOptions):
    """Linearly separable perturbations (Yu et al., KDD 2022)."""

    made_by: ClassVar[str] = "baselines.lsp.LinearlySeparable"
    title: ClassVar[str] = "linearly separable perturbations"
    paper: ClassVar[str] = "Yu et al., KDD 2022"
    images: ClassVar[str] = SHAPE

    norm: Literal["linf", "l2"] = option("linf", "linf: every pixel at the bound; l2: a radius, as published")
    block: int = option(8, "side of a block of one colour, in pixels", ge=1)
    radius: float = option(6.0, "norm=l2: the noise's root mean square, in grey levels", gt=0, le=64)
    spread: float = option(
        0.25, "norm=l2: standard deviation of an image's colours from its class's, as a share of these", ge=0
    )


@dataclass
class ArConfig(MethodOptions):
    """Autoregressive perturbations (Sandoval-Segura et al., NeurIPS 2022)."""

    made_by: ClassVar[str] = "baselines.ar.Autoregressive"
    title: ClassVar[str] = "autoregressive perturbations"
    paper: ClassVar[str] = "Sandoval-Segura et al., NeurIPS 2022"
    images: ClassVar[str] = SHAPE
    bounded: ClassVar[bool] = False

    radius: float = option(1.0, "L2 bound of a 32×32 image, pixels in [0, 1]; other sizes in proportion", gt=0, le=16)
    largest: float = option(
        5.0, "largest value that the noise of a stable process may reach from a N(0, 1) start", gt=1
    )


@dataclass
class CudaConfig(MethodOptions):
    """Convolution-based unlearnable datasets (Sadasivan et al., CVPR 2023)."""

    made_by: ClassVar[str] = "baselines.cuda.ConvolutionFilters"
    title: ClassVar[str] = "class-wise convolution"
    paper: ClassVar[str] = "Sadasivan et al., CVPR 2023"
    images: ClassVar[str] = SHAPE
    bounded: ClassVar[bool] = False

    side: int = option(3, "side of a filter in pixels, odd; published for ImageNet-100: 9", ge=3, le=99)
    blur: float = option(
        0.3, "largest value of a filter beside its centre, 1; published for ImageNet-100: 0.06", gt=0, le=1
    )

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        return [] if self.side % 2 else [f"baselines.cuda.side: expected an odd number, found {self.side}"]


@dataclass
class OpsConfig(MethodOptions):
    """One-pixel shortcut (Wu et al., ICLR 2023)."""

    made_by: ClassVar[str] = "baselines.ops.OnePixel"
    title: ClassVar[str] = "one-pixel shortcut"
    paper: ClassVar[str] = "Wu et al., ICLR 2023"
    images: ClassVar[str] = SHAPE
    bounded: ClassVar[bool] = False

    pixels: int = option(1, "pixels changed in an image", ge=1)

    def cost(self, images: int) -> str:
        """See MethodOptions."""
        return f"{NONE}; all places and colours are tried"


@dataclass
class PilConfig(MethodOptions):
    """Perturbation-induced linearization (Liu et al., ICLR 2026)."""

    made_by: ClassVar[str] = "baselines.pil.Linearising"
    title: ClassVar[str] = "perturbation-induced linearization"
    paper: ClassVar[str] = "Liu et al., ICLR 2026"

    weight: float = option(0.9, "λ, weight of the label in the noise; 1 − λ of the image's losing it", ge=0, le=1)
    steps: int = option(30, "gradient steps of the noise", ge=1)
    step_size: float = option(0.1, "length of such a step, as a share of the bound", gt=0, le=1)
    epochs: int = option(30, "epochs of the linear classifier on the clean images", ge=1)
    batch_size: int = option(512, "images per step, in training and in crafting", ge=2)
    lr: float = option(0.003, "peak learning rate of the linear classifier's sgd, then half a cosine", gt=0)

    def implied(self, images: int) -> float:
        """See MethodOptions."""
        return self.epochs + 2 * self.steps

    def cost(self, images: int) -> str:
        """See MethodOptions."""
        return f"{self.epochs} + 2 × {self.steps}, of one matrix"

    def shortened(self) -> "PilConfig":
        """See MethodOptions."""
        return replace(self, epochs=1, steps=2)


@dataclass
class DeepConfuseConfig(MethodOptions):
    """DeepConfuse (Feng et al., NeurIPS 2019)."""

    made_by: ClassVar[str] = "baselines.deepconfuse.DeepConfuse"
    title: ClassVar[str] = "generator against a classifier's training, unrolled"
    paper: ClassVar[str] = "Feng et al., NeurIPS 2019"
    images: ClassVar[str] = GENERATED

    arch: str = option(
        "narrow", "classifier whose training is misled: 'narrow' or any timm model name; published: vgg11"
    )
    trials: int = option(1000, "classifiers trained from the start, one after another", ge=1)
    epochs: int = option(20, "epochs of each of them", ge=1)
    batch_size: int = option(256, "images per step", ge=2)
    classifier_lr: float = option(0.01, "learning rate of the classifier's plain sgd", gt=0)
    lr: float = option(1e-4, "learning rate of the generator's Adam", gt=0)
    width: int = option(16, "channels of the generator at full resolution", ge=8)

    def implied(self, images: int) -> float:
        """f's own step; the tried step; the look after it, back through f, the tried step and g."""
        return self.trials * self.epochs * (1 + 1 + 3)

    def shortened(self) -> "DeepConfuseConfig":
        """See MethodOptions."""
        return replace(self, trials=1, epochs=1)


@dataclass
class GueConfig(MethodOptions):
    """Game unlearnable examples (Liu et al., AAAI 2024)."""

    made_by: ClassVar[str] = "baselines.gue.GameGenerator"
    title: ClassVar[str] = "generator in a Stackelberg game"
    paper: ClassVar[str] = "Liu et al., AAAI 2024"
    images: ClassVar[str] = GENERATED

    arch: str = option("narrow", "classifier of the game: 'narrow' or any timm model name; published: resnet18")
    epochs: int = option(50, "epochs of the game", ge=1)
    batch_size: int = option(256, "images per step", ge=2)
    steps: int = option(10, "steps in which the classifier's answer is sought, for each batch", ge=1)
    answer_lr: float = option(1e-4, "learning rate of Adam in these steps", gt=0)
    classifier_lr: float = option(0.01, "learning rate of the classifier's plain sgd", gt=0)
    lr: float = option(0.1, "learning rate of the generator's plain sgd", gt=0)
    eta: float = option(1.5, "how fast the classifier must near its answer", gt=0)
    width: int = option(16, "channels of the generator at full resolution", ge=8)

    def implied(self, images: int) -> float:
        """The answer's steps; f here and at the answer, and g; f on clean images."""
        return self.epochs * (self.steps + 3 + 1)

    def shortened(self) -> "GueConfig":
        """See MethodOptions."""
        return replace(self, epochs=1, steps=2)


@dataclass
class ClustersConfig(MethodOptions):
    """Unlearnable clusters (Zhang et al., CVPR 2023)."""

    made_by: ClassVar[str] = "baselines.clusters.UnlearnableClusters"
    title: ClassVar[str] = "a pattern for each cluster of features"
    paper: ClassVar[str] = "Zhang et al., CVPR 2023"
    images: ClassVar[str] = "any of the fitted shape"

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

    def implied(self, images: int) -> float:
        """See MethodOptions."""
        return self.surrogate.epochs + self.count * self.epochs

    def shortened(self) -> "ClustersConfig":
        """See MethodOptions."""
        return replace(self, epochs=1, surrogate=replace(self.surrogate, epochs=1))


@dataclass
class PatternsConfig(MethodOptions):
    """Patterns chosen by hand, one per class: the first build of this project."""

    made_by: ClassVar[str] = "baselines.patterns.protection.Patterns"
    title: ClassVar[str] = "chosen patterns, the first build of this project"
    paper: ClassVar[str] = "ours"
    images: ClassVar[str] = GENERATED

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

    def passes(self) -> tuple[float, float]:
        """Backward passes per image through the auxiliary classifier and through the head.

        A tenth of the images is kept from both, and another tenth of the rest from the classifier.
        """
        used = self.auxiliary_classifier != "none"
        return 0.9 * 0.9 * self.auxiliary_epochs * used, 0.9 * self.head_epochs

    def implied(self, images: int) -> float:
        """See MethodOptions."""
        return sum(self.passes())

    def cost(self, images: int) -> str:
        """See MethodOptions."""
        auxiliary, head = self.passes()
        return f"{auxiliary:.0f} + {head:.0f}, these of two small layers"

    def archs(self) -> dict[str, str]:
        """See MethodOptions."""
        used = self.auxiliary_classifier != "none"
        return {"auxiliary_classifier": self.auxiliary_classifier} if used else {}

    def shortened(self) -> "PatternsConfig":
        """See MethodOptions."""
        return replace(self, auxiliary_epochs=1, head_epochs=2)


@dataclass
class MixedConfig:
    """Several owners, each with a protection of its own."""

    methods: str = option(
        "lsp+lsp", "method=mixed: the owners' protections joined by +, with equal shares of the images"
    )

    def owners(self) -> list[str]:
        """The owners' methods, one by one."""
        return self.methods.split("+")

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        named, known = self.owners(), [NAME, *METHODS]
        found = [
            f"baselines.mixed.methods: no protection {m!r}; known: {', '.join(known)}" for m in named if m not in known
        ]
        if len(named) < 2:
            found.append(
                f"baselines.mixed.methods: expected two owners at least, such as lsp+lsp, found {self.methods!r}"
            )
        return found


@dataclass
class BaselinesConfig:
    """The options of every baseline: ``method=`` takes these names."""

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
    mixed: MixedConfig = field(default_factory=MixedConfig)
    own: str = option("", "method=own: module.Class of a protection of yours, called with ε: examples/my_protection.py")

    def methods(self) -> dict[str, MethodOptions]:
        """The options of every method, by its name."""
        return {name: getattr(self, name) for name in METHODS}

    def methods_of(self, method: str) -> list[str]:
        """The methods whose options decide what one does: itself, and of a mixture its owners' too."""
        return [method, *(self.mixed.owners() if method == MIXED else [])]

    def archs(self) -> dict[str, str]:
        """The architectures that are named, by key."""
        return {
            f"baselines.{name}.{key}": arch
            for name, options in self.methods().items()
            for key, arch in options.archs().items()
        }

    def shortened(self) -> "BaselinesConfig":
        """Everything once, with few steps."""
        short: dict[str, Any] = {name: options.shortened() for name, options in self.methods().items()}
        return replace(self, **short)


MIXED, OWN = "mixed", "own"  # of ``method=``, which are no methods by themselves: of several, and from outside
METHODS = tuple(item.name for item in fields(BaselinesConfig) if item.name not in (MIXED, OWN))
