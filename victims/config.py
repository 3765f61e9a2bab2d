"""Options and training recipes of victims, free of torch so that ``--help`` is fast."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from datamodules.config import augment_fault, option
from victims.defences import DEFENCES, defence_fault, operations, written

Start = Literal["scratch", "pretrained", "probe", "neighbours", "self_supervised"]
PROBED: tuple[Start, ...] = ("probe", "neighbours", "self_supervised")  # on frozen features, which are computed once
PUBLISHED: tuple[Start, ...] = ("pretrained", "probe", "neighbours")  # from weights that somebody else published
ALWAYS = ("momentum", "optimizer")  # defaults of Recipe that its keys have always held
PROTECTED_PART = ("share", "class_share", "clean_epochs")  # of partly protected sets: says nothing of clean ones


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained, over shuffled batches.

    Attributes:
        arch: a name that victims/classifier.py knows.
        epochs: passes over the training images.
        batch_size: images per step.
        lr: peak learning rate.
        warmup: share of all steps over which the learning rate rises to its peak; then half a cosine to 0.
        nesterov: Nesterov momentum; of sgd.
        weight_decay: of all parameters.
        clip: largest gradient norm; 0 off.
        augment: operations of datamodules/augment.py joined by ``+``, or none.
        momentum: of sgd.
        optimizer: ``sgd`` or ``adamw``.
        defence: operations of victims/defences.py joined by ``+``, or none.
        start: what the weights start from: ``scratch``; ``pretrained`` weights, all of which learn on; a ``probe``,
            which trains one linear layer on the frozen features of pretrained weights; ``neighbours``: the nearest
            training images by those features vote, and nothing is trained; ``self_supervised``: learned without labels
            on the training images (victims/selfsup.py) for ``epochs``, then a probe.
        weights: file of pretrained weights; empty: those that come with the name (victims/pretrained.py).
        milestones: shares of the training after which the learning rate is multiplied by ``gamma``; (): it stays; None:
            half a cosine to 0.
        gamma: see ``milestones``.
        smoothing: share of each label that is spread over all classes.
        patience: epochs without a better accuracy on the held-out images after which the training ends, with the
            weights of the best epoch; 0: it runs to its end.
        size: pixels per side that all images are brought to first, protected or clean; 0: they stay as they are.
        share: of each class's images that are protected; the others are clean.
        class_share: of the classes that are protected.
        techniques: operations on batches (victims/defences.py) that belong to the recipe, before those of ``defence``.
        ema: decay of the exponential moving average of the weights, which is what is measured; it rises to that within
            the first steps (timm's ModelEmaV3); 0: the weights themselves.
        clean_epochs: passes over those of its images that are clean, before the first over all of them.
        precision: number format of the network's arithmetic while it trains.
        compile: whether ``torch.compile`` makes its training steps.
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
    start: Start = "scratch"
    weights: str = ""
    milestones: tuple[float, ...] | None = None
    gamma: float = 0.1
    smoothing: float = 0.0
    patience: int = 0
    size: int = 0
    share: float = 1.0
    class_share: float = 1.0
    techniques: str = "none"
    ema: float = 0.0
    clean_epochs: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False

    @property
    def partly(self) -> bool:
        """Whether some of the images that it trains on are not protected."""
        return self.share < 1 or self.class_share < 1

    @property
    def on_clean(self) -> "Recipe":
        """The recipe of the same victim on clean images, whatever share of others is protected."""
        return replace(self, share=1.0, class_share=1.0, clean_epochs=0)

    def decisive(self) -> dict[str, Any]:
        """What decides a result: a new option stands in it only where it is used, so that finished cells stay so."""
        usual = {f.name: f.default for f in fields(self) if f.name not in ALWAYS}
        return {key: value for key, value in asdict(self).items() if key not in usual or value != usual[key]}


RECIPES = {
    # Ours, for two CPU cores: small batches, since a set of a few thousand images gives few steps otherwise. The
    # learning rate is the field's 0.1 for 128 images, for 32; with 0.1, clean victims are no better (docs/METHOD.md).
    "quick": Recipe("narrow", 20, 32, 0.03, 0.2, True, 5e-4, 0.0, "crop+flip"),
    # Ours, for small transformers and mixers, which plain SGD hardly trains.
    "quick_adamw": Recipe("narrow_vit", 40, 32, 1e-3, 0.2, False, 0.05, 1.0, "crop+flip", optimizer="adamw"),
    # Ours: what recipes of ImageNet have had since 2020, at a size for small images.
    "modern": Recipe(
        *("narrow", 40, 32, 0.03, 0.1, True, 5e-4, 0.0, "zoom+flip"),
        smoothing=0.1,
        techniques="randaugment:2:9+mixup:0.2",
        ema=0.998,
    ),
    # Ours: ImageNet weights that are in a Python package learn on, slowly, for a few epochs.
    "finetune": Recipe("efficientnet_lite0", 5, 32, 0.01, 0.2, True, 5e-4, 0.0, "crop+flip", start="pretrained"),
    # Ours: a linear layer on the features of the same weights, which stay.
    "probe": Recipe("efficientnet_lite0", 20, 32, 0.03, 0.2, True, 5e-4, 0.0, "none", start="probe"),
    # Ours: the nearest training images by the features of the same weights (victims/neighbours.py).
    "neighbours": Recipe("efficientnet_lite0", 1, 32, 0.0, 0.0, False, 0.0, 0.0, "none", start="neighbours"),
    # Ours: SimCLR (Chen et al., ICML 2020) made small, then a linear layer; epochs are those without labels.
    "simclr": Recipe(
        "narrow", 60, 128, 1e-3, 0.1, False, 1e-4, 0.0, "none", optimizer="adamw", start="self_supervised"
    ),
    # The reference of the field: settings of the EMN repository for CIFAR-10 (Huang et al., ICLR 2021).
    "emn60": Recipe("resnet18", 60, 128, 0.1, 0.0, False, 5e-4, 5.0, "crop+flip"),
    # The same repository for SVHN: half the epochs, no augmentation.
    "emn30_svhn": Recipe("resnet18", 30, 128, 0.1, 0.0, False, 5e-4, 5.0, "none"),
    # Image shortcut squeezing's repository (Liu et al., ICML 2023): as emn60, gradients not clipped.
    "iss60": Recipe("resnet18", 60, 128, 0.1, 0.0, False, 5e-4, 0.0, "crop+flip"),
    # APBench's repository (Qin et al., 2023) for CIFAR: the rate is halved at epochs 100, 200 and 300 of 200.
    # There the images come in the same order in every epoch; here they are shuffled.
    "apbench200": Recipe("resnet18", 200, 256, 0.1, 0.0, False, 5e-4, 0.0, "crop+flip", milestones=(0.5,), gamma=0.5),
    # The same repository for SVHN: no augmentation.
    "apbench200_svhn": Recipe("resnet18", 200, 256, 0.1, 0.0, False, 5e-4, 0.0, "none", milestones=(0.5,), gamma=0.5),
    # TAP's repository (Fowl et al., NeurIPS 2021).
    "tap200": Recipe("resnet18", 200, 128, 0.1, 0.0, False, 5e-4, 0.0, "crop+flip"),
    # REM's and SEM's repositories (Fu et al., ICLR 2022): 40,000 steps, which 102 epochs of 50,000 images are; a tenth
    # of the rate after 16,000 and 32,000.
    "rem40k": Recipe("resnet18", 102, 128, 0.1, 0.0, False, 5e-4, 0.0, "crop+flip", milestones=(0.4, 0.8)),
    # The repository of autoregressive noise (Sandoval-Segura et al., NeurIPS 2022): a tenth of the rate after half.
    "ar100": Recipe("resnet18", 100, 128, 0.1, 0.0, False, 5e-4, 0.0, "crop+flip", milestones=(0.5,)),
    # PIL's repository; its batch size is not stated, 128 is the field's.
    "pil30": Recipe("resnet18", 30, 128, 0.1, 0.0, False, 1e-4, 0.0, "crop+flip"),
    # DUNE's repository: a rate that stays, no weight decay.
    "dune80": Recipe("resnet18", 80, 128, 0.1, 0.0, False, 0.0, 0.0, "crop+flip", milestones=()),
}


@dataclass
class VictimConfig:
    """How victims are trained, and how often the protection is checked while the generator learns."""

    recipe: Literal[
        "quick", "quick_adamw", "modern", "finetune", "probe", "neighbours", "simclr", "emn60", "emn30_svhn", "iss60",
        "apbench200", "apbench200_svhn", "tap200", "rem40k", "ar100", "pil30", "dune80",
    ] = option("quick", "named training recipe (docs/VICTIMS.md)")  # fmt: skip
    arch: str = option(
        "", "architecture: narrow, narrow_vgg, … (victims/classifier.py) or any timm name; empty: the recipe's"
    )
    epochs: int = option(0, "epochs; 0: the recipe's", ge=0)
    batch_size: int = option(0, "images per step; 0: the recipe's", ge=0)
    lr: float = option(0.0, "peak learning rate; 0: the recipe's", ge=0)
    augment: str = option("recipe", "operations joined by +, such as crop+flip, or none; recipe: the recipe's own")
    defence: str = option(
        "none", "what the attacker tries: operations joined by +, such as jpeg:10 (docs/DEFENCES.md), or none"
    )
    start: Literal["recipe", "scratch", "pretrained", "probe", "neighbours", "self_supervised"] = option(
        "recipe", "what its weights start from (docs/VICTIMS.md); recipe: the recipe's own"
    )
    weights: str = option("", "file of pretrained weights (.pth, .safetensors) of arch; empty: those known by its name")
    optimizer: Literal["recipe", "sgd", "adamw"] = option("recipe", "optimizer; recipe: the recipe's own")
    smoothing: float = option(0.0, "label smoothing: share of each label spread over all classes", ge=0, lt=1)
    patience: int = option(
        0, "early stopping: epochs without a better accuracy on its own held-out images; 0: none", ge=0
    )
    size: int = option(0, "all images are brought to this many pixels per side first; 0: as they are", ge=0, le=1024)
    share: float = option(1.0, "share of each class's images that are protected; the others are clean", ge=0, le=1)
    class_share: float = option(1.0, "share of the classes that are protected", ge=0, le=1)
    clean_epochs: int = option(
        0, "epochs on those of its images that are clean (share below 1), before those on all of them", ge=0
    )
    precision: Literal["fp32", "bf16"] = option("fp32", "number format of its arithmetic while it trains")
    compile: bool = option(False, "torch.compile its training steps (for GPUs; costs a minute at the start)")
    check_every: int = option(
        0, "epochs of the generator between checks with briefly trained victims; 0: no checks", ge=0
    )
    check_epochs: int = option(5, "epochs of a victim in a check", ge=1)

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        found = [] if self.augment == "recipe" else augment_fault("victim.augment", self.augment)
        found += defence_fault("victim.defence", self.defence)
        if found:
            return found
        recipe = self.resolved()
        if recipe.start in PROBED:
            if recipe.augment != "none":
                found.append(
                    f"victim.augment: {recipe.augment!r} cannot act on features that are computed once (start="
                    f"{recipe.start}); leave victim.augment at none"
                )
            changing = [o.name for o in operations(recipe.defence) if o.name == "filter" or _of_batches(o.name)]
            if changing:
                found.append(
                    f"victim.defence: {changing[0]!r} acts on the training of a whole network, which start="
                    f"{recipe.start} has not; use one that changes pixels"
                )
        if recipe.arch == "linear" and recipe.start != "scratch":
            found.append(f"victim.arch: linear has no features to start from; choose another with start={recipe.start}")
        if recipe.clean_epochs and not recipe.partly:
            found.append(
                "victim.clean_epochs: expected 0 where all images are protected; set victim.share or "
                "victim.class_share below 1, so that there are clean ones to begin with"
            )
        if recipe.clean_epochs and recipe.start in PROBED:
            found.append(
                f"victim.clean_epochs: expected 0, since start={recipe.start} trains no network on images; choose "
                "another start"
            )
        if self.weights and recipe.start not in PUBLISHED:
            found.append(
                f"victim.weights: are not read with start={recipe.start}; give victim.start={' or '.join(PUBLISHED)}"
            )
        return found

    def resolved(self) -> Recipe:
        """The recipe with what these options change."""
        recipe = RECIPES[self.recipe]
        replaced = ("arch", "epochs", "batch_size", "lr", "weights", "smoothing", "patience", "size")
        given = {k: getattr(self, k) for k in replaced if getattr(self, k)}
        for key in ("augment", "start", "optimizer"):
            if getattr(self, key) != "recipe":
                given[key] = getattr(self, key)
        if given.get("start") in PROBED and self.augment == "recipe":
            given |= {"augment": "none", "techniques": "none"}  # of another start's recipe
        given |= {key: getattr(self, key) for key in ("share", "class_share", "clean_epochs", "precision", "compile")}
        given["defence"] = written(operations(self.defence))
        return replace(recipe, **given)


def _of_batches(name: str) -> bool:
    return DEFENCES[name].stage == "batch"
