"""After training: export, measuring, retraining victims, results. Also the verb ``evaluate``."""

import json
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from baselines.capabilities import capabilities
from baselines.trained import load_trained
from datamodules.base import ImageDataModule
from datamodules.config import DataError
from datamodules.files import write_atomic
from datamodules.images import ImageSet
from datamodules.protected import MANIFEST, ProtectedDataset
from datamodules.renames import current_option
from datamodules.versions import versions
from evaluation.imperceptibility import Imperceptibility
from evaluation.jobs import SharedJobs, default_device
from evaluation.measure import diagnostics, imperceptibility, probe_jobs, score_victim, sets_of
from evaluation.pictures import PICTURES, plot_curves, save_sheets
from evaluation.rows import EpochScores, from_json, to_json
from evaluation.stored import linf_bound, pairs_of
from experiments import results
from experiments.config import Config, ConfigError, compose, leaves, options
from experiments.data import check_networks, make_data
from experiments.folder import RunError, describe, is_main, newest, progress_bar, rank_zero_print, write_json
from experiments.logs import log_end, make_loggers
from experiments.report.write import write_of_run
from gan.protection import GENERATOR, GeneratorFileError
from victims.classifier import check_arch
from victims.config import PUBLISHED, Recipe
from victims.defences import needs_pairs
from victims.partial import clean_remainder, mask_to_text, partially_protected, protected_mask
from victims.pretrained import build_pretrained


def evaluate_seed(
    config: Config,
    data: ImageDataModule,
    run: Path,
    out: Path,
    seed: int,
    seconds: dict[str, float],
    device: torch.device,
) -> dict[str, Any]:
    """Measures one seed's protected sets and retrains all victims on them, shared out among the processes.

    Args:
        config: of the evaluation (``victim`` counts).
        data: as the run had it, set up.
        run: holds generator and protected sets.
        out: gets pictures and the victims' files.
        seed: of the victims.
        seconds: of the stages so far.
        device: of this process.

    Returns:
        The seed's entry of results.json.
    """
    clock, before = time.perf_counter(), sum(seconds.values())
    sets = sets_of(run, data)
    clean, stored, noise = sets.clean, sets.stored, sets.noise
    measured: dict[str, Any] = {}
    if is_main():
        measured = to_json(Imperceptibility().run(_joined(clean), _joined(stored)))
        measured |= {setting: to_json(size) for setting, size in imperceptibility(sets).items()}
        for setting in stored:
            save_sheets(out / PICTURES, setting, data.class_names, config.gan.epsilon, clean[setting], stored[setting])
        seconds = seconds | {"measuring": time.perf_counter() - clock}

    recipe, test, classes = config.victim.resolved(), data.parts["test"], data.classes
    paired = needs_pairs(recipe.defence)
    masks = {s: protected_mask(clean[s].labels, recipe, seed) for s in stored} if recipe.partly else {}
    if is_main() and masks:
        (out / "masks").mkdir(exist_ok=True)
        for setting, mask in masks.items():
            write_atomic(out / "masks" / f"{setting}.txt", mask_to_text(mask).encode())
    jobs, costs = probe_jobs(sets, seed, device)
    with progress_bar() as bar:

        def victim(
            name: str, train: ImageSet, noise: ImageSet | None, own: Recipe = recipe, known: Tensor | None = None
        ) -> dict[str, Any]:
            task = bar.add_task(f"victim: {name}", total=own.epochs)
            swapped, pairs = (noise, test) if noise else None, pairs_of(run, data, name) if paired else None
            report, found = score_victim(
                train, test, swapped, classes, own, seed, device, lambda: bar.advance(task), pairs, known
            )
            return {**to_json(found), "seconds": report.seconds}

        for setting in stored:
            original = "clean" if setting == "standard" else f"clean_{setting}"
            jobs[original] = partial(victim, original, clean[setting], None, recipe.on_clean)
            train = stored[setting]
            if setting in masks:
                train = partially_protected(clean[setting], train, masks[setting])
                if len(rest := clean_remainder(clean[setting], masks[setting])):
                    name = "remainder" if setting == "standard" else f"remainder_{setting}"
                    jobs[name] = partial(victim, name, rest, None)
                    costs[name] = len(rest)
            known = ~masks[setting] if setting in masks else None
            jobs[setting] = partial(victim, setting, train, noise[setting], known=known)
            costs[original] = costs[setting] = len(train)
        done = SharedJobs(out / "victims").run(jobs, costs)

    entry: dict[str, Any] = {"seed": seed}
    for name in results.VICTIMS:
        if name in done:
            entry[name] = done[name]["scores"]
            seconds = seconds | {f"victim_{name}": done[name]["seconds"]}
    entry["imperceptibility"] = measured
    entry["diagnostics"] = to_json(diagnostics(sets, done)) | {"swap": {s: done[s]["swap"] for s in stored}}
    entry["seconds"] = seconds | {"total": before + time.perf_counter() - clock}
    if is_main():
        names = [name for name in results.VICTIMS if name in done]
        curves = {name: [from_json(EpochScores, point) for point in done[name]["curve"]] for name in names}
        plot_curves(curves, 1 / classes, out / PICTURES / "victims.png")
        write_json(out / "entry.json", entry)
    return entry


def summed_up(config: Config, data: ImageDataModule, run: Path, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The content of results.json from the seeds' entries; ``run`` holds protected sets, of any of the seeds."""
    return results.assemble(entries, linf_bound(run), 1 / data.classes, data.majority, asdict(config))


def finish(
    config: Config, data: ImageDataModule, run: Path, entries: list[dict[str, Any]], out: Path
) -> dict[str, Any]:
    """Writes results.json, summary.md and the report, on the main process; returns the results."""
    found = summed_up(config, data, run, entries)
    if is_main():
        results.write(out, found)
        write_of_run(out, found)
    return found


def evaluate(arguments: list[str]) -> None:
    """The verb: retrains victims on a finished run's files, with other ``victim.…`` options if given.

    Writes to ``<run>/evaluations/<number>``; the run's own results stay.

    Raises:
        ConfigError, RunError, DataError: as their messages say.
    """
    chosen = [a.removeprefix("run=") for a in arguments if a.startswith("run=")]
    run = Path(chosen[-1]) if chosen else newest()
    if not (run / "config.yaml").is_file():
        raise RunError(f"run: {run} is no run folder (it has no config.yaml); give one that 'train' made")
    config = reopen(run, arguments, ("victim", "run", "fast_dev_run"), "evaluate takes run=<folder> and victim.… alone")
    if fault := check_arch(config.victim.resolved().arch):
        raise ConfigError([f"victim.arch: {fault}"])
    check_weights(config.victim.resolved())
    data = make_data(config)
    check_networks(config, data, ["victim.arch"])
    seeds = {
        config.seed + i: (run / f"seed-{config.seed + i}" if config.seeds > 1 else run) for i in range(config.seeds)
    }
    for seed, folder in seeds.items():
        files = [folder / "protected" / "standard" / MANIFEST]
        files += [folder / GENERATOR] if capabilities(config.method).transferable else []
        try:
            for file in files[1:]:
                load_trained(file)
            ProtectedDataset(files[0].parent)
        except (GeneratorFileError, DataError) as error:
            if all(file.is_file() for file in files):  # finished, then damaged, or made by another version
                raise
            raise RunError(f"run: seed {seed} is not finished ({error}); resume with 'train resume={run}'") from error
    number = 1 + max((int(p.name) for p in (run / "evaluations").glob("*") if p.name.isdigit()), default=0)
    out = run / "evaluations" / str(number)
    out.mkdir(parents=True)
    describe(out, config)
    entries = []
    for seed, folder in seeds.items():
        target = out / f"seed-{seed}" if len(seeds) > 1 else out
        target.mkdir(exist_ok=True)
        rank_zero_print(f"seed {seed}: victims on {folder / 'protected'}")
        loggers = make_loggers(replace(config, group=config.group or run.name), target, seed, "evaluate")
        entries.append(evaluate_seed(config, data, folder, target, seed, {}, default_device()))
        log_end(loggers, target, summed_up(config, data, folder, entries[-1:]))
    finish(config, data, folder, entries, out)


def check_weights(recipe: Recipe) -> None:
    """Refuses, before anything is computed, pretrained victims whose weights are not at hand.

    Raises:
        Unavailable, DataError: as their messages say.
    """
    if recipe.start in PUBLISHED:
        build_pretrained(recipe.arch, 2, recipe.weights)


def reopen(run: Path, arguments: list[str], allowed: tuple[str, ...], rule: str) -> Config:
    """The configuration of an earlier run, with the few keys changed that may be.

    Raises:
        ConfigError: another key was given; ``rule`` says which may be.
    """
    keys = [argument.partition("=")[0] for argument in arguments]
    refused = [key for key in keys if not any(key == good or key.startswith(f"{good}.") for good in allowed)]
    if refused:
        raise ConfigError([f"{key}: cannot change in an existing run; {rule}" for key in refused])
    try:
        base = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
        assert isinstance(base, dict)
        base |= {"run_dir": "", "resume": "", "run": ""}
    except Exception as error:
        raise RunError(
            f"{run / 'config.yaml'}: not readable ({str(error).splitlines()[0]}); start a new run"
        ) from error
    foreign = [str(key) for key, _ in leaves(base) if current_option(str(key)) not in options()]  # type: ignore[arg-type]
    if foreign:
        raise RunError(
            f"{run / 'config.yaml'}: made by another version of this program ({made_by(run)}; this is "
            f"{versions()['confoundergan']}), which has the keys {', '.join(foreign[:5])}"
            f"{', …' if len(foreign) > 5 else ''}; use that version, or train again"
        )
    return compose(arguments, base)[0]  # type: ignore[arg-type]


def made_by(run: Path) -> str:
    """The version that made a run."""
    try:
        return str(json.loads((run / "environment.json").read_text())["versions"]["confoundergan"])
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"


def _joined(parts: dict[str, ImageSet]) -> ImageSet:
    return ImageSet(torch.cat([p.images for p in parts.values()]), torch.cat([p.labels for p in parts.values()]))
