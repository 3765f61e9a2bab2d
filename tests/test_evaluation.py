"""The room evaluation: facts read from disk, and one way of measuring for runs and grids."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datamodules.images import ImageSet
from datamodules.protected import ManifestHeader, write_protected
from datamodules.protection import Norm
from evaluation.stored import linf_bound

HEADER = ManifestHeader("some", "", 8.0, 0, "tiny:train:123", ["a", "b"], 6)


@pytest.mark.parametrize(("norm", "epsilon", "expected"), [("linf", 8.0, 8.0), ("l2", 0.5, None), (None, None, None)])
def test_the_bound_is_what_the_manifest_states(
    norm: Norm | None, epsilon: float | None, expected: float | None, tmp_path: Path
) -> None:
    images = ImageSet(torch.zeros(6, 1, 4, 4, dtype=torch.uint8), torch.arange(6) % 2)
    header = replace(HEADER, norm=norm, epsilon=epsilon)
    write_protected(tmp_path / "protected" / "standard", images, lambda part: part.images, header)
    assert linf_bound(tmp_path) == expected
