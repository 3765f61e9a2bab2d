"""Does it show that images are protected, to somebody who has no clean copy of them?

Noise that encodes the class is learned by networks too simple to learn pictures. Two questions follow: does a set stand
out, because a simple network learns it (the linear separability of Yu et al., KDD 2022; detection by simple networks of
Zhu et al., AAAI 2024)? And which images of a set that is protected in part are it (ours)?
"""

from dataclasses import replace

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_roc

from datamodules.images import ImageSet
from datamodules.split import stratified_group_split
from victims.config import RECIPES
from victims.partial import partially_protected, protected_mask
from victims.train import predict, train_victim

SIMPLE = {
    name: replace(RECIPES["quick"], arch=arch, epochs=15, lr=0.02, augment="none")
    for name, arch in (("linear", "linear"), ("two layers", "two_layer"))
}
HELD, FALSE_ALARMS = 0.2, 0.05
FEWEST = 5  # images per class on average, so that each part has some


def measurable(stored: dict[str, ImageSet], classes: int) -> list[str]:
    """The settings of protected sets that are large enough to be divided."""
    return [setting for setting, images in stored.items() if len(images) >= FEWEST * classes]


class Detection:
    """How well a simple network on the pixels tells protected images from clean ones.

    Args:
        probe: one of SIMPLE.
    """

    def __init__(self, probe: str) -> None:
        self.recipe = SIMPLE[probe]

    def run(self, clean: ImageSet, stored: ImageSet, classes: int, seed: int, device: torch.device) -> dict[str, float]:
        """Trains the network four times, with the images' labels as a collector has them.

        Args:
            clean: the images without noise.
            stored: the same ones as published.
            classes: their number.
            seed: of the network, of the parts, and of which images are protected.
            device: that trains.

        Returns:
            ``set_protected`` and ``set_clean``: the network's accuracy on a fifth of the published (the clean) images
            that is kept from it; a set stands out as far as they differ. ``images``: area under the ROC curve of its
            confidence in an image's label, where half of each class is protected and each image is judged by a network
            that learned from the other half of the set; 0.5 tells nothing. ``found``: the share of protected images
            that are found at FALSE_ALARMS false alarms. All in [0, 1].
        """
        held, used = stratified_group_split(clean.labels, [HELD], seed)
        alone = {
            name: train_victim(part.subset(used), part.subset(held), classes, self.recipe, seed, device).curve[-1]
            for name, part in (("set_protected", stored), ("set_clean", clean))
        }
        mask = protected_mask(clean.labels, replace(self.recipe, share=0.5), seed)
        confidence = self._confidence(partially_protected(clean, stored, mask), classes, seed, device)
        false, found, _ = binary_roc(confidence, mask.long())
        return {
            **{name: point["accuracy"] for name, point in alone.items()},
            "images": binary_auroc(confidence, mask.long()).item(),
            "found": found[false <= FALSE_ALARMS].max().item(),
        }

    def _confidence(self, images: ImageSet, classes: int, seed: int, device: torch.device) -> Tensor:
        """The probability of each image's own label, float N, by a network that never saw the image."""
        confidence = torch.zeros(len(images))
        halves = stratified_group_split(images.labels, [0.5], seed)
        for learned, judged in (halves, halves[::-1]):
            part = images.subset(judged)
            model = train_victim(images.subset(learned), part, classes, self.recipe, seed, device).model
            shares = predict(model, part.images, device)
            confidence[judged] = shares.gather(1, part.labels[:, None])[:, 0]
        return confidence
