"""Options of the data, free of torch so that ``--help`` is fast."""

from dataclasses import dataclass, field
from typing import Any, Literal


def option(default: Any, help: str, **bounds: float) -> Any:
    """A dataclass field with one line of help and optional bounds (``ge``, ``gt``, ``le``, ``lt``)."""
    return field(default=default, metadata={"help": help, **bounds})


class DataError(Exception):
    """The images or labels are unusable; the message names the file, what was expected, what was found, the remedy."""


@dataclass
class DataConfig:
    """Where the images come from and how they are divided."""

    name: Literal["digits", "npz"] = option("digits", "data module")
    path: str = option("", "file of data=npz: arrays train_images, train_labels, … (docs/DATA.md)")
    size: int = option(0, "images are resized to this many pixels a side; 0 keeps their own size", ge=0, le=1024)
    limit: int = option(0, "use only so many training images, all classes in proportion; 0 uses all", ge=0)
    test_fraction: float = option(0.2, "share cut off as test part where the source has none", gt=0, lt=1)
    val_fraction: float = option(0.1, "share of the training images held back to watch a run by", gt=0, lt=1)
    fast_fraction: float = option(
        0.5, "share of the rest never seen by the generator (fast setting); 0 none", ge=0, lt=1
    )
    split_seed: int = option(0, "seed of all divisions; the same for every seed of a run", ge=0)
    batch_size: int = option(64, "images a step, over all processes together", ge=2)
    workers: int = option(0, "processes that prepare batches, for each device", ge=0, le=64)

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        if self.name == "npz" and not self.path:
            return ["data.path: data=npz needs the file; give data.path=<file>.npz"]
        if self.name != "npz" and self.path:
            return [f"data.path: is read by data=npz only, but data is {self.name}; leave it out or choose data=npz"]
        return []
