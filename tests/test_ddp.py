"""Two gloo processes on the CPU: the same mathematics as one, the work shared out, stops and errors together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from conftest import SMALL
from torch import nn

from datamodules.images import to_float
from experiments.config import compose
from experiments.data import make_data
from gan.batchnorm import convert_sync_batch_norm
from gan.config import NoiseConfig
from gan.encoder import PretrainedEncoder
from gan.module import ConfounderGAN
from gan.noise import NoiseNetwork
from gan.protection import save_noise

# plain gradient descent: after one step, weights differ exactly as gradients do
PLAIN = [
    f"gan.{network}.{option}"
    for network in ("noise", "discriminator", "surrogates")
    for option in ("optimizer=sgd", "beta1=0", "lr=0.1", "clip=0", "weight_decay=0")
]
# each process draws its own codes, crops and flips: here codes are those of the labels, and nothing is cropped
CALM = """
import sys
from experiments.cli import main
from gan import module
module.transformed = lambda images, *_: images
sys.exit(main(sys.argv[1:]))
"""


def environment() -> dict[str, str]:
    kept = {
        k: v for k, v in os.environ.items() if k not in ("CONFOUNDERGAN_RUN_DIR", "LOCAL_RANK", "RANK", "WORLD_SIZE")
    }
    return {**kept, "OMP_NUM_THREADS": "1", "CONFOUNDERGAN_QUIET": "1"}


def command(path: Path, folder: Path, *extra: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "experiments",
        "train",
        "data=npz",
        f"data.path={path}",
        f"run_dir={folder}",
        *SMALL,
        *extra,
    ]


def start(path: Path, folder: Path, *extra: str, script: Path | None = None) -> subprocess.CompletedProcess[str]:
    started = command(path, folder, *extra)
    if script is not None:
        started[1:3] = [str(script)]
    return subprocess.run(
        started, env=environment(), capture_output=True, text=True, check=False, timeout=240,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip


def state(folder: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return loaded


# With ReLUs, a difference in the last bit can flip an activation that is almost zero, and its gradient with it: there the
# whole gradient is compared (wrong scaling or a missing exchange would be off by tens of per cent). The linear surrogate
# has no such edges, so all networks must agree number by number.
@pytest.mark.parametrize(("surrogate", "tolerance"), [("linear", 1e-5), ("narrow", 0.1)])
def test_two_processes_equal_one_on_the_global_batch(
    tiny: Callable[..., Path], tmp_path: Path, surrogate: str, tolerance: float
) -> None:
    path, script, noise = tiny(channels=3), tmp_path / "calm.py", tmp_path / "noise.safetensors"
    script.write_text(CALM)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trained = NoiseNetwork(NoiseConfig(width=8, code=8))
    save_noise(noise, trained, {})  # with a trained network the discriminator plays from the first batch on
    # 27 images in one batch, shared 14 to 13: uneven on purpose
    extra = ["trainer.max_epochs=1", "data.batch_size=27", "gan.pairing=own", f"gan.surrogates.kinds={surrogate}@8"]
    extra += [f"gan.start={noise}", *PLAIN]
    for devices in (1, 2):
        done = start(path, tmp_path / str(devices), f"trainer.devices={devices}", *extra, script=script)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = state(tmp_path / "1"), state(tmp_path / "2")
    config, _ = compose(["data=npz", f"data.path={path}", *SMALL, *extra])
    module = ConfounderGAN(config.gan, 3, 3, (16, 16), 1, 0, trained)
    before = module.state_dict()
    assert one.keys() == two.keys() == before.keys()
    assert torch.equal(one["generator.classifier.temperature"], two["generator.classifier.temperature"])
    assert torch.allclose(one["curriculum.reads"], two["curriculum.reads"])
    for network in ("generator.noise_network", "discriminator", "surrogates"):
        names = [n for n, _ in module.named_parameters() if n.startswith(network)]
        first, second = (torch.cat([(s[n] - before[n]).flatten() for n in names]) for s in (one, two))
        assert first.norm() > 1e-4, network
        assert (first - second).norm() <= tolerance * first.norm(), network
    results = [json.loads((tmp_path / d / "results.json").read_text()) for d in ("1", "2")]
    assert results[0]["mean"].keys() == results[1]["mean"].keys()
    assert results[1]["mean"]["clean"] == results[0]["mean"]["clean"]  # victims do not depend on who trains them
    rows = [(tmp_path / d / "metrics.csv").read_text().splitlines() for d in ("1", "2")]
    alone, shared = (dict(zip(r[0].split(","), r[1].split(","), strict=True)) for r in rows)
    for name in ("loss_d_step", "loss_g_gan_step", "loss_s_step", "read_step", "psnr_step", "noise_max_step"):
        assert float(alone[name]) == pytest.approx(float(shared[name]), rel=1e-4)


def test_plain_ddp_checks_and_seeds_with_two_processes(tiny: Callable[..., Path], tmp_path: Path) -> None:
    path = tiny()
    done = start(
        path,
        tmp_path / "run",
        "trainer.devices=2",
        "trainer.strategy=ddp",
        "seeds=2",
        "victim.check_every=1",
        "victim.check_epochs=1",
        "gan.classifier.pretrained=efficientnet_lite0",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("trained on") == 1  # one process speaks
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert len(results["seeds"]) == 2
    for seed in (0, 1):
        assert {p.stem for p in (tmp_path / "run" / f"seed-{seed}" / "victims").iterdir()} == {
            "clean", "standard", "clean_fast", "fast", "probe_linear", "probe_conv",
            *(f"detection_{setting}_{probe}" for setting in ("standard", "fast") for probe in ("linear", "two_layers")),
        }  # fmt: skip
        text = (tmp_path / "run" / f"seed-{seed}" / "metrics.csv").read_text()
        assert "check/fast" in text
    # each process trained its own classifier; what counts is the first one's, of the features of all images
    images = make_data(compose(["data=npz", f"data.path={path}", *SMALL])[0]).parts["train"].images
    features = PretrainedEncoder()(to_float(images))
    centre = state(tmp_path / "run" / "seed-0")["generator.classifier.centre"]
    assert torch.allclose(centre, features.mean(0), atol=1e-4)


def test_a_signal_stops_both_and_the_run_resumes(tiny: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen(
        command(tiny(), folder, "trainer.devices=2", "trainer.max_epochs=100000"), env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    deadline = time.time() + 120
    while not (folder / "checkpoints" / "last.ckpt").exists() and time.time() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 143, shown[-3000:]
    assert "resume with: confoundergan train resume=" in shown
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] >= 0


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid: int) -> bool:
    """Whether a process is there and no zombie that nobody has waited for."""
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("launcher", ["plain", pytest.param("torchrun", marks=pytest.mark.slow)])
def test_a_killed_process_ends_the_run_with_a_message(tiny: Callable[..., Path], tmp_path: Path, launcher: str) -> None:
    folder = tmp_path / "run"
    started = command(tiny(), folder, "trainer.devices=2", "trainer.max_epochs=100000", "trainer.checkpoint_every=1")
    if launcher == "torchrun":
        started[1:2] = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    process = subprocess.Popen(
        started, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    deadline = time.time() + 240
    while not (folder / "checkpoints" / "last.ckpt").exists() and time.time() < deadline:
        time.sleep(0.2)
    others = children(process.pid)
    os.kill(others[-1], signal.SIGKILL)
    shown, _ = process.communicate(timeout=120)
    assert process.returncode not in (0, None)
    assert "error: another process of this run has ended" in shown or "SIGKILL" in shown, shown[-3000:]
    assert not any(running(pid) for pid in others)
    torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)  # whole


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def normalise(rank: int, port: int, results: Any) -> None:
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.manual_seed(0)
    images, norm = torch.randn(5, 3, 4, 4), convert_sync_batch_norm(nn.BatchNorm2d(3))
    weight = torch.randn(5, 3, 4, 4)
    mine = slice(0, 3) if rank == 0 else slice(3, 5)
    part = images[mine].clone().requires_grad_()
    out = norm(part)
    (out * weight[mine]).sum().backward()
    results[rank] = (out.detach(), part.grad, norm.running_mean, norm.running_var)
    dist.destroy_process_group()


def test_synchronised_batch_norm_equals_one_process_forward_and_backward() -> None:
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(normalise, (free_port(), results), nprocs=2)
        parts = [results[rank] for rank in range(2)]
        torch.manual_seed(0)
        images = torch.randn(5, 3, 4, 4, requires_grad=True)
        norm = nn.BatchNorm2d(3)
        out = norm(images)
        (out * torch.randn(5, 3, 4, 4)).sum().backward()
        assert torch.allclose(torch.cat([p[0] for p in parts]), out, atol=1e-5)
        assert images.grad is not None
        assert torch.allclose(torch.cat([p[1] for p in parts]), images.grad, atol=1e-5)
        for _, _, mean, var in parts:
            assert torch.allclose(mean, norm.running_mean, atol=1e-6)  # type: ignore[arg-type]
            assert torch.allclose(var, norm.running_var, atol=1e-5)  # type: ignore[arg-type]
