"""ConfounderGAN as a LightningModule: a discriminator, a surrogate and a generator step in every batch."""

import os
import time
from typing import Any, cast

import lightning.pytorch as pl
import torch
import torch.distributed as dist
import torch.nn.functional as F
from lightning.pytorch.core.optimizer import LightningOptimizer
from rich.progress import track
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from datamodules.images import to_float
from gan.batchnorm import join_batch_norm
from gan.classifier import build_classifier
from gan.config import GanConfig, NetworkConfig
from gan.networks import Discriminator, build_generator
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
from gan.optim import make_optimizer, make_schedule

ENCODED = 64  # images that a frozen encoder reads at a time


class ConfounderGAN(pl.LightningModule):
    """The three networks and their alternating steps (manual optimization).

    A batch, in this order, with n = G(x) computed once:

    1. D learns to tell x from x + n (left out with ``gan_loss=none``);
    2. S learns to read the label from what it sees of n (``gan.surrogate.sees``);
    3. G learns to name the class of the image, to make S right and D wrong, and to keep n small.

    In the confounder's terms: step 3 makes n a cause of the label association (n → y), adding n makes it a cause of
    the published image (n → x′). A frozen encoder's features of all training images are computed once, at the start.

    Args:
        config: the method's options.
        classes: number of classes K.
        channels: 1 or 3.
        size: height and width of the images.
        steps: batches of the whole run, for the learning-rate schedules.
        seed: decides every initialisation.

    Raises:
        ValueError: the surrogate cannot be built for these images.
    """

    def __init__(
        self, config: GanConfig, classes: int, channels: int, size: tuple[int, int], steps: int, seed: int
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config, self.steps, self.seed = config, steps, seed
        self.seconds = self.clock = 0.0
        self.epsilon = config.epsilon / 255
        self.surrogate_args = (config.surrogate.arch, classes, channels, size)
        g, d = config.generator, config.discriminator
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.generator = build_generator(g, channels, classes, self.epsilon)
            self.discriminator = Discriminator(channels, d.width, d.levels) if config.gan_loss != "none" else None
            self.surrogate = build_classifier(*self.surrogate_args)
        self.to(memory_format=torch.channels_last)  # faster convolutions on CPU and GPU

    def networks(self) -> list[tuple[nn.Module, NetworkConfig]]:
        """The networks that are trained, in the order of their steps, with their options."""
        config = self.config
        pairs: list[tuple[nn.Module, NetworkConfig]] = [
            (self.surrogate, config.surrogate),
            (self.generator, config.generator),
        ]
        return pairs if self.discriminator is None else [(self.discriminator, config.discriminator), *pairs]

    def configure_model(self) -> None:
        """Joins batch statistics of several processes; compiles the networks that ask for it, in place."""
        if self.trainer.world_size > 1:
            on_gpu = self.trainer.strategy.root_device.type == "cuda"
            self.surrogate = (convert_sync_batchnorm if on_gpu else join_batch_norm)(self.surrogate)
        for network, options in self.networks():
            if options.compile:  # of the generator, what is costly
                (cast(nn.Module, self.generator.encoder) if network is self.generator else network).compile()

    def on_fit_start(self) -> None:
        """Reads all training images with a frozen encoder, each process its share of the chunks."""
        if not self.generator.encoder.frozen:
            return
        images, trainer = cast(Any, self.trainer).datamodule.parts["train"], self.trainer
        chunks = torch.arange(len(images)).split(ENCODED)
        self.features = torch.zeros(len(images), self.generator.encoder.width, device=self.device)
        quiet = bool(os.environ.get("CONFOUNDERGAN_QUIET")) or not trainer.is_global_zero
        for i, rows in enumerate(track(chunks, "reading the training images", disable=quiet, transient=True)):
            if i % trainer.world_size == trainer.global_rank:
                self.features[rows] = self.generator.encoder(to_float(images.pixels(rows).to(self.device)))
        if trainer.world_size > 1:
            dist.all_reduce(self.features)
        self.generator.standardise(self.features)

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LambdaLR]]:
        """One optimizer and one schedule for each network, in the order of ``networks``."""
        optimizers = [make_optimizer(network, options) for network, options in self.networks()]
        schedules = [
            make_schedule(optimizer, self.steps, options.warmup, options.schedule == "constant")
            for optimizer, (_, options) in zip(optimizers, self.networks(), strict=True)
        ]
        return optimizers, schedules

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One batch: the steps of D, S and G. ``batch`` is a ``datamodules.base.Batch``."""
        images, labels, others, rows, share = batch
        optimizers = cast(list[LightningOptimizer], self.optimizers())
        s_opt, g_opt = optimizers[-2:]
        config = self.config
        features = self.features[rows] if self.generator.encoder.frozen else self.generator.encoder(images)
        code = self.generator.code(features)
        noise = self.generator.noise(code, images.shape[-2:])
        key = (self.seed, self.current_epoch, batch_idx, self.trainer.global_rank)

        def seen(noise: Tensor, turn: int) -> list[tuple[float, Tensor]]:
            return augmented(views(images, others, noise, config.surrogate.sees), config.augment, (*key, turn))

        fixed = noise.detach()
        metrics: dict[str, Tensor] = {}

        if self.discriminator is not None:
            with self.toggled_optimizer(optimizers[0]):
                loss = discriminator_loss(
                    config.gan_loss, self.discriminator(images), self.discriminator(apply_noise(images, fixed))
                )
                self.update(optimizers[0], loss * share, config.discriminator.clip)
            metrics["loss_d"] = loss.detach()

        with self.toggled_optimizer(s_opt):
            loss, _ = reading_loss(self.surrogate, seen(fixed, 0), labels)
            self.update(s_opt, loss * share, config.surrogate.clip)
        metrics["loss_s"] = loss.detach()

        with self.toggled_optimizer(g_opt):
            read, logits = reading_loss(self.surrogate, seen(noise, 1), labels)
            named, size = F.cross_entropy(code, labels), norm_penalty(noise, self.epsilon)
            loss = read + config.code_weight * named + config.norm_weight * size
            if self.discriminator is not None:
                fooled = generator_gan_loss(config.gan_loss, self.discriminator(apply_noise(images, noise)))
                loss = loss + config.gan_weight * fooled
                metrics["loss_g_gan"] = fooled.detach()
            self.update(g_opt, loss * share, config.generator.clip)
        metrics |= {"loss_g": loss.detach(), "loss_g_read": read.detach(), "loss_g_norm": size.detach()}
        metrics |= {"loss_g_code": named.detach(), "code_accuracy": (code.argmax(1) == labels).float().mean()}
        right = torch.stack([(z.argmax(1) == labels).float().mean() for z in logits])
        metrics["surrogate_accuracy"] = right.mean()

        for schedule in cast(list[LambdaLR], self.lr_schedulers()):
            schedule.step()
        self.report(metrics, images, fixed, labels, share)

    def update(self, optimizer: Any, loss: Tensor, clip: float) -> None:
        """Backward and step of one network, with its gradients clipped to its own bound."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        if clip:
            nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], clip)
        optimizer.step()

    @torch.no_grad()
    def report(self, metrics: dict[str, Tensor], images: Tensor, noise: Tensor, labels: Tensor, share: float) -> None:
        """Logs every loss and the state of the noise, per step and as the epoch's mean, over all processes."""
        self.surrogate.eval()  # a reading must not move its batch statistics
        metrics["noise_only_accuracy"] = (self.surrogate(0.5 + noise).argmax(1) == labels).float().mean()
        self.surrogate.train()
        metrics["noise_mean"] = noise.abs().mean() * 255
        metrics["psnr"] = psnr(images, apply_noise(images, noise))
        means, largest = torch.stack(list(metrics.values())) * share, noise.abs().max() * 255
        if self.trainer.world_size > 1:  # two collectives a step, however many metrics there are
            means = self.trainer.strategy.reduce(means, reduce_op="mean")
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        logged = dict(zip(metrics, means, strict=True))
        self.log_dict(logged, on_step=True, on_epoch=True, batch_size=len(images))
        self.log("noise_max", largest, on_step=True, on_epoch=True, reduce_fx="max", batch_size=len(images))

    def on_train_start(self) -> None:
        """Starts the clock; time before an interruption is remembered with the checkpoint."""
        self.clock = time.perf_counter()

    def on_train_end(self) -> None:
        """Stops the clock."""
        self.seconds += time.perf_counter() - self.clock

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the seconds of training so far."""
        checkpoint["training_seconds"] = self.seconds + time.perf_counter() - self.clock

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes over the seconds of training before the interruption."""
        self.seconds = checkpoint["training_seconds"]

    def on_train_epoch_start(self) -> None:
        """Starts the surrogate anew where ``gan.surrogate.reinit_every`` says so: the same weights on every process."""
        every, epoch = self.config.surrogate.reinit_every, self.current_epoch
        if every and epoch and epoch % every == 0:
            with torch.random.fork_rng():
                torch.manual_seed(self.seed + 7919 * epoch)
                fresh = build_classifier(*self.surrogate_args)
            self.surrogate.load_state_dict(fresh.state_dict())
            cast(list[LightningOptimizer], self.optimizers())[-2].optimizer.state.clear()
