"""The generator that comes with the package: it reads ImageNet's classes, so that it protects photos without any fit.

Nothing is trained on the owner's photos: EfficientNet-Lite0, from its package, says which of ImageNet's 1,000 classes a
photo looks like, and the noise network of gan/shipped puts that class's code into the noise. Like photos get like
codes, whoever owns them.
"""

import timm.data
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan.classifier import class_shares
from gan.encoder import PretrainedEncoder
from gan.networks import Generator
from gan.protection import GeneratorCard, TrainedGenerator, shipped_network
from victims.pretrained import packaged_head

TEMPERATURE = 0.5  # as the auxiliary classifier's
SIZE = 128  # pixels per side of the copy that the class is read from


class ImageNetClassifier(nn.Module):
    """Images to logits of ImageNet's 1,000 classes, by weights from a package; frozen."""

    classes = 1000

    def __init__(self) -> None:
        super().__init__()
        self.encoder = PretrainedEncoder()
        weight, bias = packaged_head()
        self.head = nn.Linear(weight.shape[1], weight.shape[0])
        self.head.load_state_dict({"weight": weight, "bias": bias})
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "ImageNetClassifier":
        """Stays in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Class logits, float B×1000, of images, float B×C×H×W in [0, 1]."""
        found: Tensor = self.head(self.encoder(images)[:, -self.head.in_features :])
        return found

    def shares(self, logits: Tensor) -> Tensor:
        """What each class's code weighs, float B×1000; see ``gan.classifier.class_shares``."""
        return class_shares(logits, TEMPERATURE, "root")


class GroupClassifier(nn.Module):
    """Images to how near they are to the centre of each of K groups of like photos; frozen.

    Args:
        centres: float K×D, of length 1 each, of the encoder's last features (``like_features``).
    """

    centres: Tensor

    def __init__(self, centres: Tensor) -> None:
        super().__init__()
        self.encoder = PretrainedEncoder()
        self.register_buffer("centres", centres)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "GroupClassifier":
        """Stays in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Cosines, float B×K, of images, float B×C×H×W in [0, 1]."""
        return like_features(self.encoder, images) @ self.centres.T

    def shares(self, logits: Tensor) -> Tensor:
        """What each group's code weighs, float B×K: all of it the nearest one's."""
        return F.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype)


def like_features(encoder: PretrainedEncoder, images: Tensor) -> Tensor:
    """Float B×1280 of length 1, by which like photos are near each other, of images, float B×C×H×W in [0, 1]."""
    return F.normalize(encoder(images)[:, -encoder.last :])


def shipped_generator(
    epsilon: float = 8.0, centres: Tensor | None = None
) -> tuple[TrainedGenerator, GeneratorCard, str]:
    """The generator, its card, and the sha256 of its noise network's file.

    Args:
        epsilon: the bound in grey levels.
        centres: of groups of like photos, whose codes are to be given instead of ImageNet's classes'
            (``GroupClassifier``).

    Raises:
        GeneratorFileError: the file is missing or damaged.
    """
    network, fields, sha256 = shipped_network()
    info = timm.data.ImageNetInfo()
    names = [info.index_to_description(i) for i in range(ImageNetClassifier.classes)]
    if centres is not None:
        names = [f"group {place}" for place in range(1, len(centres) + 1)]
    card = GeneratorCard(
        channels=3,
        epsilon=epsilon,
        generator={"noise": fields["noise"]},
        data="procedural pictures and crops of photographs; classes by ImageNet weights",
        fingerprint="",
        class_names=names,
        images=fields["images"],
        size=[SIZE, SIZE],
        seed=fields["seed"],
        epochs=0,
        versions=fields["versions"],
    )
    with torch.random.fork_rng():
        classifier_module = ImageNetClassifier() if centres is None else GroupClassifier(centres)
        generator = Generator(classifier_module, network, len(names), epsilon / 255)
    return TrainedGenerator(generator, epsilon), card, sha256
