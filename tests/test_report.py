"""Reports: what is claimed and when, the arithmetic behind it, and files that are safe to open anywhere."""

import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CACHE
from made_rows import lost, made, recipe, victim
from PIL import Image

from datamodules.images import ImageSet
from evaluation.pictures import PictureGrid, save_sheets
from evaluation.rows import Row
from evaluation.verdicts import Finding, Verdict, failed, findings, grade, missing, verdicts
from experiments.cli import main
from experiments.grid.cells import cells_of
from experiments.grid.compute import draw, save_rows
from experiments.grid.run import run_cell
from experiments.report.document import document
from experiments.report.figures import curves, share_map
from experiments.report.inputs import ReportInput, input_of_grid, input_of_run
from experiments.report.page import to_markdown
from experiments.report.write import to_csv, write

ROOT = Path(__file__).parents[1]
NASTY = '<b onload="x">&amp; | `$\\alpha$ _*'  # a name that HTML, Markdown and formulas would each take for their own


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "about": "Does it hold?", "data": {"d": {"data": "digits"}}, "variants": {"a": {}}, "victims": {"v": {}},
        "settings": ["clean", "standard"], "seeds": [0], "measured_on": "test",
    } | changes  # fmt: skip


def told(rows: list[Row], **changes: Any) -> list[Verdict]:
    asked = spec(**changes)
    return verdicts(asked, findings(asked, rows))


def one(rows: list[Row], **changes: Any) -> Finding:
    [found] = findings(spec(**changes), rows)
    return found


@pytest.mark.parametrize(
    ("protected", "kind", "claim"),
    [
        (0.05, "stopped", "Stops training on d (standard setting)"),
        (0.18, "stopped", "Stops training on d (standard setting)"),  # exactly a tenth of 80 points
        (0.181, "weakened", "Weakens training on d (standard setting)"),
        (0.5, "weakened", "Weakens training on d (standard setting)"),  # exactly half
        (0.501, "broken", "Not protected: d (standard setting)"),
    ],
)
def test_the_verdict_at_its_thresholds(protected: float, kind: str, claim: str) -> None:
    [line] = told([victim("clean", 0, 0.9), victim("standard", 0, protected)])
    assert (line.kind, line.claim) == (kind, claim)
    assert line.lines == [f"v: 90 → {100 * protected:.0f} % (chance 10 %)", "One seed: a hint, not a result."]


def test_one_lost_victim_breaks_a_protection_and_is_named() -> None:
    rows: list[Row] = [victim("clean", s, 0.9, victim=v) for s in range(3) for v in ("plain", "grayscale")]
    rows += [victim("standard", s, 0.1, victim="plain") for s in range(3)]
    rows += [victim("standard", s, 0.84, victim="grayscale") for s in range(3)]
    [line] = told(rows, victims={"plain": {}, "grayscale": {}}, seeds=[0, 1, 2], variants={"a": {}, "b": {}})
    assert (line.kind, line.claim) == ("broken", "Broken on d (a, standard setting) by grayscale")
    assert line.lines == [
        "Stopped: plain: 90 ± 0 → 10 ± 0 %", "Not protected: grayscale: 90 ± 0 → 84 ± 0 % (chance 10 %)", "3 seeds."
    ]  # fmt: skip


def test_many_victims_are_told_by_their_number_and_the_two_ends() -> None:
    reached = {"plain": 0.1} | {f"v{i}": 0.6 + i / 100 for i in (5, 3, 0, 6, 1, 4, 2)}
    rows: list[Row] = [
        row
        for v, p in reached.items()
        for row in (victim("clean", 0, 0.9, victim=v), victim("standard", 0, p, victim=v))
    ]
    [line] = told(rows, victims={v: {} for v in reached})
    assert line.claim == "Broken on d (standard setting) by 7 of 8 victims"
    assert line.lines[:2] == [
        "Stopped: plain: 90 → 10 %", "Not protected: 7 of 8 victims, from v0: 90 → 60 % to v6: 90 → 66 % (chance 10 %)"
    ]  # fmt: skip


@pytest.mark.parametrize(("clean", "kind"), [(0.2, "stopped"), (0.199, "unknown"), (0.1, "unknown"), (0.05, "unknown")])
def test_nothing_is_claimed_where_the_clean_victim_learned_nothing(clean: float, kind: str) -> None:
    [line] = told([victim("clean", 0, clean), victim("standard", 0, 0.1)])
    assert line.kind == kind
    if kind == "unknown":
        assert line.claim == "Nothing can be said about d (standard setting)"
        assert f"trained on clean images it reaches {100 * clean:.0f} %, chance is 10 %" in line.lines[0]


def test_recovered_shares_are_of_the_same_seed_and_the_same_victim() -> None:
    rows: list[Row] = [victim("clean", 0, 0.9), victim("clean", 1, 0.5), victim("clean", 3, 0.9)]
    rows += [victim("standard", 0, 0.3), victim("standard", 1, 0.2), victim("standard", 2, 0.9)]
    found = one(rows, seeds=[0, 1, 2, 3])
    assert found.seeds == (0, 1), "neither the seed without a clean twin nor the one without a protected victim"
    assert found.shares == pytest.approx([0.25, 0.25])
    assert found.share == pytest.approx((0.25 - 0.1) / (0.7 - 0.1))
    # another recipe or other images are no twin: better nothing than a wrong figure
    for change in ({"recipe": recipe(arch="other")}, {"images": 50}):
        found = one([victim("clean", 0, 0.9, **change), victim("standard", 0, 0.1)])
        assert (found.share, found.grade) == (None, "unknown")
        assert "no seed has both" in told([victim("clean", 0, 0.9, **change), victim("standard", 0, 0.1)])[0].lines[0]
    # the fast setting has the clean part B beside it, not A
    rows: list[Row] = [victim("clean", 0, 0.9), victim("clean_fast", 0, 0.6), victim("fast", 0, 0.35)]
    assert one(rows, settings=["clean", "clean_fast", "fast"]).share == pytest.approx(0.5)


def test_seeds_that_disagree_and_early_stopping_are_told() -> None:
    rows: list[Row] = [victim("clean", s, 0.9) for s in (0, 1)]
    rows += [victim("standard", 0, 0.1, peak=0.6), victim("standard", 1, 0.25, peak=0.6)]
    [line] = told(rows, seeds=[0, 1])
    assert line.kind == "stopped"
    assert "Seeds of v differ: 0 to 19 % recovered." in line.lines
    assert any("At its best epoch v reaches 60 ± 0 % (62 % recovered, not protected)" in text for text in line.lines)
    assert line.lines[-1] == "2 seeds: a hint, not a result."


def test_grades() -> None:
    assert [grade(s) for s in (None, -0.2, 0.1, 0.11, 0.5, 0.51)] == [
        "unknown", "stopped", "stopped", "weakened", "weakened", "not protected",
    ]  # fmt: skip


def test_failed_and_missing_cells_are_listed() -> None:
    rows: list[Row] = [made(), victim("clean", 0, 0.9), victim("standard", 0, 0.1)]
    rows += [lost(rows[2], "RuntimeError: out of memory", seed=1)]
    asked = spec(settings=["clean", "standard", "fast"], seeds=[0, 1], variants={"a": {}, "b": {}})
    assert failed(rows) == ["data d, variant a, seed 1, setting standard, victim v: RuntimeError: out of memory"]
    absent = missing(asked, rows)
    assert absent[0] == "data d, seed 1, setting clean, victim v: not computed"
    assert [line.partition(":")[0] for line in absent[1:]] == [
        "data d, variant a, setting fast", "data d, variant b, setting standard", "data d, variant b, setting fast",
    ]  # fmt: skip
    assert missing(spec(), rows) == []


def test_csv_round_trip() -> None:
    rows: list[Row] = [victim("clean", s, 0.9, victim=NASTY) for s in (0, 1)]
    rows += [victim("standard", 0, 0.1, victim=NASTY), victim("standard", 1, 0.3, victim=NASTY)]
    rows += [lost(rows[0], "E: why", variant="a", setting="standard", victim="w")]
    found = findings(spec(victims={NASTY: {}, "w": {}}, seeds=[0, 1]), rows)
    first, second = csv.DictReader(io.StringIO(to_csv(found)))
    assert (first["data"], first["variant"], first["setting"], first["victim"]) == ("d", "a", "standard", NASTY)
    assert first["seeds"] == "0 1"
    assert float(first["recovered"]) == found[0].share
    assert float(first["protected"]) == pytest.approx(0.2)
    assert float(first["protected_sd"]) == pytest.approx(0.2 / 2**0.5)
    assert float(first["recovered_sd"]) == pytest.approx(0.25 / 2**0.5)
    assert first["verdict"] == "weakened"
    assert (second["seeds"], second["protected"], second["recovered"], second["failed"]) == ("", "", "", "1")


class Page(HTMLParser):
    """What a browser would find: tags with attributes, headings, texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "every tag is closed where it belongs"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def checked(folder: Path) -> Page:
    """The page, found to be self-contained, accessible and well-formed."""
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert not page.open
    allowed = (
        "html head meta title style body main h1 h2 h3 p ul li strong div table caption thead tbody tr th td figure"
    )
    assert {tag for tag, _ in page.tags} <= {*allowed.split(), "figcaption", "img"}
    assert not re.search(r"url\(|@import|https?://", text)
    for _, attributes in page.tags:
        assert not {"href", "srcset", "style", "onload"} & set(attributes)
    for image in page.all("img"):
        assert (image["src"] or "").startswith("data:image/png;base64,")
        assert image["alt"]
    metas = page.all("meta")
    assert {"width=device-width, initial-scale=1", "light dark"} <= {m.get("content") for m in metas}
    assert any("default-src 'none'" in (m.get("content") or "") for m in metas)
    assert page.tags[0] == ("html", {"lang": "en"})
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert {cell["scope"] for cell in page.all("th")} == {"col", "row"}
    assert len(page.all("caption")) == len(page.all("table"))
    lines = (folder / "report.md").read_text().splitlines()
    for before, after in pairwise(lines):  # a table's rows have as many cells as its head
        if before.startswith("|") and after.startswith("|"):
            assert len(re.split(r"(?<!\\)\|", before)) == len(re.split(r"(?<!\\)\|", after))
    return page


def test_names_are_shown_letter_by_letter_and_nothing_is_loaded(tmp_path: Path) -> None:
    names = {"data": NASTY, "variant": NASTY}
    rows: list[Row] = [made(**names), made(data=NASTY, variant="b")]
    for name in (NASTY, "w"):
        rows += [victim("clean", 0, 0.9, data=NASTY, victim=name)]
        rows += [victim("standard", 0, 0.1, victim=name, **names)]
        rows += [victim("standard", 0, 0.8, victim=name, data=NASTY, variant="b")]
    rows += [lost(rows[-1], "ValueError: <script>alert(1)</script>", seed=1)]
    asked = spec(
        about="<i>why</i> & how", data={NASTY: {"data": "digits"}}, variants={NASTY: {}, "b": {"gan.epsilon": 4.0}},
        victims={NASTY: {}, "w": {}}, seeds=[0, 1],
    )  # fmt: skip
    write(tmp_path, ReportInput(NASTY, asked, rows, {}))
    page = checked(tmp_path)
    assert len(page.all("img")) == 2  # the map and the curves
    assert NASTY in page.texts
    assert any("<i>why</i> & how" in text for text in page.texts)
    assert any("<script>alert(1)</script>" in text for text in page.texts)
    assert any("not computed" in text for text in page.texts)
    assert any(text.startswith("No pictures: no picture sheets were found") for text in page.texts)
    assert "<b" not in (tmp_path / "report.md").read_text()
    assert "gan.epsilon=4" in page.texts
    assert "abc and uncommitted changes; not in a checkout" in page.texts


def test_figures_only_where_there_is_something_to_draw() -> None:
    assert curves("d", ["a"], [made()]) is None
    assert share_map("standard", []) is None
    many = [victim("clean", 0, 0.9, victim=f"v{i}") for i in range(4)]
    png = curves("d", ["a"], many)
    assert png is not None
    few = curves("d", ["a"], many[:1])
    assert few is not None
    (width, height), (narrow, low) = (Image.open(io.BytesIO(data)).size for data in (png, few))
    assert width > narrow, "panels side by side, three at most"
    assert height == 2 * low


def test_a_grid_without_any_finished_cell_has_a_report(tmp_path: Path) -> None:
    write(tmp_path, ReportInput("grid", spec(), [lost(made(), "DataError: gone")], {}))
    assert "Nothing was measured of a protected setting." in checked(tmp_path).texts
    assert any("DataError: gone" in text for text in Page((tmp_path / "report.html").read_text()).texts)


def copied(name: str, folder: Path) -> Path:
    target = folder / name
    target.mkdir()
    for file in ("cells.jsonl", "grid.json"):
        (target / file).write_bytes((ROOT / "results" / "grids" / name / file).read_bytes())
    return target


def test_committed_rows_give_a_report_without_data_or_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copied("settings", tmp_path)
    with (folder / "cells.jsonl").open("a") as lines:
        lines.write('{"key": "torn')
    assert main(["report", f"run={folder}", f"store={tmp_path / 'nowhere'}"]) == 0
    assert str(folder / "report.html") in capsys.readouterr().out
    page = checked(folder)
    asked = json.loads((folder / "grid.json").read_text())
    assert len(page.all("img")) == len(asked["data"])
    assert "Stops training on svhn_1k (standard setting)" in page.texts
    assert any(text.startswith("narrow: 38") and "→ 10" in text for text in page.texts)
    assert "Not protected: ham10000_64 (fast setting)" in page.texts
    lines = list(csv.DictReader((folder / "table.csv").open()))
    assert len(lines) == len(asked["data"]) * 3
    assert {line["verdict"] for line in lines if line["setting"] == "misclassified"} == {""}


def test_committed_runs_give_a_report(tmp_path: Path) -> None:
    results = ROOT / "results" / "digits_3seeds_cpu.json"
    (tmp_path / "results.json").write_bytes(results.read_bytes())
    assert main(["report", f"run={tmp_path}"]) == 0
    page = checked(tmp_path)
    assert "Stops training on digits (standard setting)" in page.texts
    assert any("3 seeds." in text for text in page.texts)
    score = json.loads(results.read_text())["mean"]["fast"]["balanced_accuracy"]["last"]
    lines = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert [line["setting"] for line in lines] == ["standard", "fast"]
    assert float(lines[1]["protected"]) == pytest.approx(score)


@pytest.mark.parametrize(
    "path", [p for p in sorted((ROOT / "results").rglob("*.json")) if '"schema_version"' in p.read_text()], ids=str
)
def test_every_committed_run_can_be_reported(path: Path, tmp_path: Path) -> None:
    results = json.loads(path.read_text())
    asked = input_of_run(tmp_path, results)
    found = findings(asked.spec, asked.rows)
    text = to_markdown(list(document(asked, found, {})))
    for f in found:
        shown = results["mean"][f.setting]["balanced_accuracy"]["last"]
        assert sum(f.protected) / len(f.seeds) == pytest.approx(shown)
        assert f"{100 * shown:.1f}" in text
    assert not failed(asked.rows)
    assert not missing(asked.spec, asked.rows)


def test_a_method_without_a_bound_of_the_largest_change_has_a_report(tmp_path: Path) -> None:
    """CUDA moves pixels as far as it likes: results.json has no ε for it, and grids' rows have none."""
    results = json.loads((ROOT / "results" / "digits_3seeds_cpu.json").read_text()) | {"epsilon": None}
    asked = input_of_run(tmp_path, results)
    text = to_markdown(list(document(asked, findings(asked.spec, asked.rows), {})))
    line = next(line for line in text.splitlines() if "| standard |" in line and "/255 |" in line)
    assert "| standard | – |" in line  # no bound; the largest change is measured all the same


def test_noise_beyond_the_bound_is_amplified_by_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_with: list[float] = []

    class Spied(PictureGrid):
        def __init__(self, class_names: tuple[str, ...], epsilon: float) -> None:
            made_with.append(epsilon)
            super().__init__(class_names, epsilon)

    monkeypatch.setattr("evaluation.pictures.PictureGrid", Spied)
    clean, near = images()  # changes up to 11
    far = ImageSet((clean.images.short() + 100).to(torch.uint8), clean.labels)
    for stored in (near, far):
        save_sheets(tmp_path, "standard", ("here",), 16.0, clean, stored)
    assert made_with == [16.0, 100.0]


def test_a_folder_without_results_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", f"run={tmp_path}"]) == 2
    shown = capsys.readouterr().err
    assert f"run: {tmp_path} has neither results.json nor cells.jsonl and grid.json" in shown


def images(count: int = 12, size: int = 16) -> tuple[ImageSet, ImageSet]:
    labels = torch.zeros(count, dtype=torch.int64)
    clean = torch.full((count, 1, size, size), 100, dtype=torch.uint8)
    noise = torch.arange(count)[:, None, None, None] * torch.tensor([1, -1]).repeat(size // 2)
    return ImageSet(clean, labels), ImageSet((clean.short() + noise).to(torch.uint8), labels)


@pytest.mark.parametrize("size", [16, 8])
def test_the_worst_images_come_first(size: int) -> None:
    sheet = PictureGrid(("here", "absent"), 16.0).worst(*images(size=size))
    assert sheet.size[0] == 92 + 10 * 76
    seen = [sheet.getpixel((92 + i * 76, 20 + 76))[0] for i in range(10)]  # type: ignore[index]
    assert seen == [111 - i for i in range(10)]
    assert PictureGrid(("here", "absent"), 16.0).run(*images(size=size)).size[0] == 92 + 76


def test_pictures_of_a_grid_are_drawn_once_from_its_store(
    tiny: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"data": "npz", "data.path": str(tiny()), "data.cache": str(CACHE), "data.batch_size": 16}
    asked = spec(data={"d": options}, settings=["standard"], variants={"a": {"method": "random"}})
    cells = [cell for cell in cells_of(asked, "small") if not cell.is_victim]
    store = tmp_path / "store"
    store.mkdir()
    rows: list[Row] = [run_cell(cell, store) for cell in cells]
    known = {row.key: row for row in rows}
    draw(cells, known, store)
    [cell] = cells
    sheets = sorted((store / cell.key / "pictures").iterdir())
    assert [p.name for p in sheets] == ["fast.png", "fast_worst.png", "standard.png", "standard_worst.png"]
    before = [p.stat().st_mtime_ns for p in sheets]
    sheets[0].unlink()
    draw(cells, known, store)
    assert [p.stat().st_mtime_ns for p in sheets[2:]] == before[2:], "drawn once"
    assert sheets[0].exists()
    save_rows(tmp_path, asked, rows)
    write(tmp_path, input_of_grid(tmp_path, store))
    assert len(checked(tmp_path).all("img")) == 4
    # a damaged set costs its pictures, not the report
    for sheet in sheets:
        sheet.unlink()
    next((store / cell.key / "protected").rglob("*.png")).write_bytes(b"")
    capsys.readouterr()
    draw(cells, known, store)
    assert "no pictures of d, a: " in capsys.readouterr().out


def test_picture_sheets_are_embedded(tmp_path: Path) -> None:
    save_sheets(tmp_path / "pictures", "standard", ("here",), 16.0, *images())
    rows: list[Row] = [made(), victim("clean", 0, 0.9), victim("standard", 0, 0.1)]
    write(tmp_path, ReportInput("grid", spec(), rows, {("d", "a"): tmp_path / "pictures"}))
    page = checked(tmp_path)
    assert len(page.all("img")) == 1 + 2
    assert any("must not be published" in text for text in page.texts)
    assert not any("No pictures" in text for text in page.texts)
