"""Two processes, killed at random again and again: the weights must be those of an undisturbed run, to the bit.

::

    python -m experiments.benchmarks.kills kills=30

A small run on the digits, started by Lightning and by torchrun in turn. After each start's first new checkpoint, and a
random while, one of its processes gets SIGKILL; the others must then end by themselves. Needs Linux (``/proc``).
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import torch

from experiments.folder import environment, write_json

MARK = "CONFOUNDERGAN_KILLS"  # in the environment of every process of a start
PATIENCE = 120.0  # seconds until processes that are left count as hanging
OPTIONS = [
    "data=digits",
    "data.limit=400",
    "data.batch_size=16",
    "trainer.accelerator=cpu",
    "trainer.devices=2",
    "trainer.checkpoint_every=3",
    "gan.start=none",
    "gan.classifier.pretrained=none",
    "gan.classifier.arch=linear",
    "gan.classifier.epochs=1",
    "gan.noise.width=8",
    "gan.surrogates.kinds=narrow@8+linear@8",
    "gan.surrogates.life=20",
    "gan.discriminator.width=8",
    "gan.curriculum.rate=0.1",
    "gan.curriculum.high=0.15",  # hardly more than guessing, so that the discriminator soon plays
    "gan.curriculum.low=0.05",
    "victim.epochs=1",
    "victim.check_every=0",
]
PER_KILL = 12  # batches that a start may get through before it is killed


def command(launcher: str, *arguments: str) -> list[str]:
    """A start of two processes by ``plain`` or ``torchrun``."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return [sys.executable, *(torchrun if launcher == "torchrun" else []), "-m", "experiments", "train", *arguments]


def start(command: list[str], log: Path) -> tuple[subprocess.Popen[bytes], str]:
    """The started process, and the mark of all that it starts."""
    mark = uuid.uuid4().hex
    variables = os.environ | {MARK: mark, "CONFOUNDERGAN_QUIET": "1", "OMP_NUM_THREADS": "1"}
    with log.open("ab") as shown:
        process = subprocess.Popen(command, env=variables, stdout=shown, stderr=shown)
    return process, mark


def living(mark: str) -> dict[int, bool]:
    """The processes of a start, and whether a launcher has given each its number."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes()
            if mark.encode() in variables and (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found[int(folder.name)] = b"LOCAL_RANK=" in variables
        except OSError:
            continue
    return found


def hung(mark: str) -> bool:
    """Waits until all processes of a start have ended; False, or True if some had to be killed after PATIENCE."""
    started = time.monotonic()
    while (left := living(mark)) and time.monotonic() - started < PATIENCE:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return bool(left)


def disturbed(folder: Path, log: Path, launcher: str, draw: random.Random) -> dict[str, Any] | None:
    """One start and its kill: what became of it; None if the run was done before."""
    checkpoint = folder / "checkpoints" / "last.ckpt"

    def written() -> int:
        return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0

    before = written()
    known = (folder / "config.yaml").exists()
    options = [f"resume={folder}"] if known else [*OPTIONS, f"run_dir={folder}"]
    process, mark = start(command(launcher, *options), log)
    while process.poll() is None and written() == before:
        time.sleep(0.05)
    time.sleep(draw.uniform(0, 0.5))
    if process.poll() is not None:
        if process.returncode:
            raise SystemExit(f"a start ended by itself with {process.returncode}; see {log}")
        return None
    ranks = [pid for pid, numbered in living(mark).items() if numbered or launcher == "plain"]
    chosen = draw.choice(sorted(ranks))
    os.kill(chosen, signal.SIGKILL)
    killed = time.monotonic()
    left = hung(mark)
    process.wait()
    return {
        "launcher": launcher,
        "first": chosen == min(ranks),
        "hung": left,
        "seconds": time.monotonic() - killed,
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Those of a finished run."""
    found: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return found


def main(arguments: list[str]) -> int:
    """Runs both, compares, and writes the result; 1 if a bit differs, a process hung or kills are missing."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    kills, seed = int(given.get("kills", 30)), int(given.get("seed", 0))
    draw, clock = random.Random(seed), time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        cut, whole = Path(name) / "cut", Path(name) / "whole"
        log = Path(given.get("log", str(Path(name) / "log")))
        epochs = f"trainer.max_epochs={2 + kills * PER_KILL // 10}"
        OPTIONS.append(epochs)
        try:
            rounds: list[dict[str, Any]] = []
            while len(rounds) < kills:
                found = disturbed(cut, log, ("plain", "torchrun")[len(rounds) % 2], draw)
                if found is None:
                    break
                rounds.append(found)
                print(f"kill {len(rounds)}: {found}", flush=True)
            for folder, options in ((cut, [f"resume={cut}"]), (whole, [*OPTIONS, f"run_dir={whole}"])):
                if start(command("plain", *options), log)[0].wait():
                    raise SystemExit(f"{folder.name} did not end well")
        except SystemExit:
            print(log.read_text()[-4000:])
            raise
        one, two = weights(cut), weights(whole)
    equal = one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    hung = sum(found["hung"] for found in rounds)
    result = {
        "benchmark": "kills",
        "command": f"python -m experiments.benchmarks.kills kills={kills}",
        "note": given.get("note", ""),
        "seed": seed,
        "processes": 2,
        "kills": len(rounds),
        "weights_bit_equal": equal,
        "hung": hung,
        "seconds": time.perf_counter() - clock,
        "rounds": rounds,
        "environment": environment(),
    }
    path = Path("results") / "kills_cpu.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, result)
    print(f"{len(rounds)} kills, {hung} hung; weights {'bit-equal' if equal else 'DIFFER'}; written to {path}")
    return 0 if equal and not hung and len(rounds) == kills else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
