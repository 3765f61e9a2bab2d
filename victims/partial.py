"""Sets of which a part is protected: what somebody has who collected from several sources."""

import numpy as np
import torch
from torch import Tensor

from datamodules.images import ImageSet
from victims.config import Recipe


def protected_mask(labels: Tensor, recipe: Recipe, seed: int) -> Tensor:
    """Which images are protected, bool N: of every protected class the same share, rounded.

    With the same seed, what is protected at one share is protected at every larger one.

    Args:
        labels: int64 N.
        recipe: ``share`` of the images, ``class_share`` of the classes (rounded), both in [0, 1].
        seed: of the choice.
    """
    rng = np.random.default_rng((seed, 0x5A4E))
    mask = torch.zeros(len(labels), dtype=torch.bool)
    classes = rng.permutation(labels.unique().numpy())
    chosen = set(classes[: round(recipe.class_share * len(classes))].tolist())
    for label in np.sort(classes):
        rows = rng.permutation(np.flatnonzero(labels.numpy() == label))  # drawn for all, so that shares stay nested
        if int(label) in chosen:
            mask[torch.from_numpy(rows[: round(recipe.share * len(rows))])] = True
    return mask


def partially_protected(clean: ImageSet, protected: ImageSet, mask: Tensor) -> ImageSet:
    """The protected images where the mask says so, else the clean ones; both sets hold the same images in one order."""
    return ImageSet(torch.where(mask[:, None, None, None], protected.images, clean.images), clean.labels)


def clean_remainder(clean: ImageSet, mask: Tensor) -> ImageSet:
    """The images that the mask leaves clean: what is there without any protected one."""
    return clean.subset((~mask).nonzero()[:, 0])


def mask_to_text(mask: Tensor) -> str:
    """A mask as it is stored: a 1 for each protected image, a 0 for each clean one, in the order of the set."""
    return "".join("1" if one else "0" for one in mask.tolist())
