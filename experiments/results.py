"""``results.json``: put together, averaged over seeds, and shown as a table. Its schema is results.schema.json."""

import functools
import math
import operator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from datamodules.files import write_atomic
from experiments.folder import environment, write_json
from victims.train import METRICS

SCHEMA_VERSION = 1
VICTIMS = ("clean", "standard", "remainder", "clean_fast", "fast", "remainder_fast")
MOMENTS = ("last", "peak", "selected")


def assemble(
    entries: list[dict[str, Any]], epsilon: float | None, chance: float, majority: float, config: dict[str, Any]
) -> dict[str, Any]:
    """The content of results.json.

    Args:
        entries: one per seed: ``seed``, ``clean``, ``standard``, … , ``imperceptibility``, ``diagnostics``,
            ``seconds``.
        epsilon: the L∞ bound in grey levels; None where a method is bounded otherwise or not at all.
        chance: 1/K.
        majority: share of the largest class in the test part.
        config: the resolved configuration.
    """
    numbers = [{k: v for k, v in entry.items() if k != "seed"} for entry in entries]
    return {
        "schema_version": SCHEMA_VERSION,
        "data": config["data"]["name"],
        "epsilon": epsilon,
        "chance": chance,
        "majority": majority,
        "seeds": entries,
        "mean": _over(numbers, mean),
        "std": _over(numbers, lambda values: stdev(values) if len(values) > 1 else None),
        "config": config,
        "environment": environment(),
    }


def _over(trees: list[Any], function: Any) -> Any:
    """Applies a function to the numbers at each place of equally shaped trees; what is no number is left out."""
    if isinstance(trees[0], dict):
        return {key: _over([tree[key] for tree in trees], function) for key in trees[0] if all(key in t for t in trees)}
    if all(isinstance(value, int | float) and math.isfinite(value) for value in trees):
        return function(trees)
    return None


def table(results: dict[str, Any]) -> list[list[str]]:
    """The summary's rows, header first."""
    rows = [["trained on", "last", "peak", "selected", "balanced, last", "AUROC, last", "PSNR", "seconds"]]
    titles = {
        "clean": "clean images",
        "standard": "protected (standard)",
        "remainder": "what stays clean of A alone",
        "clean_fast": "clean, part B",
        "fast": "protected, unseen part B (fast)",
        "remainder_fast": "what stays clean of B alone",
    }
    for victim, title in titles.items():
        if victim not in results["mean"]:
            continue
        cells = [cell(results, (victim, METRICS[0], moment), 100) for moment in MOMENTS]
        cells += [cell(results, (victim, METRICS[1], "last"), 100), cell(results, (victim, METRICS[2], "last"), 100)]
        hidden = cell(results, ("imperceptibility", victim, "psnr"), 1) if victim in ("standard", "fast") else "–"
        rows.append([title, *cells, hidden, f"{results['mean']['seconds'][f'victim_{victim}']:.0f}"])
    return rows


def cell(results: dict[str, Any], path: tuple[str, ...], scale: float) -> str:
    """Mean ± standard deviation of the number at a place of the results, times ``scale``."""
    values = []
    for tree in (results["mean"], results["std"]):
        values.append(functools.reduce(operator.getitem, path, tree))
    centre, spread = values
    if centre is None:
        return "–"
    return f"{scale * centre:.1f}" + (f" ± {scale * spread:.1f}" if spread is not None else "")


def summary_lines(results: dict[str, Any]) -> list[str]:
    """What stands below the table, a line each."""
    average, seeds = results["mean"], [entry["seed"] for entry in results["seeds"]]
    shown, diagnostics = average["imperceptibility"], average["diagnostics"]

    def percent(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.0f} %"

    touched = f", {shown['l0']:.0f} pixels per image" if shown.get("l0") is not None else ""
    ssim = "–" if shown["ssim"] is None else f"{shown['ssim']:.3f}"
    lines = [
        f"Accuracies in %, of a victim on clean test images. Chance {percent(results['chance'])}, "
        f"majority class {percent(results['majority'])}. Seeds: {', '.join(map(str, seeds))}"
        + (" (mean ± standard deviation)." if len(seeds) > 1 else "."),
        f"Noise on the stored files: largest {255 * shown['linf']:.0f}/255, L2 {shown['l2']:.2f}{touched}, "
        f"PSNR {shown['psnr']:.1f} dB, SSIM {ssim}.",
        "Label read from the noise alone: "
        + ", ".join(
            f"{probe} probe {percent(diagnostics['noise_only'][probe]['standard'])}"
            f" (unseen images {percent(diagnostics['noise_only'][probe]['fast'])})"
            for probe in diagnostics["noise_only"]
        )
        + ".",
        *(
            [f"Unseen images that the generator classifies correctly: {percent(diagnostics['named']['accuracy'])}."]
            if diagnostics.get("named")
            else []
        ),
        *(
            [
                "Share of the noise's energy that varies from image to image within a class: "
                + ", ".join(f"{setting} {value:.2f}" for setting, value in diagnostics["variation"].items())
                + "; that is left after: "
                + ", ".join(
                    f"{transformation} {value:.2f}"
                    for transformation, value in diagnostics["survival"]["standard"].items()
                )
                + "."
            ]
            if diagnostics.get("variation")
            else []
        ),
        "Victim answers the noise's label when it sits on another image: "
        + ", ".join(f"{setting} {percent(value)}" for setting, value in diagnostics["swap"].items())
        + ".",
        *(
            [
                "Protected images are told from clean ones, in a set that has half of each, by "
                + ", ".join(
                    f"{probe} ({setting}) with AUROC {scores['images']:.2f}"
                    for setting, probes in diagnostics["detection"].items()
                    for probe, scores in probes.items()
                )
                + "; 0.50 would be guessing."
            ]
            if diagnostics.get("detection")
            else []
        ),
        f"Seconds: {', '.join(f'{stage} {value:.0f}' for stage, value in average['seconds'].items())}.",
    ]
    defence = results["config"]["victim"].get("defence", "none")  # absent from results of before there were defences
    if defence != "none":
        lines.insert(0, f"All victims, those of clean images too, with the defence {defence} (docs/DEFENCES.md).")
    victim = results["config"]["victim"]
    if victim.get("share", 1) < 1 or victim.get("class_share", 1) < 1:
        lines.insert(
            0,
            f"Protected are {percent(victim['share'])} of the images of {percent(victim['class_share'])} of the "
            "classes; a victim learns from what stays clean, too, without the protected images.",
        )
    if (kind := results["config"]["trainer"].get("profiler", "none")) != "none":  # absent from earlier results
        place = "profile" if len(seeds) == 1 else "seed-<k>/profile"
        lines.append(f"Where the generator's training spent its time ({kind} profiler): {place}/*-{kind}*.txt.")
    if results["config"]["fast_dev_run"]:
        lines.insert(0, "fast_dev_run: a few batches of everything; these numbers mean nothing.")
    return lines


def write(folder: Path, results: dict[str, Any]) -> None:
    """Writes results.json and summary.md, and prints the summary."""
    write_json(folder / "results.json", results)
    head, *rows = table(results)
    lines = ["# Summary", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows] + [""]
    lines += [f"{fact}\n" for fact in summary_lines(results)]
    write_atomic(folder / "summary.md", "\n".join(lines).encode())
    shown = Table(*head)
    for row in rows:
        shown.add_row(*row)
    console = Console(width=None if Console().is_terminal else 130)
    console.print(shown)
    for fact in summary_lines(results):
        console.print(fact)
    console.print(f"Everything is in {folder}; start with report.html.")
