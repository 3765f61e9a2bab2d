"""Options of what crafts against a classifier: the classifier's own, and those of the methods that do.

Free of torch, as all options are; they stand in ``BaselinesConfig`` beside the others.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

from datamodules.config import augment_fault, option
from datamodules.method import NONE, SHAPE, MethodOptions

Kind = Literal["sample", "class"]


@dataclass
class SurrogateConfig:
    """A classifier trained on the clean images; the settings are ours."""

    arch: str = option("narrow", "'narrow' (for CPUs) or any timm model name; published: resnet18")
    epochs: int = option(40, "epochs on the clean images", ge=1)
    batch_size: int = option(128, "images per step", ge=2)
    lr: float = option(0.1, "peak learning rate of its sgd, then half a cosine", gt=0)
    momentum: float = option(0.9, "momentum of its sgd", ge=0, lt=1)
    weight_decay: float = option(5e-4, "weight decay", ge=0)
    augment: str = option("crop+flip", "augmentation of its training: operations joined by +, or none")


@dataclass
class EmnConfig(MethodOptions):
    """Error-minimising noise (Huang et al., ICLR 2021)."""

    made_by: ClassVar[str] = "baselines.emn.ErrorMinimising"
    title: ClassVar[str] = "error-minimising noise"
    paper: ClassVar[str] = "Huang et al., ICLR 2021"

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

    def implied(self, images: int) -> float:
        """Of one round."""
        return self.surrogate_steps * self.batch_size / images + self.steps

    def cost(self, images: int) -> str:
        """See MethodOptions."""
        return f"{self.implied(images):.0f} per round"

    def shortened(self) -> "EmnConfig":
        """See MethodOptions."""
        return replace(self, rounds=1, steps=2)


@dataclass
class TapConfig(MethodOptions):
    """Adversarial examples as poisons (Fowl et al., NeurIPS 2021)."""

    made_by: ClassVar[str] = "baselines.tap.Targeted"
    title: ClassVar[str] = "targeted (or untargeted) adversarial examples"
    paper: ClassVar[str] = "Fowl et al., NeurIPS 2021"

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

    def implied(self, images: int) -> float:
        """See MethodOptions."""
        return self.surrogate.epochs + self.restarts * self.steps

    def cost(self, images: int) -> str:
        """See MethodOptions."""
        return f"{self.surrogate.epochs} + {self.restarts} × {self.steps}"

    def shortened(self) -> "TapConfig":
        """See MethodOptions."""
        return replace(self, restarts=1, steps=2, surrogate=replace(self.surrogate, epochs=1))


@dataclass
class HypoConfig(MethodOptions):
    """Hypocritical perturbations (Tao et al., NeurIPS 2021)."""

    made_by: ClassVar[str] = "baselines.hypo.Hypocritical"
    title: ClassVar[str] = "hypocritical perturbations"
    paper: ClassVar[str] = "Tao et al., NeurIPS 2021"

    steps: int = option(100, "gradient steps of the noise", ge=1)
    step_size: float = option(0.1, "length of such a step, as a share of the bound", gt=0, le=1)
    batch_size: int = option(512, "images crafted together", ge=1)
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        return augment_fault("baselines.hypo.surrogate.augment", self.surrogate.augment)

    def implied(self, images: int) -> float:
        """See MethodOptions."""
        return self.surrogate.epochs + self.steps

    def cost(self, images: int) -> str:
        """See MethodOptions."""
        return f"{self.surrogate.epochs} + {self.steps}"

    def shortened(self) -> "HypoConfig":
        """See MethodOptions."""
        return replace(self, steps=2, surrogate=replace(self.surrogate, epochs=1))


@dataclass
class RemConfig(MethodOptions):
    """Robust error-minimising noise (Fu et al., ICLR 2022)."""

    made_by: ClassVar[str] = "baselines.rem.RobustErrorMinimising"
    title: ClassVar[str] = "robust error-minimising noise"
    paper: ClassVar[str] = "Fu et al., ICLR 2022"

    arch: str = option("narrow", "surrogate: 'narrow' (for CPUs) or any timm model name; published: resnet18")
    iterations: int = option(5000, "batches that the surrogate learns", ge=1)
    steps: int = option(10, "steps of the noise in an iteration, and at the end", ge=1)
    step_size: float = option(0.2, "length of such a step, as a share of the bound", gt=0, le=1)
    samples: int = option(5, "transformations of an image that the expectation is taken over in a step", ge=1)
    augment: str = option("crop+flip", "transformations: operations joined by +, or none")
    adversary: float = option(0.5, "bound of the adversary within, as a share of the bound; 0: none", ge=0, le=1)
    adversary_steps: int = option(10, "steps of the adversary", ge=1)
    adversary_step_size: float = option(0.2, "length of such a step, as a share of the adversary's bound", gt=0, le=1)
    batch_size: int = option(128, "images per iteration", ge=2)
    lr: float = option(0.1, "learning rate of the surrogate's sgd", gt=0)
    decay_every: int = option(2000, "iterations after which the learning rate falls to a tenth", ge=1)
    momentum: float = option(0.9, "momentum of the surrogate's sgd", ge=0, lt=1)
    weight_decay: float = option(5e-4, "weight decay of the surrogate", ge=0)

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        return augment_fault("baselines.rem.augment", self.augment)

    def implied(self, images: int) -> float:
        """See MethodOptions."""
        noise = self.steps * self.samples * (self.adversary_steps + 1)
        drawn = self.iterations * self.batch_size / images
        return drawn * (noise + self.adversary_steps + 1) + noise

    def shortened(self) -> Self:
        """See MethodOptions."""
        return replace(self, iterations=1, steps=2, samples=2, adversary_steps=2)


@dataclass
class SemConfig(RemConfig):
    """Stable error-minimising noise (Liu et al., AAAI 2024): REM's options; here a random change takes its adversary's
    place while noise is made.
    """

    made_by: ClassVar[str] = "baselines.sem.StableErrorMinimising"
    title: ClassVar[str] = "stable error-minimising noise"
    paper: ClassVar[str] = "Liu et al., AAAI 2024"

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        return augment_fault("baselines.sem.augment", self.augment)

    def implied(self, images: int) -> float:
        """See MethodOptions."""
        noise = self.steps * self.samples
        drawn = self.iterations * self.batch_size / images
        return drawn * (noise + self.adversary_steps + 1) + noise


@dataclass
class SepConfig(MethodOptions):
    """Self-ensemble protection (Chen et al., ICLR 2023)."""

    made_by: ClassVar[str] = "baselines.sep.SelfEnsemble"
    title: ClassVar[str] = "against many states of a classifier's training"
    paper: ClassVar[str] = "Chen et al., ICLR 2023"

    checkpoints: int = option(15, "states of the classifier's training that are attacked together, evenly spaced", ge=1)
    steps: int = option(30, "gradient steps of the noise", ge=1)
    inner_steps: int = option(15, "steps within a step that reduce the gradient's variance; 0: none", ge=0)
    step_size: float = option(0.1, "length of a step, as a share of the bound", gt=0, le=1)
    batch_size: int = option(512, "images crafted together", ge=1)
    surrogate: SurrogateConfig = field(default_factory=lambda: SurrogateConfig(epochs=120))

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        found = augment_fault("baselines.sep.surrogate.augment", self.surrogate.augment)
        if self.checkpoints > self.surrogate.epochs:
            found.append(
                f"baselines.sep.checkpoints: expected at most one per epoch ({self.surrogate.epochs}), found "
                f"{self.checkpoints}; choose less, or raise baselines.sep.surrogate.epochs"
            )
        return found

    def implied(self, images: int) -> float:
        """See MethodOptions."""
        return self.surrogate.epochs + self.steps * (self.checkpoints + self.inner_steps)

    def cost(self, images: int) -> str:
        """See MethodOptions."""
        return f"{self.surrogate.epochs} + {self.steps} × ({self.checkpoints} + {self.inner_steps})"

    def shortened(self) -> "SepConfig":
        """See MethodOptions."""
        return replace(self, checkpoints=1, steps=2, inner_steps=2, surrogate=replace(self.surrogate, epochs=1))


@dataclass
class MiueConfig(MethodOptions):
    """Mutual-information unlearnable examples (ICLR 2026)."""

    made_by: ClassVar[str] = "baselines.miue.MutualInformation"
    title: ClassVar[str] = "features of a class made alike"
    paper: ClassVar[str] = "ICLR 2026 (2603.03725)"

    arch: str = option("narrow", "surrogate: 'narrow' (for CPUs) or any timm model name; published: resnet18")
    epochs: int = option(100, "epochs of the surrogate, each followed by steps of all noise", ge=1)
    steps: int = option(10, "gradient steps of the noise after an epoch", ge=1)
    step_size: float = option(0.025, "length of such a step at the start, as a share of the bound", gt=0, le=1)
    last_step_size: float = option(0.05, "the same at the end; in between it changes evenly", gt=0, le=1)
    temperature: float = option(0.1, "τ that cosines are divided by", gt=0)
    distance: float = option(0.1, "ζ, weight of the distances between features of a class", ge=0)
    batch_size: int = option(128, "images per step of the surrogate", ge=2)
    craft_batch_size: int = option(512, "images whose features are compared", ge=2)
    lr: float = option(0.1, "peak learning rate of the surrogate's sgd, then half a cosine", gt=0)
    momentum: float = option(0.9, "momentum of the surrogate's sgd", ge=0, lt=1)
    weight_decay: float = option(1e-4, "weight decay of the surrogate", ge=0)
    augment: str = option("flip", "augmentation of the images before noise is added: operations joined by +, or none")

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        return augment_fault("baselines.miue.augment", self.augment)

    def implied(self, images: int) -> float:
        """See MethodOptions."""
        return self.epochs * (1 + self.steps)

    def shortened(self) -> "MiueConfig":
        """See MethodOptions."""
        return replace(self, epochs=1, steps=2)


@dataclass
class BaitConfig(MethodOptions):
    """Noise bound to labels against pretrained networks, BAIT (ICLR 2026)."""

    made_by: ClassVar[str] = "baselines.bait.LabelBinding"
    title: ClassVar[str] = "noise bound to labels, against a pretrained network"
    paper: ClassVar[str] = "ICLR 2026"
    images: ClassVar[str] = SHAPE

    arch: str = option("efficientnet_lite0", "surrogate: a name of victims/classifier.py; published: resnet18")
    pretrained: bool = option(True, "start from ImageNet weights (docs/VICTIMS.md says which there are)")
    iterations: int = option(90, "rounds: a third each of the three stages", ge=3)
    batch_size: int = option(512, "images per step", ge=2)
    lr: float = option(0.001, "learning rate of the generator's Adam", gt=0)
    classifier_lr: float = option(0.1, "learning rate of the surrogate's sgd, and of the step that is tried", gt=0)
    momentum: float = option(0.9, "momentum of the surrogate's sgd", ge=0, lt=1)
    weight_decay: float = option(5e-4, "weight decay of the surrogate", ge=0)
    clip: float = option(5.0, "largest gradient norm of the surrogate; 0 turns clipping off", ge=0)
    width: int = option(16, "channels of the generator at full resolution", ge=8)

    def implied(self, images: int) -> float:
        """The step that is tried and the one that is taken; f′ and g, for every image."""
        return self.iterations * (2 * self.batch_size / images + 2)

    def shortened(self) -> "BaitConfig":
        """See MethodOptions."""
        return replace(self, iterations=3)


@dataclass
class NtgaConfig(MethodOptions):
    """Neural tangent generalisation attack (Yuan and Wu, ICML 2021)."""

    made_by: ClassVar[str] = "baselines.ntga.NeuralTangent"
    title: ClassVar[str] = "against a network of infinite width"
    paper: ClassVar[str] = "Yuan and Wu, ICML 2021"

    layers: int = option(5, "layers of the infinitely wide network", ge=1)
    time: float = option(64.0, "steps of gradient descent after which the network is judged", gt=0)
    steps: int = option(10, "gradient steps of the noise", ge=1)
    step_size: float = option(0.11, "length of such a step, as a share of the bound", gt=0, le=1)
    block: int = option(512, "images that the network is trained on together", ge=2)
    validation: int = option(10_000, "other images that it is judged on, at most", ge=1)

    def cost(self, images: int) -> str:
        """See MethodOptions."""
        return f"{NONE}; kernels of blocks of {self.block}"

    def shortened(self) -> "NtgaConfig":
        """See MethodOptions."""
        return replace(self, steps=2, block=64, validation=64)
