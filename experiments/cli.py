"""The command line: ``confoundergan VERB key=value …``, the same as ``python -m experiments VERB key=value …``."""

import errno
import os
import signal
import sys
from typing import Any

from experiments.config import Config, ConfigError, compose, help_text, near, settings, to_yaml
from experiments.owner_config import OWNER_VERBS
from photos.text import printable

USAGE = """
confoundergan VERB [key=value ...] [--help] [--print-config] [--version]

Makes images unlearnable: trains a generator of confounding noise, protects images with it, and retrains
classifiers on the protected images to show how far that holds.

verbs:
  train      train, protect, retrain victims, sum up         confoundergan train data=digits seeds=3
  evaluate   retrain victims on a finished run's files       confoundergan evaluate run=runs/… victim.arch=resnet18
  grid       compute a table of variants, data, victims      confoundergan grid grid=digits jobs=2
  sweep      try settings: a local grid, or W&B's agent      confoundergan sweep sweep=epsilon logger=wandb
  dashboard  make or renew the W&B workspace                 confoundergan dashboard project=confoundergan
  report     write report.html of a finished run or grid     confoundergan report run=runs/grids/digits
  validate   check data, networks, disk, logger; no training confoundergan validate data=npz data.path=photos.npz

for owners of photos (each with --help of its own):
  protect    protect all photos of a folder, no labels       confoundergan protect photos safe generator=runs/…
  verify     check such a folder                             confoundergan verify safe source=photos
  check      train classifiers on such photos: does it hold? confoundergan check safe source=photos
  inspect    one photo: before, after, noise, numbers        confoundergan inspect photo.jpg generator=runs/…
  export     the generator as ONNX, for other programs       confoundergan export generator.onnx generator=runs/…
"""
VERBS = ("train", "evaluate", "validate", "grid", "sweep", "dashboard", "report", *OWNER_VERBS)


def main(arguments: list[str] | None = None) -> int:
    """Runs one verb; returns the exit code.

    0: done. 1: done, but something is wrong or was left out, which is shown. 2: the request cannot be carried out, and
    one line per fault says why. 130 and 143: stopped by Ctrl-C and SIGTERM. Anything else is a defect of this program
    and shows its traceback.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    flags = {argument for argument in arguments if argument.startswith("-")}
    words = [argument for argument in arguments if not argument.startswith("-")]
    if flags & {"--help", "-h"} or not arguments:
        schema = OWNER_VERBS[words[0]][0] if words and words[0] in OWNER_VERBS else Config
        print(help_text(USAGE, schema))
        return 0
    if "--version" in flags:
        from importlib.metadata import version

        print(f"confoundergan {version('confoundergan')}")
        return 0
    try:
        faults = [
            f"{flag}: no such flag; known: --help, --print-config, --version" for flag in flags - {"--print-config"}
        ]
        if not words or words[0] not in VERBS:
            word = words[0] if words else ""
            faults.append(f"{word!r}: no such verb{near(word, list(VERBS))}; known: {', '.join(VERBS)}")
            raise ConfigError(faults)
        verb, given = words[0], words[1:]
        try:
            # an existing run brings its own configuration, so arguments are checked against that one there
            config: Any
            config, sources = settings(*OWNER_VERBS[verb], given) if verb in OWNER_VERBS else compose(given)
        except ConfigError as error:
            raise ConfigError(faults + error.faults) from error
        if faults:
            raise ConfigError(faults)
        if "--print-config" in flags:
            print(to_yaml(config, sources), end="")
            return 0
        return _run(verb, config, given)
    except ConfigError as error:
        for fault in error.faults:
            print(f"error: {fault}", file=sys.stderr)
        return 2


def _run(verb: str, config: Any, given: list[str]) -> int:
    """Loads what the verb needs (torch and all) and runs it."""
    from callbacks.stopping import Stopped, stop_on_request
    from datamodules.config import DataError
    from experiments.folder import RunError, is_main
    from gan.protection import GeneratorFileError

    if verb not in ("train", "protect") and not is_main():
        print(f"error: {verb}: runs in one process; start it without torchrun or srun", file=sys.stderr)
        return 2
    try:
        with stop_on_request():
            if verb == "train":
                from experiments.train import train

                train(config, given)
            elif verb == "evaluate":
                from experiments.evaluate import evaluate

                evaluate(given)
            elif verb == "grid":
                from experiments.grid.compute import grid

                return grid(config)
            elif verb == "sweep":
                from experiments.sweep import sweep

                return sweep(config)
            elif verb == "dashboard":
                from experiments.dashboard import dashboard

                return dashboard(config)
            elif verb == "report":
                from experiments.report.write import report

                return report(config)
            elif verb in OWNER_VERBS:
                from experiments import protect

                with protect.without_warnings():
                    found: int = getattr(protect, verb)(config)
                    return found
            else:
                from experiments.validate import validate

                return validate(config)
    except (DataError, RunError, GeneratorFileError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Stopped as stop:  # nothing is half-written, and finished stages are kept
        if "SLURM_PROCID" in os.environ:  # srun ends the others when the first has left; this code must still be theirs
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if is_main():
            print(f"{stop}; resume with: {_how_to_resume(config)}", file=sys.stderr)
        return 128 + stop.number
    except BrokenPipeError:  # who read our output has gone ("… | head"): nothing to say, and nowhere to say it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        # a full disk or a folder that lost its permissions: files are whole or absent, so the run can be resumed later
        remedy = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "see to that"
        name = printable(str(error.filename or "writing"))
        print(f"error: {name}: {error.strerror or error}; {remedy}, then: {_how_to_resume(config)}", file=sys.stderr)
        return 2
    return 0


def _how_to_resume(config: Any) -> str:
    """The command that resumes the run, or the folder."""
    folder = isinstance(config, Config) and (os.environ.get("CONFOUNDERGAN_RUN_DIR") or config.resume)
    return f"confoundergan train resume={folder}" if folder else "the same command"  # stopped before a run began
