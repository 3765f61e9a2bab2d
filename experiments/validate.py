"""The verb ``validate``: everything that can be known before training, without training."""

import shutil
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

from datamodules.base import ImageDataModule
from datamodules.download import instructions
from datamodules.images import to_float
from evaluation.export import SETTINGS
from evaluation.jobs import default_device
from experiments.config import Config
from experiments.data import make_data, unready
from experiments.logs import wandb_mode
from experiments.train import check_pairs, check_precision
from gan.module import ConfounderGAN
from gan.noise import luma
from victims.classifier import build_classifier

CLASSES = 12  # named one by one


def describe_data(data: ImageDataModule) -> None:
    """Prints size, parts and, for part A, how many images each class has and what weight would balance it."""
    height, width = data.size
    parts = ", ".join(f"{name} {len(part)}" for name, part in data.parts.items())
    print(f"      {data.title}: {data.classes} classes, {height}×{width}×{data.channels}; {parts}")
    counts = data.parts["train"].labels.bincount(minlength=data.classes).tolist()
    rows = [
        f"{name} {count} ({weight:.2f})"
        for name, count, weight in zip(data.class_names, counts, data.class_weights.tolist(), strict=True)
    ]
    more = f" and {len(rows) - CLASSES} more" if len(rows) > CLASSES else ""
    print(f"      images of part A (balancing weight): {', '.join(rows[:CLASSES])}{more}")
    print(f"      answering always with the largest class scores {data.majority:.1%} on the test part")


def validate(config: Config) -> int:
    """Prints one line per check; returns 0 if training can start, else 2.

    Raises:
        DataError: the data are unusable.
    """
    print("[1/5] data", flush=True)
    source = unready(config.data)
    info, files = source.info, source.files()
    print(f"      {info.title}; licence: {info.licence}; to do: {info.todo}")
    if absent := [file.name for file in files if not (source.root / file.name).exists()]:
        print(instructions(files, source.root, source.title, info.page))
        print(f"error: data.root: {', '.join(absent)} not in {source.root} yet\nnot ready")
        return 2
    data = make_data(config)
    describe_data(data)
    height, width = data.size
    faults = []

    print("[2/5] networks: one batch forward and backward", flush=True)
    few = data.parts["train"].subset(torch.arange(min(8, len(data.parts["train"]))))
    device = default_device() if config.trainer.accelerator in ("auto", "gpu") else torch.device("cpu")
    images, labels = to_float(few.images).to(device), few.labels.to(device)
    try:
        module = ConfounderGAN(config.gan, data.classes, data.channels, data.size, 1, config.seed).to(device)
        victim = build_classifier(config.victim.resolved().arch, data.classes, data.channels, data.size).to(device)
        protected = images + module.generator(images)
        surrogates = {f"surrogate {net.spec}": net for net in module.surrogates.nets}
        named = {**surrogates, "victim": victim}
        codes = labels % module.surrogates.told
        read = [F.cross_entropy(net(protected), codes) for net in surrogates.values()]
        loss = torch.stack([*read, F.cross_entropy(victim(protected), labels)]).sum()
        if module.discriminator is not None:
            named["discriminator"] = module.discriminator
            loss = loss + module.discriminator(luma(protected)).mean()
        loss.backward()
        for name, net in {"generator": module.generator, **named}.items():
            print(f"      {name}: {sum(p.numel() for p in net.parameters()):,} parameters")
    except (ValueError, RuntimeError) as error:
        faults.append(f"networks: {str(error).splitlines()[0]}")

    print("[3/5] disk", flush=True)
    folder = Path(config.run_dir or "runs")
    while not folder.exists():
        folder = folder.parent
    stored = sum(len(data.parts[part]) for part in SETTINGS.values() if part in data.parts)
    # PNG stores noisy pixels at about their own size; checkpoints hold weights and two moments of each
    need = stored * (height * width * data.channels + 4096) + 200 * 2**20
    free = shutil.disk_usage(folder).free
    print(f"      about {need / 2**20:.0f} MiB needed, {free / 2**20:.0f} MiB free in {folder}")
    if free < need:
        faults.append(f"run_dir: {folder} has {free / 2**20:.0f} MiB free, about {need / 2**20:.0f} MiB are needed")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        faults.append(f"run_dir: cannot write in {folder} ({error.strerror})")

    print("[4/5] devices", flush=True)
    gpus = torch.cuda.device_count()
    print(
        f"      {gpus} GPUs, {torch.get_num_threads()} CPU threads; trainer.devices={config.trainer.devices or 'all'}"
    )
    if config.trainer.accelerator == "gpu" and not gpus:
        faults.append("trainer.accelerator: gpu, but this machine has none; use auto or cpu")

    faults += check_precision(config) + check_pairs(config)

    print("[5/5] logger", flush=True)
    if config.logger == "wandb":
        mode, why = wandb_mode()
        print(f"      metrics.csv; W&B {mode} ({why})")
    else:
        print("      metrics.csv")
    for fault in faults:
        print(f"error: {fault}")
    print("ready to train" if not faults else "not ready")
    return 2 if faults else 0
