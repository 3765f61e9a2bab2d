"""ConfounderGAN as a LightningModule: the game in which noise is learned that fresh classifiers read."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Self, cast

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
from datamodules.base import ImageDataModule
from datamodules.batches import as_batch, gathered, to_pixels
from datamodules.config import DataError
from datamodules.images import ImageSet, to_float
from datamodules.split import stratified_group_split
from gan.batchnorm import convert_sync_batch_norm
from gan.codes import drawn_shares, mixed_code
from gan.config import GanConfig, NetworkConfig, config_of
from gan.field import enlarged, reduced
from gan.networks import Discriminator, build_generator
from gan.noise import SIDE, NoiseNetwork, luma
from gan.objectives import apply_noise, correctly_read, discriminator_loss, generator_gan_loss, psnr
from gan.protection import quantise
from gan.surrogates import Curriculum, SurrogatePool
from gan.transforms import transformed
from victims.loop import make_optimizer
from victims.schedule import make_schedule

VAL_FRACTION = 0.1  # of a plain loader's images, kept from the auxiliary classifier where there is no loader of others
LOWEST, CLASSIFIER_SECONDS = "curriculum_lowest", "classifier_seconds"  # in the checkpoint


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

    It is fitted on a data module of this project, or on any loader of (images, labels): images B×C×H×W, float in
    [0, 1] or uint8, and labels from 0. The images of one epoch of it are then held in memory, as uint8, until the
    auxiliary classifier is trained; a loader of validation images, where Lightning has one, calibrates it.

    Args:
        config: the method's options, or mappings of them; what is left out has its default.
        classes: number of classes K.
        channels: 1 or 3.
        size: height and width of the images.
        steps: batches of the whole run, for the learning-rate schedules; None: those that the Trainer announces.
        seed: decides every initialisation.
        start: a trained noise network to start from, of the same options (``gan.protection.start_network`` reads one);
            None: an untrained one.
        load: read the pretrained encoder's weights from their package; without it they come with a checkpoint.

    Raises:
        ValueError: there is no such option, or a classifier cannot be built for these images.
    """

    def __init__(
        self,
        config: GanConfig | Mapping[str, Any] | None = None,
        classes: int = 0,
        channels: int = 3,
        size: tuple[int, int] = (32, 32),
        steps: int | None = None,
        seed: int = 0,
        start: NoiseNetwork | None = None,
        load: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(config, GanConfig):
            config = config_of(config or {})
        assert isinstance(config, GanConfig)
        if classes < 2:
            raise ValueError(f"classes: expected 2 or more, found {classes}; give the number of classes of the labels")
        if channels not in (1, 3):
            raise ValueError(f"channels: expected 1 (gray) or 3 (RGB), found {channels}")
        # plain values alone, so that a checkpoint is read without unpickling objects; ``start`` is in the weights
        self.save_hyperparameters(
            {
                "config": asdict(config),
                "classes": classes,
                "channels": channels,
                "size": (size[0], size[1]),
                "steps": steps,
                "seed": seed,
            }
        )
        self.automatic_optimization = False
        self.config, self.steps, self.seed = config, steps, seed
        self.channels, self.classes, self.size = channels, classes, (size[0], size[1])
        self.seconds = self.classifier_seconds = 0.0
        self.clock: float | None = None  # when training began, while it lasts
        self.unread = False  # the classifier is still to be trained, on what a plain loader gives
        self.epsilon = config.epsilon / 255
        d, c = config.discriminator, config.curriculum
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.generator = build_generator(
                config.classifier, config.noise, channels, classes, self.epsilon, size, load
            )
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

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = True,
        **kwargs: Any,
    ) -> Self:
        """As Lightning's, but no code of a checkpoint is run unless ``weights_only`` is False.

        ImageNet's weights are not read from their package, since the checkpoint has them; with ``strict=False`` they
        are, since it may lack them.
        """
        options = {"load": strict is False} | kwargs
        return super().load_from_checkpoint(
            checkpoint_path, map_location, hparams_file, strict, weights_only, **options
        )

    def forward(self, images: Tensor) -> Tensor:
        """The noise, float B×C×H×W in [-ε, ε], of images, float B×C×H×W in [0, 1]; adding it is the caller's."""
        found: Tensor = self.generator(images)
        return found

    @torch.no_grad()
    def predict_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Tensor:
        """Protects images.

        Args:
            batch: images B×C×H×W, float in [0, 1] or uint8, or a pair of them and what is known of them (labels).
            batch_idx: not looked at.
            dataloader_idx: not looked at.

        Returns:
            Protected images, uint8 B×C×H×W on the batch's device, none further from its own than ε.

        Raises:
            DataError: the batch is something else.
        """
        images = batch[0] if isinstance(batch, tuple | list) and len(batch) else batch
        if not isinstance(images, Tensor):
            raise DataError(
                f"batch: expected a tensor of images, or (images, labels), found {type(batch).__name__}; let the data "
                "set give one of them"
            )
        pixels = to_pixels(images)
        # at full precision whatever the Trainer's, so that the same picture always gets the same bits
        with torch.autocast(self.device.type, enabled=False):
            noise = self(to_float(pixels))
        return quantise(pixels, noise, self.config.epsilon)

    def configure_model(self) -> None:
        """Joins batch statistics of several processes; compiles the networks that ask for it, in place."""
        try:
            trainer = self.trainer
        except RuntimeError:
            return  # of no Trainer: Lightning asks for this when it loads a checkpoint, too
        if trainer.world_size > 1:
            on_gpu = trainer.strategy.root_device.type == "cuda"
            self.surrogates.nets = cast(Any, convert_sync_batchnorm if on_gpu else convert_sync_batch_norm)(
                self.surrogates.nets
            )
        for network, options in self.networks():
            if options.compile:
                network.compile()

    def on_fit_start(self) -> None:
        """Before the game: the auxiliary classifier is trained, by every process for itself; the first one's counts."""
        if self.trainer.ckpt_path:
            return  # the checkpoint brings it
        if isinstance(data := self.datamodule, ImageDataModule):
            self.fit_classifier(data.parts["train"], data.parts["val"])
        else:
            self.unread = True  # Lightning has no loaders before ``on_train_start``

    @property
    def datamodule(self) -> Any:
        """The Trainer's data module; None without one."""
        return getattr(self.trainer, "datamodule", None)

    def fit_classifier(self, train: ImageSet, val: ImageSet) -> None:
        """Trains the auxiliary classifier.

        Args:
            train: labelled images.
            val: others, by which it is calibrated.
        """
        started = time.perf_counter()
        with Progress(disable=self.quiet, transient=True) as bar:
            task = bar.add_task("training the auxiliary classifier", total=1.0)
            advance: Callable[[float], None] = lambda share: bar.update(task, completed=share)  # noqa: E731
            self.generator.classifier.fit(train, val, self.seed, self.device, advance)
        self.as_the_first()
        self.classifier_seconds = time.perf_counter() - started

    def labelled(self) -> tuple[ImageSet, ImageSet]:
        """What the Trainer's plain loaders give: images to train the classifier on, and others to calibrate it by.

        Raises:
            DataError: the loaders give something else than images with labels, or too few.
        """
        trainer, shape = self.trainer, (self.channels, *self.size)
        train = gathered(trainer.train_dataloader, trainer.num_training_batches, shape, self.classes)
        if loaders := trainer.val_dataloaders:
            first = loaders[0] if isinstance(loaders, list | tuple) else loaders
            return train, gathered(first, trainer.num_val_batches[0], shape, self.classes)
        kept, used = stratified_group_split(train.labels, [VAL_FRACTION], self.seed)
        if not len(kept):
            raise DataError(
                f"train_dataloader: gives {len(train)} images, no class twice; give several of each class, or a loader "
                "of validation images"
            )
        return train.subset(used), train.subset(kept)

    def as_the_first(self) -> None:
        """Gives every process the first one's generator, buffers included."""
        if self.trainer.world_size > 1:
            for value in self.generator.state_dict().values():
                dist.broadcast(value, 0)

    @property
    def quiet(self) -> bool:
        """Whether this process shows no progress."""
        return bool(os.environ.get("CONFOUNDERGAN_QUIET")) or self.global_rank > 0

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LambdaLR]]:
        """One optimizer and one schedule for each network, in the order of ``networks``."""
        optimizers = [
            make_optimizer(network.parameters(), o.optimizer, o.lr, o.beta1, o.weight_decay)
            for network, o in self.networks()
        ]
        schedules, batches = [], self.announced()
        for optimizer, (network, options) in zip(optimizers, self.networks(), strict=True):
            turns = len(self.surrogates.nets) if network in [*self.surrogates.nets] else 1  # they take turns
            steps = -(-batches // turns)
            schedules.append(make_schedule(optimizer, steps, options.warmup, options.schedule == "constant"))
        return optimizers, schedules

    def announced(self) -> int:
        """Batches of the whole run.

        Raises:
            ValueError: they are nowhere said.
        """
        if self.steps is not None:
            return self.steps
        epochs, data = self.trainer.max_epochs, self.datamodule
        if isinstance(data, ImageDataModule) and epochs is not None and epochs >= 0:
            # without its loader, which is made once the checkpoint has said where to resume
            return epochs * -(-len(data.parts["train"]) // data.config.batch_size)
        batches = self.trainer.estimated_stepping_batches
        if not 0 <= batches < float("inf"):
            raise ValueError("steps: the Trainer cannot tell how many batches come; give ConfounderGAN(steps=…)")
        return int(batches)

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """One batch: the steps of D, and of a surrogate and G.

        Args:
            batch: a ``datamodules.base.Batch``; or a pair of images (B×C×H×W, float in [0, 1] or uint8) and labels
                (integer B), where each picture's other is the next one.
            batch_idx: decides, with seed and epoch, what is drawn.

        Returns:
            Every loss by name, the mean over all processes: what callbacks watch without another collective.

        Raises:
            DataError: the batch is something else.
        """
        images, labels, others, _, share = as_batch(batch)
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
            shares, kept = F.one_hot(known.argmax(0), pool.told).float(), known.any(0).float()
        else:
            shares, kept = drawn_shares(len(x), pool.told, config.mixtures, random).to(x.device), None
        vectors = mixed_code(shares.sqrt(), pool.codes[place])
        noise = self.generator.field_of(x, vectors, self.curriculum.boost(place))
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
        touched = self.curriculum.share(place)
        if surrogate.gray and not surrogate.mono:
            touched *= config.transforms.on_luma
        logits = surrogate(transformed(shown, config.transforms, touched, random))
        each = F.cross_entropy(logits, shares, reduction="none")
        right = correctly_read(logits.detach(), shares.argmax(1))
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
        metrics["psnr"] = psnr(images, apply_noise(images, noise)).mean()
        means, largest = torch.stack(list(metrics.values())) * share, noise.abs().max() * 255
        if self.trainer.world_size > 1:  # two collectives per step, however many metrics there are
            means = self.trainer.strategy.reduce(means, reduce_op="mean")
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        logged = dict(zip(metrics, means, strict=True))
        shown = logged | {"level": torch.tensor(self.curriculum.level, device=images.device)}
        self.log_dict(shown, on_step=True, on_epoch=True, batch_size=len(images))
        self.log("noise_max", largest, on_step=True, on_epoch=True, reduce_fx="max", batch_size=len(images))
        return logged

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Logs, of images that are not trained on, what the noise costs and the auxiliary classifier's accuracy.

        Args:
            batch: as ``training_step``'s.
            batch_idx: not looked at.
            dataloader_idx: not looked at.

        Raises:
            DataError: the batch is something else.
        """
        images, labels, *_ = as_batch(batch)
        logits = self.generator.code(images)
        found = {
            "val_psnr": psnr(images, apply_noise(images, self.generator.noise(logits, images))).mean(),
            "val_accuracy": (logits.argmax(1) == labels).float().mean(),
        }
        self.log_dict(found, on_epoch=True, sync_dist=True, batch_size=len(images))

    def on_train_start(self) -> None:
        """Trains the auxiliary classifier, if a plain loader has its images; starts the clock.

        Time before an interruption is remembered with the checkpoint.
        """
        if self.unread:
            self.unread = False
            self.fit_classifier(*self.labelled())
        self.clock = time.perf_counter()

    def on_train_end(self) -> None:
        """Stops the clock."""
        self.seconds, self.clock = self.elapsed, None

    @property
    def elapsed(self) -> float:
        """Seconds of training so far."""
        return self.seconds + (0.0 if self.clock is None else time.perf_counter() - self.clock)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the seconds of training so far, and the level below which no surrogate falls."""
        checkpoint["training_seconds"] = self.elapsed
        checkpoint[CLASSIFIER_SECONDS] = self.classifier_seconds
        checkpoint[LOWEST] = self.curriculum.lowest

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes over the seconds of training before the interruption, and the level."""
        self.seconds = checkpoint["training_seconds"]
        # absent from earlier checkpoints
        self.classifier_seconds = checkpoint.get(CLASSIFIER_SECONDS, 0.0)
        self.curriculum.lowest = checkpoint.get(LOWEST, self.curriculum.lowest)
