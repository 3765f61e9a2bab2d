"""How ``train``, ``evaluate`` and ``grid`` measure a protection, and train and score a victim: one way for all."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.base import ImageDataModule
from datamodules.images import ImageSet
from evaluation.detection import SIMPLE, Detection, measurable
from evaluation.diagnostics import PROBES, NoiseProbe, Survival, SwapTest, Variation, noise_of
from evaluation.export import SETTINGS
from evaluation.imperceptibility import Imperceptibility
from evaluation.jobs import Job
from evaluation.rows import DetectionScores, Diagnostics, NoiseSize, VictimScores, from_json
from evaluation.stored import class_accuracy, settings_of, stored_set
from victims.config import Recipe
from victims.pairs import Pairs
from victims.train import VictimReport, train_victim


@dataclass(frozen=True)
class Sets:
    """A run's protected sets by their setting, beside the clean images that they are of.

    Attributes:
        run: folder that holds them.
        data: as the run had it, set up.
        clean: the images before they were protected.
        stored: the protected images, decoded from their files.
        noise: what was added, as images (``evaluation.diagnostics.noise_of``).
    """

    run: Path
    data: ImageDataModule
    clean: dict[str, ImageSet]
    stored: dict[str, ImageSet]
    noise: dict[str, ImageSet]


def sets_of(run: Path, data: ImageDataModule) -> Sets:
    """Reads a run's protected sets.

    Raises:
        DataError: one is missing, damaged, or of other images than those at hand.
    """
    stored = {setting: stored_set(run, data, setting) for setting in settings_of(run, data)}
    clean = {setting: data.parts[SETTINGS[setting]] for setting in stored}
    return Sets(run, data, clean, stored, {s: noise_of(clean[s], stored[s]) for s in stored})


def imperceptibility(sets: Sets) -> dict[str, NoiseSize]:
    """The size of the noise by setting, and how like each other clean and protected images are."""
    return {s: Imperceptibility().run(sets.clean[s], sets.stored[s]) for s in sets.stored}


def probe_jobs(sets: Sets, seed: int, device: torch.device) -> tuple[dict[str, Job], dict[str, float]]:
    """What needs small networks of its own: probes of the noise alone, and detection of protected images.

    Returns:
        Jobs by name, and what each costs, in images that a victim would see.
    """
    jobs: dict[str, Job] = {}
    costs: dict[str, float] = {}
    classes = sets.data.classes
    for probe in PROBES:
        jobs[f"probe_{probe}"] = partial(
            NoiseProbe(probe).run, sets.noise["standard"], sets.noise.get("fast"), classes, seed, device
        )
        costs[f"probe_{probe}"] = len(sets.noise["standard"]) / 2  # smaller networks, fewer epochs
    for setting in measurable(sets.stored, classes):
        for probe in SIMPLE:
            name = _detection(setting, probe)
            clean, stored = sets.clean[setting], sets.stored[setting]
            jobs[name] = partial(Detection(probe).run, clean, stored, classes, seed, device)
            costs[name] = len(stored) / 4  # four times a tiny network
    return jobs, costs


def diagnostics(sets: Sets, done: dict[str, Any]) -> Diagnostics:
    """The confounder diagnostics that need no victim.

    Args:
        sets: of the run.
        done: results of ``probe_jobs`` by name.
    """
    return Diagnostics(
        named=class_accuracy(sets.run, sets.data),
        noise_only={probe: done[f"probe_{probe}"] for probe in PROBES},
        variation={setting: Variation().run(noise) for setting, noise in sets.noise.items()},
        survival={s: Survival().run(sets.clean[s], sets.stored[s]) for s in sets.stored},
        detection={
            setting: {probe: from_json(DetectionScores, done[_detection(setting, probe)]) for probe in SIMPLE}
            for setting in measurable(sets.stored, sets.data.classes)
        },
    )


def _detection(setting: str, probe: str) -> str:
    return f"detection_{setting}_{probe.replace(' ', '_')}"


def score_victim(
    train: ImageSet,
    others: ImageSet,
    noise: tuple[ImageSet, ImageSet] | None,
    classes: int,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    advance: Callable[[], None] = lambda: None,
    pairs: Pairs | None = None,
    known: Tensor | None = None,
) -> tuple[VictimReport, VictimScores]:
    """Trains a victim and scores it on clean images that it was not trained on.

    Args:
        train: labelled images, protected or clean.
        others: clean images.
        noise: of the protected images, and clean images that it is put on for the swap test; None for a clean victim.
        classes: number of classes K.
        recipe: of the training.
        seed: of the victim.
        device: of the training.
        advance: called after each epoch.
        pairs: of the attacker's own pictures, for a defence that learns from them (``evaluation.stored.pairs_of``).
        known: bool N, which of ``train`` are clean, for a victim that begins with them; None: all.

    Returns:
        The victim's report, and what its row tells of it.
    """
    report = train_victim(train, others, classes, recipe, seed, device, advance, pairs, known)
    swap = SwapTest().run(report.model, *noise, device) if noise else None
    return report, from_json(VictimScores, {"scores": report.scores(), "curve": report.curve, "swap": swap})
