"""SEP: noise against many states of one classifier's training."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from baselines.checkpoint import FitCheckpoint, ResumableFit
from baselines.clusters import headless
from baselines.config_crafted import SepConfig
from baselines.noise import CraftedByImage, NoiseByImage, check_classes
from baselines.surrogate import craft, signed_steps, train_surrogate
from baselines.tap import targets
from datamodules.augment import isolated_rng
from datamodules.config import DataError
from datamodules.images import ImageSet, to_float
from victims.classifier import build_classifier
from victims.passes import PassCounter

Weights = dict[str, Tensor]
CHUNK = 256  # images read together, which decides nothing


class SelfEnsemble(CraftedByImage, ResumableFit):
    """Chen et al., "Self-Ensemble Protection: Training Checkpoints Are Good Data Protectors", ICLR 2023 (2211.12005).

    A classifier is trained on the clean images, and n states of its training are kept, evenly spaced. With h_k the
    features of state k and μ_{k,c} their mean over the images of class c, the noise of every image carries it, for all
    states together, to the features of another class g(y) (feature alignment):

        min_{‖δ‖∞ ≤ ε} (1/n) Σ_k ‖h_k(x + δ) − μ_{k,g(y)}‖²,   g(y) = y + 1 modulo K

    Each of T signed steps follows a gradient of reduced variance (Xiong et al., CVPR 2022): M inner steps, each with a
    state k drawn at random, sum up ∇_k(δ_m) − ∇_k(δ) + ∇(δ), where ∇ is the mean over all states, and move δ_m along;
    the sum then moves δ. M = 0 follows ∇ alone.

    Published: n = 15 and M = 15 with reduced variance, n = 30 without, T = 30; a ResNet-18 trained for 120 epochs; ε
    down to 2/255. Needs labels; there is noise for the images of ``fit`` alone, which are known again by the sha256 of
    their pixels.

    Bound: L∞ at ε rounded down to whole grey levels, in crafting as in what is stored.

    Deviations: the paper's full text was not at hand: α = ε/10, g, the zero start and the outer step, which starts
    from δ and not from the last δ_m, are ours. The default surrogate is ``narrow``, for CPUs, and its training ours.

    Args:
        options: of this method.
        epsilon: bound in grey levels.
    """

    name = "sep"

    def __init__(self, options: SepConfig, epsilon: float) -> None:
        super().__init__(epsilon)
        self.options = options

    def fit(
        self, train: ImageSet, classes: int, seed: int, device: torch.device, progress: Callable[[float], None]
    ) -> None:
        """Trains the classifier and crafts the noise; see Protection.

        Raises:
            DataError: there is no other class to aim at, or a class has no image.
            ValueError: the surrogate's architecture is unknown or cannot take these images.
        """
        if classes < 2:
            raise DataError("sep: there is one class only, and no other to aim at")
        check_classes(self.name, train, classes)
        options, bound, counter = self.options, int(self.epsilon) / 255, PassCounter()
        length = options.step_size * bound
        with isolated_rng(seed, device), torch.enable_grad():
            model, states = self._trained(train, classes, seed, device, lambda s: progress(s / 2), counter)
            ensemble = Ensemble(headless(model), states, train, classes, device)
            saved = FitCheckpoint(self.checkpoint_path, options, train, seed, device)
            if saved.state:
                counter.forward, counter.backward = saved.state["passes"]

            def save(made: list[Tensor]) -> None:
                saved.save({"made": made, "passes": [counter.forward, counter.backward]})

            def objective(images: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
                return (
                    ensemble.direction(images, noise.detach(), labels, bound, length, options.inner_steps) * noise
                ).sum()

            noise = craft(
                objective,
                train,
                torch.zeros,
                (bound, options.steps, length),
                options.batch_size,
                device,
                lambda s: progress((1 + s) / 2),
                made=saved.state["made"] if saved.state else None,
                save=save,
            )
        self.passes = counter.passes(len(train))
        self.own = NoiseByImage(train.images, noise)

    def _trained(
        self,
        train: ImageSet,
        classes: int,
        seed: int,
        device: torch.device,
        progress: Callable[[float], None],
        counter: PassCounter,
    ) -> tuple[nn.Module, list[Weights]]:
        """The classifier, and the weights and statistics of its n states; arguments as of ``fit``."""
        options, (channels, height, width) = self.options, train.shape
        epochs, count = options.surrogate.epochs, options.checkpoints
        kept = {round((number + 1) * epochs / count) for number in range(count)}
        model = build_classifier(options.surrogate.arch, classes, channels, (height, width))
        states: list[Weights] = []

        def after_epoch(share: float) -> None:
            if round(share * epochs) in kept:
                states.append({name: value.detach().clone() for name, value in model.state_dict().items()})
            progress(share)

        train_surrogate(options.surrogate, train, classes, seed, device, after_epoch, model, counter)
        return model, states


class Ensemble:
    """The features of several states of a network, and where each class lies among them.

    Args:
        network: images, float B×C×H×W in [0, 1], to features, float B×D; in evaluation mode.
        states: weights and statistics of the whole classifier.
        train: the clean images.
        classes: number of classes K.
        device: of the network.

    Attributes:
        means: for each state, the mean features of every class, float K×D.
    """

    def __init__(
        self, network: nn.Module, states: list[Weights], train: ImageSet, classes: int, device: torch.device
    ) -> None:
        own = network.state_dict()
        self.network = network
        self.states = [{name: state[name] for name in own} for state in states]
        counts = train.labels.bincount(minlength=classes).to(device)
        self.means: list[Tensor] = []
        with torch.no_grad():
            for number in range(len(states)):
                total: Tensor | None = None
                for rows in torch.arange(len(train)).split(CHUNK):
                    found = self.features(number, to_float(train.pixels(rows)).to(device))
                    total = found.new_zeros(classes, found.shape[1]) if total is None else total
                    total.index_add_(0, train.labels[rows].to(device), found)
                assert total is not None
                self.means.append(total / counts[:, None])

    def features(self, number: int, images: Tensor) -> Tensor:
        """The features in one state, float B×D."""
        found: Tensor = functional_call(self.network, self.states[number], (images,))
        return found.flatten(1)

    def slope(self, number: int, images: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        """∇_k: gradient in the noise of the distance from the class aimed at, float B×C×H×W."""
        noise = noise.detach().requires_grad_()
        aims = self.means[number][targets(labels, len(self.means[number]))]
        loss = F.mse_loss(self.features(number, images + noise), aims, reduction="sum")
        return torch.autograd.grad(loss, noise)[0]

    def direction(
        self, images: Tensor, noise: Tensor, labels: Tensor, bound: float, length: float, inner_steps: int
    ) -> Tensor:
        """What an outer step goes against, float B×C×H×W.

        Args:
            images: float B×C×H×W in [0, 1].
            noise: δ, the same shape, without gradient.
            labels: int64 B.
            bound: ε in [0, 1] pixel units.
            length: α, in [0, 1] pixel units.
            inner_steps: M.
        """
        slopes = [self.slope(number, images, noise, labels) for number in range(len(self.states))]
        mean = torch.stack(slopes).mean(0)
        if not inner_steps:
            return mean
        total, at = torch.zeros_like(mean), noise
        for _ in range(inner_steps):
            number = int(torch.randint(len(self.states), ()))
            total = total + self.slope(number, images, at, labels) - slopes[number] + mean

            def along(_: Tensor, change: Tensor, __: Tensor, against: Tensor = total) -> Tensor:
                return (against * change).sum()

            at = signed_steps(along, images, labels, at, bound, 1, length, True)
        return total
