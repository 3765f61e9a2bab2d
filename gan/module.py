"""ConfounderGAN as a LightningModule: the game in which noise is learned that fresh classifiers read."""

import os
import time
from collections.abc import Callable
from typing import Any, cast

import lightning.pytorch as pl
import torch
import torch.distributed as dist
import torch.nn.functional as F
from lightning.pytorch.core.optimizer import LightningOptimizer
from rich.progress import Progress
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from datamodules.augment import draws
from gan.batchnorm import join_batch_norm
from gan.config import GanConfig, NetworkConfig
from gan.field import enlarged, reduced
from gan.networks import Discriminator, build_generator
from gan.noise import SIDE, NoiseNetwork, luma
from gan.objectives import apply_noise, discriminator_loss, generator_gan_loss, psnr, read_right
from gan.optim import make_optimizer
from gan.surrogates import Curriculum, SurrogatePool
from gan.transforms import transformed
from victims.schedule import make_schedule


class ConfounderGAN(pl.LightningModule):
    """Generator, discriminator and a pool of surrogates.

    Before the game the auxiliary classifier is trained on the labelled images. Each training step is manual and takes
    one batch of pictures, reduced to 32×32, and for each a code k, by default drawn at random:

    1. D learns to tell x from x + n on luma, once pictures have their full contrast (left out with ``gan_loss=none``);
    2. one surrogate S of the pool learns to read k from T(x + n), and G to make it read: both want the same
       cross-entropy low, so one backward pass serves both; G also wants D wrong.

    In the confounder's terms: a random k is an intervention, do(n): the picture cannot help S, so what S reads it reads
    from n (n → y), which was made for this very picture and added to it (n → x′). Which class a code stands for is
    settled outside of the game, by the auxiliary classifier. No label is used in the game (but for ``pairing=own``).

    Args:
        config: the method's options.
        classes: number of classes K.
        channels: 1 or 3.
        size: height and width of the images.
        steps: batches of the whole run, for the learning-rate schedules.
        seed: decides every initialisation.
        start: a trained noise network to start from, of the same options; None: an untrained one.

    Raises:
        ValueError: a classifier cannot be built for these images.
    """

    def __init__(
        self,
        config: GanConfig,
        classes: int,
        channels: int,
        size: tuple[int, int],
        steps: int,
        seed: int,
        start: NoiseNetwork | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config, self.steps, self.seed = config, steps, seed
        self.seconds = self.clock = 0.0
        self.epsilon = config.epsilon / 255
        d, c = config.discriminator, config.curriculum
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.generator = build_generator(config.classifier, config.noise, channels, classes, self.epsilon, size)
            self.discriminator = Discriminator(1, d.width, d.levels) if config.gan_loss != "none" else None
        if start is not None:
            self.generator.noise_network.load_state_dict(start.state_dict())
        self.surrogates = SurrogatePool(config.surrogates, channels, self.generator.vectors, seed)
        # a trained network is read on pictures as they are from the start
        self.curriculum = Curriculum(c, len(self.surrogates.nets), level=0.0 if start is None else 1.0)
        self.to(memory_format=torch.channels_last)  # faster convolutions on CPU and GPU

    def networks(self) -> list[tuple[nn.Module, NetworkConfig]]:
        """The networks that are trained, in the order of their optimizers, with their options."""
        config = self.config
        pairs: list[tuple[nn.Module, NetworkConfig]] = [
            (self.generator.noise_network, config.noise),
            *((net, config.surrogates) for net in self.surrogates.nets),
        ]
        return pairs if self.discriminator is None else [*pairs, (self.discriminator, config.discriminator)]

    def configure_model(self) -> None:
        """Joins batch statistics of several processes; compiles the networks that ask for it, in place."""
        if self.trainer.world_size > 1:
            on_gpu = self.trainer.strategy.root_device.type == "cuda"
            self.surrogates.nets = cast(Any, convert_sync_batchnorm if on_gpu else join_batch_norm)(
                self.surrogates.nets
            )
        for network, options in self.networks():
            if options.compile:
                network.compile()

    def on_fit_start(self) -> None:
        """Before the game: the auxiliary classifier is trained, by every process for itself; the first one's counts."""
        if self.trainer.ckpt_path:
            return  # the checkpoint brings it
        parts = cast(Any, self.trainer).datamodule.parts
        with Progress(disable=self.quiet, transient=True) as bar:
            task = bar.add_task("training the auxiliary classifier", total=1.0)
            advance: Callable[[float], None] = lambda share: bar.update(task, completed=share)  # noqa: E731
            self.generator.classifier.fit(parts["train"], parts["val"], self.seed, self.device, advance)
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

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LambdaLR]]:
        """One optimizer and one schedule for each network, in the order of ``networks``."""
        optimizers = [make_optimizer(network, options) for network, options in self.networks()]
        schedules = []
        for optimizer, (network, options) in zip(optimizers, self.networks(), strict=True):
            turns = len(self.surrogates.nets) if network in [*self.surrogates.nets] else 1  # they take turns
            steps = -(-self.steps // turns)
            schedules.append(make_schedule(optimizer, steps, options.warmup, options.schedule == "constant"))
        return optimizers, schedules

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """One batch: the steps of D, and of a surrogate and G. ``batch`` is a ``datamodules.base.Batch``.

        Returns:
            Every loss by name, the mean over all processes: what callbacks watch without another collective.
        """
        images, labels, others, _, share = batch
        optimizers = cast(list[LightningOptimizer], self.optimizers())
        config, pool = self.config, self.surrogates
        random = draws(self.seed, self.current_epoch, batch_idx, self.trainer.global_rank)
        place, fresh = pool.advance()
        if fresh:
            optimizers[1 + place].optimizer.state.clear()
            self.curriculum.restart(place)
        surrogate = pool.nets[place]

        def looked_at(pictures: Tensor) -> Tensor:
            small = reduced(pictures, SIDE)
            return luma(small) if surrogate.mono else small

        x = looked_at(images)
        if config.pairing == "own":
            known = (pool.codes[place][:, None] == self.generator.vectors[labels]).all(2).int()
            codes, kept = known.argmax(0), known.any(0).float()
        else:
            codes, kept = torch.randint(0, pool.told, (len(x),), generator=random).to(x.device), None
        noise = self.generator.field_of(x, pool.codes[place][codes], self.curriculum.boost(place))
        carrier = looked_at(others) if config.pairing == "swap" else x
        metrics: dict[str, Tensor] = {}

        judged = self.discriminator is not None and self.curriculum.level >= 1  # fidelity once reading is safe
        if self.discriminator is not None and judged:
            clean, fake = luma(carrier), luma(apply_noise(carrier, noise.detach()))
            loss = discriminator_loss(config.gan_loss, self.discriminator(clean), self.discriminator(fake))
            optimizers[-1].zero_grad()
            self.manual_backward(loss * share)
            optimizers[-1].step()
            metrics["loss_d"] = loss.detach()

        shown = apply_noise(self.curriculum.pictures(carrier, place), noise)
        logits = surrogate(transformed(shown, config.transforms, self.curriculum.share(place), random))
        each = F.cross_entropy(logits, codes, reduction="none")
        right = read_right(logits.detach(), codes)
        if kept is not None:  # of a picture whose class this surrogate is not told, nothing is to be read
            each, right = (values * kept * (len(x) / kept.sum().clamp_min(1)) for values in (each, right))
        read = each.mean()
        loss = read
        if self.discriminator is not None and judged:
            fooled = generator_gan_loss(config.gan_loss, self.discriminator(luma(apply_noise(carrier, noise))))
            loss = loss + config.gan_weight * fooled
            metrics["loss_g_gan"] = fooled.detach()
        turn = (optimizers[0], optimizers[1 + place])
        for optimizer in turn:
            optimizer.zero_grad()
        self.manual_backward(loss * share)
        for optimizer in turn:
            optimizer.step()
        metrics |= {"loss_g": loss.detach(), "loss_s": read.detach(), "read": right.mean()}

        stepped = [0, 1 + place, *([len(optimizers) - 1] if judged else [])]
        schedules = cast(list[LambdaLR], self.lr_schedulers())
        for turn_taken in stepped:
            schedules[turn_taken].step()
        logged = self.report(metrics, images, noise.detach(), share)
        self.curriculum.learn(place, logged["read"].item(), pool.mature(place))
        return {name: value for name, value in logged.items() if name.startswith("loss")}

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clips the network's gradients to its own bound: here, since under fp16 they are scaled before."""
        turn = [id(own) for own in self.trainer.optimizers].index(id(optimizer))
        if clip := self.networks()[turn][1].clip:
            nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], clip)

    @torch.no_grad()
    def report(self, metrics: dict[str, Tensor], images: Tensor, field: Tensor, share: float) -> dict[str, Tensor]:
        """Logs every loss and the noise's state, per step and as the epoch's mean; returns all processes' means."""
        height, width = images.shape[-2:]
        noise = enlarged(field, (height, width))
        metrics["noise_mean"] = noise.abs().mean() * 255
        metrics["psnr"] = psnr(images, apply_noise(images, noise))
        means, largest = torch.stack(list(metrics.values())) * share, noise.abs().max() * 255
        if self.trainer.world_size > 1:  # two collectives a step, however many metrics there are
            means = self.trainer.strategy.reduce(means, reduce_op="mean")
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        logged = dict(zip(metrics, means, strict=True))
        shown = logged | {"level": torch.tensor(self.curriculum.level, device=images.device)}
        self.log_dict(shown, on_step=True, on_epoch=True, batch_size=len(images))
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
