"""Chosen patterns as a protection: what reads the class is learned, what the noise looks like is not."""

import copy
from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor

from baselines.config import PatternsConfig
from baselines.generator import ProtectsByGenerator
from baselines.noise import check_classes
from baselines.patterns.network import PatternGenerator, build_pattern_generator
from baselines.patterns.textures import zone_means
from datamodules.augment import isolated_rng
from datamodules.config import DataError
from datamodules.images import ImageSet, to_float
from datamodules.split import stratified_group_split
from gan.classifier import fit_head, likeliest_temperature
from gan.encoder import PretrainedEncoder
from victims.classifier import Normalised
from victims.passes import PassCounter

VAL_FRACTION = 0.1
ENCODED = 64  # images that are read at a time
FITTED_CLASSIFIER, READ, LEARNED = 0.7, 0.85, 0.95  # shares of the fit that are done after its stages


class Patterns(ProtectsByGenerator):
    """The first build of this project: every class has a pattern that was chosen by hand, and an image gets the mixture
    of them by its class probabilities (``PatternGenerator``).

    In this order: an auxiliary classifier is trained from scratch; the frozen encoder's features of all images are read
    once and brought to mean 0 and deviation 1; a small head learns the classes from them; with ``pattern=tints``
    colours are chosen; with ``temperature=0`` the temperature is the likeliest for the tenth of the images, stratified,
    that was kept from all of this (temperature scaling, Guo et al., ICML 2017). ``fit`` uses labels, ``protect`` none:
    any image of the fitted channels, of any size, in one forward pass.

    There is no adversarial game, though the first build had one: a discriminator D, a surrogate S and the generator
    took turns after all this. Measured with D or with S switched off, at most 0.12 % of the protected pixels changed,
    by one grey level. So the game is left out, and the strengths of the patterns stay where they start.

    Bound: L∞ at ε. Noise is rounded to whole grey levels, and never above ε rounded down.

    Args:
        options: of this method.
        epsilon: bound in grey levels.

    Attributes:
        generator: in evaluation mode, set by ``fit``.
    """

    name = "patterns"
    smallest = 1

    def __init__(self, options: PatternsConfig, epsilon: float) -> None:
        super().__init__(epsilon)
        self.options = options

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Learns to read the class; see Protection. Passes of the head count as those of any network.

        Raises:
            DataError: a class has no image, or all have a single one.
            ValueError: the auxiliary classifier's architecture is unknown or cannot take these images, there are more
                classes than patterns, or the encoder is one that only old files have.
        """
        options, (channels, height, width) = self.options, train.shape
        if fault := options.faults():
            raise ValueError(fault[0])
        check_classes(self.name, train, classes)
        kept_rows, used_rows = stratified_group_split(train.labels, [VAL_FRACTION], seed)
        if not len(kept_rows):
            raise DataError(f"{self.name}: no class has two images, so that none can be kept to measure by; add images")
        used, val = train.subset(used_rows), train.subset(kept_rows)
        counter = PassCounter()
        with isolated_rng(seed, device):
            generator = build_pattern_generator(options, channels, classes, self.epsilon / 255, (height, width))
        generator.eval().to(device).to(memory_format=torch.channels_last)  # faster convolutions on CPU and GPU
        with counter.count_all(PretrainedEncoder, Normalised):
            if generator.second:
                done = count(1)
                generator.second.fit(
                    used,
                    val,
                    options.auxiliary_epochs,
                    seed,
                    device,
                    lambda: progress(FITTED_CLASSIFIER * next(done) / options.auxiliary_epochs),
                )
            features = read(
                generator, used, lambda share: progress(FITTED_CLASSIFIER + (READ - FITTED_CLASSIFIER) * share)
            )
            generator.standardise(features)
            if generator.uses_colour:
                means = [zone_means(used.pixels(rows).float()) for rows in torch.arange(len(used)).split(ENCODED)]
                generator.choose_colour_patterns(torch.cat(means).to(device), used.labels)
            done = count(1)
            share = (LEARNED - READ) / max(1, options.head_epochs)
            with isolated_rng(seed, device):
                labels = used.labels.to(device)
                learn_head(generator, features, labels, options, counter, lambda _: progress(READ + share * next(done)))
            if not options.temperature:
                calibrate(generator, val)
        self.generator, self.channels = generator.requires_grad_(False), channels
        self.passes = counter.passes(len(train))
        progress(1.0)


@torch.no_grad()
def read(generator: PatternGenerator, images: ImageSet, progress: Callable[[float], None]) -> Tensor:
    """The encoder's features of images, float N×D on the generator's device."""
    features: list[Tensor] = []
    parts = torch.arange(len(images)).split(ENCODED)
    for rows in parts:
        features.append(generator.encoder(to_float(images.pixels(rows)).to(generator.strength.device)))
        progress(len(features) / len(parts))
    return torch.cat(features)


def learn_head(
    generator: PatternGenerator,
    features: Tensor,
    labels: Tensor,
    options: PatternsConfig,
    counter: PassCounter,
    advance: Callable[[float], None],
) -> None:
    """Trains the head alone (``gan.classifier.fit_head``) and counts its passes.

    Args:
        generator: whose head it is.
        features: of all training images, float N×D on its device.
        labels: int64 N on its device.
        options: of the method.
        counter: counts the head's passes.
        advance: called after every epoch with its share of all.
    """
    head = copy.deepcopy(generator.head)  # what counts its passes stays on the copy
    counter.attach(head)
    fit_head(head, generator.scaled(features), labels, options, advance)
    generator.head.load_state_dict(head.state_dict())


@torch.no_grad()
def calibrate(generator: PatternGenerator, val: ImageSet) -> None:
    """Sets the temperature to the likeliest for images that were kept from training."""
    device, pieces = generator.strength.device, torch.arange(len(val)).split(ENCODED)
    code = torch.cat([generator.code(to_float(val.pixels(rows)).to(device)) for rows in pieces])
    generator.temperature.fill_(likeliest_temperature(code, val.labels))
