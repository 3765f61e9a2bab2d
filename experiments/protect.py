"""The owners' verbs: ``protect``, ``verify``, ``inspect`` and ``export``."""

import os
import time
from dataclasses import replace

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from callbacks.pictures import save_picture
from datamodules.config import DataError, path_of
from experiments.folder import is_main, say
from experiments.launch import processes
from experiments.owner_config import ExportConfig, InspectConfig, ProtectConfig, VerifyConfig
from experiments.predict import predict, threads
from photos.folder import REPORT, Summary, check_places, control_of, planned, share, verify_folder
from photos.manifest import MANIFEST, Skipped, entries, lines_of, read_head
from photos.protector import Protector, amplified

SHOWN = 20


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
    protector = _load(config.generator)
    head = protector.head(config.format, config.strip, config.quality)
    tree = planned(source, dest, head)
    if config.dry_run:
        if not is_main():
            return 0
        left_out = photos = 0
        for found in tree:
            say(_plain(f"{found.source} -> {found.target or 'left out: ' + found.reason}"))
            left_out, photos = left_out + (not found.target), photos + bool(found.target)
        say(f"{photos} photos would be protected, {left_out} left out by their names; nothing was written")
        return int(left_out > 0)
    started = time.perf_counter()
    given = config.shares()
    assert given  # its faults were found before
    count = given[1] * processes(config)
    with _bar("{task.fields[rate]:.1f}/s", TimeRemainingColumn(), "skipped {task.fields[skipped]}") as bar:
        total = -(-sum(1 for _ in tree) // count)
        name = "protecting" if count == 1 else f"protecting, 1 of {count} shares"
        task = bar.add_task(name, total=total, rate=0.0, skipped=0)

        def progress(summary: Summary) -> None:
            done = summary.protected + summary.skipped
            bar.update(task, completed=done, rate=done / (time.perf_counter() - started), skipped=summary.skipped)

        def begin() -> None:
            if processes(config) > 1:
                share(dest, head)

        def work(dealt: tuple[int, int]) -> Summary:
            return protector.protect_folder(
                source, dest, config.format, config.strip, threads(config), progress, config.quality,
                given if config.shard else dealt,
            )  # fmt: skip

        summary = predict(config, protector.generator, begin, work)
    if not is_main():
        return 0
    shown, manifest = 0, dest / MANIFEST
    if not manifest.exists():
        manifest = control_of(dest, given) / MANIFEST
    for line in lines_of(manifest) if summary.skipped else ():
        if isinstance(line, Skipped) and shown < SHOWN:
            say(_plain(f"left out: {line.source}: {line.skipped}"))
            shown += 1
    if summary.skipped > shown:
        say(f"left out: {summary.skipped - shown} more, all in {manifest}")
    say(
        f"{summary.protected} photos protected ({summary.kept} of them before), {summary.skipped} left out, in "
        f"{time.perf_counter() - started:.0f} s; ε = {protector.card.epsilon:g}/255 holds in every copy; "
        f"see {dest / REPORT if manifest.parent == dest else 'the report, which is made when all shards are done'}"
    )
    if summary.left:
        say(f"{summary.left} copies of photos that are gone or renamed stay in {dest}, unlisted; 'verify' names them")
    if summary.others:
        say(f"not copied, since no photos by their names: {summary.others.total()} files")
    return int(summary.skipped > 0)


def verify(config: VerifyConfig) -> int:
    """Checks a folder of protected photos; 0 when all is well, 1 when something is not.

    Raises:
        DataError: there is no such folder.
    """
    dest = path_of(config.dest)
    manifest = dest / MANIFEST
    count = sum(1 for _ in entries(manifest)) if manifest.is_file() and read_head(manifest) else 0
    faults = 0
    with _bar() as bar:
        task = bar.add_task("verifying", total=count)
        for path, fault in verify_folder(
            dest, path_of(config.source) if config.source else None, lambda: bar.advance(task)
        ):
            faults += 1
            bar.console.print(_plain(f"{path}: {fault}"), markup=False, highlight=False, soft_wrap=True)
    how = "against the manifest and the bound" if config.source else "against the manifest; give source= for the bound"
    say(f"{count} photos checked {how}: {f'{faults} faults' if faults else 'all is well'}")
    return int(faults > 0)


def inspect(config: InspectConfig) -> int:
    """Shows what protecting does to one photo.

    Raises:
        DataError, RunError, GeneratorFileError: as their messages say.
    """
    image, out = path_of(config.image), path_of(config.out)
    if out.suffix.lower() != ".png":
        raise DataError(f"out: {out} does not end in .png; give the name of a picture to write")
    if out.exists() and image.exists() and os.path.samefile(image, out):
        raise DataError(f"out: {out} is the photo itself; give another name")
    protector = _load(config.generator)
    found = protector.inspect(image)
    save_picture(amplified(found.before, found.after, protector.card.epsilon), out)
    height, width = found.before.pixels.shape[:2]
    psnr = "unchanged" if found.change.psnr is None else f"PSNR {found.change.psnr:.2f} dB"
    say(
        f"{_plain(str(image))}: {width}×{height}, {found.before.bits} bits; largest change {found.change.levels:g}/255 "
        f"(ε = {protector.card.epsilon:g}), {psnr}; read as {found.class_name!r} ({100 * found.share:.0f} %)\n"
        f"written to {out}: before, after, noise x{127.5 / protector.card.epsilon:.0f}"
    )
    return 0


def export(config: ExportConfig) -> int:
    """Writes a generator as ONNX.

    Raises:
        DataError, RunError, GeneratorFileError, OSError: as their messages say.
    """
    protector, out = _load(config.generator), path_of(config.out)
    protector.export_onnx(out)
    height, width = protector.size
    say(
        f"written to {out}: float32 images N×{protector.card.channels}×{height}×{width} in [0, 1] to their code and "
        "noise"
    )
    return 0


def _load(generator: str) -> Protector:
    protector = Protector.load(generator)
    say(
        f"generator: {protector.path}{'' if generator else ' (the newest run)'}, trained on {protector.card.data}: "
        f"{', '.join(protector.card.class_names[:10])}{', …' if len(protector.card.class_names) > 10 else ''}"
    )
    return protector


def _bar(*columns: object) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        "{task.completed}/{task.total}",
        *columns,  # type: ignore[arg-type]
        disable=not is_main() or bool(os.environ.get("CONFOUNDERGAN_QUIET")),
    )


def _plain(text: str) -> str:
    """Names whose bytes are no UTF-8, so that they can be printed."""
    return text.encode(errors="backslashreplace").decode()
