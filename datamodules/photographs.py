"""Crops of three photographs that may be used freely and come with scikit-learn and matplotlib.

Noise that is learned on procedural pictures alone is read badly on real ones: their textures and edges are missing. A
few photographs, cropped at all scales, have them; many photographs are not needed, since no class is learned. Ours.
"""

import matplotlib.cbook
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor

CREDIT = (
    "crops of china.jpg and flower.jpg (flickr.com/photos/danielbuechele and flickr.com/photos/vultilion, CC BY 2.0, "
    "from scikit-learn) and of grace_hopper.jpg (United States Navy, public domain, from matplotlib)"
)


def crops(count: int, side: int, seed: int) -> Tensor:
    """Square crops, uint8 N×3×side×side, turned, mirrored, of changed colours, contrast and brightness.

    Args:
        count: N.
        side: in pixels; also the smallest crop's. The largest is the photograph's shorter side.
        seed: decides all of them; crop i is the same whatever N.
    """
    portrait = Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    photographs = [*(Image.fromarray(image) for image in load_sample_images().images), portrait.convert("RGB")]
    made = [_one(photographs, side, np.random.default_rng((seed, i))) for i in range(count)]
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous()


def _one(photographs: list[Image.Image], side: int, random: np.random.Generator) -> np.ndarray:
    photograph = photographs[random.integers(len(photographs))]
    across = int(side * (min(photograph.size) / side) ** random.random())  # each scale as often
    left, top = (int(random.integers(length - across + 1)) for length in photograph.size)
    part = photograph.resize((side, side), Image.Resampling.LANCZOS, (left, top, left + across, top + across))
    pixels = np.asarray(part, dtype=np.float64)
    if random.random() < 0.5:
        pixels = pixels[:, ::-1]
    if random.random() < 0.3:
        pixels = np.rot90(pixels, int(random.integers(4)))
    if random.random() < 0.5:
        pixels = pixels[..., random.permutation(3)]
    pixels = (pixels - 128) * random.uniform(0.6, 1.3) + 128 + random.uniform(-40, 40)
    return pixels.clip(0, 255).round().astype(np.uint8)
