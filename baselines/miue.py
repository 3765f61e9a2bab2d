"""MI-UE: noise that makes the features of a class alike, and those of different classes different."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.checkpoint import FitCheckpoint, ResumableFit
from baselines.clusters import headless
from baselines.config_crafted import MiueConfig
from baselines.noise import CraftedByImage, NoiseByImage
from baselines.surrogate import signed_steps
from datamodules.augment import augment, draws, isolated_rng
from datamodules.images import ImageSet, to_float
from victims.classifier import build_classifier, last_layer
from victims.loop import equal_batches, make_optimizer, train_epochs
from victims.passes import PassCounter


class MutualInformation(CraftedByImage, ResumableFit):
    """ "Why Do Unlearnable Examples Work: A Novel Perspective of Mutual Information", ICLR 2026 (arXiv 2603.03725).

    Noise works where it leaves little mutual information between the features of clean and of protected images, which
    alike features of a class do. A surrogate f = w ∘ h learns an epoch from the protected images; then T signed steps
    move the noise of every image, h in evaluation mode, against, for a batch of features h_i = h(x_i + δ_i),

        mean_i [ −log Σ_{j: y_j = y_i} e^{cos(h_i, h_j)/τ} / Σ_j e^{cos(h_i, h_j)/τ}
                 + ζ·log(1 + Σ_{j: y_j = y_i} ‖h_i − h_j‖ / D) ]

    j = i among them, D the number of features; and so on, epoch after epoch, from δ = 0.

    Published for CIFAR-10: 100 epochs of batches of 128, SGD 0.1, momentum 0.9, weight decay 1e-4, half a cosine; T =
    10; α from 0.2/255 evenly to 0.4/255; batches of 512 for the noise; τ = 0.1, ζ = 0.1; noise is added after flips.
    Needs labels; there is noise for the images of ``fit`` alone, which are known again by the sha256 of their pixels.

    Bound: L∞ at ε rounded down to whole grey levels, in crafting as in what is stored.

    Deviations: the paper's text was not at hand; steps and settings are those of the program that its authors
    published, with ζ from a summary of the paper (the program's default is 0). The default surrogate is ``narrow``, for
    CPUs (published: ResNet-18). The program's random crop of the whole area, which changes the aspect alone, is left
    out. The last, smaller batches are spread over the others.

    Args:
        options: of this method.
        epsilon: bound in grey levels.

    Attributes:
        losses: mean objective over the steps that followed each epoch; it should fall.
    """

    name = "miue"

    def __init__(self, options: MiueConfig, epsilon: float) -> None:
        super().__init__(epsilon)
        self.options = options
        self.losses: list[float] = []

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Trains the surrogate and moves the noise, in turns; see Protection.

        Raises:
            ValueError: the surrogate's architecture is unknown, or has no layer before its last.
        """
        options, bound = self.options, int(self.epsilon) / 255
        channels, height, width = train.shape
        images, labels = train.images.to(device), train.labels.to(device)
        with isolated_rng(seed, device), torch.enable_grad():
            model = build_classifier(options.arch, classes, channels, (height, width))
            head = last_layer(model)
            model = nn.Sequential(headless(model), head).to(device).to(memory_format=torch.channels_last)
            body, counter = model[0], PassCounter(model[0])
            optimizer = make_optimizer(model.parameters(), "sgd", options.lr, options.momentum, options.weight_decay)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
            noise = torch.zeros(images.shape, device=device)
            networks: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule}
            first, self.losses = 0, []
            found: list[float] = []  # objective of each step after the epoch under way
            saved = FitCheckpoint(self.checkpoint_path, options, train, seed, device)
            if saved.state:
                for name, network in networks.items():
                    network.load_state_dict(saved.state[name])
                first, self.losses = saved.state["epoch"], saved.state["losses"]
                noise = saved.state["noise"].to(device)
                counter.forward, counter.backward = saved.state["passes"]

            def objective(at: Tensor, change: Tensor, of: Tensor) -> Tensor:
                features = body((at + change).contiguous(memory_format=torch.channels_last))
                loss = unlikeness(features.flatten(1), of, options.temperature, options.distance)
                found.append(loss.item())
                return loss

            def learned(rows: Tensor, epoch: int, step: int) -> Tensor:
                if step == 0:
                    model.train()  # its features were compared after the epoch before
                batch = augment(to_float(images[rows]), options.augment, draws(seed, epoch, step)) + noise[rows]
                return F.cross_entropy(model(batch.contiguous(memory_format=torch.channels_last)), labels[rows])

            batches, epochs = partial(equal_batches, len(train)), range(first, options.epochs)
            learning = train_epochs(epochs, partial(batches, options.batch_size, device), learned, optimizer)
            for epoch, _ in zip(epochs, learning, strict=True):
                schedule.step()
                model.eval()
                done = epoch / max(1, options.epochs - 1)
                length = bound * (options.step_size + done * (options.last_step_size - options.step_size))
                parts = batches(options.craft_batch_size, device)
                for step, rows in enumerate(parts):
                    at = augment(to_float(images[rows]), options.augment, draws(seed, epoch, step, 1))
                    noise[rows] = signed_steps(
                        objective, at, labels[rows], noise[rows], bound, options.steps, length, True
                    )
                    progress((epoch + (step + 1) / len(parts)) / options.epochs)
                self.losses.append(sum(found) / len(found))
                found.clear()
                saved.save(
                    {name: network.state_dict() for name, network in networks.items()}
                    | {"epoch": epoch + 1, "losses": self.losses, "noise": noise}
                    | {"passes": [counter.forward, counter.backward]}
                )
        self.passes = counter.passes(len(train))
        self.own = NoiseByImage(train.images, noise)


def unlikeness(features: Tensor, labels: Tensor, temperature: float, distance: float) -> Tensor:
    """How far features are from being alike within their class and different between classes; a scalar.

    Args:
        features: float B×D.
        labels: int64 B.
        temperature: τ that cosines are divided by.
        distance: ζ, weight of the distances within a class.
    """
    directions = F.normalize(features, dim=1)
    cosines = directions @ directions.T / temperature
    same = labels[:, None] == labels
    mixed = cosines.logsumexp(1) - cosines.masked_fill(~same, float("-inf")).logsumexp(1)
    lengths = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    apart = torch.log1p((lengths * same).sum(1) / features.shape[1])
    return (mixed + distance * apart).mean()
