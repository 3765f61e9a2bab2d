"""How a grid or a run was computed: settings, recipes and options, what they cost, and where it ran."""

from collections.abc import Iterator
from typing import Any

from evaluation.rows import GitState, Row, finished, protections, select, unique, victims
from evaluation.verdicts import CLEAN, moments
from experiments.config import leaves
from experiments.report.costs import costs
from experiments.report.grid_table import MEASURED_ON
from experiments.report.inputs import MEANING
from experiments.report.page import Block, Items, Table, Text


def protocol(spec: dict[str, Any], rows: list[Row]) -> Iterator[Block]:
    """What was done, by which recipes and with which options."""
    yield Text(
        f"Seeds {', '.join(map(str, spec['seeds']))}. A method is fitted on part A of the training images and stores "
        "protected images as files; victims are trained on those files as decoded, by the recipes below, and measured "
        f"on {MEASURED_ON[spec['measured_on']]}. Noise is added once per image, before augmentation."
    )
    yield Items([MEANING[s] for s in spec["settings"]])
    trained = victims(rows)
    keys = list(dict.fromkeys(key for r in trained for key in r.recipe))
    lines: dict[tuple[str, ...], None] = {}
    for data in spec["data"]:
        for victim in spec["victims"]:
            for row in select(trained, data=data, victim=victim):
                lines[data, victim, *(_shown(row.recipe.get(key, "–")) for key in keys)] = None
    yield Table("Recipes of the victims", ["data", "victim", *keys], [list(line) for line in lines])
    options = []
    for section in ("data", "variants", "victims"):
        for name, pairs in spec[section].items():
            told = ", ".join(f"{k}={_shown(v)}" for k, v in leaves(pairs or {})) or "the defaults"
            options.append([name, section, told])
    yield Table(
        "Options that were given; all others are the defaults of the commit below", ["name", "of", "options"], options
    )
    counts = []
    for data in spec["data"]:
        if here := select(trained, data=data):
            counted = [
                ", ".join(sorted({str(r.images) for r in select(here, setting=s) if r.images is not None})) or "–"
                for s in (*CLEAN.values(),)[:2]
            ]
            majority = {f"{100 * r.majority:.0f} %" for r in here}
            counts.append([data, *counted, f"{100 * here[0].chance:.0f} %", ", ".join(sorted(majority))])
    yield Table("Data", ["data", "images of part A", "images of part B", "chance", "majority class"], counts)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def cost_and_surroundings(spec: dict[str, Any], rows: list[Row]) -> Iterator[Block]:
    """Seconds of cells, what each method costs, machines and versions."""
    done, made, trained = finished(rows), protections(rows), victims(rows)
    yield Text(
        f"{len(done)} cells, {sum(r.seconds for r in done) / 3600:.1f} hours of single processes; of these "
        f"{sum(r.seconds for r in trained) / 3600:.1f} for {len(trained)} victims."
    )
    lines = []
    for data in unique(done, "data"):
        for variant in spec["variants"]:
            own = select(made, data=data, variant=variant)
            if own:
                stages = [moments([r.stages.get(s, 0.0) for r in own], 1 / 60) for s in ("training", "export")]
                each = [r.seconds for r in select(trained, data=data, variant=variant)]
                lines.append([data, variant, *stages, moments(each, 1 / 60)])
    head = ["data", "variant", "fitting the method", "protecting and storing", "one victim"]
    yield Table("Minutes, mean ± standard deviation", head, lines)
    if (paid := costs(spec, rows)) is not None:
        yield paid
    facts = {
        "device": [r.device for r in done],
        "commit": [_commit(r.git) for r in done],
        "versions": [", ".join(f"{name} {version}" for name, version in r.versions.items()) for r in done],
    }
    told = [[name, "; ".join(dict.fromkeys(found)) or "–"] for name, found in facts.items()]
    yield Table("Where it ran", ["what", "found"], told)


def _commit(git: GitState | None) -> str:
    if git is None:
        return "not in a checkout"
    return git.commit + (" and uncommitted changes" if git.changed else "")
