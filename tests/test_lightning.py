"""At home in Lightning: the module, the data modules and the protected sets in somebody else's script."""

import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from conftest import CACHE, SMALL
from PIL import Image
from test_gan import Blobs, blobs, fit, small, tiny, trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset, Subset, default_collate
from torchvision import transforms

from datamodules import base as base_file
from datamodules.batches import Batch, Labelled, as_batch, gathered, to_pixels
from datamodules.config import DataConfig, DataError
from datamodules.download import RemoteFile
from datamodules.images import ImageSet, to_float
from datamodules.protected import ManifestHeader, ProtectedDataset, write_protected
from datamodules.source import DatasetInfo
from experiments.cli import main
from experiments.config import ConfigError, TrainerConfig, compose
from experiments.trainer import make_trainer, user_callbacks
from gan import encoder
from gan.config import ClassifierConfig, CurriculumConfig, GanConfig, SurrogatesConfig, config_of
from gan.module import ConfounderGAN
from gan.protection import TrainedGenerator

SHAPE = (1, 16, 16)


class Bright(Dataset[tuple[Any, int]]):
    """Somebody's pictures of three classes, told by brightness: uint8, or float in [0, 1]."""

    def __init__(self, count: int = 60, as_float: bool = True, seed: int = 0) -> None:
        self.labels = [i % 3 for i in range(count)]
        noise = torch.randint(60, (count, *SHAPE), generator=torch.Generator().manual_seed(seed))
        self.pixels = (noise + 60 * torch.tensor(self.labels)[:, None, None, None]).to(torch.uint8)
        self.as_float = as_float

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        pixels = self.pixels[index]
        return (to_float(pixels) if self.as_float else pixels), self.labels[index]


def plain(**options: Any) -> ConfounderGAN:
    chosen: dict[str, Any] = {"classes": 3, "channels": 1, "size": (16, 16)}
    return ConfounderGAN(tiny(), **(chosen | options))


def seen_by_classifier(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ImageSet, ImageSet]]:
    """What auxiliary classifiers are trained on and calibrated by."""
    seen: list[tuple[ImageSet, ImageSet]] = []
    original = ConfounderGAN.fit_classifier

    def noted(self: ConfounderGAN, train: ImageSet, val: ImageSet) -> None:
        seen.append((train, val))
        original(self, train, val)

    monkeypatch.setattr(ConfounderGAN, "fit_classifier", noted)
    return seen


def rows_of(found: ImageSet, all_of: Bright) -> list[int]:
    """Which of somebody's pictures these are; each must be one, with its label."""
    rows = [int((all_of.pixels == image).flatten(1).all(1).nonzero().item()) for image in found.images]
    assert found.labels.tolist() == [all_of.labels[row] for row in rows]
    return sorted(rows)


def same(one: ConfounderGAN, other: ConfounderGAN) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


# --- hyperparameters and checkpoints


def test_options_may_be_mappings_and_have_defaults() -> None:
    config = tiny(curriculum=CurriculumConfig(rate=0.25))
    assert config_of(asdict(config)) == config
    assert config_of({}) == GanConfig()
    assert config_of({"noise": {"width": 16}, "classifier": config.classifier}) == replace(
        GanConfig(), noise=replace(GanConfig().noise, width=16), classifier=config.classifier
    )
    assert same(ConfounderGAN(asdict(config), 3, 1, (16, 16), 10, 0), ConfounderGAN(config, 3, 1, (16, 16), 10, 0))
    quick = {"classifier": {"pretrained": "none", "arch": "linear"}}
    assert ConfounderGAN(quick, classes=3).config == config_of(quick)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": {"nois": {}}}, "gan.nois: no such key; expected some of epsilon, "),
        ({"config": {"noise": {"widht": 8}}}, "gan.noise.widht: no such key; expected some of optimizer, "),
        ({"config": {"noise": 8}}, "gan.noise: is a section; expected a mapping of its keys, found 8"),
        ({"classes": 0}, "classes: expected 2 or more, found 0"),
        ({"channels": 4}, r"channels: expected 1 \(gray\) or 3 \(RGB\), found 4"),
    ],
)
def test_wrong_options_are_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        ConfounderGAN(**({"config": tiny(), "classes": 3, "channels": 1} | options))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_holds_no_objects_and_gives_the_module_back(tmp_path: Path) -> None:
    path = tmp_path / "kept.ckpt"
    gan = fit(small(epsilon=6.5), 2)
    gan.trainer.save_checkpoint(path)
    content = torch.load(path, weights_only=True)
    hyper = content["hyper_parameters"]
    assert hyper == {
        "config": asdict(small(epsilon=6.5).gan), "classes": 3, "channels": 1, "size": (16, 16), "steps": 10, "seed": 0,
    }  # fmt: skip
    torch.manual_seed(9)
    back = ConfounderGAN.load_from_checkpoint(path)
    assert same(gan, back)
    assert back.config == gan.config
    assert (back.classes, back.channels, back.size, back.steps, back.seed) == (3, 1, (16, 16), 10, 0)
    images = Bright(as_float=False).pixels
    usual = TrainedGenerator(gan.generator, 6.5).protect(images)
    assert torch.equal(TrainedGenerator(back.generator, 6.5).protect(images), usual)
    assert torch.equal(back.predict_step(images), usual)
    assert (usual.int() - images.int()).abs().max() == 6
    changed = ConfounderGAN.load_from_checkpoint(path, seed=4)
    assert changed.seed == 4


def test_a_loaded_module_resumes_as_the_one_that_was_saved(tmp_path: Path) -> None:
    """Started from a trained network, below whose level none falls; the module that is loaded was given none."""
    path, start = tmp_path / "half.ckpt", plain(seed=5).generator.noise_network
    config, options = small(curriculum=CurriculumConfig(rate=0.5, high=0.98, low=0.97)), {"steps": 20, "start": start}
    whole = ConfounderGAN(config.gan, 3, 1, (16, 16), **options)
    trainer(4).fit(whole, blobs(config))
    half = ConfounderGAN(config.gan, 3, 1, (16, 16), **options)
    first = trainer(2)
    first.fit(half, blobs(config))
    first.save_checkpoint(path)
    back = ConfounderGAN.load_from_checkpoint(path)
    assert back.curriculum.lowest == 1
    trainer(4).fit(back, blobs(config), ckpt_path=path, weights_only=True)
    assert same(whole, back)
    assert not same(whole, half)
    assert back.curriculum.level == 1


def test_loading_reads_no_weights_from_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, path = tiny(classifier=ClassifierConfig(arch="none", head_epochs=1)), tmp_path / "kept.ckpt"
    gan = ConfounderGAN(config, 3, 1, (16, 16), 10)
    once = trainer(1, limit_train_batches=1)
    once.fit(gan, DataLoader(Bright(12), 6))
    once.save_checkpoint(path)
    read: list[Any] = []
    original = encoder.packaged_weights

    def noted(net: Any) -> Any:
        read.append(net)
        return original(net)

    monkeypatch.setattr(encoder, "packaged_weights", noted)
    back = ConfounderGAN.load_from_checkpoint(path)
    assert not read
    assert same(gan, back)
    ConfounderGAN(config, 3, 1, (16, 16), 10)
    assert len(read) == 1
    ConfounderGAN.load_from_checkpoint(path, strict=False)
    assert len(read) == 2


def test_seconds_are_of_training_alone() -> None:
    gan = fit(small())
    kept: list[dict[str, Any]] = [{}, {}]
    for checkpoint in kept:
        gan.on_save_checkpoint(checkpoint)
    assert kept[0]["training_seconds"] == kept[1]["training_seconds"] == gan.seconds > 0


# --- forward and predict


def test_forward_is_the_noise_and_predict_the_protected_pixels() -> None:
    gan, data = plain(), Bright()
    images = to_float(data.pixels)
    with torch.no_grad():
        noise = gan(images)
    assert noise.shape == images.shape
    assert torch.equal(noise, gan.generator(images))
    assert 1 / 255 < noise.abs().max() <= 8 / 255 + 1e-6
    usual = TrainedGenerator(gan.generator, 8.0).protect(data.pixels)
    for batch in (images, data.pixels, (images, torch.tensor(data.labels)), [data.pixels, torch.tensor(data.labels)]):
        protected = gan.predict_step(batch, 0)
        assert protected.dtype == torch.uint8
        assert torch.equal(protected, usual)
    assert not torch.equal(usual, data.pixels)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_trainer_predicts_the_same_bits_at_any_precision(precision: Any) -> None:
    gan, data = plain(), Bright()
    found = trainer(precision=precision).predict(gan, DataLoader(data, 60))
    assert found is not None
    assert torch.equal(torch.cat(found), TrainedGenerator(gan.generator, 8.0).protect(data.pixels))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"x": 1}, "expected a tensor of images, or .images, labels., found dict"),
        (
            torch.randn(4, *SHAPE),
            r"expected images float in \[0, 1\] or uint8, found float from -\d.*leave out what norm",
        ),
        (torch.full((4, *SHAPE), float("nan")), "found float from nan to nan"),
        (torch.zeros(4, 16, 16), r"expected images B×C×H×W, .* found torch.float32 of shape \(4, 16, 16\)"),
        (torch.zeros(4, *SHAPE, dtype=torch.int64), "found torch.int64 of shape"),
    ],
)
def test_what_is_no_picture_is_refused(batch: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"^batch: .*{message}") as caught:
        plain().predict_step(batch, 0)
    assert "\n" not in str(caught.value)


def test_pixels_are_the_same_after_a_loader_made_them_float() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(to_pixels(to_float(pixels)), pixels)
    assert to_pixels(pixels) is pixels


# --- fit on plain loaders


@pytest.mark.parametrize("as_float", [True, False])
@pytest.mark.parametrize("workers", [0, 1])
def test_it_fits_on_a_plain_loader(as_float: bool, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, data = seen_by_classifier(monkeypatch), Bright(as_float=as_float)
    gan, steps = plain(), []

    class Count(pl.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            steps.append(gan.surrogates.turns.item())

    before = gan.generator.noise_network.stem.weight.clone()
    options: dict[str, Any] = {"persistent_workers": True, "num_workers": workers} if workers else {}
    trainer(2, callbacks=[Count()]).fit(gan, DataLoader(data, 20, shuffle=True, **options))
    assert steps == [1, 2, 3, 4, 5, 6], "every batch of both epochs"
    [(train, val)] = seen
    assert sorted(rows_of(train, data) + rows_of(val, data)) == list(range(60))
    assert val.labels.bincount().tolist() == [2, 2, 2], "a tenth, stratified"
    assert not torch.equal(gan.generator.noise_network.stem.weight, before)
    read = TrainedGenerator(gan.generator, 8.0).classify(data.pixels)
    assert (read == torch.tensor(data.labels)).float().mean() > 0.5, "its classifier was trained"


def test_loaders_of_uint8_and_float_train_the_same_weights() -> None:
    one, other = plain(), plain()
    trainer(2).fit(one, DataLoader(Bright(), 20))
    trainer(2).fit(other, DataLoader(Bright(as_float=False), 20))
    assert same(one, other)


def test_validation_images_calibrate_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, data, others = seen_by_classifier(monkeypatch), Bright(), Bright(9, seed=1)
    gan = plain()
    used = trainer(2)
    used.fit(gan, DataLoader(data, 20), DataLoader(others, 4))
    [(train, val)] = seen
    assert rows_of(train, data) == list(range(60))
    assert rows_of(val, others) == list(range(9))
    read = TrainedGenerator(gan.generator, 8.0).classify(others.pixels)
    right = (read == torch.tensor(others.labels)).float().mean()
    assert used.callback_metrics["val_accuracy"] == pytest.approx(right.item())
    assert 20 < used.callback_metrics["val_psnr"] < 60


def test_only_what_the_loader_gives_in_an_epoch_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(IterableDataset[Any]):
        def __iter__(self) -> Any:
            row = 0
            while True:
                yield data[row % 60]
                row += 1

    seen, data = seen_by_classifier(monkeypatch), Bright()
    trainer(1, limit_train_batches=2).fit(plain(steps=2), DataLoader(Endless(), 9))
    trainer(1).fit(plain(), DataLoader(Subset(data, range(30, 60)), 10))
    trainer(1, limit_train_batches=2).fit(plain(), DataLoader(data, 9))
    found = [sorted(rows_of(train, data) + rows_of(val, data)) for train, val in seen]
    assert found == [list(range(18)), list(range(30, 60)), list(range(18))]


def test_a_resumed_fit_trains_no_classifier_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, data, path = seen_by_classifier(monkeypatch), Bright(), tmp_path / "half.ckpt"
    whole, half, back = (plain(steps=6) for _ in range(3))
    trainer(2).fit(whole, DataLoader(data, 20))
    first = trainer(1)
    first.fit(half, DataLoader(data, 20))
    first.save_checkpoint(path)
    assert len(seen) == 2
    trainer(2).fit(back, DataLoader(data, 20), ckpt_path=path, weights_only=True)
    assert len(seen) == 2
    assert same(whole, back)


def test_a_pair_becomes_a_batch_whose_others_are_the_next() -> None:
    pixels, labels = Bright(4).pixels, torch.tensor([2, 0, 1, 2], dtype=torch.int32)
    batch = as_batch([pixels, labels])
    assert torch.equal(batch.images, to_float(pixels))
    assert torch.equal(batch.others, to_float(pixels)[[1, 2, 3, 0]])
    assert batch.labels.dtype == torch.int64
    assert batch.share == 1
    own = Batch(pixels, labels, pixels, labels, 0.5)
    assert as_batch(own) is own


@pytest.mark.parametrize("pairing", ["swap", "own"])
def test_every_pairing_takes_plain_batches(pairing: Any) -> None:
    gan = ConfounderGAN(tiny(pairing=pairing), 3, 1, (16, 16))
    used = trainer(1)
    used.fit(gan, DataLoader(Bright(), 20))
    assert all(torch.isfinite(value) for value in used.callback_metrics.values())
    assert gan.surrogates.turns == 3


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([(torch.zeros(1, 8, 8), 0)] * 4, "expected images of channels×height×width 1×16×16, found 1×8×8"),
        ([(torch.zeros(SHAPE), 7)] * 4, "expected labels from 0 to 2, found 7 to 7"),
        (
            [(torch.zeros(SHAPE), 0.5)] * 4,
            r"expected 4 labels, one integer for each image, found torch.float64 of shape",
        ),
        ([(torch.zeros(SHAPE) - 1, 0)] * 4, "found float from -1 to -1; leave out what normalises them"),
        ([torch.zeros(SHAPE)] * 4, "expected two tensors, images and labels, found Tensor"),
        ([(torch.zeros(SHAPE), "cat")] * 4, "expected two tensors, images and labels, found list of Tensor, tuple"),
        ([(torch.zeros(SHAPE), 0, 1)] * 4, "found list of Tensor, Tensor, Tensor"),
        ([(torch.zeros(SHAPE), k) for k in range(3)], "gives 3 images, no class twice; give several of each class"),
    ],
)
def test_a_loader_of_something_else_is_refused_in_one_line(pairs: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        trainer(1).fit(plain(), DataLoader(pairs, 4))  # type: ignore[arg-type]
    assert str(caught.value).startswith(("batch: ", "train_dataloader: "))
    assert "\n" not in str(caught.value)


def test_nothing_gathered_is_refused() -> None:
    with pytest.raises(DataError, match="^batch: the loader gives none"):
        gathered([], float("inf"), (1, 16, 16), 3)
    found = gathered([default_collate([Bright()[0]])] * 3, 2, (1, 16, 16), 3)
    assert len(found) == 2


def test_every_process_gathers_what_all_are_trained_on() -> None:
    data = Bright()
    for rank in (0, 1):
        loader = DataLoader(data, 10, sampler=DistributedSampler(data, 2, rank))
        assert len(list(loader)) == 3
        assert gathered(loader, 3, (1, 16, 16), 3).labels.tolist() == data.labels
        assert len(gathered(loader, 1, (1, 16, 16), 3)) == 20


def test_schedules_take_their_length_from_the_trainer() -> None:
    def rate(gan: ConfounderGAN, *data: Any) -> float:
        trainer(2).fit(gan, *data)
        return gan.trainer.optimizers[1].param_groups[0]["lr"]

    def made(steps: int | None) -> ConfounderGAN:
        options = tiny(surrogates=SurrogatesConfig(kinds="linear@8", schedule="cosine", life=0))
        return ConfounderGAN(options, 3, 1, (16, 16), steps)

    loader = DataLoader(Bright(), 20)
    assert rate(made(None), loader) == rate(made(6), loader) == pytest.approx(0)
    assert rate(made(12), loader) == pytest.approx(0.005)
    config = small()
    steps = 2 * -(-len(blobs(config).parts["train"]) // 16)
    assert rate(made(None), blobs(config)) == rate(made(steps), blobs(config))
    with pytest.raises(ValueError, match="^steps: the Trainer cannot tell"):
        trainer(-1).fit(made(None), loader)


def test_a_module_without_a_trainer_is_of_use() -> None:
    gan = plain()
    gan.configure_model()
    assert isinstance(gan.quiet, bool)


# --- data modules


def test_plain_loaders_give_the_parts_as_they_are() -> None:
    data = blobs(small())
    for part, loader in (
        ("val", data.val_dataloader()), ("test", data.test_dataloader()), ("train", data.predict_dataloader()),
    ):  # fmt: skip
        images, labels = (torch.cat(each) for each in zip(*loader, strict=True))
        assert torch.equal(images, to_float(data.parts[part].images)), part
        assert torch.equal(labels, data.parts[part].labels)
    assert len(Labelled(data.parts["val"])) == len(list(Labelled(data.parts["val"])))


def test_a_trainer_predicts_what_is_published() -> None:
    gan = fit(small())
    data = blobs(small())
    found = trainer().predict(gan, data)
    assert torch.equal(torch.cat(found), TrainedGenerator(gan.generator, 8.0).protect(data.parts["train"].images))  # type: ignore[arg-type]


class Theirs(pl.LightningModule):
    """Somebody's own classifier on our data."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(256, 3)
        self.seen: dict[str, int] = {"val": 0, "test": 0}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return torch.nn.functional.cross_entropy(self.net(batch.images.flatten(1)), batch.labels)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.seen["val"] += len(batch[0])

    def test_step(self, batch: Any, batch_idx: int) -> None:
        images, labels = batch
        assert images.is_floating_point()
        self.seen["test"] += len(labels)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_somebody_elses_module_takes_our_data() -> None:
    theirs, data = Theirs(), Blobs(small().data)
    used = trainer(1, num_sanity_val_steps=0)
    used.fit(theirs, data)
    used.test(theirs, data, verbose=False)
    assert theirs.seen == {"val": len(data.parts["val"]), "test": len(data.parts["test"])}


def test_files_are_fetched_before_setup_and_by_setup_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fetched: list[str] = []
    info = DatasetInfo("t", "natural", "120", 3, "16×16", "none", "nobody", "page", "nothing")

    class Fetched(Blobs):
        def files(self) -> list[RemoteFile]:
            return [RemoteFile("a.zip", "http://localhost/a.zip", "")]

    Fetched.info = info
    monkeypatch.setattr(base_file, "ensure", lambda files, root, *rest: fetched.append(files[0].name))
    config = DataConfig(batch_size=16, cache=str(CACHE), root=str(tmp_path))
    data = Fetched(config)
    data.prepare_data()
    assert fetched == ["a.zip"]
    assert not data.parts, "nothing is decoded yet"
    alone = Fetched(config)
    alone.setup()
    assert len(fetched) == 2
    alone.prepare_data()
    alone.setup()
    assert len(fetched) == 2, "what is set up needs nothing"


def test_our_own_training_validates_nothing_and_does_not_warn(tmp_path: Path) -> None:
    config, _ = compose([*SMALL])
    config = replace(config, data=small().data, victim=replace(config.victim, check_every=0))
    data, seen = blobs(config), []

    class Watched(ConfounderGAN):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            seen.append(batch)

    used = make_trainer(config, data, tmp_path, 0, 1, [])
    used.progress_bar_callback.disable()  # type: ignore[union-attr]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        used.fit(Watched(config.gan, 3, 1, (16, 16), 10, 0), data)
    assert not seen
    assert not [w for w in caught if "val" in str(w.message) and "loader" in str(w.message)]
    assert used.global_step > 0
    trainer(1).fit(Watched(config.gan, 3, 1, (16, 16), 10, 0), data)
    assert seen, "elsewhere it does"


# --- protected sets


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., tuple[Path, ImageSet]]:
    """Writes a set; gives its folder and images."""

    def write(channels: int) -> tuple[Path, ImageSet]:
        images = torch.randint(
            256, (6, channels, 10, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
        )
        header = ManifestHeader("none", "", None, 0, "noise", ["z", "a/b", "c"], 6, None)
        found = ImageSet(images, torch.arange(6) % 3)
        write_protected(tmp_path / "set", found, lambda part: part.images, header)
        return tmp_path / "set", found

    return write


@pytest.mark.parametrize("channels", [1, 3])
def test_a_protected_set_is_a_data_set_of_torch(channels: int, stored: Callable[..., tuple[Path, ImageSet]]) -> None:
    folder, images = stored(channels)
    data = ProtectedDataset(str(folder))
    assert isinstance(data, Dataset)
    assert data.classes == ["z", "a/b", "c"]
    assert data.class_to_idx == {"z": 0, "a/b": 1, "c": 2}
    assert data.targets == [0, 1, 2, 0, 1, 2]
    assert data.transform is None
    [(pixels, labels)] = DataLoader(data, 6)
    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels, images.images)
    assert labels.tolist() == data.targets
    assert torch.equal(data[-1][0], images.images[5])
    assert len(list(data)) == 6, "it can be iterated over"
    with pytest.raises(IndexError):
        data[6]


def test_a_transform_gets_the_picture(stored: Callable[..., tuple[Path, ImageSet]]) -> None:
    folder, images = stored(3)
    got: list[Any] = []

    def note(image: Image.Image) -> Tensor:
        got.append(image)
        return transforms.ToTensor()(image)

    image, label = ProtectedDataset(folder, note)[4]
    assert label == 1
    assert torch.equal(image, to_float(images.images[4]))
    assert isinstance(got[0], Image.Image)
    assert np.array_equal(np.asarray(got[0]), images.images[4].permute(1, 2, 0))


def test_every_file_is_checked_as_it_is_read(stored: Callable[..., tuple[Path, ImageSet]]) -> None:
    data = ProtectedDataset(stored(3)[0])
    path = data.folder / data.entries[2].path
    Image.new("RGB", (12, 10)).save(path)
    with pytest.raises(DataError, match="is not the file that the manifest describes; restore the set") as caught:
        data[2]
    assert str(caught.value).startswith(f"{path}: ")
    path.unlink()
    with pytest.raises(DataError, match="listed in the manifest, but not readable") as caught:
        data[2]
    assert "\n" not in str(caught.value)
    assert data[1][1] == 1, "the others are as they were"


# --- callbacks of one's own

OWN = """
from pathlib import Path
import lightning.pytorch as pl

class Note(pl.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        with open("noted.txt", "a") as lines:
            print(trainer.current_epoch, batch_idx, file=lines)

class Other(pl.Callback):
    pass

class Needs(pl.Callback):
    def __init__(self, what):
        self.what = what

nothing = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with somebody's modules, where the program is started."""
    (tmp_path / "own_callbacks_here.py").write_text(OWN)
    (tmp_path / "own_broken_here.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_callbacks_of_ones_own_are_called(own: Path, tiny: Callable[..., Path]) -> None:
    names = "own_callbacks_here.Note+own_callbacks_here.Other"
    made = user_callbacks(TrainerConfig(callbacks=names))
    assert [type(callback).__name__ for callback in made] == ["Note", "Other"]
    assert user_callbacks(TrainerConfig()) == []
    options = ["data=npz", f"data.path={tiny()}", f"run_dir={own / 'run'}", *SMALL, f"trainer.callbacks={names}"]
    assert main(["train", *options]) == 0
    assert (own / "noted.txt").read_text().splitlines() == ["0 0", "0 1", "1 0", "1 1"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_callbacks_here.Not", "cannot be imported (module 'own_callbacks_here' has no attribute 'Not')"),
        ("own_broken_here.Any", "cannot be imported (No module named 'nowhere_to_be_found')"),
        ("no_such_module_here.Any", "cannot be imported (No module named 'no_such_module_here')"),
        ("own_callbacks_here.nothing", "is no callback"),
        ("own_callbacks_here.Path", "is no callback"),
        (
            "own_callbacks_here.Needs",
            "cannot be made (Needs.__init__() missing 1 required positional argument: 'what')",
        ),
    ],
)
def test_a_callback_that_cannot_be_had_ends_the_run_before_training(
    name: str, message: str, own: Path, tiny: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["data=npz", f"data.path={tiny()}", f"run_dir={own / 'run'}", *SMALL, f"trainer.callbacks={name}"]
    assert main(["train", *options]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert line.startswith(f"error: trainer.callbacks: {name}: {message}; expected an importable class")
    assert not (own / "run" / "checkpoints").exists()
    assert not (own / "run" / "metrics.csv").exists()


def test_what_is_no_dotted_name_is_a_fault_of_the_configuration() -> None:
    for given, wrong in (("Note", "Note"), ("a.B+", ""), ("a.B,c.D", "a.B,c.D"), ("a..B", "a..B"), ("a.1b", "a.1b")):
        with pytest.raises(ConfigError) as caught:
            compose([f"trainer.callbacks={given}"])
        [fault] = caught.value.faults
        assert fault.startswith(
            "trainer.callbacks: expected dotted names of classes, such as my.module.Callback, joined"
        )
        assert fault.endswith(f"found {wrong!r}")
    assert compose(["trainer.callbacks=a.B+c_d.e.F"])[0].trainer.callback_list() == ["a.B", "c_d.e.F"]
    with pytest.raises(ConfigError, match="trainer.callbacks: method=emn is not fitted by Lightning"):
        compose(["trainer.callbacks=a.B", "method=emn"])
