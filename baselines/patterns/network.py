"""The generator that gives an image the pattern of its class, and the noise of one picture at any size."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from baselines.config import PatternsConfig
from baselines.patterns.readers import ConvEncoder, build_encoder
from baselines.patterns.textures import ZONES, colour_patterns, quiet_directions, textures, zone_means, zones
from gan.classifier import ScratchClassifier, class_shares
from gan.encoder import PretrainedEncoder


class TileField:
    """The noise of one picture at any size: a tile that repeats over each zone of it (``gan.field.NoiseField``).

    Args:
        tiles: float32 Z×t×t×C in [-ε, ε]; one zone (the whole picture), or those of ``textures.zones``.
    """

    def __init__(self, tiles: np.ndarray) -> None:
        self.tiles = tiles.astype(np.float32)

    def rows(self, height: int, width: int, rows: slice) -> np.ndarray:
        """See ``gan.field.NoiseField``."""
        side = self.tiles.shape[1]
        noise = self.tiles[:, np.arange(height)[rows] % side][:, :, np.arange(width) % side]
        found: np.ndarray = noise[0]
        if len(noise) > 1:
            middle = zones((height, width), rows)[0].bool().numpy()
            found = np.where(middle[..., None], found, noise[1])
        return found


class PatternGenerator(nn.Module):
    """g: an image gives its noise, n = ε·tanh(g(x)), in one forward pass and without a label.

    An encoder reads the image, a head gives the probability of each class, and every class has a pattern of its own, a
    periodic one (a small tile repeated over the whole image) or a colour of the middle and of the rim:

        n = ε·tanh(Σ_k c_k(x) · s_k · pattern_k − l(x)),  c(x) = √p(x),  p(x) = softmax(z(x) / τ)

    where z, the class code, are the logits of head(encoder(x)), or the mean of their log-probabilities with those of an
    auxiliary classifier.

    With the root, c has length 1: a doubtful image gets as much noise as a sure one, in a mixture from which its odds
    can be read. With colour patterns, l(x) levels the image's own colours where those vary little, so that the pattern
    stands out; with periodic ones l is 0. The patterns are those of ``textures``.

    The names of weights and buffers are those of the files that the first build of this project wrote.

    Args:
        options: of the method.
        encoder: images, float B×C×H×W in [0, 1], to features, float B×D (its ``width`` is D).
        second: the auxiliary classifier, or None.
        channels: 1 (gray) or 3 (RGB), of the images.
        classes: number of classes K.
        epsilon: the bound ε of the noise, in [0, 1] pixel units (8/255 for eight grey levels).

    Raises:
        ValueError: there are more classes than different patterns.
    """

    keeps_gray = False

    tiles: Tensor
    tints: Tensor
    usual: Tensor
    quiet: Tensor
    centre: Tensor
    spread: Tensor
    temperature: Tensor

    def __init__(
        self,
        options: PatternsConfig,
        encoder: ConvEncoder | PretrainedEncoder,
        second: ScratchClassifier | None,
        channels: int,
        classes: int,
        epsilon: float,
    ) -> None:
        super().__init__()
        self.encoder, self.second, self.epsilon, self.mixing = encoder, second, epsilon, options.mixing
        self.register_buffer("centre", torch.zeros(encoder.width))
        self.register_buffer("spread", torch.ones(encoder.width))
        self.register_buffer("temperature", torch.tensor(options.temperature or 1.0))
        self.head = nn.Sequential(
            nn.Dropout(options.dropout),
            nn.Linear(encoder.width, options.hidden),
            nn.SiLU(),
            nn.Dropout(options.dropout),
            nn.Linear(options.hidden, classes),
        )
        family = "thirds" if options.pattern == "thirds" else "waves"  # tints: of the one class without a colour
        self.register_buffer("tiles", textures(classes, channels, family))
        self.register_buffer("tints", torch.zeros(classes, ZONES, channels))
        self.register_buffer("usual", torch.zeros(ZONES * channels))
        self.register_buffer("quiet", torch.zeros(ZONES * channels, ZONES * channels))
        self.strength = nn.Parameter(torch.full((classes,), math.atanh(options.amplitude)))
        self.uses_colour = options.pattern == "tints"

    def choose_colour_patterns(self, means: Tensor, labels: Tensor) -> None:
        """Gives classes colours in place of periodic patterns, but for the one without, from the images' zone means.

        Args:
            means: float N×(ZONES·C) in grey levels, of ``textures.zone_means``.
            labels: int64 N.
        """
        self.tints.copy_(colour_patterns(means, labels, len(self.tints)))
        self.tiles *= (self.tints == 0).all(2).all(1)[:, None, None, None]
        self.usual.copy_(means.mean(0) / 255)
        self.quiet.copy_(quiet_directions(means))

    def standardise(self, features: Tensor) -> None:
        """Learns centre and spread of each feature from those of all training images, float N×D."""
        self.centre.copy_(features.mean(0))
        self.spread.copy_(features.std(0) + 1e-3)

    def scaled(self, features: Tensor) -> Tensor:
        """The encoder's features, float B×D, as the head takes them: of about mean 0 and deviation 1."""
        return (features - self.centre) / self.spread

    def code(self, images: Tensor) -> Tensor:
        """The class code, float B×K, that images, float B×C×H×W in [0, 1], get."""
        logits = self.head(self.scaled(self.encoder(images)))
        found: Tensor = (logits.float().log_softmax(1) + self.second(images)) / 2 if self.second else logits
        return found

    def noise(self, code: Tensor, images: Tensor) -> Tensor:
        """The noise n, float B×C×H×W in [-ε, ε], that a code (float B×K) gives images, float B×C×H×W in [0, 1]."""
        height, width = images.shape[-2:]
        shares = self._shares(code)
        one = self._tile(shares)
        repeats = [-(-length // side) for length, side in zip((height, width), one.shape[-2:], strict=True)]
        pattern = one.repeat(1, 1, *repeats)[..., :height, :width]
        if self.uses_colour:
            masks = zones((height, width)).to(one.device)
            for colour, mask in zip(self._colours(shares, zone_means(images.float())).unbind(1), masks, strict=True):
                pattern = pattern + colour[..., None, None] * mask
        return self.epsilon * torch.tanh(pattern)

    def zone_tiles(self, code: Tensor, means: Tensor | None) -> Tensor:
        """The noise of images of any size, as the tile that repeats over each zone of them (one zone without colour
        patterns).

        Args:
            code: float B×K.
            means: of ``zone_means``, float B×(ZONES·C) in [0, 1]; read with colour patterns only.

        Returns:
            float B×Z×C×t×t in [-ε, ε]; a zone's pixel (y, x) has the noise at (y mod t, x mod t) of its tile.
        """
        shares = self._shares(code)
        pattern = self._tile(shares)[:, None]
        if self.uses_colour and means is not None:
            pattern = pattern + self._colours(shares, means)[..., None, None]
        return self.epsilon * torch.tanh(pattern)

    @torch.no_grad()
    def field(self, code: Tensor, image: Tensor) -> TileField:
        """The noise that a code gives one picture, whatever its size.

        Args:
            code: float 1×K.
            image: float 1×C×h×w in [0, 1], the picture or a copy of any size, whose zone means colour patterns need.
        """
        tiles = self.zone_tiles(code, zone_means(image.float()) if self.uses_colour else None)
        return TileField(tiles[0].permute(0, 2, 3, 1).cpu().numpy())

    def _shares(self, code: Tensor) -> Tensor:
        """s_k · c_k, float32 B×K: products and sums stay in float32 under bf16 too, whose steps near ε are coarse."""
        return class_shares(code, self.temperature, self.mixing) * self.strength

    def _tile(self, shares: Tensor) -> Tensor:
        """The periodic patterns' tile before the bound, float B×C×t×t."""
        found: Tensor = (shares[..., None] * self.tiles.flatten(1)).sum(1).unflatten(1, self.tiles.shape[1:])
        return found

    def _colours(self, shares: Tensor, means: Tensor) -> Tensor:
        """Each zone's colour less the image's own before the bound, float B×ZONES×C, from zone means in [0, 1]."""
        own = ((means - self.usual)[:, None] * self.quiet).sum(2)
        found: Tensor = ((shares[..., None] * self.tints.flatten(1)).sum(1) - own / self.epsilon).unflatten(
            1, (ZONES, -1)
        )
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Noise for images.

        Args:
            images: float B×C×H×W in [0, 1].

        Returns:
            The noise n, float B×C×H×W in [-ε, ε]; adding and clipping is the caller's.
        """
        return self.noise(self.code(images), images)


def build_pattern_generator(
    options: PatternsConfig, channels: int, classes: int, epsilon: float, size: tuple[int, int], load: bool = True
) -> PatternGenerator:
    """The generator that the options describe (global torch random state decides its weights).

    Args:
        options: of the method.
        channels: 1 or 3.
        classes: number of classes K.
        epsilon: the bound in [0, 1] pixel units.
        size: height and width of the images that an auxiliary classifier is trained on.
        load: read a pretrained encoder's weights; without it they come with the generator's file.

    Raises:
        ValueError: there is no such auxiliary classifier for these images, or more classes than different patterns.
    """
    encoder, arch = build_encoder(options, channels, load), options.auxiliary_classifier
    second = None if arch == "none" else ScratchClassifier(arch, classes, channels, size)
    return PatternGenerator(options, encoder, second, channels, classes, epsilon)
