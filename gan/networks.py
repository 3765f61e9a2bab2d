"""Generator and discriminator, both free of batch statistics.

Layers, the class code and the textures are our choice: the published abstract names the parts, not their design.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gan.config import GeneratorConfig
from gan.encoder import Encoder, build_encoder
from gan.reader import SecondReader
from gan.textures import ZONES, quiet_directions, textures, tints, zone_means, zones


class Generator(nn.Module):
    """g: an image gives its noise, n = ε·tanh(g(x)), in one forward pass and without a label.

    The confounder is spelled out: an encoder reads the image, a head names its class softly, and every class has a
    pattern of its own, a wave (a small tile repeated over the whole image) or a tint of the middle and of the rim:

        n = ε·tanh(Σ_k c_k(x) · s_k · pattern_k − l(x)),  c(x) = √p(x),  p(x) = softmax(z(x) / τ)

    where z are the log-probabilities of head(encoder(x)), or their mean with those of a second reader.

    So n causes the label association (it is a function of the class that was read) and the published image (it is
    added). With the root, c has length 1: a doubtful image gets as much noise as a sure one, in a mixture from which
    its odds can be read. With tints, l(x) levels the image's own colours where those vary little, so that tints stand
    out; with waves l is 0. Head and strengths s_k are learned, and the encoder where it is not a pretrained one; the
    patterns are those of ``gan.textures``.

    Args:
        options: of the generator.
        encoder: images, float B×C×H×W in [0, 1], to features, float B×D (its ``width`` is D).
        second: the second reader, or None.
        channels: 1 (gray) or 3 (RGB), of the images.
        classes: number of classes K.
        epsilon: the bound ε of the noise, in [0, 1] pixel units (8/255 for eight grey levels).

    Raises:
        ValueError: there are more classes than different waves.
    """

    tiles: Tensor
    tints: Tensor
    usual: Tensor
    quiet: Tensor
    centre: Tensor
    spread: Tensor
    temperature: Tensor

    def __init__(
        self,
        options: GeneratorConfig,
        encoder: Encoder,
        second: SecondReader | None,
        channels: int,
        classes: int,
        epsilon: float,
    ) -> None:
        super().__init__()
        self.encoder, self.second, self.epsilon, self.root = encoder, second, epsilon, options.mixing == "root"
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
        family = "thirds" if options.pattern == "thirds" else "waves"  # tints: of the one class without
        self.register_buffer("tiles", textures(classes, channels, family))
        self.register_buffer("tints", torch.zeros(classes, ZONES, channels))
        self.register_buffer("usual", torch.zeros(ZONES * channels))
        self.register_buffer("quiet", torch.zeros(ZONES * channels, ZONES * channels))
        self.strength = nn.Parameter(torch.full((classes,), math.atanh(options.amplitude)))
        self.tinted = options.pattern == "tints"

    def choose_tints(self, means: Tensor, labels: Tensor) -> None:
        """Gives classes tints in place of waves, but for the one that gets none, from the training images' zone means.

        Args:
            means: float N×(ZONES·C) in grey levels, of ``gan.textures.zone_means``.
            labels: int64 N.
        """
        self.tints.copy_(tints(means, labels, len(self.tints)))
        self.tiles *= (self.tints == 0).all(2).all(1)[:, None, None, None]
        self.usual.copy_(means.mean(0) / 255)
        self.quiet.copy_(quiet_directions(means))

    def standardise(self, features: Tensor) -> None:
        """Learns centre and spread of each feature, for a frozen encoder, from all training images, float N×D."""
        self.centre.copy_(features.mean(0))
        self.spread.copy_(features.std(0) + 1e-3)

    def named(self, features: Tensor) -> Tensor:
        """The head's logits of the classes, float B×K, from the encoder's features, float B×D."""
        return self.head((features - self.centre) / self.spread)

    def joined(self, named: Tensor, opinion: Tensor | None) -> Tensor:
        """The code: the head's logits (float B×K), or the mean of the log-probabilities with the second reader's."""
        return named if opinion is None else (named.float().log_softmax(1) + opinion) / 2

    def code(self, images: Tensor) -> Tensor:
        """The code, float B×K, that images, float B×C×H×W in [0, 1], get."""
        return self.joined(self.named(self.encoder(images)), self.second(images) if self.second else None)

    def noise(self, code: Tensor, images: Tensor) -> Tensor:
        """The noise n, float B×C×H×W in [-ε, ε], that a code (float B×K) gives images, float B×C×H×W in [0, 1]."""
        height, width = images.shape[-2:]
        shares = self._shares(code)
        one = self._tile(shares)
        repeats = [-(-length // side) for length, side in zip((height, width), one.shape[-2:], strict=True)]
        pattern = one.repeat(1, 1, *repeats)[..., :height, :width]
        if self.tinted:
            masks = zones((height, width)).to(one.device)
            for colour, mask in zip(self._colours(shares, zone_means(images.float())).unbind(1), masks, strict=True):
                pattern = pattern + colour[..., None, None] * mask
        return self.epsilon * torch.tanh(pattern)

    def zone_tiles(self, code: Tensor, means: Tensor | None) -> Tensor:
        """The noise of images of any size, as the tile that repeats over each zone of them (one zone without tints).

        Args:
            code: float B×K.
            means: of ``zone_means``, float B×(ZONES·C) in [0, 1]; read with tints only.

        Returns:
            float B×Z×C×t×t in [-ε, ε]; a zone's pixel (y, x) has the noise at (y mod t, x mod t) of its tile.
        """
        shares = self._shares(code)
        pattern = self._tile(shares)[:, None]
        if self.tinted and means is not None:
            pattern = pattern + self._colours(shares, means)[..., None, None]
        return self.epsilon * torch.tanh(pattern)

    def _shares(self, code: Tensor) -> Tensor:
        """s_k · c_k, float32 B×K: products and sums stay in float32 under bf16 too, whose steps near ε are coarse."""
        shares = (code.float() / self.temperature).softmax(1)
        if self.root:
            shares = shares.clamp_min(1e-12).sqrt()  # the root's slope at 0 is infinite
        return shares * self.strength

    def _tile(self, shares: Tensor) -> Tensor:
        """The waves' tile before the bound, float B×C×t×t."""
        return (shares[..., None] * self.tiles.flatten(1)).sum(1).unflatten(1, self.tiles.shape[1:])

    def _colours(self, shares: Tensor, means: Tensor) -> Tensor:
        """Each zone's tint less the image's own before the bound, float B×ZONES×C, from zone means in [0, 1]."""
        own = ((means - self.usual)[:, None] * self.quiet).sum(2)
        return ((shares[..., None] * self.tints.flatten(1)).sum(1) - own / self.epsilon).unflatten(1, (ZONES, -1))

    def forward(self, images: Tensor) -> Tensor:
        """Noise for images.

        Args:
            images: float B×C×H×W in [0, 1].

        Returns:
            The noise n, float B×C×H×W in [-ε, ε]; adding and clipping is the caller's.
        """
        return self.noise(self.code(images), images)


def build_generator(
    options: GeneratorConfig, channels: int, classes: int, epsilon: float, size: tuple[int, int], load: bool = True
) -> Generator:
    """The generator that the options describe (global torch random state decides its weights).

    Args:
        options: of the generator.
        channels: 1 or 3.
        classes: number of classes K.
        epsilon: the bound in [0, 1] pixel units.
        size: height and width of the images that a second reader is taught on.
        load: read a pretrained encoder's weights; without it they come with the generator's file.

    Raises:
        ValueError: there is no such second reader for these images, or more classes than different waves.
    """
    encoder, arch = build_encoder(options, channels, load), options.second_reader
    second = None if arch == "none" else SecondReader(arch, classes, channels, size)
    return Generator(options, encoder, second, channels, classes, epsilon)


class Discriminator(nn.Module):
    """D: gives every patch of an image a score, high for clean ones; spectrally normalised, no batch statistics.

    Args:
        channels: 1 or 3.
        width: channels of the first layer.
        levels: strided layers; the scores are for patches, H/2^levels × W/2^levels of them.
    """

    def __init__(self, channels: int, width: int = 32, levels: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = [spectral_norm(nn.Conv2d(channels, width, 3, padding=1)), nn.LeakyReLU(0.2)]
        for i in range(levels):
            conv = nn.Conv2d(width * 2**i, width * 2 ** (i + 1), 3, stride=2, padding=1)
            layers += [spectral_norm(conv), nn.LeakyReLU(0.2)]
        layers.append(spectral_norm(nn.Conv2d(width * 2**levels, 1, 3, padding=1)))
        self.net = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Scores, float B×1×h×w, of images, float B×C×H×W in [0, 1]."""
        return self.net(images * 4 - 2)
