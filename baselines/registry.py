"""Protections by name."""

from typing import get_args

from baselines.config import BaselinesConfig, Method
from baselines.emn import ErrorMinimising
from baselines.lsp import LinearlySeparable
from baselines.random_noise import RandomNoise
from datamodules.protected import Protection


def make_protection(name: str, config: BaselinesConfig, epsilon: float) -> Protection:
    """A baseline that is still to be fitted.

    Args:
        name: one of ``baselines.config.Method``.
        config: options of all baselines.
        epsilon: L∞ bound in grey levels, at least 1: stored noise has whole grey levels.

    Raises:
        ValueError: no such baseline, or a bound below one grey level.
    """
    if epsilon < 1:
        raise ValueError(f"epsilon: expected at least 1 grey level, found {epsilon:g}; stored pixels know no less")
    if name == "random":
        return RandomNoise(config.random, epsilon)
    if name == "lsp":
        return LinearlySeparable(config.lsp, epsilon)
    if name == "emn":
        return ErrorMinimising(config.emn, epsilon)
    raise ValueError(f"method: expected one of {', '.join(get_args(Method))}, found {name!r}")
