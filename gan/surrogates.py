"""The pool of surrogates: classifiers that stand in for unknown victims, each started anew at its own time. Ours.

What counts is what a fresh network reads in its first steps. So no surrogate grows old: after ``life`` steps of its own
it gets new weights and, of many classes, other ones to tell apart; the pool's ages are spread evenly.
"""

import torch
from torch import Tensor, nn

from gan.config import CurriculumConfig, SurrogatesConfig
from gan.field import reduced
from gan.noise import luma
from victims.classifier import build_classifier

AVERAGE = 0.9  # weight of the past in the moving averages of what is read


def parts_of(spec: str) -> tuple[str, int, str]:
    """Architecture, size in pixels, and ``gray``, ``mono`` or nothing, of a surrogate's spec."""
    arch, _, rest = spec.partition("@")
    side, _, sees = rest.partition(":")
    return arch, int(side), sees


class Surrogate(nn.Module):
    """A classifier that sees pictures at a size of its own, and some without colour.

    Args:
        spec: architecture and size, such as ``narrow@16``; ``narrow@16:gray`` sees the luma of protected pictures,
            ``narrow@16:mono`` pictures that had one channel before they were protected.
        classes: that it tells apart.
        channels: 1 or 3.
    """

    def __init__(self, spec: str, classes: int, channels: int) -> None:
        super().__init__()
        arch, side, sees = parts_of(spec)
        self.spec, self.side, self.gray, self.mono = spec, side, bool(sees), sees == "mono"
        self.net = build_classifier(arch, classes, 1 if self.gray else channels, (side, side))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float B×K, of images, float B×C×H×W in [0, 1]."""
        if self.gray:
            images = luma(images)
        found: Tensor = self.net(reduced(images, self.side).contiguous(memory_format=torch.channels_last))
        return found


class SurrogatePool(nn.Module):
    """Surrogates, their ages and the codes that each tells apart; all of it is in the checkpoint.

    Args:
        options: of the pool.
        channels: 1 or 3.
        vectors: float K×D, the classes' codes.
        seed: decides all weights and codes.
    """

    turns: Tensor
    ages: Tensor
    lives: Tensor
    codes: Tensor

    def __init__(self, options: SurrogatesConfig, channels: int, vectors: Tensor, seed: int) -> None:
        super().__init__()
        self.options, self.channels, self.vectors, self.seed = options, channels, vectors.clone(), seed
        self.specs = options.kinds.split("+")
        count = len(self.specs)
        self.told = min(options.told, len(vectors))
        self.register_buffer("turns", torch.zeros((), dtype=torch.int64))
        self.register_buffer("ages", torch.arange(count) * options.life // count)
        self.register_buffer("lives", torch.zeros(count, dtype=torch.int64))
        self.register_buffer("codes", torch.zeros(count, self.told, vectors.shape[1]))
        self.nets = nn.ModuleList(self._net(place) for place in range(count))
        for place in range(count):
            self.codes[place] = self._codes(place)

    def _draws(self, place: int) -> int:
        return self.seed + 7919 * (1 + place + len(self.specs) * int(self.lives[place]))

    def _net(self, place: int) -> Surrogate:
        with torch.random.fork_rng():
            torch.manual_seed(self._draws(place))
            return Surrogate(self.specs[place], self.told, self.channels)

    def _codes(self, place: int) -> Tensor:
        """Of many classes every second life gets the first ones, which all data sets have, the others a random part."""
        rows = torch.arange(len(self.vectors))
        if int(self.lives[place]) % 2:
            rows = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self._draws(place) + 1))
        return self.vectors[rows[: self.told]]

    def advance(self) -> tuple[int, bool]:
        """The place of the surrogate whose turn it is, and whether it was started anew, because its life had ended."""
        place = int(self.turns) % len(self.nets)
        self.turns += 1
        fresh = bool(self.options.life) and int(self.ages[place]) >= self.options.life
        if fresh:
            self.lives[place] += 1
            self.ages[place] = 0
            self.nets[place].load_state_dict(self._net(place).state_dict())
            self.codes[place] = self._codes(place).to(self.codes.device)
        self.ages[place] += 1
        return place, fresh

    def mature(self, place: int) -> bool:
        """Whether a surrogate is in the second half of its life."""
        return not self.options.life or int(self.ages[place]) >= self.options.life // 2


class Curriculum(nn.Module):
    """How hard the game is for each surrogate: harder while it reads, easier while it does not; in the checkpoint.

    A surrogate's level ℓ goes from 0 to 2. Up to 1 the contrast of the pictures under the noise rises, a₀ + (1 − a₀)·ℓ,
    and so does the share of batches that T touches, ℓ: noise is first read on nearly grey pictures, then on pictures as
    they are. From 1 to 2 the noise gets weaker, from ``boost`` times its gain to its gain. (Lowering ε from twice its
    value on pictures as they are, as watermark networks do, was tried first and hardly read.)
    Levels belong to places in the pool, so that one that sees luma alone may learn longer. A surrogate that is started
    anew begins at half the level that the one before it had reached: at full level a fresh network reads nothing for
    hundreds of steps, and the noise would learn nothing from it. No level falls below the one at the start: a trained
    network that is led back to pictures of low contrast forgets what is read on pictures as they are.

    Args:
        options: contrast a₀, boost, steps and thresholds.
        places: surrogates.
        level: at the start, and the lowest.
    """

    levels: Tensor
    reads: Tensor

    def __init__(self, options: CurriculumConfig, places: int, level: float = 0.0) -> None:
        super().__init__()
        self.options, self.lowest = options, level
        self.register_buffer("levels", torch.full((places,), level, dtype=torch.float32))
        self.register_buffer("reads", torch.full((places,), (options.high + options.low) / 2, dtype=torch.float32))

    @property
    def level(self) -> float:
        """The mean level, in [0, 2]."""
        return self.levels.mean().item()

    @property
    def read(self) -> float:
        """Accuracy of the surrogates on codes, the mean of their moving averages."""
        return self.reads.mean().item()

    def share(self, place: int) -> float:
        """Of a surrogate's batches that are transformed."""
        return min(1.0, self.levels[place].item())

    def boost(self, place: int) -> float:
        """What the noise's gain is multiplied by."""
        return 1 + (self.options.boost - 1) * min(1.0, 2 - self.levels[place].item())

    def pictures(self, images: Tensor, place: int) -> Tensor:
        """Pictures, float B×C×H×W in [0, 1], at a surrogate's contrast."""
        contrast = self.options.contrast + (1 - self.options.contrast) * self.share(place)
        return 0.5 + contrast * (images - 0.5)

    def restart(self, place: int) -> None:
        """A fresh surrogate takes the place."""
        self.levels[place] = max(self.lowest, self.levels[place].item() / 2)

    def learn(self, place: int, read: float, mature: bool) -> None:
        """After a surrogate's step.

        Args:
            place: in the pool.
            read: its accuracy on codes.
            mature: whether it has had time to learn; one that has not cannot make the game easier.
        """
        options = self.options
        average = AVERAGE * self.reads[place].item() + (1 - AVERAGE) * read
        step = options.rate if average > options.high else (-options.rate if average < options.low and mature else 0.0)
        self.reads[place] = average
        self.levels[place] = min(2.0, max(self.lowest, self.levels[place].item() + step))
