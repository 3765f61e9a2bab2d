"""Stratified, seeded, grouped division of rows into parts."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def stratified_group_split(
    labels: Tensor, fractions: Sequence[float], seed: int, groups: np.ndarray | None = None
) -> list[Tensor]:
    """Divides rows into parts, every class in the same proportions, no group in two parts.

    Args:
        labels: int64 N.
        fractions: share of each part but the last, which takes the rest; their sum is below 1.
        seed: of the draw.
        groups: integer N, equal for rows that must stay together (a lesion's, a patient's); None: every row is free.
            A group counts to its most frequent class. With large groups the shares are as near as whole groups allow; a
            class with as many groups as there are parts is in every part.

    Returns:
        Row numbers (int64, ascending) of each of the ``len(fractions) + 1`` parts.
    """
    rng = np.random.default_rng(seed)
    bounds = np.cumsum(fractions)
    shares = np.array([*fractions, 1 - sum(fractions)])
    if groups is None:
        members, strata, sizes = None, labels.numpy(), np.ones(len(labels), int)
    else:
        members = _by_first_row(groups)
        sizes = np.bincount(members)
        strata = _most_frequent(labels.numpy(), members, len(sizes))
    part_of = np.empty(len(strata), int)
    for label in np.unique(strata):
        order = rng.permutation(np.flatnonzero(strata == label))
        filled = np.cumsum(sizes[order])
        # a group goes where its middle falls; of single rows, each part gets its share rounded
        cuts = np.round(bounds * filled[-1])
        part_of[order] = np.searchsorted(cuts, filled - sizes[order] / 2, side="right")
        for part in np.flatnonzero(shares > 0):  # where few groups round to none, the fullest part gives one
            if len(order) >= len(shares) and not (part_of[order] == part).any():
                fullest = np.bincount(part_of[order]).argmax()
                part_of[order[part_of[order] == fullest][0]] = part
    of_rows = part_of if members is None else part_of[members]
    return [torch.from_numpy(np.flatnonzero(of_rows == part)) for part in range(len(bounds) + 1)]


def _most_frequent(labels: np.ndarray, members: np.ndarray, count: int) -> np.ndarray:
    """Each group's most frequent label (the smallest of equals)."""
    table = np.zeros((count, labels.max() + 1), int)
    np.add.at(table, (members, labels), 1)
    found: np.ndarray = table.argmax(1)
    return found


def _by_first_row(groups: np.ndarray) -> np.ndarray:
    """Groups numbered from 0 in the order of their first rows, so that their names decide nothing."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return first.argsort().argsort()[inverse]
