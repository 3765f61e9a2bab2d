"""What a long fit has done so far, in a file: a killed fit resumes there, and ends with the same noise."""

import io
import time
from pathlib import Path
from typing import Any

import torch

from datamodules.config import DataError
from datamodules.files import write_atomic
from datamodules.images import ImageSet

EVERY = 30.0  # seconds at least between two writings


class ResumableFit:
    """What methods share whose fit takes minutes and more.

    Attributes:
        checkpoint_path: file for the state of a fit that is under way; None keeps nothing. Who set it removes it, once
            what was fitted has done its work: killed before that, the fit need not be done again.
    """

    checkpoint_path: Path | None = None


class FitCheckpoint:
    """The state of one fit, written now and then, with torch's random state; used inside ``isolated_rng``.

    Args:
        path: of the file; None keeps nothing.
        options: of the method.
        train: the images that it is fitted on.
        seed: of the fit.
        device: of the networks.

    Attributes:
        state: what ``save`` was given last, on the CPU; None where there is no file.

    Raises:
        DataError: the file is damaged, or of another fit.
    """

    def __init__(self, path: Path | None, options: Any, train: ImageSet, seed: int, device: torch.device) -> None:
        self.path, self.device, self.written = path, device, time.monotonic()
        self.about = f"{options!r}, seed {seed}, {len(train)} images of {train.shape}, {train.labels.sum().item()}"
        self.state: dict[str, Any] | None = None
        if path is None or not path.exists():
            return
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
            self.state = found["state"]
            random = found["random"]
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{path}: damaged state of a fit ({reason}); delete it to fit from the start") from error
        if found["about"] != self.about:
            raise DataError(f"{path}: state of another fit (expected {self.about}, found {found['about']}); delete it")
        torch.set_rng_state(random["cpu"])
        if "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], device)

    def save(self, state: dict[str, Any]) -> None:
        """Writes the state (tensors, numbers, text, and lists and dicts of these), unless it was just written."""
        if self.path is None or time.monotonic() - self.written < EVERY:
            return
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        buffer = io.BytesIO()
        torch.save({"about": self.about, "state": state, "random": random}, buffer)
        write_atomic(self.path, buffer.getvalue())
        self.written = time.monotonic()
