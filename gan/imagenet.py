"""The generator that comes with the package: it reads ImageNet's classes, so that it protects photos without any fit.

Nothing is trained on the owner's photos: EfficientNet-Lite0, from its package, says which of ImageNet's 1,000 classes a
photo looks like, and the noise network of gan/shipped puts that class's code into the noise. Like photos get like
codes, whoever owns them.
"""

import timm.data
import torch
from torch import Tensor, nn

from gan.classifier import class_shares
from gan.encoder import PretrainedEncoder
from gan.networks import Generator
from gan.protection import Card, TrainedGenerator, shipped_network
from victims.pretrained import packaged_head

TEMPERATURE = 0.5  # as the auxiliary classifier's
SIZE = 128  # pixels a side of the copy that the class is read from


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
        return self.head(self.encoder(images)[:, -self.head.in_features :])

    def shares(self, logits: Tensor) -> Tensor:
        """What each class's code weighs, float B×1000; see ``gan.classifier.class_shares``."""
        return class_shares(logits, TEMPERATURE, "root")


def shipped_generator(epsilon: float = 8.0) -> tuple[TrainedGenerator, Card, str]:
    """The generator, its card, and the sha256 of its noise network's file.

    Args:
        epsilon: the bound in grey levels.

    Raises:
        GeneratorFileError: the file is missing or damaged.
    """
    network, fields, sha256 = shipped_network()
    info = timm.data.ImageNetInfo()
    card = Card(
        channels=3,
        epsilon=epsilon,
        generator={"noise": fields["noise"]},
        data="procedural pictures and crops of photographs; classes by ImageNet weights",
        fingerprint="",
        class_names=[info.index_to_description(i) for i in range(ImageNetClassifier.classes)],
        images=fields["images"],
        size=[SIZE, SIZE],
        seed=fields["seed"],
        epochs=0,
        versions=fields["versions"],
    )
    with torch.random.fork_rng():
        generator = Generator(ImageNetClassifier(), network, ImageNetClassifier.classes, epsilon / 255)
    return TrainedGenerator(generator, epsilon), card, sha256
