"""Protections by name."""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

from baselines.ar import Autoregressive
from baselines.bait import LabelBinding
from baselines.clusters import UnlearnableClusters
from baselines.config import BaselinesConfig, Method
from baselines.cuda import ConvolutionFilters
from baselines.deepconfuse import DeepConfuse
from baselines.emn import ErrorMinimising
from baselines.gue import GameGenerator
from baselines.hypo import Hypocritical
from baselines.lsp import LinearlySeparable
from baselines.miue import MutualInformation
from baselines.ntga import NeuralTangent
from baselines.ops import OnePixel
from baselines.own import own_protection
from baselines.patterns.protection import Patterns
from baselines.pil import Linearising
from baselines.random_noise import RandomNoise
from baselines.rem import RobustErrorMinimising
from baselines.sem import StableErrorMinimising
from baselines.sep import SelfEnsemble
from baselines.tap import Targeted
from datamodules.protection import Protection
from gan.config import NAME, GanConfig
from gan.confounder import Confounder


def make_protection(name: str, config: BaselinesConfig, epsilon: float, gan: GanConfig | None = None) -> Protection:
    """A protection that is still to be fitted.

    Args:
        name: of ``method=``: ConfounderGAN's, one of ``baselines.config.Method``, or ``own``.
        config: options of all baselines.
        epsilon: L∞ bound in grey levels, at least 1: stored noise has whole grey levels; of the methods that have one.
        gan: options of ConfounderGAN, whose ``epsilon`` gives way to the one above; None: the defaults.

    Raises:
        ValueError: no such protection, a bound below one grey level, or a protection of the user's that cannot be had.
    """
    if epsilon < 1:
        raise ValueError(f"epsilon: expected at least 1 grey level, found {epsilon:g}; stored pixels know no less")
    made: dict[str, Callable[[], Protection]] = {
        NAME: lambda: Confounder(replace(gan or GanConfig(), epsilon=epsilon)),
        "random": lambda: RandomNoise(config.random, epsilon),
        "lsp": lambda: LinearlySeparable(config.lsp, epsilon),
        "emn": lambda: ErrorMinimising(config.emn, epsilon),
        "ar": lambda: Autoregressive(config.ar),
        "cuda": lambda: ConvolutionFilters(config.cuda),
        "ops": lambda: OnePixel(config.ops),
        "tap": lambda: Targeted(config.tap, epsilon),
        "rem": lambda: RobustErrorMinimising(config.rem, epsilon),
        "pil": lambda: Linearising(config.pil, epsilon),
        "hypo": lambda: Hypocritical(config.hypo, epsilon),
        "deepconfuse": lambda: DeepConfuse(config.deepconfuse, epsilon),
        "gue": lambda: GameGenerator(config.gue, epsilon),
        "clusters": lambda: UnlearnableClusters(config.clusters, epsilon),
        "sem": lambda: StableErrorMinimising(config.sem, epsilon),
        "sep": lambda: SelfEnsemble(config.sep, epsilon),
        "miue": lambda: MutualInformation(config.miue, epsilon),
        "bait": lambda: LabelBinding(config.bait, epsilon),
        "ntga": lambda: NeuralTangent(config.ntga, epsilon),
        "patterns": lambda: Patterns(config.patterns, epsilon),
        "own": lambda: own_protection(config.own, epsilon),
    }
    if name not in made:
        raise ValueError(f"method: expected one of {NAME}, {', '.join(get_args(Method))}, own, found {name!r}")
    return made[name]()
