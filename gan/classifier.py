"""The auxiliary classifier: what reads an image's class, so that protecting needs no label."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.augment import isolated_rng
from datamodules.images import ImageSet, to_float
from gan.config import ClassifierConfig
from gan.encoder import PretrainedEncoder
from victims.classifier import build_classifier
from victims.config import RECIPES
from victims.loop import make_optimizer, train_epochs
from victims.train import train_victim

SEED = 104729  # added to the run's, so that no victim of the evaluation starts from this network's weights
HEAD_BATCH = 64
CHUNK = 64  # images that are read at a time
TEMPERATURES = [2 ** (power / 4) for power in range(-17, 13)]  # 0.05 to 8

Progress = Callable[[float], None]


def class_shares(logits: Tensor, temperature: Tensor | float, mixing: str) -> Tensor:
    """p = softmax(z / τ), or its root (``mixing`` root), by which a doubtful image's odds stay readable in the mixture.

    Args:
        logits: z, float B×K.
        temperature: τ.
        mixing: ``root`` or ``linear``.
    """
    shares = (logits.float() / temperature).softmax(1)
    return shares if mixing == "linear" else shares.clamp_min(1e-12).sqrt()


class HeadOptions(Protocol):
    """What decides how a head is trained: ``ClassifierConfig`` and its like."""

    lr: float
    weight_decay: float
    head_epochs: int


def fit_head(head: nn.Module, features: Tensor, labels: Tensor, options: HeadOptions, advance: Progress) -> None:
    """Trains a head on features, by AdamW; global torch random state decides order and dropout.

    Args:
        head: float B×D to logits, float B×K; left in training mode.
        features: float N×D, of about mean 0 and deviation 1.
        labels: int64 N on the same device.
        options: rate, weight decay and epochs.
        advance: called after every epoch with its share of all.
    """
    optimizer = make_optimizer(head.parameters(), "adamw", options.lr, weight_decay=options.weight_decay)

    def batches() -> list[Tensor]:
        return list(torch.randperm(len(labels)).to(labels.device).split(HEAD_BATCH))

    def loss(rows: Tensor, epoch: int, step: int) -> Tensor:
        return F.cross_entropy(head(features[rows]), labels[rows])

    head.train()
    with torch.enable_grad():
        for _ in train_epochs(range(options.head_epochs), batches, loss, optimizer):
            advance(1 / options.head_epochs)


def likeliest_temperature(logits: Tensor, labels: Tensor) -> float:
    """The one of TEMPERATURES by which logits, float N×K, make the labels, int64 N, the likeliest."""
    labels = labels.to(logits.device)
    losses = torch.stack([F.cross_entropy(logits.float() / value, labels) for value in TEMPERATURES])
    return TEMPERATURES[int(losses.argmin())]


class ScratchClassifier(nn.Module):
    """A classifier trained from scratch on the owner's images, as a victim would be; frozen but for ``fit``.

    A code that is worse than what a victim learns from the pictures protects nothing: where victims classify unseen
    images better than a head on ImageNet's features does (stained cells), what they learn is to be in the code too.

    Args:
        arch: a name that victims/classifier.py knows.
        classes: number of classes K.
        channels: 1 or 3.
        size: height and width of the images it is trained on.

    Raises:
        ValueError: the architecture is unknown or cannot take these images.
    """

    def __init__(self, arch: str, classes: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.arch, self.classes, self.size = arch, classes, size
        self.net = build_classifier(arch, classes, channels, size)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "ScratchClassifier":
        """Stays in evaluation mode: an image's noise must not depend on what shares its batch."""
        return super().train(False)

    def fit(
        self,
        images: ImageSet,
        val: ImageSet,
        epochs: int,
        seed: int,
        device: torch.device,
        progress: Callable[[], None],
    ) -> None:
        """Trains it alone, by the recipe ``quick``; global random state is neither read nor changed."""
        recipe = replace(RECIPES["quick"], arch=self.arch, epochs=epochs)
        report = train_victim(images, val, self.classes, recipe, SEED + seed, device, progress)
        self.net.load_state_dict(report.model.state_dict())

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Log-probabilities, float B×K, of images, float B×C×H×W in [0, 1]: the mean over each and its mirror image."""
        if images.shape[-2:] != self.size:
            images = F.interpolate(images, size=self.size, mode="bicubic", align_corners=False).clamp(0, 1)
        both = [self.net(view.contiguous(memory_format=torch.channels_last)) for view in (images, images.flip(3))]
        found: Tensor = sum(logits.float().log_softmax(1) for logits in both) / 2
        return found


class AuxiliaryClassifier(nn.Module):
    """Images to class logits: a head on a frozen network's features, a classifier trained from scratch, or their mean.

    Args:
        options: of the classifier.
        classes: number of classes K.
        channels: 1 or 3, of the images.
        size: height and width of the images it is trained on.
        load: read the pretrained network's weights; without it they come with the generator's file.

    Raises:
        ValueError: the architecture is unknown or cannot take these images.
    """

    centre: Tensor
    spread: Tensor
    temperature: Tensor

    def __init__(
        self, options: ClassifierConfig, classes: int, channels: int, size: tuple[int, int], load: bool = True
    ) -> None:
        super().__init__()
        self.options, self.classes = options, classes
        self.encoder = PretrainedEncoder(load) if options.pretrained != "none" else None
        self.scratch = ScratchClassifier(options.arch, classes, channels, size) if options.arch != "none" else None
        self.register_buffer("temperature", torch.tensor(options.temperature or 1.0))
        width = self.encoder.width if self.encoder else 1
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.head = nn.Sequential(
            nn.Dropout(options.dropout),
            nn.Linear(width, options.hidden),
            nn.SiLU(),
            nn.Dropout(options.dropout),
            nn.Linear(options.hidden, classes),
        )
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "AuxiliaryClassifier":
        """Stays in evaluation mode: it is trained by ``fit`` alone."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Class logits, float B×K, of images, float B×C×H×W in [0, 1]."""
        found = []
        if self.encoder is not None:
            features = (self.encoder(images) - self.centre) / self.spread
            found.append(self.head(features).float().log_softmax(1))
        if self.scratch is not None:
            found.append(self.scratch(images))
        return torch.stack(found).mean(0)

    def shares(self, logits: Tensor) -> Tensor:
        """What each class's code weighs, float B×K, given class logits, float B×K; see ``class_shares``."""
        return class_shares(logits, self.temperature, self.options.mixing)

    def fit(self, train: ImageSet, val: ImageSet, seed: int, device: torch.device, progress: Progress) -> None:
        """Trains what is to be trained and chooses the temperature; global random state is neither read nor changed.

        Args:
            train: labelled images.
            val: labelled images kept from training.
            seed: decides every random draw.
            device: of the training.
            progress: called with the share that is done, in [0, 1].
        """
        self.to(device)
        done = 0.0

        def advance(share: float) -> None:
            nonlocal done
            done += share
            progress(min(1.0, done))

        parts = (self.scratch is not None) + (self.encoder is not None)
        if self.scratch is not None:
            epochs = self.options.epochs
            self.scratch.fit(train, val, epochs, seed, device, lambda: advance(1 / epochs / parts))
        if self.encoder is not None:
            self._fit_head(train, seed, device, lambda share: advance(share / parts))
        self.calibrate(val, device)
        progress(1.0)

    def _fit_head(self, train: ImageSet, seed: int, device: torch.device, advance: Progress) -> None:
        assert self.encoder is not None
        options, pieces = self.options, torch.arange(len(train)).split(CHUNK)
        with torch.no_grad():
            read = []
            for rows in pieces:
                read.append(self.encoder(to_float(train.pixels(rows).to(device))))
                advance(0.8 / len(pieces))
            features = torch.cat(read)
            self.centre.copy_(features.mean(0))
            self.spread.copy_(features.std(0) + 1e-3)
            scaled = (features - self.centre) / self.spread
        head = self.head.requires_grad_(True)
        with isolated_rng(seed, device):
            for layer in head:
                if isinstance(layer, nn.Linear):
                    layer.reset_parameters()
            fit_head(head, scaled, train.labels.to(device), options, lambda share: advance(0.2 * share))
        head.eval().requires_grad_(False)

    @torch.no_grad()
    def calibrate(self, val: ImageSet, device: torch.device) -> None:
        """Chooses the temperature, unless the options name one: the likeliest for images kept from training.

        The noise then says as much about the label as is known, and no more (temperature scaling, Guo et al., ICML
        2017).
        """
        if self.options.temperature:
            return
        pieces = torch.arange(len(val)).split(CHUNK)
        logits = torch.cat([self(to_float(val.pixels(rows).to(device))) for rows in pieces]).float()
        self.temperature.fill_(likeliest_temperature(logits, val.labels))
