"""Division: proportions, every row once, no group in two parts."""

import numpy as np
import pytest
import torch

from datamodules.split import stratified_group_split


def test_keeps_proportions_and_every_row_once() -> None:
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    parts = stratified_group_split(labels, [0.2, 0.3], seed=3)
    assert [len(p) for p in parts] == [20, 30, 50]
    assert torch.cat(parts).sort().values.tolist() == list(range(100))
    assert labels[parts[0]].bincount().tolist() == [10, 6, 4]
    assert not torch.equal(parts[0], stratified_group_split(labels, [0.2, 0.3], seed=4)[0])


def test_a_share_of_nothing_is_empty() -> None:
    none, half, rest = stratified_group_split(torch.arange(40) % 2, [0.0, 0.5], seed=0)
    assert [len(none), len(half), len(rest)] == [0, 20, 20]


@pytest.mark.parametrize("seed", range(5))
def test_no_group_crosses_and_shares_hold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, 400)
    groups = np.repeat(rng.permutation(400), sizes)
    classes = rng.integers(0, 3, 400)
    labels = torch.from_numpy(np.repeat(classes, sizes))
    parts = stratified_group_split(labels, [0.2, 0.3], seed, groups)
    assert torch.cat(parts).sort().values.tolist() == list(range(len(labels)))
    owners = [set(groups[part.numpy()].tolist()) for part in parts]
    assert not owners[0] & owners[1]
    assert not owners[0] & owners[2]
    assert not owners[1] & owners[2]
    for part, share in zip(parts, (0.2, 0.3, 0.5), strict=True):
        for label in range(3):
            whole = int((labels == label).sum())
            assert abs(int((labels[part] == label).sum()) - share * whole) <= 5  # one group of at most five


def test_a_group_of_several_classes_stays_together() -> None:
    labels = torch.tensor([0, 0, 1, 1, 0, 1] * 10)
    groups = np.repeat(np.arange(20), 3)
    for part in stratified_group_split(labels, [0.5], 0, groups):
        found, counts = np.unique(groups[part.numpy()], return_counts=True)
        assert (counts == 3).all()
        assert len(found) == 10


def test_names_of_groups_decide_nothing() -> None:
    labels = torch.arange(60) % 2
    groups = np.arange(60) // 3
    first = stratified_group_split(labels, [0.3], 0, groups)
    second = stratified_group_split(labels, [0.3], 0, (1000 - groups) * 7)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    alone = stratified_group_split(labels, [0.3], 0, np.arange(60)[::-1].copy())
    free = stratified_group_split(labels, [0.3], 0)
    assert all(torch.equal(a, b) for a, b in zip(alone, free, strict=True))


def test_every_part_gets_something_of_every_class_where_there_is_enough() -> None:
    labels = torch.tensor([0] * 3 + [1] * 20)
    val, unseen, train = stratified_group_split(labels, [0.05, 0.4], seed=0)
    for part in (val, unseen, train):
        assert set(labels[part].tolist()) == {0, 1}
    groups = np.arange(23) // 4
    for part in stratified_group_split(torch.zeros(23, dtype=torch.int64), [0.01, 0.01], 0, groups):
        assert len(part) >= 3


def test_a_giant_group_goes_somewhere_whole() -> None:
    labels = torch.zeros(100, dtype=torch.int64)
    groups = np.array([0] * 90 + list(range(1, 11)))
    parts = stratified_group_split(labels, [0.2], 0, groups)
    assert sorted(map(len, parts))[1] >= 90
