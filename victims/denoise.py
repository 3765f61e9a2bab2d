"""Networks from images to images that an attacker trains: a small denoising autoencoder on what was collected."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.augment import draws, isolated_rng
from datamodules.images import to_float
from victims.input_stage import Purifier, rounded
from victims.loop import equal_batches, make_optimizer, train_epochs

BATCH, RATE = 32, 2e-3  # ours


class Autoencoder(nn.Module):
    """Convolutions down to a quarter of the sides and few channels, and up again.

    Args:
        channels: of the images.
        width: channels within; the narrowest place has half of them.
    """

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(channels, width, 3, 2, 1), nn.Conv2d(width, width // 2, 3, 2, 1)])
        self.up = nn.ModuleList([nn.Conv2d(width // 2, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)])
        self.out = nn.Conv2d(width, channels, 3, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Float B×C×H×W around [0, 1] to the same shape."""
        sizes, hidden = [], images - 0.5
        for layer in self.down:
            sizes.append(hidden.shape[2:])
            hidden = F.relu(layer(hidden))
        for layer in self.up:
            hidden = F.relu(layer(F.interpolate(hidden, sizes.pop(), mode="bilinear")))
        found: Tensor = self.out(hidden) + 0.5
        return found


Example = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]  # rows (int64 B) and draws to input and target


def learned(
    make: Callable[[], nn.Module], count: int, example: Example, epochs: int, seed: int, device: torch.device
) -> Purifier:
    """Trains a network from images to images, and gives what it then does to any image.

    Args:
        make: the network, its weights from torch's global random state.
        count: number of examples.
        example: float B×C×H×W around [0, 1] each, on the CPU.
        epochs: passes over the examples.
        seed: of the initialisation, the order and the draws.
        device: of the training.
    """
    with isolated_rng(seed, device), torch.enable_grad():
        net = make().to(device)
        optimizer = make_optimizer(net.parameters(), "adam", RATE)
        batches = partial(equal_batches, count, BATCH, torch.device("cpu"))

        def loss(rows: Tensor, epoch: int, step: int) -> Tensor:
            given, wanted = (images.to(device) for images in example(rows, draws(seed, epoch, step)))
            return F.mse_loss(net(given), wanted)

        for _ in train_epochs(range(epochs), batches, loss, optimizer):
            pass

    def change(pixels: Tensor) -> Tensor:
        with torch.no_grad():
            return rounded(net(to_float(pixels).to(device))).cpu()

    return change


def autoencoder(images: Tensor, sigma: float, epochs: int, seed: int, device: torch.device) -> Purifier:
    """Learns on images with Gaussian noise to give them back without it.

    Args:
        images: uint8 N×C×H×W, as collected: nothing clean is needed.
        sigma: of the noise, in grey levels.
        epochs: passes over the images.
        seed: of the initialisation, the order and the noise.
        device: of the training.
    """

    def noisy(rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        wanted = to_float(images[rows])
        return wanted + torch.randn(wanted.shape, generator=generator) * sigma / 255, wanted

    return learned(lambda: Autoencoder(images.shape[1]), len(images), noisy, epochs, seed, device)
