"""Accuracies that others published, shown beside ours; what may be concluded is said, not left open.

A file of ``configs/published`` is for the grid of its name. Its keys: ``source`` (who, where, when), ``note`` (how far
the protocols agree), ``figures`` (a variant of the grid → a victim of it → accuracy in %).

``beside`` is for any grid on CIFAR-10: accuracies of ResNet-18 trained from the start on 50,000 protected images,
without a defence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean
from typing import Any

from omegaconf import OmegaConf
from scipy.stats import spearmanr

from baselines.capabilities import DEFAULT_METHOD
from evaluation.rows import Row, VictimRow, select, victims
from evaluation.verdicts import Finding, moments
from experiments.config import CONFIGS, ConfigError, names, near
from experiments.report.page import Block, Heading, Table, Text

KEYS = {"source", "note", "figures"}
APBENCH = "APBench leaderboard, 2023-06-19 (200 epochs, learning rate 0.1 halved at 100)"
ISS = "README of Image Shortcut Squeezing, Liu et al., ICML 2023 (60 epochs, cosine)"
# method → (APBench, ISS); what a source does not have, or under another bound only, is left out
CIFAR10_RESNET18: dict[str, tuple[float, float]] = {
    "deepconfuse": (15.19, 16.30),
    "emn": (20.78, 21.05),
    "rem": (17.47, 25.44),
    "hypo": (70.38, 71.54),
    "tap": (6.27, 8.17),
    "lsp": (13.06, 19.07),
    "ar": (11.74, 13.28),
    "ops": (14.69, 36.55),
    "ntga": (22.76, 42.46),
}
# the variant of a method that they are of, where it has several
OPTIONS = {"emn": ("baselines.emn.kind", "sample"), "lsp": ("baselines.lsp.norm", "l2")}
DEFAULTS = {"emn": "sample", "lsp": "linf"}
TOLERANCE = 4.0  # points: what repeated columns of APBench differ by from run to run
IMAGES = 40_000  # from which a part is taken for the whole training set
NOTE = (
    f"Sources: {APBENCH}; {ISS}. Same protocol (ResNet-18, 60 epochs or more, {IMAGES:,} images or more, the published "
    f"options): reproduced within {TOLERANCE:g} points of either source, otherwise a finding. Any other protocol, such "
    "as small networks, few images or few steps: order only, and the two columns of accuracies must not be compared."
)


def read_published(name: str) -> dict[str, Any]:
    """A file's content.

    Raises:
        ConfigError: no such file, or not laid out as this module says.
    """
    if name not in names("published"):
        known = names("published")
        raise ConfigError([f"published: no figures {name!r}{near(str(name), known)}; known: {', '.join(known)}"])
    found: Any = OmegaConf.to_container(OmegaConf.create((CONFIGS / "published" / f"{name}.yaml").read_text()))
    if set(found) != KEYS:
        raise ConfigError([f"published: {name} needs exactly the keys {', '.join(sorted(KEYS))}"])
    return dict(found)


@dataclass(frozen=True)
class Beside:
    """A table, and what it says as a whole in one sentence."""

    table: Table
    said: str


def beside(spec: dict[str, Any], rows: list[Row]) -> Beside | None:
    """Published numbers beside a grid's own, for CIFAR-10 in the standard setting; None where there are none."""
    lines: list[list[str]] = []
    pairs: list[tuple[float, float]] = []
    trained = select(victims(rows), setting="standard")
    for data, pairs_of_data in spec["data"].items():
        if "cifar10" not in f"{data} {(pairs_of_data or {}).get('data.path', '')}":
            continue
        for variant, options in spec["variants"].items():
            method = _published(options or {})
            for victim in spec["victims"] if method else []:
                found = select(trained, data=data, variant=variant, victim=victim)
                if not found or method is None:
                    continue
                own = [100 * r.scores.accuracy.last for r in found]
                known = CIFAR10_RESNET18[method]
                average = sum(own) / len(own)
                pairs.append((average, sum(known) / 2))
                lines.append(
                    [data, variant, victim, moments(own), *(f"{k:.2f}" for k in known), verdict(found, average, known)]
                )
    if not lines:
        return None
    head = ["data", "variant", "victim", "ours", "APBench", "ISS", "what it allows to say"]
    return Beside(Table("Published accuracies of ResNet-18 on CIFAR-10 beside ours, %", head, lines), order(pairs))


def _published(options: dict[str, Any]) -> str | None:
    """The published method that a variant's options are, or None."""
    method = str(options.get("method", DEFAULT_METHOD))
    if method not in CIFAR10_RESNET18:
        return None
    if method in OPTIONS:
        key, wanted = OPTIONS[method]
        if options.get(key, DEFAULTS[method]) != wanted:
            return None
    return None if options.get("baselines.tap.goal") == "untargeted" else method


def verdict(rows: list[VictimRow], average: float, known: tuple[float, float]) -> str:
    """``reproduced``, ``finding`` with the distance, or ``order only``."""
    same = all(
        r.trained_by.arch == "resnet18" and r.trained_by.epochs >= 60 and (r.images or 0) >= IMAGES for r in rows
    )
    if not same:
        return "order only"
    distance = min(abs(average - value) for value in known)
    return "reproduced" if distance <= TOLERANCE else f"finding: {distance:.1f} points from the nearest"


def order(pairs: list[tuple[float, float]]) -> str:
    """How alike two rankings are: Spearman's correlation of (ours, published), in words."""
    if len(pairs) < 3:
        return "Too few methods to compare their order."
    ours, theirs = zip(*pairs, strict=True)
    if len(set(ours)) == 1 or len(set(theirs)) == 1:
        return "Ours are all alike: there is no order to compare."
    rho = float(spearmanr(ours, theirs).statistic)
    return f"Order of {len(pairs)} lines, ours and the mean of both sources: Spearman's correlation {rho:.2f}."


def beside_published(published: dict[str, Any], found: list[Finding]) -> Iterator[Block]:
    """Ours beside what others published, for the variants and victims that both have."""
    yield Heading(3, "Beside published figures")
    yield Text(f"{published['source']}. {published['note']}")
    rows = []
    for f in found:
        theirs = published["figures"].get(f.variant, {}).get(f.victim) if f.setting == "standard" else None
        if theirs is not None:
            own = f"{100 * mean(f.protected):.1f}" if f.protected else "–"
            apart = f"{100 * mean(f.protected) - theirs:+.1f}" if f.protected else "–"
            rows.append([f.data, f.variant, f.victim, own, f"{theirs:.1f}", apart])
    head = ["data", "variant", "victim", "here", "published", "difference"]
    yield Table("Accuracy on clean images in %, standard setting", head, rows)
