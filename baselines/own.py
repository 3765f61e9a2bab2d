"""A protection from outside the package, compared as all others are.

``method=own baselines.own=my_module.MyProtection``: examples/my_protection.py, compared by examples/compare.yaml.
"""

import hashlib
import inspect
from pathlib import Path

from datamodules.imported import first_line, imported
from datamodules.protection import Protection

PARTS = ("name", "norm", "epsilon", "label_free", "passes", "fit", "protect")  # of datamodules.protection.Protection

PACKAGES = (__package__, "gan")  # whose protections are known by the program's version


def own_protection(name: str, epsilon: float) -> Protection:
    """The user's protection, still to be fitted.

    Args:
        name: ``module.Class``; it is called with the bound.
        epsilon: L∞ bound in grey levels.

    Raises:
        ValueError: it cannot be had, or lacks a part of Protection.
    """
    expected = "expected module.Class of a protection that takes ε (datamodules.protection.Protection)"
    if not name:
        raise ValueError(f"baselines.own: is empty; {expected}")
    try:
        made: Protection = imported(name)(epsilon)
    except Exception as error:  # a user's class may fail in any way
        raise ValueError(f"baselines.own: {name}: {first_line(error)}; {expected}") from error
    if absent := [part for part in PARTS if not hasattr(made, part)]:
        raise ValueError(f"baselines.own: {name}: lacks {', '.join(absent)}; {expected}")
    return made


def source_digest(protection: Protection) -> str:
    """sha256 of the file that defines a protection from outside; empty for the package's."""
    kind = type(protection)
    if kind.__module__.partition(".")[0] in PACKAGES:
        return ""
    return hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()
