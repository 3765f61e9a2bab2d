"""SEM: error-minimising noise that stays what it is under random changes."""

import torch
from torch import Tensor, nn

from baselines.rem import Robust, RobustErrorMinimising, uniform


class StableErrorMinimising(RobustErrorMinimising):
    """Liu et al., "Stable Unlearnable Example: Enhancing the Robustness of Unlearnable Examples via Stable
    Error-Minimizing Noise", AAAI 2024 (arXiv 2311.13091).

    REM's alternation (baselines/rem.py), but while noise is made a random change takes the adversary's place:

        δ = argmin_{‖δ‖∞ ≤ ε} E_{t ∼ T} E_{ρ ∼ U(−ε_a, ε_a)} ℓ(f_θ(t(x + δ) + ρ), y)

    An adversary's change is that of one state of the surrogate, a random one of none: the noise is stable. It also
    saves the adversary's passes, so SEM costs a ninth of REM. The surrogate itself learns from adversarial images, as
    REM's does.

    Published for CIFAR-10: ε_a = ε/2, and all else as REM, at whose defaults the options stand. Settings and steps are
    those of the program that its authors published.

    Bound and deviations: as of REM.

    Args:
        options: of this method (``SemConfig``).
        epsilon: bound in grey levels.
    """

    name = "sem"

    def crafting(self, bound: float, model: nn.Module, generator: torch.Generator) -> Robust:
        """What makes noise against the surrogate; arguments as of Stable."""
        return Stable(self.options, bound, model, generator)


class Stable(Robust):
    """Noise in expectation over transformations and random changes; arguments as of Robust."""

    def disturbed(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images, float B×C×H×W in [0, 1], with a draw from U(−ε_a, ε_a) added."""
        return images + uniform(images, self.options.adversary * self.bound)
