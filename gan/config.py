"""Every choice of the method, with its default, its meaning and its range. Free of torch, so that ``--help`` is fast.

The published abstract (Tian et al., NeurIPS 2022) fixes that there is a generator with the confounder property, a
discriminator for imperceptibility and a bound; every value below is our choice.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Literal, cast, get_type_hints

from datamodules.config import option
from datamodules.method import ALL, MethodOptions

NAME = "confoundergan"  # of the method, in options, manifests and cards


@dataclass
class NetworkConfig:
    """What every network of the game has: its own optimizer, schedule, clipping and compilation."""

    optimizer: Literal["adam", "adamw", "sgd"] = option("adam", "optimizer of this network")
    lr: float = option(1e-3, "peak learning rate", gt=0)
    beta1: float = option(0.9, "first Adam coefficient, or the momentum of sgd", ge=0, lt=1)
    weight_decay: float = option(0.0, "weight decay", ge=0)
    schedule: Literal["constant", "cosine"] = option("cosine", "learning rate over all batches of the run")
    warmup: float = option(0.0, "share of all batches over which the learning rate rises from 0", ge=0, lt=1)
    clip: float = option(0.0, "largest gradient norm of this network; 0 turns clipping off", ge=0)
    compile: bool = option(False, "torch.compile this network (pays on a GPU, costs a minute at the start)")


@dataclass
class ClassifierConfig:
    """The auxiliary classifier, which reads an image's class code; trained before the game and fixed in it."""

    pretrained: Literal["efficientnet_lite0", "none"] = option(
        "efficientnet_lite0", "a frozen network with ImageNet weights, under a head that is trained; or none"
    )
    arch: str = option(
        "narrow",
        "a network trained from scratch as a victim would be, whose log-probabilities are averaged with the head's; "
        "'narrow' or any timm model name, or none",
    )
    epochs: int = option(30, "epochs of the network trained from scratch", ge=1)
    hidden: int = option(512, "units of the head", ge=8, le=8192)
    dropout: float = option(0.3, "share of the head's inputs dropped in training", ge=0, lt=1)
    head_epochs: int = option(60, "epochs of the head", ge=1)
    lr: float = option(1e-3, "learning rate of the head (AdamW)", gt=0)
    weight_decay: float = option(0.1, "weight decay of the head", ge=0)
    mixing: Literal["root", "linear"] = option(
        "root", "weight of a class in the code: the root of its probability, or the probability"
    )
    temperature: float = option(
        0.5,
        "high: doubtful images get mixtures, low: the likeliest class's code; 0: calibrated on the validation part",
        ge=0,
    )


@dataclass
class NoiseConfig(NetworkConfig):
    """The network that makes the noise."""

    clip: float = option(1.0, "largest gradient norm of this network; 0 turns clipping off", ge=0)
    warmup: float = option(0.02, "share of all batches over which the learning rate rises from 0", ge=0, lt=1)
    width: int = option(32, "channels at full resolution, doubled below", ge=8, le=512)
    code: int = option(32, "length of a class's code vector", ge=2, le=1024)
    gain: float = option(
        3.0, "strength before the bound; larger values come nearer to the bound and are more visible", gt=0
    )
    luma: float = option(
        0.5, "share of the noise's energy in luma, which gray pictures keep; the rest is colour", gt=0, lt=1
    )
    gate: float = option(1.0, "share of the noise in smooth areas; textured ones get all of it; 1: no gate", gt=0, le=1)


@dataclass
class DiscriminatorConfig(NetworkConfig):
    """The network that tells clean images from protected ones; its pressure keeps the noise unnoticed."""

    beta1: float = option(0.5, "first Adam coefficient, or the momentum of sgd", ge=0, lt=1)
    lr: float = option(2e-4, "peak learning rate", gt=0)
    schedule: Literal["constant", "cosine"] = option("constant", "learning rate over all batches of the run")
    width: int = option(16, "channels of the first layer; doubled at every layer", ge=4, le=1024)
    levels: int = option(2, "strided layers, each halving the image", ge=1, le=6)


@dataclass
class SurrogatesConfig(NetworkConfig):
    """The classifiers that stand in for unknown victims while the noise is learned."""

    optimizer: Literal["adam", "adamw", "sgd"] = option("sgd", "optimizer of these networks")
    lr: float = option(0.01, "peak learning rate", gt=0)
    schedule: Literal["constant", "cosine"] = option("constant", "learning rate over all batches of the run")
    kinds: str = option(
        "narrow@32+narrow@16+narrow@32:gray+narrow@32:mono",
        "architectures, each with the pixels per side that it sees, joined by +; :gray sees the luma of protected "
        "pictures, :mono pictures that had one channel before",
    )
    life: int = option(400, "own steps after which a surrogate is restarted with new weights; 0: never", ge=0)
    told: int = option(
        10, "number of codes that a surrogate classifies; of more classes, others after each restart", ge=2
    )

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        for kind in self.kinds.split("+"):
            match = re.fullmatch(r"[^@:]+@(\d+)(:gray|:mono)?", kind)
            if not match or not 8 <= int(match[1]) <= 256:
                return [
                    "gan.surrogates.kinds: expected architectures with sizes from 8 to 256, such as narrow@16, "
                    f"narrow@16:gray or narrow@16:mono, joined by +, found {kind!r}"
                ]
        return []


@dataclass
class TransformsConfig:
    """What happens to published pictures, inside the game: how often each comes, of all batches at full level."""

    jpeg: float = option(0.3, "JPEG by Pillow, 4:2:0, quality 10 to 95", ge=0, le=1)
    resize: float = option(0.15, "to 0.5 to 1.5 times the size and back, four kernels", ge=0, le=1)
    blur: float = option(0.1, "Gaussian, deviation 0.3 to 1.5 pixels", ge=0, le=1)
    gray: float = option(0.05, "luma in all channels", ge=0, le=1)
    band: float = option(0.05, "a ring of frequencies removed", ge=0, le=1)
    noise: float = option(0.05, "Gaussian noise, deviation up to 8 grey levels", ge=0, le=1)
    zoom: float = option(0.05, "half to all of the area, enlarged", ge=0, le=1)
    on_luma: float = option(1.0, "what a surrogate that sees luma alone gets of these shares", ge=0, le=1)

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        total = self.jpeg + self.resize + self.blur + self.gray + self.band + self.noise + self.zoom
        return [f"gan.transforms: shares add up to {total:g}; expected at most 1"] if total > 1 + 1e-9 else []


@dataclass
class CurriculumConfig:
    """How the game becomes harder: first the pictures get their contrast and T comes in, then the noise gets weaker."""

    contrast: float = option(0.1, "contrast of the pictures under the noise at the start; 1: full contrast", gt=0, le=1)
    boost: float = option(2.5, "factor of gan.noise.gain until pictures have their full contrast; 1: none", ge=1, le=10)
    rate: float = option(
        0.005, "step of the level: up while surrogates classify codes correctly, else down", ge=0, le=1
    )
    high: float = option(0.45, "accuracy of a surrogate on codes above which its level rises", gt=0, lt=1)
    low: float = option(0.3, "accuracy of a surrogate on codes below which its level falls", gt=0, lt=1)

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        return [] if self.low < self.high else ["gan.curriculum.low: expected less than gan.curriculum.high"]


@dataclass
class GanConfig(MethodOptions):
    """The objectives and the networks."""

    made_by: ClassVar[str] = "gan.confounder.Confounder"
    bounded: ClassVar[bool] = False  # the bound is one of these options
    title: ClassVar[str] = "generator with a confounder"
    paper: ClassVar[str] = "Tian et al., NeurIPS 2022"
    images: ClassVar[str] = ALL
    uses_trainer: ClassVar[bool] = True
    transferable: ClassVar[bool] = True
    classifies: ClassVar[bool] = True

    epsilon: float = option(8.0, "largest change of a pixel, in grey levels of 255 (8 means 8/255)", ge=1, le=64)
    start: str = option("shipped", "noise network to start from: shipped, none, or a run's folder or generator file")
    refine: int = option(800, "batches of the game on these images; 0: the noise network is used as it is", ge=0)
    pairing: Literal["random", "swap", "own"] = option(
        "random",
        "class code of a picture in the game: a random one (an intervention on the noise); a random one, with the "
        "noise put on another picture; or its own class's",
    )
    mixtures: float = option(
        0.0,
        "part of the pictures that get a mixture of two classes' codes in the game, as doubtful ones do",
        ge=0,
        le=1,
    )
    gan_loss: Literal["hinge", "least_squares", "none"] = option(
        "least_squares", "adversarial loss; none: no discriminator is trained"
    )
    gan_weight: float = option(0.1, "weight of the adversarial loss in the noise network's objective", ge=0)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    surrogates: SurrogatesConfig = field(default_factory=SurrogatesConfig)
    transforms: TransformsConfig = field(default_factory=TransformsConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)

    def decisive(self) -> dict[str, Any]:
        """The options as they are hashed: without later ones that are off, so that finished cells of a grid stay so."""
        tree = asdict(self)
        if not self.mixtures:
            del tree["mixtures"]
        if self.transforms.on_luma == 1:
            del tree["transforms"]["on_luma"]
        return tree

    def epochs(self, images: int, batch_size: int) -> int:
        """Epochs of the game on so many images that make ``refine`` batches."""
        return -(-self.refine // -(-images // batch_size))

    def cost(self, images: int) -> str:
        """See MethodOptions."""
        return "trained once, then 1 forward"

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        found = []
        if self.gan_loss != "none" and self.gan_weight == 0:
            found.append("gan.gan_weight: is 0 while gan.gan_loss is on; set gan.gan_loss=none or a weight above 0")
        if self.classifier.pretrained == "none" and self.classifier.arch == "none":
            found.append("gan.classifier: pretrained and arch are both none; something must read the class")
        if not self.refine and self.start == "none":
            found.append("gan.refine: is 0 while gan.start=none; an untrained network's noise protects nothing")
        return found


def config_of(tree: Mapping[str, Any], schema: Any = GanConfig, prefix: str = "gan") -> Any:
    """Options from plain mappings: the inverse of ``dataclasses.asdict``; what is left out has its default.

    Args:
        tree: nested mappings of values; a section may be a dataclass already.
        schema: the dataclass that is made.
        prefix: of its keys, for messages.

    Raises:
        ValueError: there is no such key, or a section is none.
    """
    known = [item.name for item in fields(schema)]
    if unknown := [key for key in tree if key not in known]:
        raise ValueError(f"{prefix}.{unknown[0]}: no such key; expected some of {', '.join(known)}")
    hints = get_type_hints(schema)

    def made(key: str, value: Any) -> Any:
        if not is_dataclass(hints[key]) or isinstance(value, cast(type, hints[key])):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"{prefix}.{key}: is a section; expected a mapping of its keys, found {value!r}")
        return config_of(value, hints[key], f"{prefix}.{key}")

    return schema(**{key: made(key, value) for key, value in tree.items()})
