"""The reference of the field on one GPU: ResNet-18 by ``emn60`` for all methods, and what attackers make of them.

::

    experiments/gpu/reference.sh                    # about an hour of an H100 or H200
    experiments/gpu/reference.sh minutes=600 images=40000
    experiments/gpu/reference.sh images=500 epochs=1 arch=narrow seeds=0 jobs=2 only=lsp     # a dry run on a CPU

Stages, in the order in which they are asked about: how fast victims train, and which share of the device's bf16 peak
that is; all methods of the grid ``compare_cifar10`` against victims of untouched, recompressed, gray and shrunk sets,
seed by seed; the attackers that train otherwise, in the first seed. A finished cell is not computed again: the same
command continues where ``minutes`` ended it. With the default of 6,000 images the methods make steps that fit an hour:
such figures stand beside each other, not beside published ones of 50,000 images.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from evaluation.jobs import default_device
from experiments.benchmarks import victims as speed
from experiments.config import ConfigError
from experiments.folder import environment, rank_zero_print, write_json
from experiments.grid.spec import read_grid
from victims.classifier import build_classifier
from victims.config import RECIPES

REFERENCE = "emn60"
# dense bf16, 10^12 operations per second, by the makers' data sheets
PEAKS = {"A100": 312.0, "H100 PCIe": 756.0, "H100": 989.0, "H200": 989.0, "L40S": 362.0}
PICTURES: dict[str, dict[str, str]] = {
    "untouched": {},
    "JPEG 75": {"victim.defence": "jpeg:75"},
    "JPEG 50": {"victim.defence": "jpeg:50"},
    "JPEG 10": {"victim.defence": "jpeg:10"},
    "gray": {"victim.defence": "gray"},
    "half size": {"victim.defence": "resize:2"},
}
TRAINED = ("adversarial training", "pairs")  # by the reference's recipe; the others bring their own
ATTACKERS: dict[str, dict[str, str]] = {
    "adversarial training": {"victim.defence": "adversarial:8:7"},
    "fine-tuned": {"victim.recipe": "finetune"},
    "linear probe": {"victim.recipe": "probe"},
    "nearest neighbours": {"victim.recipe": "neighbours"},
    "pairs": {"victim.defence": "pairs:500:40"},
}
OPTIONS = {
    "data": "data=npz data.path=../shared/data/cifar10_jpeg_60k.npz",
    "images": "6000",
    "epochs": "60",
    "arch": "resnet18",
    "precision": "bf16",
    "seeds": "0,1,2",
    "only": "",
    "jobs": "8",
    "minutes": "60",
    "run_dir": "runs/reference",
    "store": "runs/cells",
}


def spec_of(options: dict[str, str], victims: dict[str, dict[str, str]], seeds: list[int]) -> dict[str, Any]:
    """A stage's grid.

    Args:
        options: those of OPTIONS.
        victims: PICTURES or ATTACKERS.
        seeds: of the stage.
    """
    known = read_grid("compare_cifar10")["variants"] | {"confoundergan": {"gan.refine": 0}}
    names = options["only"].split("+") if options["only"] else list(known)
    if unknown := [name for name in names if name not in known]:
        raise ConfigError([f"only: no method {unknown[0]!r}; known: {', '.join(known)}"])
    recipe = {f"victim.{key}": options[key] for key in ("arch", "epochs", "precision")} | {"victim.recipe": REFERENCE}
    data = dict(pair.split("=", 1) for pair in options["data"].split())
    return {
        "about": "What do the reference's victims, and attackers who train otherwise, make of every method's pictures?",
        "data": {"reference": data | {"data.limit": int(options["images"]), "data.fast_fraction": 0.1}},
        "variants": {name: known[name] for name in names},
        "victims": {name: _of(name, changes, recipe) for name, changes in victims.items()},
        "settings": ["clean", "standard"],
        "seeds": seeds,
        "measured_on": "test",
    }


def _of(name: str, changes: dict[str, str], recipe: dict[str, Any]) -> dict[str, Any]:
    """A victim's options: by the reference's recipe, unless it has its own, which knows its network and its epochs."""
    if name in PICTURES or name in TRAINED:
        return recipe | changes
    epochs = min(RECIPES[changes["victim.recipe"]].epochs, int(recipe["victim.epochs"]))
    return changes | {"victim.epochs": epochs, "victim.precision": recipe["victim.precision"]}


def compute(folder: Path, stage: str, spec: dict[str, Any], options: dict[str, str], seconds: float) -> int | None:
    """Computes a stage's missing cells; 0, 1 where cells failed, or None where so many seconds were not enough.

    Raises:
        SystemExit: the grid was refused; it has said why.
    """
    path = folder / f"{stage}.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(spec)))
    rest = [f"run_dir={folder / stage}", f"jobs={options['jobs']}", f"store={options['store']}"]
    command = [sys.executable, "-m", "experiments", "grid", f"grid={path}", *rest]
    try:
        code = subprocess.run(command, check=False, timeout=seconds).returncode
    except subprocess.TimeoutExpired:  # its processes end with it, and finished cells are kept
        return None
    if code not in (0, 1):
        raise SystemExit(code)
    return code


def throughput(folder: Path, options: dict[str, str]) -> None:
    """How many images a victim of the reference learns per second, and the share of the device's peak; once."""
    path, device = folder / "throughput.json", default_device()
    if path.exists():
        return
    recipe = speed.brief(REFERENCE, options["precision"], options["arch"])
    data = speed.made_up(min(12_800, int(options["images"])))
    rate = len(data) / speed.ours(recipe, data, device)
    work, name = operations_per_image(options["arch"]), environment()["device"]
    peak = next((value for device_name, value in PEAKS.items() if device_name in name), None)
    share = rate * work / (peak * 1e12) if peak else None
    write_json(
        path,
        {
            "images_per_second": rate,
            "operations_per_image": work,
            "share_of_bf16_peak": share,
            "recipe": REFERENCE,
            "arch": options["arch"],
            "precision": options["precision"],
            "environment": environment(),
        },
    )
    told = f"{100 * share:.0f} % of the device's bf16 peak" if share else f"no peak is known of {name}"
    rank_zero_print(f"{options['arch']} learns {rate:,.0f} images of 32 pixels per second; {told}")


def operations_per_image(arch: str) -> float:
    """Additions and multiplications of one image of 32 pixels, forward and backward."""
    model, images = build_classifier(arch, speed.CLASSES, 3, (speed.SIZE, speed.SIZE)), torch.rand(2, 3, 32, 32)
    with FlopCounterMode(display=False) as counter:
        model(images).sum().backward()
    return float(counter.get_total_flops()) / len(images)


def main(arguments: list[str]) -> int:
    """Computes stage by stage until all is done or time is over.

    Args:
        arguments: some of OPTIONS as ``key=value``; ``only`` names methods, joined by +.

    Returns:
        0, or 1 where cells failed: the reports say which, and the same command tries them again.

    Raises:
        ConfigError: there is no such option or method.
    """
    options = OPTIONS | dict(argument.partition("=")[::2] for argument in arguments)
    if unknown := set(options) - set(OPTIONS):
        raise ConfigError([f"{key}: no such option; known: {', '.join(OPTIONS)}" for key in sorted(unknown)])
    seeds = [int(seed) for seed in options["seeds"].split(",")]
    stages = {
        "pictures": spec_of(options, PICTURES, seeds),
        "attackers": spec_of(options, ATTACKERS, seeds[:1]),
    }
    folder, deadline = Path(options["run_dir"]), time.monotonic() + 60 * float(options["minutes"])
    folder.mkdir(parents=True, exist_ok=True)
    throughput(folder, options)
    failed = 0
    for stage, spec in stages.items():
        left = deadline - time.monotonic()
        code = compute(folder, stage, spec, options, left) if left > 0 else None
        if code is None:
            rank_zero_print(f"time is over in the stage {stage}; the same command continues")
            break
        failed |= code  # one method that fails must not take the hour from the others
        rank_zero_print(f"{stage}: {'some cells failed' if code else 'done'}, {folder / stage / 'report.html'}")
    return failed


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ConfigError as error:
        sys.exit("\n".join(error.faults))
