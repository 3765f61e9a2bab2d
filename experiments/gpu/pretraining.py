"""Noise networks trained side by side, each with one choice changed; victims tell which one ships.

::

    python -m experiments.gpu.pretraining                       # one GPU, sixteen cores
    python -m experiments.gpu.pretraining steps=100 only=base+mixtures jobs=2

Every candidate is a call of ``experiments.pretrain``; one network keeps a GPU busy for a small part of the time, so all
are trained at once (with NVIDIA's MPS, where its control program is found). Then two sets are protected with each as it
comes, and victims are trained on training images held out. The rule of the choice is stated here, before any of it
ran: the least mean of (protected − chance) / (clean − chance), in balanced accuracy at the last epoch, over both sets
and over untouched, JPEG 50, half size and gray of the standard setting, untouched and JPEG 50 of the fast one. Other
gains are there for the curve of protection against PSNR, and are not chosen.

A finished candidate is not trained again, a finished cell not computed again: the same command continues.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any

from omegaconf import OmegaConf

from evaluation.rows import CELLS, Row, read_rows, select, victims
from experiments.config import ConfigError
from experiments.folder import rank_zero_print, write_json
from experiments.grid.cells import UNPROTECTED
from experiments.pretrain import STRETCH
from gan.transforms import TRANSFORMS

COMMON = ["gan.gan_loss=none", "classes=96"]
BOTH = ["gan.mixtures=0.5", "gan.transforms.on_luma=0"]
LONGER = 1.4  # times the steps of the others
T = [f"gan.transforms.{name}=0" for name in TRANSFORMS]
# name → options of experiments.pretrain; later ones override COMMON
CANDIDATES: dict[str, list[str]] = {
    "base": [],
    "mixtures": ["gan.mixtures=0.5"],
    "luma untouched": ["gan.transforms.on_luma=0"],
    "both": BOTH,
    "both, a third luma": [*BOTH, "gan.noise.luma=0.35"],
    "both, two thirds luma": [*BOTH, "gan.noise.luma=0.65"],
    "both, 48 channels": [*BOTH, "gan.noise.width=48"],
    "both, gain 1.5": [*BOTH, "gan.noise.gain=1.5"],
    "both, gain 8": [*BOTH, "gan.noise.gain=8"],
    "both, longer": BOTH,
    "both, discriminator": [*BOTH, "gan.gan_loss=least_squares"],
    "both, no transformations": [*BOTH, *T],
    "both, no restarts": [*BOTH, "gan.surrogates.life=0"],
    "both, one surrogate": [*BOTH, "gan.surrogates.kinds=narrow@32"],
    "both, noise on another picture": [*BOTH, "gan.pairing=swap"],
    "both, no curriculum": [*BOTH, "gan.curriculum.contrast=1", "gan.curriculum.boost=1"],
}
NOISE = ("gan.noise.width", "gan.noise.gain", "gan.noise.luma")  # options that protecting needs, too
DATA = {
    "cifar10_exact_6k": {"data": "npz", "data.path": "../shared/data/cifar10_exact_6k.npz", "victim.epochs": 15},
    "pbc_blood_64": {"data": "npz", "data.path": "../shared/data/pbc_blood_64.npz", "victim.epochs": 20},
}
VICTIMS: dict[str, dict[str, str]] = {
    "untouched": {},
    "JPEG 50": {"victim.defence": "jpeg:50"},
    "half size": {"victim.defence": "resize:2"},
    "gray": {"victim.defence": "gray"},
}
COUNTED = [("standard", victim) for victim in VICTIMS] + [("fast", "untouched"), ("fast", "JPEG 50")]
OPTIONS = {
    "steps": "5700",
    "jobs": "16",
    "run_dir": "runs/pretraining",
    "only": "",
    "store": "runs/cells",
    "seeds": "0",
}


def slug(name: str) -> str:
    """A candidate's name as a file's."""
    return name.replace(", ", "-").replace(" ", "-").lower()


def file_of(folder: Path, name: str) -> Path:
    """A candidate's weights."""
    return folder / f"{slug(name)}.safetensors"


def command_of(folder: Path, name: str, steps: int) -> list[str]:
    """The call of ``experiments.pretrain`` that makes a candidate."""
    length = round(steps * (LONGER if name.endswith("longer") else 1) / STRETCH) * STRETCH
    options = dict(option.split("=", 1) for option in [*COMMON, *CANDIDATES[name]])
    pairs = [f"{key}={value}" for key, value in options.items()]
    return [sys.executable, "-m", "experiments.pretrain", f"out={file_of(folder, name)}", f"steps={length}", *pairs]


def start_missing(folder: Path, names: list[str], steps: int) -> dict[str, subprocess.Popen[bytes]]:
    """Starts the training of all candidates that have no file yet, each with its log beside its file."""
    started = {}
    for name in names:
        if not file_of(folder, name).exists():
            with file_of(folder, name).with_suffix(".log").open("ab") as log:
                started[name] = subprocess.Popen(
                    command_of(folder, name, steps),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                )
    return started


def wait_for(started: dict[str, subprocess.Popen[bytes]], folder: Path, names: list[str]) -> None:
    """Waits for some of the candidates; one line for each that ends.

    Raises:
        SystemExit: one failed; its log says why.
    """
    clock = time.perf_counter()
    waiting = [name for name in names if name in started]
    while waiting:
        time.sleep(0.5)
        for name in [name for name in waiting if started[name].poll() is not None]:
            waiting.remove(name)
            if started[name].returncode:
                raise SystemExit(f"{name}: training failed; see {file_of(folder, name).with_suffix('.log')}")
            rank_zero_print(f"{name}: trained, {time.perf_counter() - clock:.0f} s")


def spec_of(folder: Path, names: list[str], seeds: list[int]) -> dict[str, Any]:
    """The grid that measures candidates as they come, on training images held out."""
    variants = {}
    for name in names:
        noise = dict(o.split("=", 1) for o in CANDIDATES[name] if o.startswith(NOISE))
        variants[name] = {"gan.refine": 0, "gan.start": str(file_of(folder, name)), **noise}
    return {
        "about": "Which choice of the game makes the noise network that protects best as it comes, and what does each "
        "part of the game buy? The rule of the choice stands in experiments/gpu/pretraining.py.",
        "data": DATA,
        "variants": variants,
        "victims": VICTIMS,
        "settings": ["clean", "standard", "clean_fast", "fast"],
        "seeds": seeds,
        "measured_on": "rest",
    }


def measure(folder: Path, names: list[str], options: dict[str, str]) -> None:
    """Computes the grid's missing cells of some candidates."""
    path = folder / "grid.yaml"
    seeds = [int(seed) for seed in options["seeds"].split(",")]
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(spec_of(folder, names, seeds))))
    arguments = ["grid", f"grid={path}", f"run_dir={folder}", f"jobs={options['jobs']}", f"store={options['store']}"]
    subprocess.run([sys.executable, "-m", "experiments", *arguments], check=True)


def left_over(rows: list[Row], name: str) -> float:
    """What the rule says of a candidate: the part that is left of what is learned from clean images, from 0 to 1."""
    parts = []
    for data in DATA:
        for setting, victim in COUNTED:
            found, clean = (
                select(victims(rows), data=data, variant=name, victim=victim, setting=s)
                for s in (setting, UNPROTECTED[setting])
            )
            last, most = (mean(r.scores.balanced_accuracy.last for r in part) for part in (found, clean))
            parts.append((last - found[0].chance) / (most - found[0].chance))
    return float(mean(parts))


def choose(folder: Path, names: list[str]) -> str:
    """The candidate that ships, by the rule; ``chosen.json`` gets the figures of all, the least first."""
    rows = read_rows(folder / CELLS)
    figures = dict(sorted(((name, left_over(rows, name)) for name in names), key=lambda pair: pair[1]))
    chosen = next(name for name in figures if "gain" not in name)
    write_json(folder / "chosen.json", {"chosen": chosen, "file": file_of(folder, chosen).name, "left_over": figures})
    for name, figure in figures.items():
        rank_zero_print(f"{figure:.3f}  {name}")
    return chosen


def main(arguments: list[str]) -> None:
    """Trains, measures, chooses.

    Args:
        arguments: some of OPTIONS as ``key=value``; ``only`` names candidates, joined by +.

    Raises:
        ConfigError: there is no such option or candidate.
    """
    options = OPTIONS | dict(argument.partition("=")[::2] for argument in arguments)
    names = options["only"].split("+") if options["only"] else list(CANDIDATES)
    faults = [f"{key}: no such option; known: {', '.join(OPTIONS)}" for key in set(options) - set(OPTIONS)]
    faults += [f"only: no candidate {n!r}; known: {', '.join(CANDIDATES)}" for n in set(names) - set(CANDIDATES)]
    if faults:
        raise ConfigError(faults)
    folder = Path(options["run_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    if control := shutil.which("nvidia-cuda-mps-control"):
        subprocess.run([control, "-d"], check=False)  # one that runs already is fine
    started = start_missing(folder, names, int(options["steps"]))
    try:
        first = [name for name in names if not name.endswith("longer")]
        wait_for(started, folder, first)
        if first and len(first) < len(names):
            measure(folder, first, options)  # while the longer ones are still trained
        wait_for(started, folder, [name for name in names if name not in first])
        measure(folder, names, options)
        choose(folder, names)
    finally:
        for process in started.values():
            process.kill()


if __name__ == "__main__":
    main(sys.argv[1:])
