"""The examples of CONTRIBUTING.md, put in place in a copy of the package: each is as short as it says, and works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CACHE, SMALL

from experiments.architecture import LEVELS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
LIMITS = {"A protection": (50, 2), "A data set": (40, 2), "A defence": (15, 1)}  # lines and files at most

CHECK = """
import sys
from baselines.info import method_infos
from experiments.cli import main
from experiments.config import help_text
from experiments.tables import data_sets, defences
assert "baselines.checks.side=1" in help_text("") and "ramps" in help_text("")
assert any(row.method == "checks" and row.labels for row in method_infos())
assert "`ramps`" in data_sets() and "invert" in defences("input")
sys.exit(main(sys.argv[1:]))
"""


def blocks(kind: str) -> list[tuple[str, str, str]]:
    """File, the line after which it goes (empty: a new file), and text of each block of a kind's paragraph."""
    part = TEXT[TEXT.index(f"**{kind}**") :]
    part = re.split(r"\n\*\*|\nWithout touching", part[2:])[0]
    found = []
    for block in re.findall(r"```python\n(.*?)```", part, re.S):
        head, text = block.split("\n", 1)
        file, _, place = head.removeprefix("# ").partition(", after: ")
        found.append((file, place, text))
    return found


def put(root: Path, file: str, place: str, text: str) -> None:
    """Puts a block in place."""
    path = root / file
    if not place:
        assert not path.exists()
        path.write_text(text)
        return
    lines = path.read_text().splitlines(keepends=True)
    [row] = [i for i, line in enumerate(lines) if line.strip() == place]
    path.write_text("".join([*lines[: row + 1], text, *lines[row + 1 :]]))


@pytest.mark.parametrize("kind", LIMITS)
def test_adding_takes_few_lines_and_files(kind: str) -> None:
    found = blocks(kind)
    lines = sum(bool(line.strip()) for _, _, text in found for line in text.splitlines())
    assert 0 < lines <= LIMITS[kind][0]
    assert len({file for file, _, _ in found}) == LIMITS[kind][1]


def test_what_is_added_is_in_the_help_in_the_tables_and_works(tmp_path: Path) -> None:
    for room in LEVELS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "benchmarks"))
    for kind in LIMITS:
        for file, place, text in blocks(kind):
            put(tmp_path, file, place, text)
    added = ["data=ramps", "method=checks", "victim.defence=invert:9", "victim.arch=linear", f"data.cache={CACHE}"]
    asked = [*(a for a in SMALL if not a.startswith("data.cache")), *added, "fast_dev_run=true", "run_dir=run"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", CHECK, "train", *asked]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "protected" / "standard" / "manifest.jsonl").is_file()
    assert "with the defence invert:9" in done.stdout
