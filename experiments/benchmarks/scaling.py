"""Is a run the same in 1, 2 and 4 processes and on two machines, and what does sharing a step cost beside plain DDP?

::

    python -m experiments.benchmarks.scaling epochs=2 rounds=3

The two "machines" are two torchrun of one process each that meet over loopback. Times: the fit of ``train`` beside the
bare loop of ``experiments.benchmarks.loop`` with torch's DDP around each network, on the same global batches. Those of
the processor, summed over the processes, stand beside those of the clock: on a busy machine only they compare.
``protect`` is called on a folder of few photos and on one of many; their difference is free of what starting costs.

In a run each process draws codes, crops and transforms of its own, so that runs of other numbers of processes differ.
To see whether the rest is the same, codes are those of the labels here, and pictures are left as they are.
"""

import csv
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F

from datamodules.base import ImageDataModule
from experiments.benchmarks.loop import BRIEF, bare, untrained, with_lightning
from experiments.benchmarks.protect import photos
from experiments.benchmarks.protect import untrained as untrained_generator
from experiments.cli import main as confoundergan
from experiments.config import Config, compose, leaves
from experiments.data import make_data
from experiments.folder import environment, write_json
from experiments.launch import suppress_known_warnings
from gan import module as module_file
from gan.config import NoiseConfig
from gan.field import reduced
from gan.module import ConfounderGAN
from gan.noise import SIDE, luma
from gan.objectives import apply_noise, discriminator_loss, generator_gan_loss
from gan.protection import save_noise

SAME = ["data=digits", "trainer.accelerator=cpu", "gan.start=none"]
SAME += [f"gan.classifier.{key}={getattr(BRIEF, key)}" for key in ("pretrained", "arch", "epochs")]
CALM = "calm"  # the first argument of a start in which no process draws anything for itself
SHORT = ["data.limit=400", "trainer.max_epochs=2", "trainer.log_every=1", "victim.epochs=2", "victim.check_every=0"]
STARTS = {"1 process": (1, 1), "2 processes": (2, 1), "4 processes": (4, 1), "2 machines of 1": (1, 2)}
PHOTOS = (200, 1400)  # of the folders that are protected
TIMED = ("seconds", "per_second")  # in the names of results that are times
MARK = "MEASURED "
SIDES, IMAGES = (32, 64, 128), 64  # of the steps whose memory is measured


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def torchrun(devices: int, machines: int, *arguments: str) -> list[list[str]]:
    """A command for each machine."""
    place = ["--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    head = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nnodes={machines}",
        f"--nproc-per-node={devices}",
        *place,
    ]
    return [[*head, f"--node-rank={node}", "-m", *arguments] for node in range(machines)]


def run_all(commands: list[list[str]]) -> str:
    """Runs commands side by side; what the first one prints.

    Raises:
        SystemExit: one of them failed.
    """
    variables = os.environ | {"OMP_NUM_THREADS": "1", "CONFOUNDERGAN_QUIET": "1"}
    kept = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = [subprocess.Popen(command, env=variables, **kept) for command in commands]  # type: ignore[call-overload]
    shown = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit("\n".join(text[-3000:] for text in shown))
    return str(shown[0])


def losses(folder: Path) -> Iterator[float]:
    """Every loss of every batch, in order."""
    for row in csv.DictReader((folder / "metrics.csv").open()):
        for name in sorted(row):
            if name.startswith("loss") and name.endswith("_step") and row[name]:
                yield float(row[name])


def same(root: Path) -> dict[str, Any]:
    """Each start's run beside that of one process: the largest differences of losses and of results."""
    found: dict[str, Any] = {}
    noise = root / "noise.safetensors"
    # with a network to start from all networks play from the first batch on
    save_noise(noise, untrained(NoiseConfig()), {})
    for name, (devices, machines) in STARTS.items():
        folder = root / name.replace(" ", "-")
        where = [f"run_dir={folder}", f"trainer.devices={devices}", f"trainer.num_nodes={machines}"]
        calm = ["experiments.benchmarks.scaling", CALM, "train", *SAME, "gan.pairing=own"]
        arguments = [*calm, f"gan.start={noise}", *SHORT, *where]
        alone = devices * machines == 1
        run_all([[sys.executable, "-m", *arguments]] if alone else torchrun(devices, machines, *arguments))
        results = dict(leaves(json.loads((folder / "results.json").read_text())["mean"]))
        numbers = {
            k: v for k, v in results.items() if isinstance(v, int | float) and not any(word in k for word in TIMED)
        }
        weights = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        found[name] = list(losses(folder)), numbers, weights
    first, two = found["1 process"], found["2 processes"][2]
    rows = {}
    for name, (own, numbers, weights) in found.items():
        pairs = list(zip(first[0], own, strict=True))
        rows[name] = {
            "losses": len(pairs),
            "loss_difference": max(abs(a - b) / max(abs(a), 0.1) for a, b in pairs),
            "results": len(numbers),
            "results_that_differ": sorted(k for k, v in numbers.items() if v != first[1][k]),
            "result_difference": max(abs(v - first[1][k]) / max(abs(first[1][k]), 1) for k, v in numbers.items()),
            "bits_of_2_processes": all(torch.equal(two[k], v) for k, v in weights.items()),
        }
    return rows


def told(commands: list[list[str]]) -> dict[str, Any]:
    """What a worker's process says that it measured."""
    lines = run_all(commands).splitlines()
    found: dict[str, Any] = json.loads(next(line for line in lines if line.startswith(MARK)).removeprefix(MARK))
    return found


def measured(work: Callable[[Config, ImageDataModule], tuple[float, Any]], config: Config) -> dict[str, float]:
    """Seconds of the fit by the clock, and of the processor over all processes, the start of the loop included."""
    data = make_data(config)
    processor = time.process_time()
    clock, _ = work(config, data)
    spent = torch.tensor(time.process_time() - processor, dtype=torch.float64)
    if dist.is_initialized():
        dist.all_reduce(spent)
    return {"clock": clock, "processor": spent.item()}


def worker(what: str, epochs: int) -> None:
    """One process of a measurement; the first prints what was measured."""
    world = int(os.environ["WORLD_SIZE"])
    config, _ = compose([*SAME, f"trainer.max_epochs={epochs}", f"trainer.devices={world}"])
    config = replace(config, victim=replace(config.victim, check_every=0))
    suppress_known_warnings()
    torch.set_num_threads(1)
    if what == "plain" and world > 1:
        dist.init_process_group("gloo")
    found = measured({"lightning": with_lightning, "plain": bare}[what], config)
    if os.environ["RANK"] == "0":
        print(MARK + json.dumps(found), flush=True)
    if dist.is_initialized():
        dist.destroy_process_group()


def step(epochs: int, rounds: int) -> dict[str, Any]:
    """Both loops in one and two processes, in turn; scaling efficiency is t(1) / (2 · t(2))."""
    times: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for what in ("lightning", "plain"):
            for devices in (1, 2):
                module = ["experiments.benchmarks.scaling", f"measure={what}", f"epochs={epochs}"]
                for unit, value in told(torchrun(devices, 1, *module)).items():
                    times.setdefault(f"{what} {unit}", {}).setdefault(str(devices), []).append(value)
    efficiency = {
        name: median(a / b / (2 if name.endswith("clock") else 1) for a, b in zip(kept["1"], kept["2"], strict=True))
        for name, kept in times.items()
    }
    return {"epochs": epochs, "seconds": times, "efficiency": efficiency}


def sharing(root: Path, rounds: int) -> dict[str, Any]:
    """Seconds per photo of ``protect`` in one and two processes of one thread; efficiency is t(1) / (2 · t(2))."""
    origin = ""
    for count in PHOTOS:
        origin = photos(root / f"photos-{count}", count, Path("../shared/data/imagenette_224_2500.zip"))
    generator = untrained_generator(root)
    seconds: dict[str, list[float]] = {"1": [], "2": []}
    for round_ in range(rounds):
        for devices, kept in seconds.items():
            spent = []
            for count in PHOTOS:
                where = [str(root / f"photos-{count}"), str(root / f"out-{count}-{devices}-{round_}")]
                options = [f"generator={generator}", "accelerator=cpu", "workers=1"]
                clock = time.perf_counter()
                run_all([[sys.executable, "-m", "experiments", "protect", *where, *options, f"devices={devices}"]])
                spent.append(time.perf_counter() - clock)
            kept.append((spent[1] - spent[0]) / (PHOTOS[1] - PHOTOS[0]))
    pairs = zip(seconds["1"], seconds["2"], strict=True)
    return {"photos": PHOTOS, "from": origin, "seconds": seconds, "efficiency": median(a / b / 2 for a, b in pairs)}


def peak() -> float:
    """The largest memory of this process since the last call, in MiB (Linux)."""
    found = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return int(found.split()[1]) / 1024


def memory(side: int) -> dict[str, Any]:
    """What a step of the default form adds to a process, in MiB, for IMAGES colour images of 10 classes.

    Of the surrogate that takes the most: the first one.
    """
    config = compose(["gan.start=none"])[0].gan
    config = replace(config, classifier=BRIEF)  # reads no picture within a step
    module = ConfounderGAN(config, 10, 3, (side, side), 10, 0)
    images, codes, pool = torch.rand(IMAGES, 3, side, side), torch.arange(IMAGES) % 10, module.surrogates
    discriminator = module.discriminator
    assert discriminator is not None
    peak()
    before = peak()
    x = reduced(images, SIDE)
    noise = module.generator.field_of(x, pool.codes[0][codes])
    judged = [discriminator(luma(given)) for given in (x, apply_noise(x, noise.detach()))]
    discriminator_loss(config.gan_loss, *judged).backward()
    shown = apply_noise(x, noise)
    fooled = generator_gan_loss(config.gan_loss, discriminator(luma(shown)))
    (F.cross_entropy(pool.nets[0](shown), codes) + config.gan_weight * fooled).backward()
    networks = {"noise": module.generator.noise_network, "surrogates": pool, "discriminator": discriminator}
    sizes = {name: sum(value.numel() for value in network.parameters()) for name, network in networks.items()}
    return {"mib": peak() - before, "parameters": sizes}


def main(arguments: list[str]) -> int:
    """Measures, prints and writes the result; 1 if two machines do not compute what two processes do."""
    if arguments[:1] == [CALM]:
        setattr(module_file, "transformed", lambda images, *_: images)  # noqa: B010 (a name that the module imports)
        return confoundergan(arguments[1:])
    given = dict(argument.partition("=")[::2] for argument in arguments)
    epochs, rounds = int(given.get("epochs", 2)), int(given.get("rounds", 3))
    if given.get("measure") == "memory":
        print(MARK + json.dumps(memory(int(given["side"]))))
        return 0
    if what := given.get("measure"):
        worker(what, epochs)
        return 0
    with tempfile.TemporaryDirectory() as name:
        rows, shared = same(Path(name)), sharing(Path(name), rounds)
    print(json.dumps(rows, indent=1))
    result: dict[str, Any] = {
        "benchmark": "scaling",
        "command": f"python -m experiments.benchmarks.scaling epochs={epochs} rounds={rounds}",
        "note": given.get("note", ""),
        "seed": 0,
        "same": rows,
        "step": step(epochs, rounds),
        "protect": shared,
        "memory": {
            str(side): told(
                [[sys.executable, "-m", "experiments.benchmarks.scaling", "measure=memory", f"side={side}"]]
            )
            for side in SIDES
        },
        "images": IMAGES,
        "environment": environment(),
    }
    path = Path("results") / "scaling_cpu.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, result)
    print(json.dumps(result["step"]["efficiency"] | {"protect": shared["efficiency"]}, indent=1))
    print(f"written to {path}")
    return 0 if rows["2 machines of 1"]["bits_of_2_processes"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
