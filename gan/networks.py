"""Generator and discriminator, both free of batch statistics.

Their layers are our choice: the published abstract names the parts, not their design.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gan.classifier import AuxiliaryClassifier
from gan.codes import class_codes, mixed_code
from gan.config import ClassifierConfig, NoiseConfig
from gan.field import GridField, enlarged, grid_field
from gan.noise import NoiseNetwork


class Generator(nn.Module):
    """Image to noise, in one forward pass and without a label: n = ε · gate(x) · tanh(g(x, c(x))).

    The auxiliary classifier reads the image; the code is the mixture of the classes' vectors by what it reads,
    c(x) = Σ_k √p_k(x) · v_k, scaled to the length of one; the noise network makes the field (gan/noise.py), which is
    enlarged to the picture. So n is a cause of the label association (it carries the code that was read) and of the
    published image (it is added).

    Args:
        classifier: reads the class; a module with ``shares`` (gan/classifier.py, gan/imagenet.py).
        noise: makes fields.
        classes: number of classes K.
        epsilon: the bound ε of the noise, in [0, 1] pixel units (8/255 for eight grey levels).
    """

    vectors: Tensor
    keeps_gray = True  # a gray picture gets the luma of its noise, whatever the generator was trained on

    def __init__(self, classifier: nn.Module, noise: NoiseNetwork, classes: int, epsilon: float) -> None:
        super().__init__()
        self.classifier: Any = classifier
        self.noise_network, self.epsilon = noise, epsilon
        # the same vectors for everybody who has so many classes: the network knows no others better
        self.register_buffer("vectors", class_codes(classes, noise.dimensions))

    def code(self, images: Tensor) -> Tensor:
        """Class logits, float B×K, of images, float B×C×H×W in [0, 1]."""
        found: Tensor = self.classifier(images)
        return found

    def vector(self, logits: Tensor) -> Tensor:
        """The code vectors, float B×D of length √D, for class logits, float B×K."""
        return mixed_code(self.classifier.shares(logits), self.vectors)

    def field_of(self, images: Tensor, vectors: Tensor, boost: float = 1.0) -> Tensor:
        """Fields, float B×C×S×S in [-ε, ε], of images, float B×C×H×W in [0, 1], with code vectors, float B×D."""
        found: Tensor = self.epsilon * self.noise_network(images, vectors, boost)
        return found

    def noise(self, logits: Tensor, images: Tensor) -> Tensor:
        """The noise n, float B×C×H×W in [-ε, ε], that class logits (float B×K) give images (float B×C×H×W)."""
        height, width = images.shape[-2:]
        return enlarged(self.field_of(images, self.vector(logits)), (height, width))

    def field(self, logits: Tensor, image: Tensor) -> GridField:
        """The noise of one picture at any size.

        Args:
            logits: float 1×K, of ``code``.
            image: the whole picture, reduced, float 1×C×h×w in [0, 1].
        """
        return grid_field(self.field_of(image, self.vector(logits)))

    def forward(self, images: Tensor) -> Tensor:
        """Noise for images.

        Args:
            images: float B×C×H×W in [0, 1].

        Returns:
            The noise n, float B×C×H×W in [-ε, ε]; adding and clipping is the caller's.
        """
        return self.noise(self.code(images), images)


def build_generator(
    classifier: ClassifierConfig,
    noise: NoiseConfig,
    channels: int,
    classes: int,
    epsilon: float,
    size: tuple[int, int],
    load: bool = True,
) -> Generator:
    """The generator that the options describe (global torch random state decides its weights).

    Args:
        classifier: options of the auxiliary classifier.
        noise: options of the noise network.
        channels: 1 or 3.
        classes: number of classes K.
        epsilon: the bound in [0, 1] pixel units.
        size: height and width of the images that the classifier is trained on.
        load: read a pretrained network's weights; without it they come with the generator's file.

    Raises:
        ValueError: there is no such architecture for these images.
    """
    classifier_module = AuxiliaryClassifier(classifier, classes, channels, size, load)
    return Generator(classifier_module, NoiseNetwork(noise), classes, epsilon)


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
        found: Tensor = self.net(images * 4 - 2)
        return found
