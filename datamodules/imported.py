"""Classes of the user's own, by their dotted names."""

import os
import sys
from importlib import import_module
from typing import Any


def imported(name: str) -> Any:
    """What ``module.Name`` is; modules are also looked for in the working directory.

    Raises:
        ValueError: it cannot be had; one line says why.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a program's own path lacks it; last, so that it hides nothing
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except Exception as error:  # a user's module may fail in any way
        raise ValueError(f"cannot be imported ({first_line(error)})") from error


def first_line(error: Exception) -> str:
    """The first line of what an exception says; its type, where it says nothing."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
