"""Files that are whole or absent under their name."""

import os
from pathlib import Path


def write_atomic(path: Path, data: bytes, mode: int | None = None) -> None:
    """Writes a file that is whole or absent under its name, also when the process is killed or the disk is full.

    Args:
        path: of the file.
        data: what it holds.
        mode: its permissions, which it never exceeds; None for the process's default.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if mode is not None:
            temporary.touch(0o600)  # nobody else can read it while it is written
        temporary.write_bytes(data)
        if mode is not None:
            temporary.chmod(mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
