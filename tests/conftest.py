"""Shared fixtures: tiny images in true formats, and arguments that keep a whole run within seconds."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

# before torch is imported anywhere: many small runs, and processes side by side
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["CONFOUNDERGAN_QUIET"] = "1"

CACHE = Path(tempfile.mkdtemp(prefix="confoundergan-cache-"))  # decoded images, shared by the tests
SMALL = [
    f"data.cache={CACHE}",
    "data.batch_size=16",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "trainer.log_every=1",
    "gan.start=none",
    "gan.classifier.pretrained=none",
    "gan.classifier.arch=linear",
    "gan.classifier.epochs=1",
    "gan.noise.width=8",
    "gan.noise.code=8",
    "gan.surrogates.kinds=narrow@8",
    "gan.surrogates.life=0",
    "gan.curriculum.rate=1",  # pictures as they are from the second batch on, and the discriminator with them
    "gan.curriculum.high=0.011",
    "gan.curriculum.low=0.01",
    "gan.discriminator.width=8",
    "victim.epochs=1",
]


def tiny_arrays(
    classes: int = 3, train: int = 60, test: int = 15, channels: int = 1, size: int = 16
) -> dict[str, np.ndarray]:
    """Images whose brightness tells the class, in the layout of docs/DATA.md."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {"class_names": np.array([f"class {k}" for k in range(classes)])}
    for part, count in (("train", train), ("test", test)):
        labels = np.arange(count) % classes
        noise = rng.integers(0, 60, (count, size, size, channels))
        arrays[f"{part}_images"] = (noise + labels[:, None, None, None] * 60).astype(np.uint8)
        arrays[f"{part}_labels"] = labels.astype(np.int64)
    return arrays


def pytest_sessionfinish() -> None:
    """Nothing of the tests stays behind."""
    shutil.rmtree(CACHE, ignore_errors=True)


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tiny archive; arguments as for tiny_arrays, or arrays that replace some of it (None removes one)."""

    def write(change: dict[str, np.ndarray | None] | None = None, **options: int) -> Path:
        arrays = {k: v for k, v in {**tiny_arrays(**options), **(change or {})}.items() if v is not None}
        path = tmp_path / "tiny.npz"
        np.savez(path, **arrays)
        return path

    return write


@pytest.fixture(autouse=True)
def fresh_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No W&B key, and nothing left over from another test's run."""
    places = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
    for name in ("WANDB_API_KEY", "WANDB_MODE", *places):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("CONFOUNDERGAN_RUN_DIR", "")


@pytest.fixture(scope="session")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of an untrained generator for colour; tests that change it copy it."""
    from albums import stored_generator  # imports torch

    return stored_generator(tmp_path_factory.mktemp("colour"))


@pytest.fixture(scope="session")
def gray_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for gray."""
    from albums import stored_generator

    return stored_generator(tmp_path_factory.mktemp("gray"), 1)
