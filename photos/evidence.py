"""What a generator's own run measured of its protection, and what an owner may conclude from it.

The effect is the share of what classifiers learn from clean images (above chance) that they do not learn from protected
ones: (clean − protected) / (clean − chance). The thresholds are ours.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

NONE, WEAK = 0.25, 0.75  # effects below are no protection, and a weak one
LEARNED = 0.05  # above chance; classifiers that are not better on clean images have learned nothing to protect from
Verdict = Literal["untested", "none", "unseen", "weak", "protects"]
ROWS = (
    ("clean", "unprotected images"),
    ("standard", "protected images that the generator was trained on"),
    ("clean_fast", "unprotected images that it had not seen"),
    ("fast", "protected images that it had not seen"),
)
HEADLINES: dict[Verdict, str] = {
    "untested": "Photos with noise of an untested generator",
    "none": "Photos with noise that protected nothing in its test",
    "unseen": "Photos with noise that protected no unseen image in its test",
    "weak": "Photos with weakly protective noise",
    "protects": "Protected photos",
}


@dataclass(frozen=True)
class Evidence:
    """A generator's own test.

    Attributes:
        verdict: ``none`` (no protection), ``unseen`` (none of images that it was not trained on), ``weak``,
            ``protects``, or ``untested``.
        sentence: the same in words, with the figures.
        rows: what classifiers were trained on, and their accuracy on clean test images, in %.
    """

    verdict: Verdict
    sentence: str
    rows: tuple[tuple[str, str], ...] = ()

    @property
    def headline(self) -> str:
        """Of the owner's report."""
        return HEADLINES[self.verdict]


def evidence_of(results: dict[str, Any] | None) -> Evidence:
    """What a run's results.json says; ``untested`` where there is none, or none that can be read."""
    results = results or {}
    try:
        chance = float(results["chance"])
        accuracy = {key: float(results["mean"][key]["accuracy"]["last"]) for key, _ in ROWS if key in results["mean"]}
        seen = _effect(accuracy["clean"], accuracy["standard"], chance) if "standard" in accuracy else None
        base = accuracy["clean_fast" if "clean_fast" in accuracy else "clean"] if "fast" in accuracy else 0.0
        unseen = _effect(base, accuracy["fast"], chance) if "fast" in accuracy else None
    except (KeyError, TypeError, ValueError):
        seen = unseen = None
    if seen is None and unseen is None:
        return Evidence(
            "untested", "No test lies beside this generator: nothing is known of what its noise protects from."
        )
    rows = [(title, f"{100 * accuracy[key]:.1f} %") for key, title in ROWS if key in accuracy]
    verdict = _verdict(seen, unseen)
    measured = f" Measured on {results['what']}." if "what" in results else ""
    return Evidence(verdict, _sentence(verdict, accuracy) + measured, (*rows, ("chance", f"{100 * chance:.1f} %")))


def read_evidence(generator: Path, codes: str = "read") -> Evidence:
    """Of the results.json beside a generator's file; with several seeds it lies one folder above.

    Args:
        generator: its file.
        codes: ``folders``, ``groups`` or ``read``: where the photos' codes come from; the generator that comes with the
            package was measured with each.
    """
    for folder in (generator.parent, generator.parent.parent):
        try:
            found = json.loads((folder / "results.json").read_text())
        except (OSError, ValueError):
            continue
        if isinstance(found, dict):
            return evidence_of(found.get(codes, found))
    return evidence_of(None)


def _effect(clean: float, protected: float, chance: float) -> float:
    return (clean - protected) / (clean - chance) if clean - chance > LEARNED else 0.0


def _verdict(seen: float | None, unseen: float | None) -> Verdict:
    found = [effect for effect in (seen, unseen) if effect is not None]
    if max(found) < NONE:
        return "none"
    if unseen is not None and unseen < NONE:
        return "unseen"
    return "weak" if min(found) < WEAK else "protects"


def _sentence(verdict: Verdict, accuracy: dict[str, float]) -> str:
    clean = {"standard": accuracy.get("clean"), "fast": accuracy.get("clean_fast", accuracy.get("clean"))}
    pairs = (("fast", "images it had not seen"), ("standard", "images it was trained on"))
    figures = "; ".join(
        f"{where}: {100 * (clean[key] or 0):.1f} % right after training on clean ones, "
        f"{100 * accuracy[key]:.1f} % on protected ones"
        for key, where in pairs
        if key in accuracy
    )
    said = {
        "none": "This generator's own test shows no protection",
        "unseen": "This generator's own test shows no protection of images that it was not trained on",
        "weak": "This generator's own test shows weak protection",
        "protects": "This generator's own test shows protection, of images like those it was trained on",
    }[verdict]
    return f"{said} ({figures})."
