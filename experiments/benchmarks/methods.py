"""How fast protections are fitted beside the bare passes through a network that the published algorithms imply.

::

    python -m experiments.benchmarks.methods images=256 rounds=5

Each method that crafts noise against a classifier is fitted on a few embedded digits, with few steps. Its passes,
counted as executed, are compared with those that its paper's steps imply with the same options (baselines/info.py),
and the processor's seconds with those of as many bare passes on batches of the same size through the same network, in
the same process: forward, loss, and backward to the weights where the classifier learns, to the images where noise is
made. Both ratios are to be at most 1.2. Of generators and of the linear classifier passes are counted alone: theirs are
through other networks.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F

from baselines.config import BaselinesConfig
from baselines.config_crafted import SurrogateConfig
from baselines.registry import make_protection
from datamodules.images import ImageSet, to_float
from experiments.config import compose
from experiments.data import make_data
from experiments.folder import environment, write_json
from victims.classifier import build_classifier

CPU = torch.device("cpu")
BATCH = 32
LIMIT = 1.2
LONG_ENOUGH = 15  # bare passes that are timed: as long as a fit, so that both meet the same processor


def few() -> BaselinesConfig:
    """Options with few steps, yet enough that building networks weighs little.

    Crafting augments as published, which a bare pass does not: that counts against the method. The training of its
    classifier, which is ours, does not augment.
    """
    c = BaselinesConfig()
    clean = SurrogateConfig(epochs=5, batch_size=BATCH, lr=0.03, augment="none")
    return replace(
        c,
        emn=replace(c.emn, rounds=2, steps=6, batch_size=BATCH, surrogate_steps=4, stop_error=0.0),
        tap=replace(c.tap, restarts=1, steps=25, batch_size=BATCH, surrogate=clean),
        rem=replace(c.rem, iterations=4, steps=3, samples=2, adversary_steps=1, batch_size=BATCH),
        hypo=replace(c.hypo, steps=25, batch_size=BATCH, surrogate=clean),
        deepconfuse=replace(c.deepconfuse, trials=1, epochs=1, batch_size=BATCH),
        gue=replace(c.gue, epochs=1, steps=2, batch_size=BATCH),
        sem=replace(c.sem, iterations=4, steps=3, samples=2, adversary_steps=1, batch_size=BATCH),
        sep=replace(c.sep, checkpoints=3, steps=4, inner_steps=3, batch_size=BATCH, surrogate=clean),
        miue=replace(c.miue, epochs=3, steps=8, batch_size=BATCH, craft_batch_size=BATCH),
        bait=replace(c.bait, arch="narrow", pretrained=False, iterations=3, batch_size=BATCH),
        clusters=replace(c.clusters, count=4, epochs=2, batch_size=BATCH, surrogate=clean),
    )


def bare(train: ImageSet, classes: int, passes: int, learning: bool) -> float:
    """Seconds of the processor for a forward and a backward pass of one image: to the weights, or to the image."""
    channels, height, width = train.shape
    model = build_classifier("narrow", classes, channels, (height, width)).train(learning).requires_grad_(learning)
    model.to(memory_format=torch.channels_last)
    started = 0.0
    for turn in range(passes + 1):
        if turn == 1:  # warm
            started = time.process_time()
        for rows in torch.arange(len(train)).split(BATCH):
            images = to_float(train.pixels(rows)).contiguous(memory_format=torch.channels_last)
            images.requires_grad_(not learning)
            loss = F.cross_entropy(model(images), train.labels[rows])
            torch.autograd.grad(loss, list(model.parameters()) if learning else images)
    return (time.process_time() - started) / passes / len(train)


def learned(name: str, c: BaselinesConfig, images: int) -> float:
    """How many of the implied passes the classifier learns in; of EMN, those of one round."""
    found: dict[str, float] = {
        "emn": c.emn.surrogate_steps * c.emn.batch_size / images,
        "tap": c.tap.surrogate.epochs,
        "rem": c.rem.iterations * c.rem.batch_size / images,
        "hypo": c.hypo.surrogate.epochs,
        "sem": c.sem.iterations * c.sem.batch_size / images,
        "sep": c.sep.surrogate.epochs,
        "miue": c.miue.epochs,
    }
    return found.get(name, 0.0)


def measured(name: str, train: ImageSet, classes: int, rounds: int) -> dict[str, Any]:
    """Passes and seconds of one method beside what its paper implies."""
    config, ratios, timed = few(), [], learned(name, few(), len(train)) > 0
    for _ in range(rounds if timed else 1):
        # before and after, since a machine's speed drifts
        before = [bare(train, classes, LONG_ENOUGH, flag) for flag in (False, True)]
        protection = make_protection(name, config, 8.0)
        started = time.process_time()
        protection.fit(train, classes, 0, CPU, lambda _: None)
        spent = time.process_time() - started
        after = [bare(train, classes, LONG_ENOUGH, flag) for flag in (False, True)]
        making, learning = ((one + two) / 2 for one, two in zip(before, after, strict=True))
        times = getattr(protection, "rounds", 1)
        least = times * config.methods()[name].implied(len(train))
        own = times * learned(name, config, len(train))
        ratios.append(spent / len(train) / (own * learning + (least - own) * making))
    assert protection.passes
    counted = protection.passes.backward
    return {
        "passes": counted,
        "implied": least,
        "passes_ratio": counted / least,
        "seconds_ratio": median(ratios) if timed else None,
    }


def main(arguments: list[str]) -> int:
    """Measures, prints and writes the result; 1 where a method takes more than LIMIT of what is implied."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    count, rounds = int(given.get("images", 256)), int(given.get("rounds", 5))
    torch.set_num_threads(1)
    data = make_data(compose(["data=digits"])[0])
    train = data.parts["train"].subset(torch.arange(count))
    names = [name for name, options in few().methods().items() if options.implied(count)]
    result: dict[str, Any] = {"images": count, "rounds": rounds, "limit": LIMIT, "environment": environment()}
    result["methods"] = {name: measured(name, train, data.classes, rounds) for name in names}
    write_json(Path("results/methods_cpu.json"), result)
    print(json.dumps(result["methods"], indent=2))
    ratios = [m[key] for m in result["methods"].values() for key in ("passes_ratio", "seconds_ratio")]
    return int(any(ratio is not None and ratio > LIMIT for ratio in ratios))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
