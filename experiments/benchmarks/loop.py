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

from datamodules.augment import draws, step_seed
from datamodules.base import ImageDataModule
from datamodules.batches import EpochBatches, Rows
from datamodules.images import to_float
from experiments.config import Config, compose
from experiments.data import make_data
from experiments.folder import environment
from experiments.launch import suppress_known_warnings
from experiments.logs import make_loggers
from experiments.trainer import make_trainer
from gan.batchnorm import convert_sync_batch_norm
from gan.codes import drawn_shares, mixed_code
from gan.config import ClassifierConfig, NoiseConfig
from gan.field import enlarged, reduced
from gan.module import ConfounderGAN
from gan.noise import SIDE, NoiseNetwork, luma
from gan.objectives import apply_noise, correctly_read, discriminator_loss, generator_gan_loss, psnr
from gan.transforms import transformed

CPU = torch.device("cpu")
# it is trained before the loop, which alone is measured here
BRIEF = ClassifierConfig(pretrained="none", arch="linear", epochs=1)


def untrained(options: NoiseConfig) -> NoiseNetwork:
    """A network to start from: as with a trained one, all networks play from the first batch on."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NoiseNetwork(options)


def build(config: Config, data: ImageDataModule) -> ConfounderGAN:
    """The module of a run."""
    steps = config.trainer.max_epochs * -(-len(data.parts["train"]) // config.data.batch_size)
    start = untrained(config.gan.noise)
    return ConfounderGAN(config.gan, data.classes, data.channels, data.size, steps, config.seed, start)


def with_lightning(config: Config, data: ImageDataModule) -> tuple[float, dict[str, torch.Tensor]]:
    """Seconds of the fit without its start-up, and the weights."""
    module = build(config, data)
    with tempfile.TemporaryDirectory() as folder:
        loggers = make_loggers(config, Path(folder), config.seed)
        trainer = make_trainer(config, data, Path(folder), config.seed, config.trainer.max_epochs, loggers)
        trainer.progress_bar_callback.disable()  # type: ignore[union-attr]
        trainer.fit(module, data)
    return module.seconds, module.state_dict()


def bare(config: Config, data: ImageDataModule) -> tuple[float, dict[str, torch.Tensor]]:
    """The same in plain PyTorch, in a process group with plain DDP for each network: seconds and weights.

    Of ``pairing=random``; a discriminator, where there is one, plays from the first batch on.
    """
    module, options = build(config, data), config.gan
    pool, course, discriminator = module.surrogates, module.curriculum, module.discriminator
    optimizers, schedules = module.configure_optimizers()
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    rows = Rows(data.parts["train"])
    sampler = EpochBatches(len(data.parts["train"]), config.data.batch_size, config.seed, rank, world)
    if world > 1:
        convert_sync_batch_norm(pool.nets)

    def wrapped(network: nn.Module) -> nn.Module:
        if world == 1:
            return network
        # of gray pictures the noise has no colour, and what makes it gets no gradient
        return DistributedDataParallel(network, broadcast_buffers=False, find_unused_parameters=data.channels == 1)

    making, readers = wrapped(module.generator.noise_network), [wrapped(net) for net in pool.nets]
    judge = wrapped(discriminator) if discriminator is not None else None
    clips = [network_options.clip for _, network_options in module.networks()]

    def update(*turn: int) -> None:
        for place in turn:
            if clips[place]:
                clip_grad_norm_(optimizers[place].param_groups[0]["params"], clips[place])
            optimizers[place].step()
            schedules[place].step()

    history: list[dict[str, float]] = []
    module.generator.classifier.fit(data.parts["train"], data.parts["val"], config.seed, CPU, lambda _: None)
    started = time.perf_counter()
    for epoch in range(config.trainer.max_epochs):
        sampler.set_epoch(epoch)
        for step, index in enumerate(sampler):
            torch.manual_seed(step_seed(config.seed, epoch, step, rank))
            batch, random = rows[index], draws(config.seed, epoch, step, rank)
            images, metrics = to_float(batch.images), {}
            place, fresh = pool.advance()
            if fresh:
                optimizers[1 + place].state.clear()
            x = reduced(images, SIDE)
            shares = drawn_shares(len(x), pool.told, options.mixtures, random)
            vectors = mixed_code(shares.sqrt(), pool.codes[place])
            noise = module.epsilon * making(x, vectors, course.boost(place))
            if judge is not None:
                clean, fake = luma(x), luma(apply_noise(x, noise.detach()))
                loss = discriminator_loss(options.gan_loss, judge(clean), judge(fake))
                optimizers[-1].zero_grad()
                (loss * batch.share).backward()
                update(len(optimizers) - 1)
                metrics["loss_d"] = loss.detach()
            shown = apply_noise(course.pictures(x, place), noise)
            logits = readers[place](transformed(shown, options.transforms, course.share(place), random))
            loss = read = F.cross_entropy(logits, shares)
            if discriminator is not None:
                discriminator.requires_grad_(False)
                fooled = generator_gan_loss(options.gan_loss, discriminator(luma(apply_noise(x, noise))))
                loss = loss + options.gan_weight * fooled
                metrics["loss_g_gan"] = fooled.detach()
            for optimizer in (optimizers[0], optimizers[1 + place]):
                optimizer.zero_grad()
            (loss * batch.share).backward()
            update(0, 1 + place)
            if discriminator is not None:
                discriminator.requires_grad_(True)
            with torch.no_grad():
                fixed = enlarged(noise.detach(), data.size)
                metrics |= {"loss_g": loss, "loss_s": read, "read": correctly_read(logits, shares.argmax(1)).mean()}
                metrics |= {"noise_mean": fixed.abs().mean(), "psnr": psnr(images, apply_noise(images, fixed)).mean()}
                means, largest = torch.stack(list(metrics.values())) * batch.share, fixed.abs().max()
                if world > 1:
                    dist.all_reduce(means)
                    dist.all_reduce(largest, dist.ReduceOp.MAX)
                history.append(dict(zip(metrics, (means / world).tolist(), strict=True)) | {"max": largest.item()})
            course.learn(place, history[-1]["read"], pool.mature(place))
    return time.perf_counter() - started, module.state_dict()


def main(arguments: list[str]) -> int:
    """Runs the rounds, prints and writes the result; 1 if the weights differ."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    epochs, rounds = int(given.get("epochs", 4)), int(given.get("rounds", 3))
    config, _ = compose([])
    config = replace(
        config,
        gan=replace(config.gan, classifier=BRIEF),
        trainer=replace(config.trainer, max_epochs=epochs, accelerator="cpu"),
        victim=replace(config.victim, check_every=0),
    )
    suppress_known_warnings()
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
