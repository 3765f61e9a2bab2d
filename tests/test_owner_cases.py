"""Files that owners reported elsewhere, as the programs of ../shared/cases/owner make them; each with its right outcome.

Every kind has tests of its own that need no such programs (test_trust, test_kinds, test_dicom, test_display, test_metadata).
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from albums import decoded, lines
from PIL import Image

from experiments.cli import main

CASES = Path(__file__).parents[2] / "shared" / "cases" / "owner"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the programs of shared/cases/owner are not here")


def case_clash(folder: Path) -> bool:
    return {"a.png", "A.png"} == set(lines(folder / "out"))


def ct_window(folder: Path) -> bool:
    found = lines(folder / "out")
    shown = all(entry.displayed == "window 40/400" and 0 < entry.stored_linf <= 12 for entry in found.values())
    icons = all(any("IconImageSequence" in lost for lost in entry.lost) for entry in found.values())
    return shown and icons and {entry.path for entry in found.values()} == {"slice.dcm", "IM000001.dcm", "scan.dcm"}


def file_mode(folder: Path) -> bool:
    return (folder / "out" / "private.png").stat().st_mode & 0o777 == 0o640


def gamma(folder: Path) -> bool:
    with Image.open(folder / "out" / "linear.png") as copy:
        return copy.info["gamma"] == 1.0 and copy.info["chromaticity"][0] == 0.3127


def modern_formats(folder: Path) -> bool:
    return len(lines(folder / "out")) == 2


def resolution(folder: Path) -> bool:
    infos = [Image.open(path).info for path in sorted((folder / "out").glob("print*.png"))]
    dpi = all(round(value) == 300 for info in infos for value in info["dpi"])
    return len(infos) == 2 and dpi and infos[0]["Comment"] == "for the catalogue" and infos[1]["Author"] == "somebody"


def twelve_bits(folder: Path) -> bool:
    change = np.abs(decoded(folder / "out" / "xray.png") - decoded(folder / "in" / "xray.png"))
    return bool(0 < change.max() <= 8 / 255 * 1746)


def written_address(folder: Path) -> bool:
    return b"Home Street" not in (folder / "out" / "home.png").read_bytes()


RIGHT: dict[str, Callable[[Path], bool]] = {
    one.__name__: one
    for one in (case_clash, ct_window, file_mode, gamma, modern_formats, resolution, twelve_bits, written_address)
}


def made(name: str, folder: Path) -> None:
    subprocess.run([sys.executable, str(CASES / f"{name}.py"), str(folder)], check=True, capture_output=True)


@pytest.mark.parametrize("name", RIGHT)
def test_a_reported_file_comes_out_right(gray_generator: Path, tmp_path: Path, name: str) -> None:
    made(name, tmp_path)
    options = ["strip=gps"] if name == "written_address" else []
    arguments = [str(tmp_path / "in"), str(tmp_path / "out"), f"generator={gray_generator}", *options]
    assert main(["protect", *arguments]) == 0
    assert RIGHT[name](tmp_path)
    assert main(["verify", str(tmp_path / "out"), f"source={tmp_path / 'in'}"]) == 0


def test_a_photo_that_came_later_is_named(
    gray_generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made("unprotected_photo", tmp_path)
    places = [str(tmp_path / "in"), str(tmp_path / "out")]
    assert main(["protect", *places, f"generator={gray_generator}"]) == 0
    made("unprotected_photo", tmp_path)
    assert main(["verify", places[1], f"source={places[0]}"]) == 1
    assert "late.png: has no copy" in capsys.readouterr().out


def test_the_first_word_of_a_newcomer_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made("first_word", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["protect", "in", "out"]) == 0
    assert len(lines(tmp_path / "out")) == 1
