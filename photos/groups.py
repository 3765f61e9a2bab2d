"""Groups of like photos, for folders that are not sorted into classes: each group gets a code of its own. Ours.

Few codes that lie far apart are learned by classifiers; one for each of a thousand kinds of things is not. So the
photos are divided by what an ImageNet network sees in them (k-means). No label is needed, and nothing is trained.
"""

import base64
import hashlib
import heapq
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from sklearn.cluster import KMeans
from torch import Tensor

from datamodules.decode import BadImage
from datamodules.images import to_float
from gan.encoder import PretrainedEncoder
from gan.imagenet import like_features
from photos.folder import contents
from photos.noise import reduced
from photos.read import read_photo

GROUPS = 10  # at most
SMALLEST = 10  # photos per group, on average
SAMPLE = 500  # photos that decide the groups


def group_centres(root: Path, sources: Iterable[str], size: tuple[int, int]) -> Tensor | None:
    """The centres of groups of like photos.

    Args:
        root: the owner's folder.
        sources: of all photos, as paths below it; of many, SAMPLE decide, chosen by a hash of their paths.
        size: height and width at which they are looked at.

    Returns:
        Float K×D of length 1, rounded to 16 bits; None where there are too few photos for two groups.
    """
    count = 0

    def hashed() -> Iterable[tuple[str, str]]:
        nonlocal count
        for source in sources:
            count += 1
            yield hashlib.sha256(source.encode(errors="surrogateescape")).hexdigest(), source

    chosen = [source for _, source in heapq.nsmallest(SAMPLE, hashed())]
    groups = min(GROUPS, count // SMALLEST)
    encoder, features = PretrainedEncoder(), []
    quiet = groups < 2 or bool(os.environ.get("CONFOUNDERGAN_QUIET"))
    looked_at = track(sorted(chosen), "finding groups of like photos", disable=quiet, transient=True)
    for source in looked_at if groups > 1 else ():
        try:
            copy = reduced(read_photo(contents(root / source)[0]), 3, size)
        except BadImage:  # it will be left out, with the reason
            continue
        features.append(like_features(encoder, to_float(torch.from_numpy(copy.copy()).permute(2, 0, 1)[None]))[0])
    if len(features) < 2 * SMALLEST:
        return None
    found = KMeans(groups, n_init=4, random_state=0).fit(torch.stack(features).numpy()).cluster_centers_
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    return torch.from_numpy(found.astype(np.float16).astype(np.float32))


def centres_to_text(centres: Tensor) -> str:
    """Centres as a manifest holds them; see ``centres_of_text``."""
    return f"{len(centres)}:" + base64.b64encode(centres.numpy().astype("<f2").tobytes()).decode()


def centres_of_text(text: str) -> Tensor:
    """Centres, float K×D, from a manifest.

    Raises:
        ValueError: it holds none.
    """
    count, _, encoded = text.partition(":")
    values = np.frombuffer(base64.b64decode(encoded, validate=True), "<f2").astype(np.float32)
    return torch.from_numpy(values.reshape(int(count), PretrainedEncoder.last))
