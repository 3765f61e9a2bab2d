"""Every choice of the method, with its default, its meaning and its range. Free of torch, so that ``--help`` is fast.

The published abstract (Tian et al., NeurIPS 2022) fixes that there is a generator with the confounder property, a
discriminator for imperceptibility and a bound; every value below is our choice.
"""

from dataclasses import dataclass, field
from typing import Literal

from datamodules.config import augment_fault, option


@dataclass
class NetworkConfig:
    """What every one of the three networks has: its own optimizer, schedule, clipping and compilation."""

    optimizer: Literal["adam", "adamw", "sgd"] = option("adam", "optimizer of this network")
    lr: float = option(1e-3, "peak learning rate", gt=0)
    beta1: float = option(0.9, "first Adam coefficient, or the momentum of sgd", ge=0, lt=1)
    weight_decay: float = option(0.0, "weight decay", ge=0)
    schedule: Literal["constant", "cosine"] = option("cosine", "learning rate over all batches of the run")
    warmup: float = option(0.0, "share of all batches over which the learning rate rises from 0", ge=0, lt=1)
    clip: float = option(0.0, "largest gradient norm of this network; 0 turns clipping off", ge=0)
    compile: bool = option(False, "torch.compile this network (pays on a GPU, costs a minute at the start)")


@dataclass
class GeneratorConfig(NetworkConfig):
    """The network that looks at an image and gives its noise."""

    clip: float = option(1.0, "largest gradient norm of this network; 0 turns clipping off", ge=0)
    weight_decay: float = option(0.1, "weight decay", ge=0)
    optimizer: Literal["adam", "adamw", "sgd"] = option("adamw", "optimizer of this network")
    encoder: Literal["conv", "efficientnet_lite0"] = option(
        "efficientnet_lite0",
        "what reads the image: a small network learned here, or a frozen one with ImageNet weights",
    )
    width: int = option(32, "encoder=conv: channels at half resolution, doubled at every halving", ge=4, le=1024)
    levels: int = option(3, "encoder=conv: how many times the image is halved", ge=1, le=6)
    blocks: int = option(1, "encoder=conv: residual blocks a level", ge=0, le=16)
    second_reader: str = option(
        "narrow",
        "a classifier taught like a victim before the game, whose reading is averaged with the head's; "
        "'narrow' or any timm model name, or none",
    )
    second_epochs: int = option(30, "epochs of the second reader", ge=1)
    hidden: int = option(512, "width of the head that names the class", ge=8, le=8192)
    dropout: float = option(0.3, "share of the head's inputs dropped in training", ge=0, lt=1)
    pattern: Literal["waves", "thirds", "tints"] = option(
        "thirds",
        "what spells the class: waves of two pixels (for small pictures), of three, or tints of middle and rim (for "
        "pictures of similar colours)",
    )
    amplitude: float = option(0.75, "share of the bound at which the patterns start", gt=0, lt=1)
    mixing: Literal["root", "linear"] = option("root", "a class weighs by the root of its probability, or by it itself")
    temperature: float = option(
        0.5,
        "high: doubtful images get mixtures, low: the likeliest class's pattern; 0: what the validation part asks for",
        ge=0,
    )
    head_epochs: int = option(60, "frozen encoder: epochs of the head alone before the game starts", ge=0)


@dataclass
class DiscriminatorConfig(NetworkConfig):
    """The network that tells clean images from protected ones; its pressure keeps the noise unnoticed."""

    beta1: float = option(0.5, "first Adam coefficient, or the momentum of sgd", ge=0, lt=1)
    lr: float = option(2e-4, "peak learning rate", gt=0)
    schedule: Literal["constant", "cosine"] = option("constant", "learning rate over all batches of the run")
    width: int = option(32, "channels of the first layer; doubled at every layer", ge=4, le=1024)
    levels: int = option(2, "strided layers, each halving the image", ge=1, le=6)


@dataclass
class ViewsConfig:
    """What the surrogate is trained on, and what the generator must make readable: weights of a mixture."""

    image_noise: float = option(0.0, "weight of x + n with label y: what a thief trains on", ge=0)
    noise: float = option(0.0, "weight of the noise alone (on mid-grey) with label y", ge=0)
    swap: float = option(1.0, "weight of the noise of image i on image j, with label of i (an intervention)", ge=0)


@dataclass
class SurrogateConfig(NetworkConfig):
    """The classifier that stands in for the unknown victim while the generator learns."""

    schedule: Literal["constant", "cosine"] = option("constant", "learning rate over all batches of the run")
    arch: str = option("narrow", "'narrow' (for CPUs) or any timm model name")
    sees: ViewsConfig = field(default_factory=ViewsConfig)
    reinit_every: int = option(0, "start the surrogate anew every so many epochs; 0 never", ge=0)


@dataclass
class GanConfig:
    """The objectives and the three networks."""

    epsilon: float = option(8.0, "largest change of a pixel, in grey levels of 255 (8 means 8/255)", ge=1, le=64)
    gan_loss: Literal["hinge", "least_squares", "none"] = option("least_squares", "adversarial loss; none trains no D")
    gan_weight: float = option(0.1, "weight of the adversarial loss in the generator's objective", ge=0)
    augment: str = option("none", "augmentation of what the surrogate sees: operations joined by +, such as crop+flip")
    code_weight: float = option(1.0, "weight of naming the class of the image in the generator's objective", gt=0)
    norm_weight: float = option(0.0, "weight of the mean squared noise, as a share of the bound, for G", ge=0)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        found = augment_fault("gan.augment", self.augment)
        if self.surrogate.sees.image_noise + self.surrogate.sees.noise + self.surrogate.sees.swap == 0:
            found.append("gan.surrogate.sees: all weights are 0; give image_noise, noise or swap a weight above 0")
        if self.gan_loss != "none" and self.gan_weight == 0:
            found.append("gan.gan_weight: is 0 while gan.gan_loss is on; set gan.gan_loss=none or a weight above 0")
        return found
