"""Protected sets on disk and the generator's file: bounds after decoding, nothing half-written, nothing taken on trust."""

import csv
import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from datamodules import protected as protected_file
from datamodules.config import DataError
from datamodules.images import ImageSet
from datamodules.protected import ManifestHeader, ProtectedDataset, write_protected
from datamodules.protection import Norm
from gan import protection
from gan.config import ClassifierConfig, NoiseConfig
from gan.networks import Generator, build_generator
from gan.noise import NoiseNetwork
from gan.protection import (
    FORMAT,
    GENERATOR,
    GeneratorCard,
    GeneratorFileError,
    TrainedGenerator,
    load_generator,
    quantise,
    save_generator,
    save_noise,
    start_network,
)

HEADER = ManifestHeader("confoundergan", "abc", 8.0, 0, "tiny:train:123", ["a", "b/c", "d"], 20)


def clean(channels: int = 3) -> ImageSet:
    images = torch.randint(
        0, 256, (20, channels, 12, 10), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    return ImageSet(images, torch.arange(20) % 3)


def strongest(part: ImageSet) -> torch.Tensor:
    """The largest allowed change everywhere, up and down by turns."""
    images = part.images
    sign = torch.where(torch.arange(images.shape[-1]) % 2 == 0, 1.0, -1.0)
    return quantise(images, (8 / 255 * sign).expand(images.shape), 8)


@pytest.mark.parametrize("epsilon", [1.0, 7.5, 8.0, 8.9])
def test_quantised_noise_never_exceeds_the_bound_and_keeps_its_sign(epsilon: float) -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    for value in torch.linspace(-epsilon, epsilon, 41) / 255:
        change = quantise(images, value.expand(images.shape), epsilon).int() - images.int()
        assert change.abs().max() <= epsilon
        middle = change.flatten()[20:230].unique()
        assert len(middle) == 1  # away from black and white, up and down alike
        assert (
            abs(middle.item() - max(-int(epsilon), min(int(epsilon), value.item() * 255))) < 0.501
        )  # rounded, not cut


@pytest.mark.parametrize("channels", [1, 3])
def test_files_decode_to_what_was_protected_within_the_bound(tmp_path: Path, channels: int) -> None:
    source = clean(channels)
    write_protected(tmp_path / "set", source, strongest, HEADER, chunk=7)
    stored = ProtectedDataset(tmp_path / "set")
    back = stored.load()
    assert torch.equal(back.images, strongest(source))
    assert torch.equal(back.labels, source.labels)
    assert (back.images.int() - source.images.int()).abs().max() == 8
    assert {entry.linf for entry in stored.entries} == {8}
    folder = ImageFolder(tmp_path / "set")
    assert folder.classes == ["a", "b_c", "d"]
    for path, label in folder.samples:
        entry = next(e for e in stored.entries if e.path == Path(path).relative_to(tmp_path / "set").as_posix())
        assert entry.label == label


@pytest.mark.parametrize("count", [2, 12, 1000])
def test_others_number_classes_as_the_manifest_does(tmp_path: Path, count: int) -> None:
    """``ImageFolder`` numbers folders in the order of their names, in which "10" comes before "2"."""
    names = [str(k) for k in range(count)]
    labels = torch.arange(count)
    images = ImageSet(torch.zeros(count, 1, 2, 2, dtype=torch.uint8), labels)
    header = replace(HEADER, class_names=names, images=count)
    write_protected(tmp_path / "set", images, lambda part: part.images, header)
    stored = ProtectedDataset(tmp_path / "set")
    found = ImageFolder(str(tmp_path / "set"))
    labels_of = {str(tmp_path / "set" / entry.path): entry.label for entry in stored.entries}
    assert dict(found.samples) == labels_of
    assert stored.classes == names
    assert (found.classes == names) == (count == 2), "names that sort in label order stay as they are"


def test_a_table_names_every_image_with_its_label(tmp_path: Path) -> None:
    images = clean()
    write_protected(tmp_path / "set", images, strongest, HEADER)
    with (tmp_path / "set" / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    stored = ProtectedDataset(tmp_path / "set")
    assert [row["file_name"] for row in rows] == [entry.path for entry in stored.entries]
    assert [int(row["label"]) for row in rows] == stored.targets
    assert {row["class"] for row in rows} == set(stored.classes)
    stored.load()  # the table is no picture that the manifest does not list


def test_a_protection_that_breaks_its_bound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="was changed by 9 grey levels, above ε = 8"):
        write_protected(tmp_path, clean(), lambda x: (x.images.int() + 9).clamp(0, 255).to(torch.uint8), HEADER)


@pytest.mark.parametrize(
    ("norm", "epsilon", "message"),
    [
        ("l2", 1.0, r"image 1 was changed by 1.17\d+ of Euclidean length, above ε = 1"),
        ("l0", 2, "image 1 was changed by 3 pixels, above ε = 2"),
        ("linf", 254, "image 0 was changed by 255 grey levels, above ε = 254"),
        (None, None, ""),
    ],
)
def test_bounds_hold_in_their_own_norm(tmp_path: Path, norm: Norm | None, epsilon: float | None, message: str) -> None:
    def changed(part: ImageSet) -> torch.Tensor:
        images = torch.zeros_like(part.images)
        images[0, :1, 0, 0] = 255  # one value of one pixel
        images[1, :, 0, :3] = 100
        return images

    source = ImageSet(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]))
    header = replace(HEADER, norm=norm, epsilon=epsilon, images=2)
    if message:
        with pytest.raises(DataError, match=message):
            write_protected(tmp_path, source, changed, header)
        return
    write_protected(tmp_path, source, changed, header)
    stored = ProtectedDataset(tmp_path)
    assert (stored.header, stored.entries[1].linf) == (header, 100)


def test_sets_written_before_bounds_had_norms_are_still_read(tmp_path: Path) -> None:
    write_protected(tmp_path, clean(), strongest, HEADER)
    manifest = tmp_path / protected_file.MANIFEST
    manifest.write_text(manifest.read_text().replace(', "norm": "linf"', "", 1))
    assert ProtectedDataset(tmp_path).header == HEADER
    write_protected(tmp_path, clean(), strongest, HEADER)  # it is the same set


@pytest.mark.parametrize("files", [0, 1, 9, 19])
def test_a_killed_writer_resumes_and_ends_with_the_same_bytes(
    tmp_path: Path, files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_protected(tmp_path / "whole", clean(), strongest, HEADER, chunk=4)
    written = []
    original = protected_file.write_atomic

    def dying(path: Path, data: bytes) -> None:
        if path.suffix == ".png":
            if len(written) == files:
                raise KeyboardInterrupt
            written.append(path)
        original(path, data)

    monkeypatch.setattr(protected_file, "write_atomic", dying)
    with pytest.raises(KeyboardInterrupt):
        write_protected(tmp_path / "cut", clean(), strongest, HEADER, chunk=4)
    with pytest.raises(DataError, match="its writing was cut off"):
        ProtectedDataset(tmp_path / "cut")
    partial = tmp_path / "cut" / protected_file.PARTIAL
    partial.write_text(partial.read_text() + '{"path": "torn')  # as a kill in the middle of a line leaves it
    monkeypatch.setattr(protected_file, "write_atomic", original)
    write_protected(tmp_path / "cut", clean(), strongest, HEADER, chunk=4)
    content = [
        {p.relative_to(tmp_path / n).as_posix(): p.read_bytes() for p in (tmp_path / n).rglob("*") if p.is_file()}
        for n in ("whole", "cut")
    ]
    assert content[0] == content[1]


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        with open(self, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_protected(tmp_path, clean(), strongest, HEADER)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_another_sets_folder_is_refused(tmp_path: Path) -> None:
    write_protected(tmp_path, clean(), strongest, HEADER)
    write_protected(tmp_path, clean(), strongest, HEADER)  # the same again: nothing to do
    with pytest.raises(DataError, match="belongs to another protected set"):
        write_protected(tmp_path, clean(), strongest, replace(HEADER, checkpoint="other"))


def test_changed_missing_and_added_files_are_named(tmp_path: Path) -> None:
    write_protected(tmp_path, clean(), strongest, HEADER)
    stored = ProtectedDataset(tmp_path)
    victim = tmp_path / stored.entries[3].path
    data = victim.read_bytes()
    victim.write_bytes(data[:-1] + b"x")
    with pytest.raises(DataError, match=f"{victim.name}: is not the file that the manifest describes"):
        stored.load()
    victim.unlink()
    with pytest.raises(DataError, match=f"{victim.name}: listed in the manifest, but not readable"):
        stored.load()
    victim.write_bytes(data)
    (tmp_path / "a" / "extra.png").write_bytes(data)
    with pytest.raises(DataError, match=r"extra.png: is not listed"):
        stored.load()
    (tmp_path / "a" / "extra.png").rename(tmp_path / "a" / "extra.JPEG")  # an ImageFolder would read it
    victim.unlink()
    other = tmp_path / stored.entries[5].path
    other.write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        stored.load()
    said = str(caught.value)
    assert all(name in said for name in (victim.name, other.name, "extra.JPEG")), "all of them, not the first alone"
    assert said.endswith("restore the set, or protect the images again")


def test_images_of_several_sizes_are_named(tmp_path: Path) -> None:
    write_protected(tmp_path, clean(), strongest, HEADER)
    manifest = tmp_path / protected_file.MANIFEST
    head, *lines = manifest.read_text().splitlines()
    entry = json.loads(lines[4])
    small = Image.new("RGB", (7, 9))
    small.save(tmp_path / entry["path"])
    entry["protected_sha256"] = hashlib.sha256((tmp_path / entry["path"]).read_bytes()).hexdigest()
    lines[4] = json.dumps(entry)
    manifest.write_text("\n".join([head, *lines, ""]))
    with pytest.raises(DataError, match=r"000004.png: is 7×9 pixels of 3 channels, but .*000000.png is 10×12 pixels"):
        ProtectedDataset(tmp_path).load()


def test_damaged_manifests(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no finished protected set here \\(none found\\)"):
        ProtectedDataset(tmp_path)
    write_protected(tmp_path, clean(), strongest, HEADER)
    manifest = tmp_path / protected_file.MANIFEST
    text = manifest.read_text()
    for content, message in (
        (text.replace('"format": 1', '"format": 9', 1), "another version"),
        (text[:-20], "damaged"),
        ("\n".join(text.splitlines()[:-1]), "lists 19 of 20 images"),
        ("nonsense", "damaged"),
    ):
        manifest.write_text(content)
        with pytest.raises(DataError, match=message):
            ProtectedDataset(tmp_path)


CLASSIFIER, NOISE = ClassifierConfig(pretrained="none", arch="linear", hidden=16), NoiseConfig(width=8, code=8)
OPTIONS = {"classifier": asdict(CLASSIFIER), "noise": asdict(NOISE)}
CARD = GeneratorCard(1, 8.0, OPTIONS, "tiny", "123", ["a", "b"], 10, [16, 16], 0, 1, {"torch": "x"})


def generator() -> Generator:
    torch.manual_seed(0)
    return build_generator(CLASSIFIER, NOISE, 1, 2, 8 / 255, (16, 16))


def test_generator_file_round_trip(tmp_path: Path) -> None:
    net, images = generator(), torch.randint(0, 256, (5, 1, 20, 20), dtype=torch.uint8)
    sha256 = save_generator(tmp_path / "g.safetensors", net, CARD)
    trained, card, again = load_generator(tmp_path / "g.safetensors")
    assert (card, again) == (CARD, sha256)
    assert torch.equal(trained.protect(images), TrainedGenerator(net, 8.0).protect(images))
    shown = json.loads((tmp_path / "g.json").read_text())
    assert shown | asdict(CARD) == shown


def test_a_generator_with_a_pretrained_encoder_brings_its_weights(tmp_path: Path) -> None:
    classifier = ClassifierConfig(hidden=16, arch="narrow_mixer")
    torch.manual_seed(0)
    net, images = (
        build_generator(classifier, NOISE, 1, 2, 8 / 255, (16, 16)),
        torch.randint(0, 256, (3, 1, 20, 20), dtype=torch.uint8),
    )
    save_generator(
        tmp_path / "g.safetensors", net, replace(CARD, generator=OPTIONS | {"classifier": asdict(classifier)})
    )
    trained = load_generator(tmp_path / "g.safetensors")[0]
    assert torch.equal(trained.protect(images), TrainedGenerator(net, 8.0).protect(images))


def test_protecting_is_the_same_one_by_one_and_together(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (300, 1, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    trained = TrainedGenerator(generator(), 8.0)
    together, single = trained.protect(images), trained.protect(images, chunk=1)
    assert (together.int() - single.int()).abs().max() <= 1
    assert (together != single).float().mean() < 1e-3
    assert (together.int() - images.int()).abs().max() <= 8
    assert torch.equal(together, trained.protect(images))


def test_generator_files_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    with pytest.raises(GeneratorFileError, match="No such file"):
        load_generator(path)
    save_generator(path, generator(), CARD)
    weights, card = path.read_bytes(), path.with_suffix(".json").read_text()
    tampered = weights[:-4] + os.urandom(4)
    for data, text, message in (
        (tampered, card, "is not the file that its card describes"),
        (weights, card.replace(f'"format": {FORMAT}', '"format": 5'), "another version"),
        (weights, card[:30], "no readable card"),
        (weights, card.replace('"width": 8', '"width": 16'), "weights and card do not fit"),
        (weights, card.replace('"gain"', '"gains"'), "weights and card do not fit"),
    ):
        path.write_bytes(data)
        path.with_suffix(".json").write_text(text)
        with pytest.raises(GeneratorFileError, match=message):
            load_generator(path)


def same(network: NoiseNetwork | None, other: NoiseNetwork) -> bool:
    assert network is not None
    own, theirs = network.state_dict(), other.state_dict()
    return own.keys() == theirs.keys() and all(torch.equal(own[name], theirs[name]) for name in own)


def test_a_run_starts_from_a_noise_file_a_generator_or_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = generator().noise_network
    mine = replace(NOISE, gain=2.0, gate=0.5)  # what does not decide the weights' shape is the run's own
    sha256 = save_noise(tmp_path / "n.safetensors", net, {"steps": 7})
    card = json.loads((tmp_path / "n.json").read_text())
    assert (card["format"], card["sha256"], card["steps"], card["noise"]) == (FORMAT, sha256, 7, asdict(NOISE))
    assert hashlib.sha256((tmp_path / "n.safetensors").read_bytes()).hexdigest() == sha256
    save_generator(tmp_path / GENERATOR, generator(), CARD)
    for start in (tmp_path / "n.safetensors", tmp_path / GENERATOR, tmp_path):
        found = start_network(str(start), mine)
        assert same(found, net)
        assert found is not None
        assert found.options == mine
    assert start_network("none", NOISE) is None
    monkeypatch.setattr(protection, "SHIPPED", tmp_path / "n.safetensors")
    assert same(start_network("shipped", NOISE), net)


def test_starts_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "n.safetensors"
    monkeypatch.setattr(protection, "SHIPPED", tmp_path / "missing.safetensors")

    def fault(start: str, options: NoiseConfig = NOISE) -> str:
        with pytest.raises(GeneratorFileError) as caught:
            start_network(start, options)
        shown = str(caught.value)
        assert len(shown.splitlines()) == 1
        return shown

    assert f"{tmp_path / 'missing.safetensors'}: No such file" in fault("shipped")
    assert f"{tmp_path / 'nowhere' / GENERATOR}: No such file" in fault(str(tmp_path / "nowhere"))
    save_noise(path, generator().noise_network, {})
    for name, value in (("width", 16), ("code", 9)):
        other = replace(NOISE, **{name: value})
        assert fault(str(path), other) == (
            f"gan.noise.{name}: is {value}, but gan.start={path} was trained with 8; set gan.start=none or "
            f"gan.noise.{name}=8"
        )
    weights, card = path.read_bytes(), path.with_suffix(".json").read_text()
    for data, text, message in (
        (weights[:-4] + os.urandom(4), card, "is not the file that its card describes"),
        (weights, card.replace(f'"format": {FORMAT}', '"format": 4'), "made by another version of this program"),
        (weights, card.replace('"format"', '"form"'), "weights and card do not fit"),
        (weights, card.replace('"noise"', '"nois"'), "weights and card do not fit"),
        (weights, card[:30], "no readable card"),
        (weights, "[]", "is not the file that its card describes"),
    ):
        path.write_bytes(data)
        path.with_suffix(".json").write_text(text)
        assert message in fault(str(path))


def test_stored_noise_is_whole_grey_levels_within_the_bound() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    for epsilon in (1.0, 7.5, 8.9):
        for sign in (1, -1):
            stored = quantise(images, sign * torch.full(images.shape, 99 / 255), epsilon)
            change = stored.int() - images.int()
            assert change.abs().max() == int(epsilon)
            assert stored.dtype == torch.uint8
    half = quantise(images, torch.full(images.shape, 0.6 / 255), 8.0)
    assert (half.int() - images.int())[..., :-1, :].eq(1).all()


def test_pixels_are_hashed_row_by_row(tmp_path: Path) -> None:
    import hashlib

    source = clean()
    write_protected(tmp_path, source, strongest, HEADER)
    entry = ProtectedDataset(tmp_path).entries[5]
    pixels = np.ascontiguousarray(source.images[5].permute(1, 2, 0).numpy())
    assert entry.original_sha256 == hashlib.sha256(pixels.tobytes()).hexdigest()
