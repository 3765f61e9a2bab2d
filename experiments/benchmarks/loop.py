"""What Lightning's loop costs: the fit of ``make train`` beside a bare PyTorch loop with the same mathematics.

``make benchmark`` (or ``python -m experiments.benchmarks.loop epochs=4 rounds=3``) runs both in turn, in one process,
on the same batches, with metrics and CSV logging on Lightning's side and the same metrics computed on the other, checks
that the weights come out bit-equal, and writes results/loop_overhead_<device>.json.
"""

import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from datamodules.augment import step_seed
from datamodules.base import ImageDataModule
from datamodules.batches import EpochBatches, Rows
from datamodules.images import to_float
from experiments.config import Config, compose
from experiments.data import make_data
from experiments.folder import environment
from experiments.launch import quieten
from experiments.methods import make_trainer
from gan.batchnorm import join_batch_norm
from gan.module import ConfounderGAN
from gan.networks import Generator
from gan.objectives import (
    apply_noise,
    augmented,
    discriminator_loss,
    generator_gan_loss,
    norm_penalty,
    psnr,
    reading_loss,
    views,
)


def build(config: Config, data: ImageDataModule) -> ConfounderGAN:
    """The module of a run."""
    steps = config.trainer.max_epochs * -(-len(data.parts["train"]) // config.data.batch_size)
    return ConfounderGAN(config.gan, data.classes, data.channels, data.size, steps, config.seed)


def with_lightning(config: Config, data: ImageDataModule) -> tuple[float, dict[str, torch.Tensor]]:
    """Seconds of the fit without its start-up, and the weights."""
    module = build(config, data)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(config, data, Path(folder), config.seed)
        trainer.progress_bar_callback.disable()  # type: ignore[union-attr]
        trainer.fit(module, data)
    return module.seconds, module.state_dict()


class Making(nn.Module):
    """A generator whose forward gives what a step needs."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Code, float B×K, and noise, float B×C×H×W."""
        code = self.generator.code(images)
        return code, self.generator.noise(code, images)


def bare(config: Config, data: ImageDataModule) -> tuple[float, dict[str, torch.Tensor]]:
    """The same in plain PyTorch, in a process group with plain DDP for each network: seconds and weights."""
    module, options = build(config, data), config.gan
    generator, discriminator, surrogate = module.generator, module.discriminator, module.surrogate
    optimizers, schedules = module.configure_optimizers()
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    rows = Rows(data.parts["train"])
    sampler = EpochBatches(len(data.parts["train"]), config.data.batch_size, config.seed, rank, world)
    sees = options.surrogate.sees
    if world > 1:
        join_batch_norm(surrogate)

    def wrapped(network: nn.Module) -> nn.Module:
        return DistributedDataParallel(network, broadcast_buffers=False) if world > 1 else network

    making, reader = wrapped(Making(generator)), wrapped(surrogate)
    judge = wrapped(discriminator) if discriminator is not None else None

    def update(optimizer: torch.optim.Optimizer, loss: torch.Tensor, clip: float) -> None:
        optimizer.zero_grad()
        loss.backward()
        if clip:
            clip_grad_norm_(optimizer.param_groups[0]["params"], clip)
        optimizer.step()

    history: list[dict[str, float]] = []
    started = time.perf_counter()
    for epoch in range(config.trainer.max_epochs):
        sampler.set_epoch(epoch)
        for step, index in enumerate(sampler):
            torch.manual_seed(step_seed(config.seed, epoch, step, rank))
            batch = rows[index]
            images, others, labels = to_float(batch.images), to_float(batch.others), batch.labels
            code, noise = making(images)
            key = (config.seed, epoch, step, rank)
            fixed, metrics = noise.detach(), {}
            if judge is not None:
                loss = discriminator_loss(options.gan_loss, judge(images), judge(apply_noise(images, fixed)))
                update(optimizers[0], loss * batch.share, options.discriminator.clip)
                metrics["loss_d"] = loss.detach()
            seen = augmented(views(images, others, fixed, sees), options.augment, (*key, 0))
            loss, _ = reading_loss(reader, seen, labels)
            update(optimizers[-2], loss * batch.share, options.surrogate.clip)
            metrics["loss_s"] = loss.detach()
            for network in filter(None, (discriminator, surrogate)):
                network.requires_grad_(False)
            seen = augmented(views(images, others, noise, sees), options.augment, (*key, 1))
            read, logits = reading_loss(surrogate, seen, labels)
            loss = read + options.code_weight * F.cross_entropy(code, labels)
            loss = loss + options.norm_weight * norm_penalty(noise, module.epsilon)
            if discriminator is not None:
                fooled = generator_gan_loss(options.gan_loss, discriminator(apply_noise(images, noise)))
                loss = loss + options.gan_weight * fooled
            update(optimizers[-1], loss * batch.share, options.generator.clip)
            for network in filter(None, (discriminator, surrogate)):
                network.requires_grad_(True)
            for schedule in schedules:
                schedule.step()
            with torch.no_grad():
                metrics |= {"loss_g": loss, "surrogate_accuracy": (logits[0].argmax(1) == labels).float().mean()}
                surrogate.eval()
                metrics["noise_only"] = (surrogate(0.5 + fixed).argmax(1) == labels).float().mean()
                surrogate.train()
                metrics |= {"psnr": psnr(images, apply_noise(images, fixed)), "noise_max": fixed.abs().max()}
                history.append({k: v.item() for k, v in metrics.items()})
    return time.perf_counter() - started, module.state_dict()


def main(arguments: list[str]) -> int:
    """Runs the rounds, prints and writes the result; 1 if the weights differ."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    epochs, rounds = int(given.get("epochs", 4)), int(given.get("rounds", 3))
    config, _ = compose([])
    config = replace(
        config,
        # a second reader is taught before the loop, which alone is measured here
        gan=replace(config.gan, generator=replace(config.gan.generator, second_reader="none")),
        trainer=replace(config.trainer, max_epochs=epochs, accelerator="cpu"),
        victim=replace(config.victim, check_every=0),
    )
    quieten()
    data = make_data(config)
    times: dict[str, list[float]] = {"lightning": [], "bare": []}
    equal = True
    bare(config, data)  # warms up both: same kernels
    for _ in range(rounds):
        first, one = with_lightning(config, data)
        second, two = bare(config, data)
        times["lightning"].append(first)
        times["bare"].append(second)
        equal = equal and all(torch.equal(one[name], two[name]) for name in one)
    ratios = [a / b for a, b in zip(times["lightning"], times["bare"], strict=True)]
    result: dict[str, Any] = {
        "benchmark": "loop_overhead",
        "command": f"python -m experiments.benchmarks.loop epochs={epochs} rounds={rounds}",
        "seed": config.seed,
        "ratio": median(ratios),
        "ratios": ratios,
        "seconds": times,
        "weights_bit_equal": equal,
        "environment": environment(),
    }
    path = Path("results") / f"loop_overhead_{'cpu' if not torch.cuda.is_available() else 'gpu'}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"Lightning / bare loop: {median(ratios):.3f} (rounds: {', '.join(f'{r:.3f}' for r in ratios)})")
    print(f"weights {'bit-equal' if equal else 'DIFFER'}; written to {path}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
