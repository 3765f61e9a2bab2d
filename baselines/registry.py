"""Protections by name, made of their options."""

from dataclasses import replace
from importlib import import_module

from baselines.config import MIXED, OWN, BaselinesConfig
from baselines.mixed import Mixed
from baselines.own import own_protection
from datamodules.method import MethodOptions
from datamodules.protection import Protection
from gan.config import NAME, GanConfig


def make_protection(name: str, config: BaselinesConfig, epsilon: float, gan: GanConfig | None = None) -> Protection:
    """A protection that is still to be fitted.

    Args:
        name: of ``method=``: ConfounderGAN's, a field of ``BaselinesConfig``, ``mixed`` among them, or ``own``.
        config: options of all baselines.
        epsilon: L∞ bound in grey levels, at least 1: stored noise has whole grey levels; of the methods that have one.
        gan: options of ConfounderGAN, whose ``epsilon`` gives way to the one above; None: the defaults.

    Raises:
        ValueError: no such protection, a bound below one grey level, or a protection of the user's that cannot be had.
    """
    if epsilon < 1:
        raise ValueError(f"epsilon: expected at least 1 grey level, found {epsilon:g}; stored pixels know no less")
    if name == OWN:
        return own_protection(config.own, epsilon)
    if name == MIXED:
        return Mixed([make_protection(owner, config, epsilon, gan) for owner in config.mixed.owners()])
    known: dict[str, MethodOptions] = {NAME: replace(gan or GanConfig(), epsilon=epsilon), **config.methods()}
    if name not in known:
        raise ValueError(f"method: expected one of {', '.join(known)}, {MIXED}, {OWN}, found {name!r}")
    options = known[name]
    module, _, kind = options.made_by.rpartition(".")
    make = getattr(import_module(module), kind)
    made: Protection = make(options, epsilon) if options.bounded else make(options)
    return made
