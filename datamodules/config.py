"""Options of the data, free of torch so that ``--help`` is fast."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal


def option(default: Any, help: str, **bounds: float) -> Any:
    """A dataclass field with one line of help and optional bounds (``ge``, ``gt``, ``le``, ``lt``)."""
    return field(default=default, metadata={"help": help, **bounds})


def path_of(text: str) -> Path:
    """A path from the command line. No shell expands the ``~`` of ``data.root=~/photos``."""
    return Path(os.path.expanduser(text))


class DataError(Exception):
    """The images or labels are unusable; the message names the file, what was expected, what was found, the remedy."""


# data sets by name: module and class, imported when chosen; defaults that differ: experiments/configs/data/<name>.yaml
SETS = {
    "digits": "digits.Digits",
    "npz": "npz.Npz",
    "folder": "folder.Folder",
    "cifar10": "cifar.Cifar10",
    "cifar100": "cifar.Cifar100",
    "svhn": "svhn.Svhn",
    "stl10": "stl10.Stl10",
    "imagenette": "imagenet.Imagenette",
    "imagenet100": "imagenet.Imagenet100",
    "isic": "isic.Isic",
    "covid": "covid.Covid",
    "blood": "medmnist.Blood",
    "derma": "medmnist.Derma",
    "path": "medmnist.Path",
    "pneumonia": "medmnist.Pneumonia",
    "retina": "medmnist.Retina",
    "organ": "medmnist.Organ",
}
if TYPE_CHECKING:
    Name = str
else:
    Name = Literal[tuple(SETS)]
Aspect = Literal["crop", "pad", "resize"]
AUGMENTATIONS = ("crop", "zoom", "flip", "vflip", "turn", "cutout", "brightness", "contrast")


def augment_fault(key: str, text: str) -> list[str]:
    """What is wrong with an augmentation written as names joined by ``+``; empty when nothing is."""
    unknown = [] if text == "none" else [name for name in text.split("+") if name not in AUGMENTATIONS]
    if not unknown:
        return []
    return [f"{key}: no augmentation {unknown[0]!r}; expected none, or some of {', '.join(AUGMENTATIONS)} joined by +"]


@dataclass
class DataConfig:
    """Where the images come from, what they are brought to, and how they are divided."""

    name: Name = option("digits", "data set (docs/DATA.md)")
    root: str = option("", "folder (or archive) of the data set's files; empty: data/<name>, filled by download")
    download: bool = option(True, "fetch missing files where the source allows it")
    path: str = option("", "file of data=npz: arrays train_images, train_labels, … (docs/DATA.md)")
    labels: str = option("", "data=folder without class folders: CSV of file name and label (docs/DATA.md)")
    classes: str = option("", "class folders to use, separated by commas; empty: all (folder, imagenet100)")
    size: int = option(0, "images are brought to this many pixels per side; 0 keeps their own size", ge=0, le=1024)
    aspect: Aspect = option("crop", "images that are not square: centre crop, black bars (pad), or stretched (resize)")
    color: Literal["own", "rgb", "gray"] = option("own", "channels; own: what the source has (files in folders: RGB)")
    max_bad: float = option(0.05, "share of images that may be unreadable; above it the run stops", ge=0, lt=1)
    cache: str = option("data/cache", "folder of decoded images, made once and used by every run")
    limit: int = option(0, "use at most this many training images, all classes in proportion; 0: all", ge=0)
    test_fraction: float = option(0.2, "share held out as test part where the source has none", gt=0, lt=1)
    val_fraction: float = option(0.1, "share of the training images held out for validation", gt=0, lt=1)
    fast_fraction: float = option(
        0.5, "share of the rest never seen by the generator (fast setting); 0 none", ge=0, lt=1
    )
    split_seed: int = option(0, "seed of all splits; the same for every seed of a run", ge=0)
    batch_size: int = option(64, "images per step, over all processes together", ge=2)
    workers: int = option(0, "worker processes that prepare batches, per device", ge=0, le=64)

    def faults(self) -> list[str]:
        """Contradictions between keys, one line each; empty when there is none."""
        found = []
        if self.name == "npz" and not self.path:
            found.append("data.path: data=npz needs the file; give data.path=<file>.npz")
        if self.name == "folder" and not self.root:
            found.append("data.root: data=folder needs your folder; give data.root=<folder of images>")
        only = {"path": ("npz",), "labels": ("folder",), "classes": ("folder", "imagenet100")}
        for key, names in only.items():
            if getattr(self, key) and self.name not in names:
                found.append(
                    f"data.{key}: is read by data={' and '.join(names)} only, but data is {self.name}; leave it out or "
                    f"choose data={names[0]}"
                )
        return found
