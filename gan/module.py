"""ConfounderGAN as a LightningModule: a discriminator, a surrogate and a generator step in every batch."""

import copy
import os
import time
from typing import Any, cast

import lightning.pytorch as pl
import torch
import torch.distributed as dist
import torch.nn.functional as F
from lightning.pytorch.core.optimizer import LightningOptimizer
from rich.progress import Progress, track
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from datamodules.augment import own_randomness
from datamodules.images import ImageSet, to_float
from gan.batchnorm import join_batch_norm
from gan.config import GanConfig, NetworkConfig
from gan.encoder import Encoder
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
from gan.optim import make_optimizer
from gan.reader import SecondReader
from gan.textures import zone_means
from victims.classifier import build_classifier
from victims.schedule import make_schedule

ENCODED = 64  # images that an encoder reads at a time
HEAD_BATCH = 64
TEMPERATURES = [2 ** (power / 4) for power in range(-4, 13)]  # 1/2 to 8


class ConfounderGAN(pl.LightningModule):
    """The three networks and their alternating steps (manual optimization).

    A batch, in this order, with n = G(x) computed once:

    1. D learns to tell x from x + n (left out with ``gan_loss=none``);
    2. S learns to read the label from what it sees of n (``gan.surrogate.sees``);
    3. G learns to name the class of the image, to make S right and D wrong, and to keep n small.

    In the confounder's terms: step 3 makes n a cause of the label association (n → y), adding n makes it a cause of
    the published image (n → x′). Before the game a second reader is taught, a frozen encoder's features of all training
    images are computed once, and the head learns on them.

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
            self.generator = build_generator(g, channels, classes, self.epsilon, size)
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
        """What is done once, before the game: second reader, tints, and a frozen encoder's features and head."""
        generator, trainer = self.generator, self.trainer
        parts = cast(Any, trainer).datamodule.parts
        if generator.second:
            if not trainer.ckpt_path:
                self.teach(generator.second, parts)
            self.opinions = self.read(parts["train"], generator.second)
        if generator.encoder.frozen:
            self.features = self.read(parts["train"], generator.encoder)
            generator.standardise(self.features)
        if trainer.ckpt_path:
            return  # the checkpoint brings the rest
        labels = parts["train"].labels
        if generator.tinted:
            means = [zone_means(parts["train"].pixels(rows).float()) for rows in chunks(len(labels))]
            generator.choose_tints(torch.cat(means).to(self.device), labels)
        if generator.encoder.frozen:
            self.learn_head(labels.to(self.device))
            self.calibrate(parts["val"])
        self.as_the_first()

    def as_the_first(self) -> None:
        """Gives every process the first one's generator, buffers included."""
        if self.trainer.world_size > 1:
            for value in self.generator.state_dict().values():
                dist.broadcast(value, 0)

    @property
    def quiet(self) -> bool:
        """Whether this process shows no progress."""
        return bool(os.environ.get("CONFOUNDERGAN_QUIET")) or (bool(self._trainer) and self.trainer.global_rank > 0)

    def teach(self, second: SecondReader, parts: dict[str, ImageSet]) -> None:
        """Teaches the second reader: every process does the same by itself, then takes the first one's weights."""
        epochs = self.config.generator.second_epochs
        with Progress(disable=self.quiet, transient=True) as bar:
            task = bar.add_task("teaching the second reader", total=epochs)
            second.teach(parts["train"], parts["val"], epochs, self.seed, self.device, lambda: bar.advance(task))
        if self.trainer.world_size > 1:
            for value in second.state_dict().values():
                dist.broadcast(value, 0)

    def read(self, images: ImageSet, reader: Encoder | SecondReader) -> Tensor:
        """What a frozen reader makes of images, float N×D on the device; each process reads its share of the chunks."""
        shared = bool(self._trainer) and self.trainer.world_size > 1
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if shared else (0, 1)
        found = torch.zeros(len(images), reader.width, device=self.device)
        parts = chunks(len(images))
        with torch.no_grad():
            for i, rows in enumerate(track(parts, "reading images", disable=self.quiet, transient=True)):
                if i % world == rank:
                    found[rows] = reader(to_float(images.pixels(rows).to(self.device)))
        if shared:
            dist.all_reduce(found)
        return found

    def learn_head(self, labels: Tensor) -> None:
        """Trains the head alone on the features of all training images: cheap, and the game starts with a code.

        Every process does the same by itself, from the same features.
        """
        options, generator = self.config.generator, self.generator
        head = copy.deepcopy(generator.head)  # DDP watches the gradients of its own parameters
        scaled = (self.features - generator.centre) / generator.spread
        optimizer = torch.optim.AdamW(head.parameters(), options.lr, weight_decay=options.weight_decay)
        with own_randomness(self.seed, self.device), torch.enable_grad():
            head.train()
            for _ in range(options.head_epochs):
                for rows in torch.randperm(len(labels)).to(self.device).split(HEAD_BATCH):
                    loss = F.cross_entropy(head(scaled[rows]), labels[rows])
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    optimizer.step()
        generator.head.load_state_dict(head.state_dict())

    def calibrate(self, val: ImageSet) -> None:
        """Chooses the code's temperature, unless the options name one: the likeliest for images kept from training.

        The noise then says as much about the label as the head knows, and no more (temperature scaling, Guo et al.,
        ICML 2017). Called before the game with a frozen encoder, and after it with any.
        """
        if self.config.generator.temperature:
            return
        training = self.generator.training
        self.generator.eval()
        with torch.no_grad():
            codes = [self.generator.code(to_float(val.pixels(rows).to(self.device))) for rows in chunks(len(val))]
            logits = torch.cat(codes).float()
            labels = val.labels.to(logits.device)
            losses = torch.stack([F.cross_entropy(logits / value, labels) for value in TEMPERATURES])
            self.generator.temperature.fill_(TEMPERATURES[int(losses.argmin())])
        self.generator.train(training)

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LambdaLR]]:
        """One optimizer and one schedule for each network, in the order of ``networks``."""
        optimizers = [make_optimizer(network, options) for network, options in self.networks()]
        schedules = [
            make_schedule(optimizer, self.steps, options.warmup, options.schedule == "constant")
            for optimizer, (_, options) in zip(optimizers, self.networks(), strict=True)
        ]
        return optimizers, schedules

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """One batch: the steps of D, S and G. ``batch`` is a ``datamodules.base.Batch``.

        Returns:
            Every loss by name, the mean over all processes: what callbacks watch without another collective.
        """
        images, labels, others, rows, share = batch
        optimizers = cast(list[LightningOptimizer], self.optimizers())
        s_opt, g_opt = optimizers[-2:]
        config = self.config
        features = self.features[rows] if self.generator.encoder.frozen else self.generator.encoder(images)
        own = self.generator.named(features)
        code = self.generator.joined(own, self.opinions[rows] if self.generator.second else None)
        noise = self.generator.noise(code, images)
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
                self.update(optimizers[0], loss * share)
            metrics["loss_d"] = loss.detach()

        with self.toggled_optimizer(s_opt):
            loss, _ = reading_loss(self.surrogate, seen(fixed, 0), labels)
            self.update(s_opt, loss * share)
        metrics["loss_s"] = loss.detach()

        with self.toggled_optimizer(g_opt):
            read, logits = reading_loss(self.surrogate, seen(noise, 1), labels)
            # of the head alone: a second reader knows its lessons by heart and would leave it nothing to learn
            named, size = F.cross_entropy(own, labels), norm_penalty(noise, self.epsilon)
            loss = read + config.code_weight * named + config.norm_weight * size
            if self.discriminator is not None:
                fooled = generator_gan_loss(config.gan_loss, self.discriminator(apply_noise(images, noise)))
                loss = loss + config.gan_weight * fooled
                metrics["loss_g_gan"] = fooled.detach()
            self.update(g_opt, loss * share)
        metrics |= {"loss_g": loss.detach(), "loss_g_read": read.detach(), "loss_g_norm": size.detach()}
        metrics |= {"loss_g_code": named.detach(), "code_accuracy": (code.argmax(1) == labels).float().mean()}
        right = torch.stack([(z.argmax(1) == labels).float().mean() for z in logits])
        metrics["surrogate_accuracy"] = right.mean()

        for schedule in cast(list[LambdaLR], self.lr_schedulers()):
            schedule.step()
        logged = self.report(metrics, images, fixed, labels, share)
        return {name: value for name, value in logged.items() if name.startswith("loss")}

    def update(self, optimizer: Any, loss: Tensor) -> None:
        """Backward and step of one network."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clips the network's gradients to its own bound: here, since under fp16 they are scaled before."""
        turn = [id(own) for own in self.trainer.optimizers].index(id(optimizer))
        if clip := self.networks()[turn][1].clip:
            nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], clip)

    @torch.no_grad()
    def report(
        self, metrics: dict[str, Tensor], images: Tensor, noise: Tensor, labels: Tensor, share: float
    ) -> dict[str, Tensor]:
        """Logs every loss and the noise's state, per step and as the epoch's mean; returns all processes' means."""
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
        return logged

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


def chunks(count: int) -> tuple[Tensor, ...]:
    """Row numbers 0 to ``count`` - 1 in pieces that an encoder reads at a time."""
    return torch.arange(count).split(ENCODED)
