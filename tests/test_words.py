"""The project's words: earlier ones do not come back, and files, commands and results that have them still load."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml
from made_rows import victim

from baselines.config import PatternsConfig
from callbacks.periodic_evaluation import PeriodicVictimEvaluation
from datamodules.renames import (
    FILES,
    OPTIONS,
    as_hashed,
    current_fields,
    current_file,
    current_option,
    current_options,
    current_row,
    current_spec,
)
from evaluation.rows import read_row, write_row
from experiments.config import compose, names, options, to_yaml
from experiments.evaluate import reopen
from experiments.grid.cells import VERSION, _key
from experiments.grid.spec import SETTINGS_ALL, read_grid

ROOT = Path(__file__).parents[1]
ROOMS = "datamodules gan baselines photos victims callbacks evaluation experiments tests examples docs"
EXEMPT = {"tests/test_words.py", "datamodules/renames.py", "CHANGELOG.md"}
CODE, PROSE, ALL = r"\.py$", r"\.md$", r""
COUNTED = "[Ii]mages|photos|passes|pixels|batches|[Ss]econds|ms|MiB|JPEGs|bits|bytes|cells|operations|blocks"
UNITS = "second|image|photo|class|step|side|channel|epoch|seed|batch|surrogate|device|round|iteration|level"

# where, what must not be there, what to say
FORBIDDEN = [
    (CODE, r"\bAbout\b(?=[(,\]:)])|\bABOUT\b", "ManifestHeader"),
    (CODE, r"\bFacts\b", "DatasetInfo, MethodInfo"),
    (CODE, r"\bCard\b(?=[(,\]:)])", "GeneratorCard"),
    (CODE, r"\bTally\b|\btally\b", "PassCounter"),
    (CODE, r"\bResumable\b|\bKept\(", "ResumableFit, FitCheckpoint"),
    (CODE, r"\bclass Watch\b|\bimport Watch\b|\bwatching\b", "PeriodicVictimEvaluation"),
    (CODE, r"\b(quieten|own_randomness|named_right|read_named|share_out|own_device|own_callbacks|join_batch_norm)\b", ""),
    (CODE, r"\b(say|divide|apart|sift|lend|lesson|leave|as_text)\(|\bchoose\(config", "see DESIGN or the glossary"),
    (CODE, r"\b(LESSONS?|Lesson|BOARD|JoinedBatchNorm2d|Asked|choose_tints|lender|worn|astray)\b", ""),
    (CODE, r"\bsecond_reader\b(?!\": \"linear\")|\bsecond_epochs\b(?!\": 30)", "auxiliary_classifier, auxiliary_epochs"),
    (CODE, r"from datamodules\.protected import [^\n]*\b(write_atomic|Protection|Passes|Norm|UNITS|change_sizes)\b", ""),
    (ALL, r"(?i)\b(thief|thieves)\b", "attacker"),
    (ALL, r"(?i)\bmisnamed\b|\bnam(es?|ed) (right|wrong|wrongly|rightly)\b|\bright(ly)? named\b", "misclassified, classified correctly"),
    (ALL, r"(?i)\b(teach|teaches|teaching|taught)\b", "train, fit"),
    (ALL, r"(?i)(?<!grids/)(?<!grid_table\(\")\b(lend|lends|lent|lending)\b", "transfer"),
    (ALL, r"(?i)\b(second reader|opinions?)\b", "auxiliary classifier, class logits"),
    (ALL, r"(?i)\bjoined batch", "global batch"),
    (ALL, r"(?i)\b(goes|go|gone|going) on (with|from|where|there|at|after|unchanged|all the same)\b", "resume, continue"),
    (ALL, r"(?i)\b(command|call|run|evaluation) goes on\b", "resumes"),
    (ALL, rf"\b({COUNTED}) an? ({UNITS})\b(?! (that|costs|takes|gets)\b)", "per"),
    (ALL, rf"(?i)\bone (\w+ )?an? ({UNITS}|fault|victim|process|core|setting)\b", "per"),
    (ALL, r"\b(once|\d) an? (second|image|seed|epoch)\b(?! time)", "per"),
    (ALL, r"\bexpected a (integer|image|array|uint8|odd|even|option)\b", "an"),
    (PROSE, r"(?<![`:=] )(?<![`=])(?<!two )\b(waves|thirds|tints)\b(?!`)", "period-2, period-3, colour pattern"),
]  # fmt: skip


def texts() -> dict[str, str]:
    """What the project's own files hold, by path; without results, changes and made examples."""
    paths = [path for room in ROOMS.split() for path in (ROOT / room).rglob("*")]
    paths += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile", "pyproject.toml")]
    found = {}
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        made = name.startswith("docs/examples/") or "__pycache__" in name
        if path.suffix in (".py", ".md", ".yaml", ".toml", "") and path.is_file() and name not in EXEMPT and not made:
            found[name] = path.read_text()
    return found


def test_earlier_words_do_not_come_back() -> None:
    found = []
    for name, text in texts().items():
        for scope, pattern, instead in FORBIDDEN:
            if re.search(scope, name):
                lines = (text[: match.start()].count("\n") + 1 for match in re.finditer(pattern, text))
                found += [f"{name}:{line}: {pattern} (say: {instead or 'the glossary'})" for line in lines]
    assert not found, "\n".join(found)


def test_the_rules_find_the_earlier_words() -> None:
    for text in (
        "12 images a second", "one file a method of a class, one a seed", "the same command goes on", "go on with:",
        "names right", "what a thief may try", "2 passes an image", "each process taught its own", "generator was lent",
        "`a`; waves of two pixels", "from datamodules.protected import MANIFEST, write_atomic",
    ):  # fmt: skip
        assert any(re.search(pattern, text) for _, pattern, _ in FORBIDDEN), text
    for text in ("`pattern`: `waves`", "an image a class folder holds", "a second time", "grids/lent", "is silent"):
        assert not any(re.search(pattern, text) for _, pattern, _ in FORBIDDEN), text


def test_the_glossary_has_each_term_once_and_is_linked() -> None:
    text = (ROOT / "docs" / "GLOSSARY.md").read_text()
    terms = re.findall(r"^ *\* \*\*(.+?)\*\*:", text, re.M)
    each = [term for entry in terms for term in entry.split(", ")]
    assert len(each) == len(set(each)) > 60
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        own = [term.lower() for term in re.findall(r"^\* \*\*([^,*]+)[^*]*\*\*:", section, re.M)]
        assert own == sorted(own), section.splitlines()[0]
    for path in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", text):
        assert (ROOT / path).is_file(), path
    for name in ("README.md", "docs/METHOD.md"):
        assert "GLOSSARY.md" in (ROOT / name).read_text(), name


def test_options_under_earlier_names_still_set_the_option() -> None:
    for old, new in OPTIONS.items():
        assert new in options()
        assert old not in options()
        assert current_option(old) == current_option(new) == new
    arguments = ["method=patterns", "baselines.patterns.second_reader=linear", "baselines.patterns.second_epochs=3"]
    config, sources = compose(arguments)
    assert (config.baselines.patterns.auxiliary_classifier, config.baselines.patterns.auxiliary_epochs) == ("linear", 3)
    assert sources["baselines.patterns.auxiliary_classifier"] == "command line"
    assert current_options([("seed", 1), ("baselines.patterns.second_epochs", 3)])[1][0] in options()


def test_configurations_and_cards_of_earlier_runs_still_load(tmp_path: Path) -> None:
    config, _ = compose(["method=patterns", "baselines.patterns.auxiliary_classifier=linear"])
    tree = yaml.safe_load(to_yaml(config))
    for old, new in OPTIONS.items():
        *path, last = new.split(".")
        section = tree
        for part in path:
            section = section[part]
        section[old.rpartition(".")[2]] = section.pop(last)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    assert reopen(tmp_path, [], (), "") == config
    assert current_fields({"second_reader": "none", "lr": 1}, "baselines.patterns")["auxiliary_classifier"] == "none"
    assert PatternsConfig.from_card({"second_reader": "linear", "second_epochs": 4}).auxiliary_epochs == 4


@pytest.mark.parametrize(("old", "new"), [("misnamed", "misclassified"), ("clean", "clean")])
def test_grids_and_rows_of_earlier_versions_still_load(old: str, new: str, tmp_path: Path) -> None:
    assert new in SETTINGS_ALL
    row = json.loads(write_row(victim(old, 0, 0.5)))
    assert read_row(json.dumps(row), "there").place.setting == new
    assert current_row(row) == row | {"place": row["place"] | {"setting": new}}
    plain = {"key": "k", "place": {"seed": 0}}
    assert current_row(plain | {"passes": {"backward": 7.0}}) == plain | {"cost_to_make": {"backward": 7.0}}
    spec = {
        "about": "?", "data": {"digits": {}}, "variants": {"a": {}}, "victims": {"narrow": {}}, "settings": [old],
        "seeds": [0], "measured_on": "rest",
    }  # fmt: skip
    assert current_spec(spec)["settings"] == [new]
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(spec))
    assert read_grid(str(tmp_path / "grid.yaml"))["settings"] == [new]


def test_shipped_files_under_earlier_names_are_found() -> None:
    for group, renamed in FILES.items():
        for old, new in renamed.items():
            assert new in names(group)
            assert old not in names(group)
            assert current_file(group, old) == current_file(group, new) == new
    assert read_grid("lent") == read_grid("transfer")


def test_cells_are_hashed_under_the_earlier_names() -> None:
    new = {
        "setting": "misclassified", "recipe": {"arch": "narrow"}, "seed": 0, "on": ["rest"],
        "config": {"patterns": {"auxiliary_classifier": "narrow", "auxiliary_epochs": 30, "lr": 0.1}},
    }  # fmt: skip
    old = new | {
        "setting": "misnamed", "config": {"patterns": {"second_reader": "narrow", "second_epochs": 30, "lr": 0.1}}
    }  # fmt: skip
    assert as_hashed(new) == old
    text = json.dumps({"version": VERSION, "kind": "victim", **old}, sort_keys=True)
    assert _key("victim", new) == hashlib.sha256(text.encode()).hexdigest()[:20]
    assert as_hashed({"setting": "clean"}) == {"setting": "clean"}


def test_checkpoints_of_earlier_runs_have_the_callbacks_state_under_its_first_name(tmp_path: Path) -> None:
    callback = PeriodicVictimEvaluation.__new__(PeriodicVictimEvaluation)
    assert callback.state_key == "Watch"
