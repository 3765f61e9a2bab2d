"""What the trainer of victims costs beside a bare PyTorch loop with the same network, batches and number format.

``make benchmark`` (or ``python -m experiments.benchmarks.victims rounds=3 images=640 recipe=quick``) runs both in turn,
in one process. Both train by the recipe's optimizer and schedule over the same images; the bare loop has them as floats
on the device before the clock starts, in a fixed order, and draws and augments nothing. Ours is measured without
augmentation, which is the comparison; with the recipe's; and compiled, the compiling itself left out. Measuring victims
on clean images is part of neither. Writes results/victims_<device>.json.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, get_args, get_type_hints

import torch
import torch.nn.functional as F

from datamodules.augment import isolated_rng
from datamodules.images import ImageSet, to_float
from evaluation.jobs import default_device
from experiments.folder import environment, write_json
from victims.config import RECIPES, Recipe, VictimConfig
from victims.schedule import make_schedule, victim_optimizer
from victims.train import build, epochs_of

CLASSES, SIZE, WARM = 10, 32, 1
DEFAULTS = {"rounds": "5", "images": "640", "recipe": "quick", "precision": "fp32", "note": ""}


def brief(recipe: str, precision: str, arch: str = "") -> Recipe:
    """A recipe of few epochs: what comes before the clock, and one that is measured."""
    base = replace(RECIPES[recipe], epochs=WARM + 1, precision=precision)  # type: ignore[arg-type]
    return replace(base, arch=arch) if arch else base


def made_up(images: int) -> ImageSet:
    """Random images: what they show is no matter here."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(images) % CLASSES)


def waited(device: torch.device) -> float:
    """The clock, once the device is done; on CPUs that of the processor, since machines do other work."""
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def ours(recipe: Recipe, data: ImageSet, device: torch.device) -> float:
    """Seconds of an epoch of the trainer, the first one left out."""
    with isolated_rng(0, device):
        model = build(recipe, CLASSES, data.shape, device)
        running = epochs_of(model, data, recipe, CLASSES, 0, device)
        for _ in range(WARM):
            next(running)
        started = waited(device)
        for _ in running:
            pass
        return (waited(device) - started) / (recipe.epochs - WARM)


def bare(recipe: Recipe, data: ImageSet, device: torch.device) -> float:
    """Seconds of an epoch of the same training in plain PyTorch."""
    with isolated_rng(0, device):
        model = build(recipe, CLASSES, data.shape, device)
        batches = max(1, len(data) // recipe.batch_size)
        images = to_float(data.images).to(device).contiguous(memory_format=torch.channels_last)
        parts = list(zip(images.tensor_split(batches), data.labels.to(device).tensor_split(batches), strict=True))
        optimizer = victim_optimizer(model, recipe)
        schedule = make_schedule(optimizer, recipe.epochs * batches, recipe.warmup)
        half, started = recipe.precision == "bf16", 0.0
        model.train()
        for epoch in range(recipe.epochs):
            if epoch == WARM:
                started = waited(device)
            for batch, labels in parts:
                with torch.autocast(device.type, torch.bfloat16, enabled=half):
                    loss = F.cross_entropy(model(batch), labels)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if recipe.clip:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
                optimizer.step()
                schedule.step()
        return (waited(device) - started) / (recipe.epochs - WARM)


def main(arguments: list[str]) -> int:
    """Measures and writes; arguments: those of DEFAULTS, as ``key=value``."""
    given = DEFAULTS | dict(argument.split("=", 1) for argument in arguments)
    known = get_args(get_type_hints(VictimConfig)["recipe"])
    if set(given) != set(DEFAULTS) or given["recipe"] not in known:
        print(f"error: expected some of {', '.join(DEFAULTS)} as key=value; recipes: {', '.join(known)}")
        return 2
    device, rounds = default_device(), int(given["rounds"])
    base = brief(given["recipe"], given["precision"])
    data = made_up(int(given["images"]))
    plain = replace(base, augment="none")
    runs = {
        "bare": (bare, plain),
        "ours": (ours, plain),
        f"ours, {base.augment}": (ours, base),
        "ours, torch.compile": (ours, replace(plain, compile=True)),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs)[:: -1 if number % 2 else 1]:  # so that none is always the first
            train, recipe = runs[name]
            times[name].append(train(recipe, data, device))
    ratios = {
        name: [b / s for b, s in zip(times["bare"], seconds, strict=True)]
        for name, seconds in times.items()
        if name != "bare"
    }
    result: dict[str, Any] = {
        "recipe": given["recipe"],
        "arch": base.arch,
        "precision": base.precision,
        "images": len(data),
        "batch_size": base.batch_size,
        "rounds": rounds,
        "images_per_second": {name: len(data) / median(seconds) for name, seconds in times.items()},
        "ratios": ratios,
        "ratio": {name: median(values) for name, values in ratios.items()},
        "note": given["note"],
        "environment": environment(),
        "command": " ".join(["python -m experiments.benchmarks.victims", *arguments]),
    }
    path = Path("results") / f"victims_{'gpu' if device.type == 'cuda' else device.type}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, result)
    for name, ratio in result["ratio"].items():
        print(f"{name}: {ratio:.3f} of the bare loop's {result['images_per_second']['bare']:.0f} images per second")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
