"""Tables of the docs about what there is: data sets, defences, recipes, methods, the noise network that ships."""

import json

from baselines.info import method_infos
from datamodules.config import SETS
from experiments.data import module_of
from experiments.report.docs_results import as_table
from gan.protection import SHIPPED
from victims.config import RECIPES, Recipe
from victims.defences import DEFENCES, example


def data_sets() -> str:
    """One row per data set, from what its module states."""
    rows = [["`DATA=`", "data set", "classes", "images (train + val + test)", "pixels", "licence", "what you do"]]
    for name in SETS:
        info = module_of(name).info
        title = f"[{info.title}]({info.page})" if info.page else info.title
        rows.append([f"`{name}`", title, str(info.classes or "yours"), info.images, info.size, info.licence, info.todo])
    return as_table(rows)


def citations() -> str:
    """Where each data set is published."""
    return "\n".join(f"* `{name}`: {info.citation}." for name in SETS if (info := module_of(name).info).citation)


def defences(stage: str) -> str:
    """One row per defence of one stage, from what is stated where its name is defined."""
    rows = [["written", "what is done", "parameters", "source"]]
    rows += [
        [f"`{example(name)}`", defence.does, "; ".join(p.described for p in defence.parameters) or "–", defence.source]
        for name, defence in DEFENCES.items()
        if defence.stage == stage
    ]
    return as_table(rows)


def recipes() -> str:
    """One row per recipe of victims."""
    head = ["`victim.recipe=`", "network", "starts from", "epochs", "batch", "optimizer", "rate", "rises for"]
    rows = [[*head, "rate falls", "weight decay", "gradient clipped at", "augmentation", "besides"]]
    for name, r in RECIPES.items():
        optimizer = (
            "AdamW" if r.optimizer == "adamw" else f"SGD, {'Nesterov ' if r.nesterov else ''}momentum {r.momentum}"
        )
        rows.append(
            [
                *(f"`{name}`", r.arch, r.start.replace("_", "-"), str(r.epochs), str(r.batch_size), optimizer),
                *(f"{r.lr:g}", f"{100 * r.warmup:.0f} %" if r.warmup else "–", falls(r), f"{r.weight_decay:g}"),
                *(f"{r.clip:g}" if r.clip else "–", r.augment, besides(r)),
            ]
        )
    return as_table(rows)


def falls(recipe: Recipe) -> str:
    """How a recipe's learning rate falls."""
    if recipe.milestones is None:
        return "cosine"
    shares = ", ".join(f"{100 * share:g} %" for share in recipe.milestones)
    return f"times {recipe.gamma:g} at {shares}" if shares else "not"


def besides(recipe: Recipe) -> str:
    """What else a recipe does to its batches, its labels and its weights."""
    techniques = [] if recipe.techniques == "none" else [f"`{recipe.techniques}`"]
    smoothing = [f"labels smoothed by {recipe.smoothing:g}"] if recipe.smoothing else []
    ema = [f"mean of the weights with decay {recipe.ema:g}"] if recipe.ema else []
    return "; ".join(techniques + smoothing + ema) or "–"


def methods() -> str:
    """One row per protection, from what baselines/info.py states."""
    rows = [["`method=`", "what", "paper", "bound", "needs labels to protect", "protects", "passes to fit"]]
    for row in method_infos():
        labels = "yes" if row.labels else "no"
        rows.append([f"`{row.method}`", row.title, row.paper, row.norm, labels, row.images, row.cost])
    return as_table(rows)


def shipped() -> str:
    """What the card of the noise network that comes with the package says."""
    card = json.loads(SHIPPED.with_suffix(".json").read_text())
    return (
        f"{card['command']}: {card['steps']:,} steps on {card['images']:,} pictures, {card['pictures']}; "
        f"{card['classes']} classes; "
        f"{card['seconds'] / 60:.0f} minutes; at the end level {card['level']:.2f}, read {card['read']:.2f}; "
        f"{SHIPPED.stat().st_size / 2**20:.1f} MiB; PyTorch {card['versions']['torch']}."
    )
