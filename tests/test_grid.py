"""Grids: every cell once, whatever happens; rows that carry what a table needs."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from made_rows import HIDDEN, made, victim

from baselines.capabilities import DEFAULT_METHOD
from baselines.config import METHODS
from datamodules.protected import MANIFEST
from evaluation.measure import score_victim
from evaluation.rows import CELLS, ClassAccuracy, Row, VictimRow
from evaluation.rows import victims as victims_of
from evaluation.verdicts import findings, missing, moments
from experiments.cli import main
from experiments.config import CONFIGS
from experiments.data import make_data
from experiments.grid.cells import cells_of, data_of
from experiments.grid.compute import placed
from experiments.grid.run import MASKS, run_cell
from experiments.grid.spec import read_grid
from experiments.report.grid_table import table
from experiments.report.measured import numbers
from experiments.report.published import beside_published, read_published
from victims.config import VictimConfig
from victims.pairs import Pairs

SPEC: dict[str, Any] = {
    "about": "Is the harness sound?",
    "data": {
        "digits": {
            "data": "digits",
            "data.size": 16,
            "data.limit": 300,
            "gan.start": "none",
            "gan.classifier.pretrained": "none",
            "gan.classifier.arch": "narrow",
            "gan.classifier.epochs": 1,
            "gan.noise.width": 8,
            "gan.noise.code": 8,
            "gan.surrogates.kinds": "narrow@8",
            "trainer.max_epochs": 1,
            "victim.epochs": 1,
            "victim.check_every": 0,
        }
    },
    "variants": {"ours": {}, "class noise": {"method": "random", "baselines.random.kind": "class"}},
    "victims": {"narrow": {}},
    "settings": ["clean", "standard", "clean_fast", "fast", "misclassified"],
    "seeds": [0],
    "measured_on": "rest",
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(SPEC | changes))
    return path


def arguments(folder: Path, path: Path) -> list[str]:
    return ["grid", f"grid={path}", f"store={folder / 'store'}", f"run_dir={folder / 'out'}", "jobs=1"]


def test_a_grid_is_computed_once_and_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path)
    assert main([*arguments(tmp_path, path), "dry_run=true"]) == 0
    shown = capfd.readouterr().out
    assert "8 cells (6 victims), 0 done, 8 to do" in shown
    assert "setting=fast" in shown
    assert not (tmp_path / "out").exists()
    assert main(arguments(tmp_path, path)) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / CELLS).read_text().splitlines()]
    assert len(rows) == 8
    settings = {(r["place"].get("variant"), r["place"].get("setting")) for r in rows}
    assert ("class noise", "fast") not in settings, "noise that needs labels has no fast setting"
    assert {("ours", "fast"), ("ours", "misclassified"), (None, "clean"), ("class noise", None)} <= settings
    ours = next(r for r in rows if r["place"] == {"data": "digits", "variant": "ours", "seed": 0})
    assert 0 <= ours["named"]["balanced_accuracy"] <= 1
    assert ours["imperceptibility"]["standard"]["linf"] <= 8 / 255 + 1e-6
    assert set(ours["cost_to_make"]) == {"fit_seconds", "images", "forward", "backward", "images_per_second"}
    assert ours["cost_to_make"]["forward"] > ours["cost_to_make"]["backward"] > 2.5  # classifier; surrogate; noise
    victim = next(r for r in rows if r["place"].get("setting") == "misclassified")
    named = json.loads((tmp_path / "store" / ours["key"] / "named.json").read_text())
    assert victim["images"] == round(len(named) * (1 - ours["named"]["accuracy"]))
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Is the harness sound?" in text
    [line] = [line for line in text.splitlines() if line.startswith("| digits | ours | standard | narrow |")]
    assert line.endswith(" | 10 | 0 |"), "chance and the seed"
    assert "* data digits, variant class noise, setting fast: no cell; it does not apply (a method that needs" in text
    assert "ConfounderGAN is cheaper from |" in text
    assert (tmp_path / "out" / "curves_digits.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('<img alt="Learning curves') == 1
    assert page.count('<img alt="Image grid') == 6  # two sheets for each of three protected sets
    sheets = {p.name for p in (tmp_path / "store" / ours["key"] / "pictures").iterdir()}
    assert sheets == {"standard.png", "standard_worst.png", "fast.png", "fast_worst.png"}

    # again: nothing is computed; and from the rows alone, without the store, too
    before = (tmp_path / "out" / CELLS).read_text()
    capfd.readouterr()
    assert main(arguments(tmp_path, path)) == 0
    assert "8 done, 0 to do" in capfd.readouterr().out
    assert main([*arguments(tmp_path, path), f"store={tmp_path / 'other'}"]) == 0
    assert "8 done, 0 to do" in capfd.readouterr().out
    assert (tmp_path / "out" / CELLS).read_text() == before
    assert "No pictures: no picture sheets were found" in (tmp_path / "out" / "report.md").read_text()

    # a row more: only what is new; its protection is made again where the store has lost it
    path = written(tmp_path, victims={"narrow": {}, "longer": {"victim.epochs": 2}}, settings=["clean", "standard"])
    assert main([*arguments(tmp_path, path), f"store={tmp_path / 'other'}"]) == 0
    assert "8 cells (6 victims), 5 done, 3 to do" in capfd.readouterr().out
    assert len((tmp_path / "out" / CELLS).read_text().splitlines()) == 8


def test_a_generator_protects_data_that_it_was_not_trained_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    larger = SPEC["data"]["digits"] | {"data.size": 20, "data.limit": 200}
    path = written(
        tmp_path,
        data=SPEC["data"] | {"larger": larger},
        variants={"own": {}, "of digits": {"trained_on": "digits"}},
        settings=["clean", "standard", "fast", "misclassified"],
    )
    assert main(arguments(tmp_path, path)) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / CELLS).read_text().splitlines()]
    made = {(r["place"]["data"], r["place"]["variant"]): r for r in rows if "victim" not in r["place"]}
    assert made["digits", "own"]["key"] == made["digits", "of digits"]["key"], "its own data: nothing new"
    transferred = made["larger", "of digits"]
    assert transferred["key"] != made["larger", "own"]["key"]
    assert transferred["named"] is None, "what it reads are another set's classes"
    assert transferred["imperceptibility"]["standard"]["linf"] <= 8 / 255 + 1e-6
    folders = {name: tmp_path / "store" / made[name]["key"] for name in made}
    manifests = [
        json.loads((folders[name] / "protected" / "standard" / MANIFEST).read_text().splitlines()[0])
        for name in (("digits", "own"), ("larger", "own"), ("larger", "of digits"))
    ]
    assert manifests[2]["checkpoint"] == manifests[0]["checkpoint"] != manifests[1]["checkpoint"]
    settings = {r["place"]["setting"] for r in rows if r["place"].get("variant") == "of digits" and "scores" in r}
    assert settings == {"standard", "fast", "misclassified"}  # misclassified of the digits themselves
    assert not [r for r in rows if r["place"].get("setting") == "misclassified" and r["needs"] == transferred["key"]]
    assert "of digits" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trained_on": "letters"}, "no data set 'letters' to be trained_on; here are digits"),
        ({"trained_on": "colour"}, "takes images of 3 channels, these have 1"),
        ({"trained_on": "colour", "method": "random"}, "trained_on is for method=confoundergan"),
    ],
)
def test_generators_that_cannot_be_transferred(
    options: dict[str, str], message: str, tmp_path: Path, tiny: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    colour = {"data": "npz", "data.path": str(tiny(channels=3)), "data.batch_size": 9}
    sets = SPEC["data"] | ({"colour": colour} if options["trained_on"] == "colour" else {})
    path = written(tmp_path, data=sets, variants={"transfer": options})
    assert main(arguments(tmp_path, path)) == 2
    assert message in capsys.readouterr().err


def test_a_killed_grid_resumes_and_leaves_no_process(tmp_path: Path) -> None:
    path = written(tmp_path, variants={"class noise": SPEC["variants"]["class noise"]}, seeds=[0, 1, 2])
    command = [sys.executable, "-m", "experiments", *arguments(tmp_path, path)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    store = tmp_path / "store"
    deadline = time.time() + 120
    while not list(store.glob("*.json")) and time.time() < deadline:
        time.sleep(0.05)
    children = subprocess.run(["pgrep", "-P", str(running.pid)], capture_output=True, text=True, check=False).stdout
    running.send_signal(signal.SIGKILL)
    running.wait()
    kept = {p.name: p.read_bytes() for p in store.glob("*.json")}
    assert kept
    with (tmp_path / "out" / CELLS).open("a") as lines:
        lines.write('{"key": "torn')  # as if it had been killed while writing
    deadline = time.time() + 20
    while any(os.path.exists(f"/proc/{pid}") for pid in children.split()) and time.time() < deadline:
        time.sleep(0.1)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in children.split())
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / CELLS).read_text().splitlines()]
    assert (
        len({r["key"] for r in rows}) == len(rows) == 12
    )  # 3 protections; clean, standard and clean_fast of each seed
    for name, content in kept.items():
        assert (store / name).read_bytes() == content, "computed once, ever"


def test_a_stopped_grid_does_not_wait_for_its_cells(tmp_path: Path) -> None:
    endless = {"endless": {"victim.epochs": 10**6}}
    path = written(tmp_path, variants={"class noise": SPEC["variants"]["class noise"]}, victims=endless)
    running = subprocess.Popen(
        [sys.executable, "-m", "experiments", *arguments(tmp_path, path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.time() + 120
    while not list((tmp_path / "store").glob("*.json")) and time.time() < deadline:
        time.sleep(0.05)
    time.sleep(1)  # into the first victim
    running.send_signal(signal.SIGTERM)
    shown, _ = running.communicate(timeout=60)
    assert running.returncode == 143
    assert "resume with: the same command" in shown


def test_output_that_nobody_reads_is_no_error(tmp_path: Path) -> None:
    path = written(
        tmp_path, data={"long" * 500: SPEC["data"]["digits"]}, seeds=list(range(10))
    )  # more than a pipe holds
    command = [sys.executable, "-m", "experiments", *arguments(tmp_path, path), "dry_run=true"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.readline()
    running.stdout.close()
    assert running.stderr.read() == ""
    assert running.wait() == 141


def test_a_failing_cell_is_a_row_and_the_others_continue(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    victims = {"probe": {"victim.arch": "linear"}, "too large": {"victim.arch": "inception_v3"}}  # for 16 pixels
    weights = {"victim.start": "probe", "victim.arch": "resnet18", "victim.weights": str(tmp_path / "w.pth")}
    victims["elsewhere"] = weights
    variants = {"class noise": SPEC["variants"]["class noise"]}
    path = written(tmp_path, victims=victims, variants=variants, settings=["standard"])
    assert main(arguments(tmp_path, path)) == 1
    shown = capfd.readouterr().out
    where = "data=digits, variant=class noise, seed=0, setting=standard"
    assert f"failed: {where}, victim=too large: ValueError: 'inception_v3' is too large for 16×16" in shown
    assert f"\n{where}, victim=elsewhere: skipped: victim.weights: no file {tmp_path / 'w.pth'}" in shown
    rows = [json.loads(line) for line in (tmp_path / "out" / CELLS).read_text().splitlines()]
    assert sorted("error" in row for row in rows) == [False, False, True, True]
    assert "skipped: victim.weights: no file" in (tmp_path / "out" / "report.md").read_text()
    assert main([*arguments(tmp_path, path), "dry_run=true"]) == 0
    assert "minutes of one process" in capfd.readouterr().out
    path = written(
        tmp_path, victims={k: victims[k] for k in ("probe", "elsewhere")}, variants=variants, settings=["standard"]
    )
    assert main(arguments(tmp_path, path)) == 0  # tried again, and that alone; to be skipped is not to fail
    assert "2 done, 1 to do" in capfd.readouterr().out


def test_a_process_that_is_killed_is_told_and_not_a_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def dies(*_: Any) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr("experiments.grid.compute.compute", dies)
    path = written(tmp_path, variants={"class noise": SPEC["variants"]["class noise"]}, settings=["clean"])
    assert main(arguments(tmp_path, path)) == 2
    assert "error: grid: one of its processes was killed from outside" in capsys.readouterr().err


def test_what_decides_a_result_decides_its_key(tmp_path: Path) -> None:
    def keys(**changes: Any) -> set[str]:
        path = written(tmp_path, **changes)
        return {cell.key for cell in cells_of(read_grid(str(path)), "small")}

    plain = keys()
    assert keys(about="another question") == plain
    assert keys(data={"renamed": SPEC["data"]["digits"] | {"store": "elsewhere"}}) == plain
    assert not keys(measured_on="test") & {k for k in plain if k not in keys(victims={"v": {"victim.epochs": 3}})}
    for changed in ({"data.limit": 320}, {"trainer.max_epochs": 2}, {"victim.lr": 0.5}, {"data.split_seed": 1}):
        assert keys(data={"digits": SPEC["data"]["digits"] | changed}) != plain, changed
    assert not keys(seeds=[5]) & plain


def test_defences_are_cells_of_their_own_and_none_is_what_it_was(tmp_path: Path) -> None:
    victims = {"narrow": {}, "JPEG": {"victim.defence": "jpeg:10"}, "the same": {"victim.defence": "jpeg:010"}}
    path = written(tmp_path, victims=victims, settings=["clean"])
    cells = {cell.config.victim.defence: cell for cell in cells_of(read_grid(str(path)), "small")}
    assert len(cells) == 2
    plain, defended = cells["none"], cells["jpeg:10"]
    # of finished grids: as it was hashed when a recipe had no more than these
    first = "arch epochs batch_size lr warmup nesterov weight_decay clip augment momentum optimizer"
    recipe = {k: v for k, v in asdict(plain.config.victim.resolved()).items() if k in first.split()}
    data = make_data(plain.config)
    content = {"recipe": recipe, "needs": "", "setting": "clean", "on": "rest", "data": data.fingerprints, "seed": 0}
    text = json.dumps({"version": 1, "kind": "victim", **content}, sort_keys=True)
    assert plain.key == hashlib.sha256(text.encode()).hexdigest()[:20]
    assert defended.key != plain.key


def test_partly_protected_sets_have_their_clean_remainder_beside(tmp_path: Path) -> None:
    victims = {
        "all": {},
        "half": {"victim.share": 0.5},
        "nothing": {"victim.share": 0},
        "one class": {"victim.class_share": 0.1},
    }
    variants = {"class noise": SPEC["variants"]["class noise"]}
    asked = read_grid(str(written(tmp_path, victims=victims, variants=variants, settings=["clean", "standard"])))
    cells = cells_of(asked, "small")
    # the protection; clean, shared by four; standard of three; the remainders of two: nothing protected is all clean
    assert len({cell.key for cell in cells}) == len(cells) == 7
    clean = next(cell for cell in cells if cell.place.setting == "clean")
    assert {(p.victim, p.setting) for p in clean.places} == {
        ("all", "clean"), ("half", "clean"), ("nothing", "clean"), ("one class", "clean"),
        ("nothing", "standard"), ("nothing", "remainder"),
    }  # fmt: skip
    store = tmp_path / "store"
    store.mkdir()
    known = {cell.key: run_cell(cell, store) for cell in cells if cell.is_victim}
    rows = placed(cells, known)
    assert len(rows) == sum(len(cell.places) for cell in cells if cell.is_victim) == 11
    by = {(r.place.victim, r.place.setting): r for r in victims_of(rows)}
    half, alone = by["half", "standard"], by["half", "remainder"]
    mask = (store / MASKS / f"{half.key}.txt").read_text()
    assert mask == (store / MASKS / f"{alone.key}.txt").read_text()
    assert mask.count("1") == half.protected_images
    assert alone.images == mask.count("0")
    assert half.images == len(mask)
    assert half.recipe["share"] == 0.5
    assert "share" not in by["half", "clean"].recipe
    assert len(by["one class", "standard"].protected_classes or ()) == 1
    assert len(by["one class", "remainder"].recalls or ()) == 10
    found = {f.victim: f for f in findings(asked, rows)}
    assert {name: len(f.remainder) for name, f in found.items()} == {"all": 0, "half": 1, "nothing": 1, "one class": 1}
    assert all(len(f.clean) == 1 for f in found.values()), "its clean twin, whatever is protected"
    assert numbers(list(found.values())).head[7:9] == ["recovered", "clean remainder alone"]


def test_an_attacker_with_pairs_has_those_of_the_very_protection_and_a_clean_twin_of_his_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victims = {"narrow": {}, "pairs": {"victim.defence": "pairs:30:1"}}
    variants = {"class noise": SPEC["variants"]["class noise"], "image noise": {"method": "random"}}
    settings = ["clean", "standard", "fast"]
    asked = read_grid(str(written(tmp_path, victims=victims, variants=variants, settings=settings)))
    cells = cells_of(asked, "small")
    clean = [cell for cell in cells if cell.place.setting == "clean"]
    assert [cell.place.variant for cell in clean] == [None, "class noise", "image noise"]
    assert [bool(cell.needs) for cell in clean] == [False, True, True]
    seen: list[Pairs | None] = []

    def learn(*arguments: Any, pairs: Pairs | None, **options: Any) -> Any:
        seen.append(pairs)
        return score_victim(*arguments, pairs=pairs, **options)

    monkeypatch.setattr("experiments.grid.run.score_victim", learn)
    store = tmp_path / "store"
    store.mkdir()
    rows = placed(cells, {cell.key: run_cell(cell, store) for cell in cells if cell.is_victim})
    assert all(isinstance(row, VictimRow) for row in rows)
    parts = data_of(cells[0].config).parts
    of = {
        (row.place.variant, row.place.setting): pairs
        for row, pairs in zip(rows, seen, strict=True)
        if row.place.victim == "pairs"
    }
    assert all((pairs is None) == (row.place.victim == "narrow") for row, pairs in zip(rows, seen, strict=True))
    own = {"clean": "unseen", "standard": "unseen", "fast": "train"}
    for (variant, setting), pairs in of.items():
        part = own[str(setting)] if variant == "image noise" else "train"  # noise by class protects no new images
        assert pairs is not None
        assert torch.equal(pairs.clean, parts[part].images)
        change = (pairs.protected.short() - pairs.clean.short()).abs()
        assert 0 < change.max() <= 8
    found = {(f.variant, f.setting, f.victim): f for f in findings(asked, rows)}
    assert all(len(f.clean) == len(f.protected) == 1 for key, f in found.items() if key[1] == "standard"), "a twin each"
    assert not [
        line for line in missing(asked, rows) if "class noise, setting fast" not in line and "clean_fast" not in line
    ]


@pytest.mark.parametrize(
    "name",
    [
        "confoundergan_standard",
        "confoundergan_fast",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("confoundergan_transfer", "confoundergan_stability", "apbench_cifar10", "evaluation")
        ),
    ],
)
def test_presets_are_sound_and_say_where_data_are_missing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["grid", f"grid={name}", "dry_run=true"]) == 0
    shown = capsys.readouterr().out
    spec = read_grid(name)
    for data in spec["data"]:
        assert data == "digits" or f"not counted: the cells of {data}, which is not here yet" in shown
    assert not list(tmp_path.iterdir()) or name == "evaluation", "a dry run fetches nothing"


def test_published_figures_stand_beside_ours() -> None:
    spec = read_grid("apbench_cifar10")
    published = read_published(spec["published"])
    assert set(published["figures"]) <= set(spec["variants"])
    assert all(set(columns) <= set(spec["victims"]) for columns in published["figures"].values())
    where = {"data": "cifar10", "variant": "emn, sample-wise", "victim": "gray"}
    rows: list[Row] = [victim("clean", 0, 0.94, **where), victim("standard", 0, 0.2, **where)]
    blocks = list(beside_published(published, findings(spec, rows)))
    assert blocks[-1].rows == [["cifar10", "emn, sample-wise", "gray", "20.0", "92.0", "-72.0"]]  # type: ignore[union-attr]
    assert "2023" in blocks[1].text  # type: ignore[union-attr]


def test_the_evaluation_asks_for_what_was_promised() -> None:
    spec = read_grid("evaluation")
    recipes = [
        VictimConfig(**{k.removeprefix("victim."): v for k, v in o.items()}).resolved()
        for o in spec["victims"].values()
    ]
    assert len({r.arch for r in recipes}) == 3
    assert len({r.defence for r in recipes}) == 8
    assert len(recipes) == 24
    assert set(spec["variants"]) == {"confoundergan", "patterns", "random, class-wise"}
    assert len(spec["data"]) == len(spec["seeds"]) == 2
    assert spec["settings"] == ["clean", "standard"]
    assert "Hypothesis" in spec["about"]


def test_the_shipped_grid_of_defences_has_a_clean_column_for_each() -> None:
    spec = read_grid("defences")
    spec["data"] = {"digits": spec["data"]["digits"]}  # the other set is not in the repository
    cells = [cell for cell in cells_of(spec, "defences") if cell.is_victim]
    assert len({cell.key for cell in cells}) == len(cells) == (1 + len(spec["variants"])) * len(spec["victims"])
    defences = {cell.config.victim.resolved().defence for cell in cells}
    assert len(defences) == len(spec["victims"]) >= 14


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"victims": {"x": {"victim.defence": "jpg:10"}}}, "class noise, x: victim.defence: no defence 'jpg'; did you"),
        ({"settings": ["fats"]}, "no setting 'fats'"),
        ({"measured_on": "val"}, "measured_on is test or rest"),
        ({"victims": {}}, "victims is a list of names"),
        ({"variants": {"x": {"gan.epsilom": 4}}}, "small.yaml: digits, x, narrow: gan.epsilom: no such key"),
        ({"victims": {"x": {"victim.arch": "resnet19"}}}, "digits, class noise, x: victim.arch: 'resnet19' is neither"),
        ({"extra": 1}, "needs exactly the keys"),
        ({"published": "apbench"}, "published: no figures 'apbench'; did you mean 'apbench_cifar10'?"),
    ],
)
def test_faults_of_a_grid_are_named(
    changes: dict[str, Any], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tmp_path, written(tmp_path, **changes))) == 2
    assert expected in capsys.readouterr().err


def test_comparisons_have_every_method_once_at_least_and_the_same_victims() -> None:
    for path in (p for p in (CONFIGS / "grid").iterdir() if p.name.startswith("compare_")):
        spec = read_grid(path.name.removesuffix(".yaml"))
        spec["data"] = {"digits": {"data": "digits"}}  # the grid's own may not be on this machine
        methods = {variant.get("method", DEFAULT_METHOD) for variant in spec["variants"].values()}
        assert methods == {DEFAULT_METHOD, *METHODS}
        cells = cells_of(spec, path.name)
        fast = {c.place.variant for c in cells if c.place.setting == "fast"}
        assert fast == {"confoundergan", "patterns", "random, sample-wise", "deepconfuse", "gue", "clusters"}
        assert len({c.place.variant for c in cells if c.place.setting == "standard"}) == len(spec["variants"])


def test_unknown_grids_and_shipped_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grid"]) == 2
    assert "which one? give grid=<name or file>; shipped: " in capsys.readouterr().err
    assert main(["grid", "grid=digit"]) == 2
    assert "no grid 'digit'; did you mean 'digits'?" in capsys.readouterr().err


def test_tables_show_mean_and_spread() -> None:
    assert moments([]) == "–"
    assert moments([0.5], 100) == "50.0"
    assert moments([0.4, 0.6], 100) == "50.0 ± 14.1"

    protection = replace(
        made(None, {"standard": replace(HIDDEN, ssim=0.9)}),
        named=ClassAccuracy(accuracy=0.9, balanced_accuracy=0.9),
        stages={"training": 60.0, "export": 60.0},
    )
    clean, stopped = (
        [victim(s, seed, v) for seed, v in enumerate(vs)] for s, vs in (("clean", (0.8, 0.8)), ("standard", (0.5, 0.6)))
    )
    assert (
        table([protection, *clean, *stopped]).splitlines()[-1]
        == "| `d` | 10 | a | v | 80.0 ± 0.0 | 55.0 ± 7.1 | 90.0 | 33.0 | 0.900 | 2.0 |"
    )
