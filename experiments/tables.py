"""Writes the tables of README.md from results/*.json: ``make tables``. No number there is typed by hand."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from experiments.results import facts, table

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


RENDER = {
    "digits_3seeds_cpu": markdown,
    "cifar10_exact_6k_cpu": markdown,
    "loop_overhead_cpu": overhead,
}


def rendered(text: str) -> str:
    """README's text with every marked place written anew from its results file."""
    for name, render in RENDER.items():
        content = render(json.loads((ROOT / "results" / f"{name}.json").read_text()))
        pattern = rf"(<!-- from results/{name}\.json -->\n).*?(\n<!-- end -->)"
        text, count = re.subn(pattern, lambda m, c=content: m[1] + c + m[2], text, flags=re.S)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f"README.md: needs one place marked '<!-- from results/{name}.json -->' … '<!-- end -->'")
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(rendered(readme.read_text()))
    sys.exit(0)
