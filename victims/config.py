"""Options and training recipes of victims, free of torch so that ``--help`` is fast."""

from dataclasses import dataclass, replace
from typing import Literal

from datamodules.config import augment_fault, option


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained: SGD with momentum over shuffled batches.

    Attributes:
        arch: ``narrow``, ``linear`` or a timm name.
        epochs: passes over the training images.
        batch_size: images a step.
        lr: peak learning rate.
        warmup: share of all steps over which the learning rate rises to its peak; then half a cosine to 0.
        nesterov: Nesterov momentum.
        weight_decay: of all parameters.
        clip: largest gradient norm; 0 off.
        augment: operations of datamodules/augment.py joined by ``+``, or none.
        momentum: of SGD.
    """

    arch: str
    epochs: int
    batch_size: int
    lr: float
    warmup: float
    nesterov: bool
    weight_decay: float
    clip: float
    augment: str
    momentum: float = 0.9


RECIPES = {
    # Ours, for two CPU cores: small batches, since a set of a few thousand images gives few steps otherwise.
    "quick": Recipe("narrow", 20, 32, 0.1, 0.2, True, 5e-4, 0.0, "crop+flip"),
    # The reference of the field: settings of the EMN repository for CIFAR-10 (Huang et al., ICLR 2021).
    "emn60": Recipe("resnet18", 60, 128, 0.1, 0.0, False, 5e-4, 5.0, "crop+flip"),
}


@dataclass
class VictimConfig:
    """How victims are trained, and how often the protection is checked while the generator learns."""

    recipe: Literal["quick", "emn60"] = option("quick", "named training recipe (victims/config.py)")
    arch: str = option("", "architecture: narrow or any timm name; empty: the recipe's")
    epochs: int = option(0, "epochs; 0: the recipe's", ge=0)
    batch_size: int = option(0, "images a step; 0: the recipe's", ge=0)
    lr: float = option(0.0, "peak learning rate; 0: the recipe's", ge=0)
    augment: str = option("recipe", "operations joined by +, such as crop+flip, or none; recipe: the recipe's own")
    check_every: int = option(
        0, "epochs of the generator between checks with briefly trained victims; 0: no checks", ge=0
    )
    check_epochs: int = option(5, "epochs of a victim in a check", ge=1)

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        return [] if self.augment == "recipe" else augment_fault("victim.augment", self.augment)

    def resolved(self) -> Recipe:
        """The recipe with what these options change."""
        recipe = RECIPES[self.recipe]
        given = {k: getattr(self, k) for k in ("arch", "epochs", "batch_size", "lr") if getattr(self, k)}
        if self.augment != "recipe":
            given["augment"] = self.augment
        return replace(recipe, **given)
