"""Versions of the packages that decide results: what runs and generators' cards state."""

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("confoundergan", "torch", "lightning", "torchmetrics", "timm", "omegaconf", "numpy", "pillow")


def versions() -> dict[str, str]:
    """The version of Python and of each package; ``unknown`` where one is not installed as a package."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
