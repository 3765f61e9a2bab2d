"""The owners' verbs: ``protect``, ``verify``, ``check``, ``inspect`` and ``export``."""

import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from datamodules.config import DataError, path_of
from datamodules.files import write_atomic
from evaluation.pictures import save_picture
from experiments.folder import is_main, rank_zero_print
from experiments.launch import processes
from experiments.owner_config import CheckConfig, ExportConfig, InspectConfig, ProtectConfig, VerifyConfig
from experiments.predict import predict, threads
from gan.protection import SHIPPED
from photos.check import LIGHTS, check_folder
from photos.classes import NO_FOLDERS, ClassFolders
from photos.destination import CHECK, REPORT, check_places, control_of, planned, share
from photos.folder import Summary
from photos.manifest import MANIFEST, Skipped, entries, lines_of, read_header
from photos.protector import Protector, amplified
from photos.report import renewed
from photos.text import printable
from photos.verify import verify_folder

SHOWN = 20


@contextmanager
def without_warnings() -> Iterator[None]:
    """What libraries warn of is not the owner's business: what matters of a file becomes its reason or its fault."""
    for name in ("PIL", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def protect(config: ProtectConfig) -> int:
    """Protects a folder; 0 when every photo has its copy, 1 when something was left out (the first process says it).

    Raises:
        DataError, RunError, ConfigError, GeneratorFileError, OSError: as their messages say.
    """
    source, dest = path_of(config.source), path_of(config.dest)
    if config.fit:
        check_places(source, dest)
        if config.dry_run:
            raise DataError("dry_run: fit=true trains for a long time, which cannot be shown; leave one of them out")
        from experiments.fit import fit  # late: it brings all that training needs

        run = config.run or f"runs/fit-{dest.resolve().name}"
        config = replace(config, generator=str(fit(source, path_of(run), config.clusters, config.options.split())))
    protector = Protector.load(config.generator, config.visible)
    tree = planned(source, dest, config.format)
    total, folders = 0, set()
    for found in tree:  # the whole walk, too: a folder of protected images in it is refused now
        total += 1
        folders |= {os.path.dirname(found.source)} if found.target else set()
    classes = protector.class_folders(source, dest, config.classes, folders)
    if not (classes.names or config.dry_run):
        protector = protector.grouped(source, dest, config.classes)
    header = protector.header(config.format, config.strip, config.quality, classes)
    _introduce(protector, classes, config.generator)
    rank_zero_print(f"codes: {printable(protector.codes(classes))}")
    if config.dry_run:
        if not is_main():
            return 0
        left_out = photos = 0
        for found in tree:
            rank_zero_print(f"{printable(found.source)} -> {printable(found.target or 'left out: ' + found.reason)}")
            left_out, photos = left_out + (not found.target), photos + bool(found.target)
        rank_zero_print(
            f"{photos} photos would be protected, {left_out} left out before they are read; nothing was written"
        )
        return int(left_out > 0)
    started = time.perf_counter()
    given = config.shares()
    assert given  # its faults were found before
    count = given[1] * processes(config)
    with _bar("{task.fields[rate]:.1f}/s", TimeRemainingColumn(), "skipped {task.fields[skipped]}") as bar:
        name = "protecting" if count == 1 else f"protecting, 1 of {count} shares"
        task = bar.add_task(name, total=-(-total // count), rate=0.0, skipped=0)

        def progress(summary: Summary) -> None:
            done = summary.protected + summary.skipped
            bar.update(task, completed=done, rate=done / (time.perf_counter() - started), skipped=summary.skipped)

        def begin() -> None:
            if processes(config) > 1:
                share(dest, header)

        def work(dealt: tuple[int, int]) -> Summary:
            return protector.protect_folder(
                source, dest, config.format, config.strip, threads(config), progress, config.quality,
                given if config.shard else dealt, classes, config.shown,
            )  # fmt: skip

        summary = predict(config, protector.generator, begin, work)
    if not is_main():
        return 0
    shown, manifest = 0, dest / MANIFEST
    if not manifest.exists():
        manifest = control_of(dest, given) / MANIFEST
    for line in lines_of(manifest) if summary.skipped else ():
        if isinstance(line, Skipped) and shown < SHOWN:
            rank_zero_print(f"left out: {printable(line.source)}: {printable(line.skipped)}")
            shown += 1
    if summary.skipped > shown:
        rank_zero_print(f"left out: {summary.skipped - shown} more, all in {printable(manifest)}")
    later = "the report, which is made when all shards are done"
    report = printable(dest / REPORT) if manifest.parent == dest else later
    rank_zero_print(
        f"{summary.protected} photos got noise ({summary.kept} of them before), {summary.skipped} left out, in "
        f"{time.perf_counter() - started:.0f} s; no displayed pixel of a copy differs by more than "
        f"ε = {protector.card.epsilon:g}/255; see {report}"
    )
    if summary.left:
        rank_zero_print(
            f"{summary.left} copies of photos that are gone or renamed stay in {printable(dest)}, unlisted; 'verify' "
            "names them"
        )
    if summary.others:
        rank_zero_print(f"not copied, since no photos by their content: {summary.others.total()} files")
    return int(summary.skipped > 0)


def verify(config: VerifyConfig) -> int:
    """Checks a folder of protected photos; 0 when all is well, 1 when something is not.

    Raises:
        DataError: there is no such folder.
    """
    dest = path_of(config.dest)
    manifest = dest / MANIFEST
    readable = manifest.is_file() and read_header(manifest)
    count = sum(1 for _ in entries(manifest)) if readable else 0
    faults = 0
    with _bar() as bar:
        task = bar.add_task("verifying", total=count)
        for path, fault in verify_folder(
            dest, path_of(config.source) if config.source else None, lambda: bar.advance(task)
        ):
            faults += 1
            bar.console.print(f"{printable(path)}: {fault}", markup=False, highlight=False, soft_wrap=True)
    how = (
        "against their photos: bound, description, permissions, none missing"
        if config.source
        else "against the manifest alone; give source= to compare them with their photos"
    )
    rank_zero_print(f"{count} copies checked {how}: {_faults(faults)}")
    return int(faults > 0)


def check(config: CheckConfig) -> int:
    """Measures what protected photos withstand, on these very photos; 0 when nothing is given back, else 1.

    Raises:
        DataError: as ``check_folder``.
    """
    dest = path_of(config.dest)
    with _bar() as bar:
        task = bar.add_task("", total=100)

        def progress(what: str, share: float) -> None:
            bar.update(task, description=what, completed=round(100 * share))

        found = check_folder(dest, path_of(config.source), config.size, config.limit, progress)
    shown = Table("", "what happens to the photos", "learned from the photos", "from the copies", "noise left")
    for one in found.chains:
        scores = ["–" if value is None else f"{100 * value:.0f} %" for value in (one.clean, one.protected)]
        light, words = LIGHTS[one.grade]
        shown.add_row(f"{light} {words}", f"{one.chain}: {one.does}", *scores, f"{100 * one.noise_left:.0f} %")
    bar.console.print(shown)
    rank_zero_print(printable(found.sentence()))
    report = dest / REPORT
    if report.is_file():
        mode = report.stat().st_mode & 0o777
        write_atomic(report, renewed(report.read_text(), found).encode(), mode)
    rank_zero_print(f"written to {printable(dest / CHECK)}, and into {printable(report)}")
    return int(any(one.grade == "none" for one in found.chains))


def _faults(count: int) -> str:
    return f"{count} fault{'s' if count > 1 else ''}" if count else "no fault found"


def inspect(config: InspectConfig) -> int:
    """Shows what protecting does to one photo.

    Raises:
        DataError, RunError, GeneratorFileError: as their messages say.
    """
    image, out = path_of(config.image), path_of(config.out)
    if out.suffix.lower() != ".png":
        raise DataError(f"out: {printable(out)} does not end in .png; give the name of a picture to write")
    if out.exists() and image.exists() and os.path.samefile(image, out):
        raise DataError(f"out: {printable(out)} is the photo itself; give another name")
    protector = Protector.load(config.generator)
    _introduce(protector, NO_FOLDERS, config.generator)
    found = protector.inspect(image)
    save_picture(amplified(found.before, found.after, protector.card.epsilon), out)
    height, width = found.before.pixels.shape[:2]
    psnr = "unchanged" if found.change.psnr is None else f"PSNR {found.change.psnr:.2f} dB"
    displayed = f", displayed by {found.before.display.text}" if found.before.display else ""
    rank_zero_print(
        f"{printable(image)}: {width}×{height}, {found.before.bits} bits{displayed}; largest change "
        f"{found.change.levels:g}/255 (ε = {protector.card.epsilon:g}), {psnr}; read as {found.class_name!r} "
        f"({100 * found.share:.0f} %)\n"
        f"written to {printable(out)}: before, after, noise x{127.5 / protector.card.epsilon:.0f}"
    )
    return 0


def export(config: ExportConfig) -> int:
    """Writes a generator as ONNX.

    Raises:
        DataError, RunError, GeneratorFileError, OSError: as their messages say.
    """
    protector, out = Protector.load(config.generator), path_of(config.out)
    _introduce(protector, NO_FOLDERS, config.generator)
    protector.export_onnx(out)
    height, width = protector.size
    rank_zero_print(
        f"written to {printable(out)}: float32 images N×{protector.card.channels}×{height}×{width} in [0, 1] to their "
        "code and noise"
    )
    return 0


def _introduce(protector: Protector, classes: ClassFolders, asked: str) -> None:
    """Says what the generator's own test showed, first of all, and which it is.

    Args:
        protector: with the generator.
        classes: by which photos get their codes.
        asked: the option that chose the generator; empty for the one that ships.
    """
    evidence = protector.evidence(classes)
    if evidence.verdict != "protects":
        rank_zero_print(evidence.sentence)
    source = "" if asked else " (the one that ships)"
    names = ", ".join(map(printable, protector.card.class_names[:10]))
    shown = f": {names}{', …' if len(protector.card.class_names) > 10 else ''}" if protector.path != SHIPPED else ""
    rank_zero_print(
        f"generator: {printable(protector.path)}{source}, trained on {printable(protector.card.data)}{shown}"
    )


def _bar(*columns: object) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        "{task.completed}/{task.total}",
        *columns,  # type: ignore[arg-type]
        disable=not is_main() or bool(os.environ.get("CONFOUNDERGAN_QUIET")),
    )
