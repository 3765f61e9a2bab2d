"""Writes the tables of README.md and docs/METHOD.md from results/: ``make tables``. No number is typed by hand."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.config import leaves
from experiments.results import cell, facts, table

ROOT = Path(__file__).parents[1]


def markdown(results: dict[str, Any]) -> str:
    """A run's table and the facts below it."""
    head, *rows = table(results)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    where = results["environment"]
    device = f"{where['device']}, {where['cpus']} cores, PyTorch {where['versions']['torch']}"
    return "\n".join([*lines, "", " ".join(facts(results)) + f" On: {device}."])


def overhead(result: dict[str, Any]) -> str:
    """The sentence about Lightning's cost."""
    return (
        f"Lightning's loop takes {result['ratio']:.3f} times a bare PyTorch loop with the same mathematics on the same "
        f"batches (median of {len(result['ratios'])} rounds in one run; weights "
        f"{'bit-equal' if result['weights_bit_equal'] else 'different'}; `make benchmark`)."
    )


def variants(reference: dict[str, Any], others: list[dict[str, Any]]) -> str:
    """A row a run: what differs from the reference's options, and what came of it."""
    known = dict(leaves(reference["config"]))
    rows = [["what differs", "seeds", "standard, last", "fast, last", "clean, last", "PSNR, dB"]]
    for results in [reference, *others]:
        own = dict(leaves(results["config"]))
        changed = [
            f"`{key}={own[key]}`" for key in own if key.startswith("gan.") and key in known and own[key] != known[key]
        ]
        scores = [cell(results, (victim, "accuracy", "last"), 100) for victim in ("standard", "fast", "clean")]
        psnr = cell(results, ("imperceptibility", "psnr"), 1)
        seeds = ", ".join(str(entry["seed"]) for entry in results["seeds"])
        rows.append([", ".join(changed) or "nothing: the defaults", seeds, *scores, psnr])
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def load(name: str) -> Any:
    """Content of a results file."""
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def digits_variants() -> str:
    """The table of variants on the digits."""
    folder = ROOT / "results" / "digits_variants"
    return variants(load("digits_3seeds_cpu"), [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))])


PLACES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "digits_3seeds_cpu.json": lambda: markdown(load("digits_3seeds_cpu")),
        "cifar10_exact_6k_cpu.json": lambda: markdown(load("cifar10_exact_6k_cpu")),
        "loop_overhead_cpu.json": lambda: overhead(load("loop_overhead_cpu")),
    },
    "docs/METHOD.md": {
        "digits_variants": digits_variants,
        "digits_crops_cpu.json": lambda: markdown(load("digits_crops_cpu")),
    },
}


def rendered(document: str) -> str:
    """A document's text with every marked place written anew from its results."""
    text = (ROOT / document).read_text()
    for name, render in PLACES[document].items():
        pattern = rf"(<!-- from results/{re.escape(name)} -->\n).*?(<!-- end -->)"
        content = render() + "\n"
        text, count = re.subn(pattern, lambda match, new=content: match[1] + new + match[2], text, flags=re.S)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f"{document}: needs one place marked '<!-- from results/{name} -->' … '<!-- end -->'")
    return text


if __name__ == "__main__":
    for document in PLACES:
        (ROOT / document).write_text(rendered(document))
