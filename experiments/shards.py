"""A protected set as WebDataset shards: tar files that are read from one end to the other, as large training jobs do.

::

    python -m experiments.shards runs/digits-20260101-120000/protected/standard shards
    python -m experiments.shards runs/digits-20260101-120000/protected/standard shards images=5000

Each sample has ``png`` (the stored file, byte for byte), ``cls`` (the label) and ``json`` (class name, and the file's
name in the set). The samples are shuffled, always alike: shards are read in order, and a set may be sorted by class.
``wds.WebDataset("shards/{000000..000003}.tar").decode("pil").to_tuple("png", "cls")`` reads them.
"""

import os
import shutil
import sys
from pathlib import Path

import torch

from datamodules.config import DataError
from datamodules.protected import ProtectedDataset
from experiments.config import ConfigError
from experiments.folder import rank_zero_print

IMAGES = 10_000  # in a shard


def write_shards(protected: ProtectedDataset, folder: Path, images: int = IMAGES) -> list[Path]:
    """Writes a protected set as shards by the library ``webdataset``; the folder appears when all of them are whole.

    Args:
        protected: the set; every file is checked against its manifest as it is read.
        folder: must not exist.
        images: in a shard, at most.

    Returns:
        The shards, in order.

    Raises:
        DataError: the folder exists, or a file of the set is missing or changed.
    """
    import webdataset

    if folder.exists():
        raise DataError(f"{folder}: exists already; name another folder, or delete it")
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    # mtime: the same set gives the same bytes
    with webdataset.ShardWriter(str(partial / "%06d.tar"), maxcount=images, verbose=0, mtime=0) as writer:
        order = torch.randperm(len(protected), generator=torch.Generator().manual_seed(0))
        for number, index in enumerate(order.tolist()):
            entry = protected.entries[index]
            facts = {"class": protected.classes[entry.label], "file_name": entry.path}
            sample = {"__key__": f"{number:08d}", "png": protected.content(index), "cls": entry.label, "json": facts}
            writer.write(sample)
    os.replace(partial, folder)
    return sorted(folder.glob("*.tar"))


def main(arguments: list[str]) -> None:
    """Args: the protected set, the folder, and ``images=``.

    Raises:
        ConfigError: an argument is missing or unknown.
    """
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    words = [argument for argument in arguments if "=" not in argument]
    images = options.pop("images", str(IMAGES))
    faults = [f"{key}: no such option; known: images" for key in options]
    faults += [] if len(words) == 2 else [f"expected a protected set and a folder for its shards, found {words}"]
    if not images.isdecimal() or not int(images):
        faults.append(f"images: expected a number of 1 or more, found {images!r}")
    if faults:
        raise ConfigError(faults)
    found = write_shards(ProtectedDataset(words[0]), Path(words[1]), int(images))
    rank_zero_print(f"{words[1]}: {len(found)} shards, {sum(p.stat().st_size for p in found) / 2**20:.1f} MiB")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ConfigError, DataError) as error:
        sys.exit(f"error: {error}")
