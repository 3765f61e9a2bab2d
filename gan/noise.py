"""The network whose noise is learned: a picture and a class code give a coarse field of colours. Ours.

Nothing here names a texture: which frequencies, colours and places carry a code is what the game finds (gan/module.py).
What is chosen is the frame around it: the field has 32×32 cells of luma and 4×4 of colour (fresh networks read coarse
colours first, and codecs keep them), its energy is fixed, and a gate can lower it where a picture is smooth.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan.config import NoiseConfig
from gan.encoder import group_norm
from gan.field import reduced

SIDE = 32  # pixels per side at which a picture is looked at, and cells of the field
COLOURS = 4  # cells per side of the field's colours
LUMA = (0.299, 0.587, 0.114)  # BT.601, as codecs and gray conversions weigh
TEXTURE = 0.06  # standard deviation of luma within 3×3 of the SIDE×SIDE pixels from which a gate is fully open


def unit(x: Tensor) -> Tensor:
    """Each item of a batch, B×C×H×W, scaled to a mean square of 1."""
    return x / (x.square().mean((1, 2, 3), keepdim=True) + 1e-6).sqrt()


def luma(images: Tensor) -> Tensor:
    """B×1×H×W of B×C×H×W, C = 1 or 3."""
    if images.shape[1] == 1:
        return images
    return (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def texture_gate(images: Tensor, floor: float) -> Tensor:
    """How much of the noise each place gets, float B×1×H×W in [floor, 1]: little where a picture is smooth.

    After the just-noticeable difference: eyes (and codecs) hide changes where luma varies. A 3×3 window, then smoothed,
    so that the gate itself draws no edges.

    Args:
        images: float B×C×SIDE×SIDE in [0, 1].
        floor: what a flat place gets.
    """

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)

    y = luma(images)
    deviation = (mean(y * y) - mean(y).square()).clamp_min(0).sqrt()
    return floor + (1 - floor) * mean((deviation / TEXTURE).clamp(max=1))


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear")


class NoiseNetwork(nn.Module):
    """g: a U-Net whose inner maps are concatenated with a learned codebook, linear in the class code.

    n = ε · gate(x) · tanh(gain · (√s · L(x, c) + √(1−s) · C(x, c))), where L (luma, the same in all channels) and C
    (colour without luma, before it is enlarged to L's cells) each have mean square 1 over the picture: the network
    decides the form of the noise, not its strength, and no picture gets less. Group
    normalisation: no picture depends on another.

    Args:
        options: of the network.
    """

    def __init__(self, options: NoiseConfig) -> None:
        super().__init__()
        w, d = options.width, options.code
        self.options, self.dimensions = options, d
        self.stem = nn.Conv2d(3, w, 3, padding=1)
        self.down_half = nn.Conv2d(w, 2 * w, 3, stride=2, padding=1)
        self.down_quarter = nn.Conv2d(2 * w, 2 * w, 3, stride=2, padding=1)
        shapes = {
            "coarse": (2 * w, SIDE // 4, 1.0),
            "middle": (w // 2, SIDE // 2, 0.5),
            "luma": (1, SIDE, 0.5),
            "colour": (3, COLOURS, 0.5),
        }
        self.shapes = {name: (channels, side, side) for name, (channels, side, _) in shapes.items()}
        self.book = nn.ModuleDict()
        for name, (channels, side, spread) in shapes.items():
            self.book[name] = nn.Linear(d, channels * side * side, bias=False)
            nn.init.normal_(self.book[name].weight, std=spread / d**0.5)  # type: ignore[arg-type]
        self.up_quarter = nn.Conv2d(4 * w, 2 * w, 3, padding=1)
        self.up_half = nn.Conv2d(4 * w + w // 2, 2 * w, 3, padding=1)
        self.up_full = nn.Conv2d(3 * w, w, 3, padding=1)
        self.luma, self.colour = nn.Conv2d(w, 1, 3, padding=1), nn.Conv2d(2 * w, 3, 3, padding=1)
        self.norms = nn.ModuleList(group_norm(channels) for channels in (2 * w, 2 * w, 2 * w, 2 * w, w))

    def forward(self, images: Tensor, codes: Tensor, boost: float = 1.0) -> Tensor:
        """The field of each picture, as a share of the bound.

        Args:
            images: float B×C×H×W in [0, 1], C = 1 or 3, any size; looked at as SIDE×SIDE pixels.
            codes: float B×D, each about √D long.
            boost: what the gain is multiplied by, in the game.

        Returns:
            float32 B×C×SIDE×SIDE in [-1, 1].
        """
        channels, small = images.shape[1], reduced(images, SIDE)
        maps = {name: book(codes).unflatten(1, self.shapes[name]) for name, book in self.book.items()}
        a = F.silu(self.stem(small.expand(-1, 3, -1, -1) * 4 - 2))
        b = F.silu(self.norms[0](self.down_half(a)))
        c = F.silu(self.norms[1](self.down_quarter(b)))
        d = F.silu(self.norms[2](self.up_quarter(torch.cat([c, maps["coarse"]], 1))))
        u = F.silu(self.norms[3](self.up_half(torch.cat([_double(d), b, maps["middle"]], 1))))
        f = F.silu(self.norms[4](self.up_full(torch.cat([_double(u), a], 1))))
        light = unit((self.luma(f) + maps["luma"]).float())
        total = light
        if channels == 3:
            share = self.options.luma
            colour = (F.adaptive_avg_pool2d(self.colour(d), COLOURS) + maps["colour"]).float()
            colour = F.interpolate(unit(colour - luma(colour)), size=(SIDE, SIDE), mode="bilinear")
            total = share**0.5 * light + (1 - share) ** 0.5 * colour
        field = torch.tanh(boost * self.options.gain * total)
        return field if self.options.gate == 1 else field * texture_gate(small.float(), self.options.gate)
