"""Crops of the photographs that permit redistribution of what is trained on them."""

from datamodules.photographs import CREDIT, crops


def test_crops_are_of_all_photographs_at_all_scales_in_many_colours() -> None:
    found = crops(300, 16, 0).float()
    steps = (found[:, :, 1:] - found[:, :, :-1]).abs().mean((1, 2, 3))
    assert steps.min() < 2, "small crops are smooth"
    assert steps.max() > 15, "large ones are busy"
    hues = (found - found.mean(1, keepdim=True)).mean((2, 3)).argmax(1)
    assert set(hues.tolist()) == {0, 1, 2}


def test_photographs_are_credited() -> None:
    assert "CC BY" in CREDIT
    assert "public domain" in CREDIT
