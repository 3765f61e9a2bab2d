"""Options and training recipes of victims, free of torch so that ``--help`` is fast."""

from dataclasses import dataclass, replace
from typing import Literal

from datamodules.config import augment_fault, option
from victims.defences import defence_fault, operations, written


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained, over shuffled batches.

    Attributes:
        arch: a name that victims/classifier.py knows.
        epochs: passes over the training images.
        batch_size: images a step.
        lr: peak learning rate.
        warmup: share of all steps over which the learning rate rises to its peak; then half a cosine to 0.
        nesterov: Nesterov momentum; of sgd.
        weight_decay: of all parameters.
        clip: largest gradient norm; 0 off.
        augment: operations of datamodules/augment.py joined by ``+``, or none.
        momentum: of sgd.
        optimizer: ``sgd`` or ``adamw``.
        defence: operations of victims/defences.py joined by ``+``, or none.
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
    optimizer: Literal["sgd", "adamw"] = "sgd"
    defence: str = "none"


RECIPES = {
    # Ours, for two CPU cores: small batches, since a set of a few thousand images gives few steps otherwise. The
    # learning rate is the field's 0.1 for 128 images, for 32; with 0.1, clean victims are no better (docs/METHOD.md).
    "quick": Recipe("narrow", 20, 32, 0.03, 0.2, True, 5e-4, 0.0, "crop+flip"),
    # Ours, for small transformers and mixers, which plain SGD hardly trains.
    "quick_adamw": Recipe("narrow_vit", 40, 32, 1e-3, 0.2, False, 0.05, 1.0, "crop+flip", optimizer="adamw"),
    # The reference of the field: settings of the EMN repository for CIFAR-10 (Huang et al., ICLR 2021).
    "emn60": Recipe("resnet18", 60, 128, 0.1, 0.0, False, 5e-4, 5.0, "crop+flip"),
}


@dataclass
class VictimConfig:
    """How victims are trained, and how often the protection is checked while the generator learns."""

    recipe: Literal["quick", "quick_adamw", "emn60"] = option("quick", "named training recipe (victims/config.py)")
    arch: str = option(
        "", "architecture: narrow, narrow_vgg, … (victims/classifier.py) or any timm name; empty: the recipe's"
    )
    epochs: int = option(0, "epochs; 0: the recipe's", ge=0)
    batch_size: int = option(0, "images a step; 0: the recipe's", ge=0)
    lr: float = option(0.0, "peak learning rate; 0: the recipe's", ge=0)
    augment: str = option("recipe", "operations joined by +, such as crop+flip, or none; recipe: the recipe's own")
    defence: str = option(
        "none", "what the attacker tries: operations joined by +, such as jpeg:10 (docs/DEFENCES.md), or none"
    )
    check_every: int = option(
        0, "epochs of the generator between checks with briefly trained victims; 0: no checks", ge=0
    )
    check_epochs: int = option(5, "epochs of a victim in a check", ge=1)

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        found = [] if self.augment == "recipe" else augment_fault("victim.augment", self.augment)
        return found + defence_fault("victim.defence", self.defence)

    def resolved(self) -> Recipe:
        """The recipe with what these options change."""
        recipe = RECIPES[self.recipe]
        given = {k: getattr(self, k) for k in ("arch", "epochs", "batch_size", "lr") if getattr(self, k)}
        if self.augment != "recipe":
            given["augment"] = self.augment
        given["defence"] = written(operations(self.defence))
        return replace(recipe, **given)
