"""Chains of what happens to published photos, and the check of an owner's own copies."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from albums import content, picture, smooth, write
from PIL import Image

from experiments.cli import main
from photos.check import CHECK, EPOCHS, CheckResult, grade, read_check
from photos.destination import REPORT
from photos.manifest import MANIFEST
from photos.protector import SHIPPED, Protector
from victims.chains import CHAINS, after
from victims.defences import operations, written
from victims.input_stage import chain


@pytest.mark.parametrize(
    ("name", "size", "wanted"),
    [
        ("web", (3000, 1500), (2048, 1024)),
        ("social", (600, 2160), (300, 1080)),
        ("messenger", (1601, 800), (1600, 800)),
        ("thumbnail", (512, 300), (256, 150)),
        ("dataset", (512, 1024), (224, 224)),
        ("dataset", (300, 200), (224, 200)),
        ("screenshot", (400, 200), (300, 150)),
        ("social", (64, 48), (64, 48)),
    ],
)
def test_chains_shrink_as_they_say_and_never_enlarge(name: str, size: tuple[int, int], wanted: tuple[int, int]) -> None:
    image = smooth(size[1], size[0])
    found = after(image, name)
    assert found.size == wanted
    assert found.mode == "RGB"


def test_a_centre_crop_takes_the_centre() -> None:
    pixels = np.zeros((224, 250, 3), np.uint8)
    pixels[:, 13:237] = 200  # the centre's 224 columns
    assert np.asarray(after(Image.fromarray(pixels), "dataset")).min() > 150


@pytest.mark.parametrize("name", [name for name in CHAINS if name != "screenshot"])
def test_codecs_leave_their_mark(name: str) -> None:
    image = picture(64, 64)
    assert np.abs(np.asarray(after(image, name), int) - np.asarray(image)).max() > 8


def test_messenger_recompresses_twice() -> None:
    image = picture(64, 64)
    once = after(image, "social")
    assert CHAINS["messenger"].steps[1] is CHAINS["messenger"].steps[3]
    assert np.asarray(after(image, "messenger")).tobytes() != np.asarray(once).tobytes()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", list(CHAINS))
def test_chains_are_defences_that_keep_the_size(name: str, channels: int) -> None:
    images = torch.randint(0, 256, (3, channels, 40, 48), dtype=torch.uint8)
    changed = chain(images, name)
    assert changed.shape == images.shape
    assert (changed != images).float().mean() > 0.2
    assert torch.equal(changed[1], chain(images[1:2], name)[0])
    assert written(operations(f"chain:{name}+gray")) == f"chain:{name}+gray"


def test_an_unknown_chain_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="expected chain: web, social, messenger"):
        operations("chain:telegraph")
    with pytest.raises(ValueError, match="chain takes chain; write 'chain:social'"):
        operations("chain")


# the check


@pytest.mark.parametrize(
    ("clean", "protected", "wanted"),
    [(0.9, 0.2, "protects"), (0.9, 0.5, "weak"), (0.9, 0.85, "none"), (0.12, 0.1, "unknown"), (None, None, "unknown")],
)
def test_grades_follow_the_stated_thresholds(clean: float | None, protected: float | None, wanted: str) -> None:
    assert grade(clean, protected, 0.1) == wanted


def kinds(folder: Path, count: int, names: tuple[str, ...] = ("dark", "light")) -> Path:
    """Photos of two kinds that a classifier tells apart at once, each in its folder."""
    random = np.random.default_rng(1)
    for name, low in zip(names, (20, 150), strict=True):
        for place in range(count):
            pixels = random.integers(low, low + 80, (24, 30, 3)).astype(np.uint8)
            write(folder / name / f"{place:02d}.png", Image.fromarray(pixels))
    return folder


def test_a_check_trains_on_photos_and_copies_and_heads_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = kinds(tmp_path / "in", 22), tmp_path / "out"
    Protector.load(SHIPPED).protect_folder(source, out)
    page = (out / REPORT).read_text()
    assert "Not measured on these photos" in page
    before = content(out)
    code = main(["check", str(out), f"source={source}", "size=16"])
    shown = capsys.readouterr().out
    found = read_check(out, out / MANIFEST)
    assert found is not None
    assert [one.chain for one in found.chains] == ["as published", *CHAINS, "gray"]
    assert found.classes == ["dark", "light"]
    assert found.photos == 44
    assert all(one.clean is not None and 0 <= one.clean <= 1 for one in found.chains)
    assert found.chains[0].noise_left == pytest.approx(1)
    assert code == int(any(one.grade == "none" for one in found.chains))
    assert found.sentence()[:40] in shown
    page = (out / REPORT).read_text()
    assert page.index("What these photos withstand") < page.index("photos with a copy")
    assert "Measured on 44 of these photos" in page
    assert "Not measured" not in page
    changed = {name for name, data in content(out).items() if before.get(name) != data}
    assert changed == {CHECK, REPORT}
    assert main(["verify", str(out), f"source={source}"]) == 0
    monkeypatch.setattr("photos.protector.Protector.load", lambda *arguments: pytest.fail("no generator is needed"))
    assert main(["check", str(out), f"source={source}", "size=16"]) == code
    assert read_check(out, out / MANIFEST) == found, "the same photos give the same figures"
    write(source / "dark" / "00.png", picture(20, 20))
    assert main(["check", str(out), f"source={source}"]) == 2
    assert "00.png: has changed since it was protected; protect again" in capsys.readouterr().err


def test_few_photos_and_no_classes_are_no_proof(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, source in (("few", kinds(tmp_path / "few", 4)), ("flat", write_flat(tmp_path / "flat"))):
        out = tmp_path / f"{name} out"
        Protector.load(SHIPPED).protect_folder(source, out)
        assert main(["check", str(out), f"source={source}", "size=16"]) == 0
        shown = capsys.readouterr().out
        assert "is no proof of protection" in shown
        found = read_check(out, out / MANIFEST)
        assert found is not None
        assert all(one.clean is None and one.grade == "unknown" for one in found.chains)
        assert 0.2 < found.chains[1].noise_left < 1.5
    assert "the photos are in no class folders" in shown


def write_flat(folder: Path) -> Path:
    for place in range(4):
        write(folder / f"{place}.jpg", smooth(60, 60))
    return folder


def test_a_check_of_other_copies_does_not_count(tmp_path: Path) -> None:
    source, out = kinds(tmp_path / "in", 3), tmp_path / "out"
    protector = Protector.load(SHIPPED)
    protector.protect_folder(source, out)
    assert main(["check", str(out), f"source={source}", "size=16"]) == 0
    assert read_check(out, out / MANIFEST) is not None
    write(source / "dark" / "new.png", picture(20, 20))
    protector.protect_folder(source, out)
    assert read_check(out, out / MANIFEST) is None
    assert "Not measured on these photos" in (out / REPORT).read_text()
    (out / CHECK).write_text(json.dumps({"format": 99}))
    assert read_check(out, out / MANIFEST) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "out"], "source: is missing"),
        (["check", "nowhere", "source=in"], "none found, or unfinished"),
        (["check", "out", "source=nowhere"], "no folder nowhere"),
        (["check", "out", "source=in", "size=8"], "size"),
    ],
)
def test_faults_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Protector.load(SHIPPED).protect_folder(kinds(tmp_path / "in", 2), tmp_path / "out")
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_sentences_say_what_holds() -> None:
    from photos.check import ChainResult

    chains = [
        ChainResult("as published", "", 1, 0.9, 0.1, "protects"),
        ChainResult("web", "", 0.9, 0.9, 0.5, "weak"),
        ChainResult("social", "", 0.1, 0.9, 0.9, "none"),
    ]
    found = CheckResult("", 100, ["a", "b"], 0.5, 64, "", chains)
    assert found.sentence().endswith("holds: as published; holds in part: web; does not hold: social.")
    assert EPOCHS == 15
