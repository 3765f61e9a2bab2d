"""The blocks of a report in their order, the verdict first."""

from collections.abc import Iterator
from typing import Any

from evaluation.pictures import SHEETS
from evaluation.verdicts import PROTECTED, Finding, failed, missing, percent, rules, verdicts
from experiments.report.comparisons import compared
from experiments.report.grid_table import MEASURED_ON
from experiments.report.inputs import ReportInput
from experiments.report.measured import noise_table, numbers
from experiments.report.page import Block, Heading, Items, Picture, Text, Verdicts
from experiments.report.protocol import cost_and_surroundings, protocol
from experiments.report.published import NOTE, beside, beside_published, read_published


def document(asked: ReportInput, found: list[Finding], drawn: dict[str, bytes]) -> Iterator[Block]:
    """The report's blocks, the verdict first.

    Args:
        asked: what it is about.
        found: of ``findings``.
        drawn: data set → PNG of its learning curves.
    """
    spec = asked.spec
    yield Heading(1, asked.name)
    yield Text(spec["about"])
    yield Heading(2, "Verdict")
    if asked.void:
        yield Text(asked.void)
    elif lines := verdicts(spec, found):
        yield Verdicts(lines)
        if apart := compared(spec, found):
            yield apart
    else:
        yield Text("Nothing was measured of a protected setting.")
    yield from _maps(spec, found)
    yield Heading(3, "How this is decided")
    yield Items(rules())
    yield Heading(2, "All figures")
    yield Text(
        "Balanced accuracy on clean images and recovered share in %, mean ± standard deviation over seeds. Clean, "
        "protected: at the last epoch. Selected: at the epoch that the victim's own images select. Peak: at the best "
        "epoch by the measured images, an upper bound. Measured on "
        f"{MEASURED_ON[spec['measured_on']]}."
    )
    yield numbers(found)
    if "published" in spec:
        yield from beside_published(read_published(spec["published"]), found)
    lost = failed(asked.rows)
    absent = missing(spec, asked.rows)
    yield Heading(3, "Failed and missing cells")
    yield Items(lost + absent) if lost or absent else Text("None.")
    if drawn:
        yield Heading(2, "Learning curves")
        yield from _curves(found, drawn)
    yield Heading(2, "Pictures")
    yield from _pictures(asked)
    yield Heading(2, "How visible the noise is, and what it tells")
    yield Text(
        "Measured on the stored files, against the clean images: the largest change of a pixel, the mean L2 of an "
        "image's noise (pixels in 0 to 1), PSNR and SSIM. In %: the label read from the noise alone by two probes, the "
        "unseen images that the method classifies correctly (balanced), and swap: how often victims answer the "
        "noise's label when it sits on another image."
    )
    yield noise_table(asked)
    if (known := beside(spec, asked.rows)) is not None:
        yield Heading(2, "Published numbers")
        yield Text(NOTE)
        yield known.table
        yield Text(known.said)
    yield Heading(2, "Protocol")
    yield from protocol(spec, asked.rows)
    yield Heading(2, "Cost and surroundings")
    yield from cost_and_surroundings(spec, asked.rows)


def _maps(spec: dict[str, Any], found: list[Finding]) -> Iterator[Block]:
    """The recovered shares at a glance, where there is more than one."""
    from experiments.report.figures import share_map  # matplotlib

    several = len(spec["victims"]) > 1 or len(spec["variants"]) > 1
    for setting in PROTECTED if several else ():
        png = share_map(setting, found)
        if png:
            listed = "; ".join(
                f"{f.data}, {f.variant}, {f.victim}: {100 * f.share:.0f} %"
                for f in found
                if f.setting == setting and f.share is not None
            )
            yield Picture(
                png, f"Map of recovered shares, {setting} setting. {listed}.", f"Recovered share, {setting} setting"
            )


def _curves(found: list[Finding], drawn: dict[str, bytes]) -> Iterator[Block]:
    for data, png in drawn.items():
        ends = "; ".join(
            f"{f.victim}, {f.variant}, {f.setting}: clean {percent(f.clean)} %, protected {percent(f.protected)} %"
            for f in found
            if f.data == data and f.setting in PROTECTED
        )
        yield Picture(
            png,
            f"Learning curves on {data}: balanced accuracy on clean images by epoch. At the last epoch: {ends}.",
            f"{data}: what victims learn, epoch by epoch (mean over seeds)",
        )


def _pictures(asked: ReportInput) -> Iterator[Block]:
    shown = False
    absent = []
    for data in asked.spec["data"]:
        for variant in asked.spec["variants"]:
            folder = asked.pictures.get((data, variant))
            sheets = [
                (folder / name.format(setting), setting, text)
                for setting in PROTECTED
                for name, text in SHEETS.items()
                if folder and (folder / name.format(setting)).is_file()
            ]
            if not sheets:
                absent.append(f"{data}, {variant}")
            for path, setting, text in sheets:
                if not shown:
                    shown = True
                    yield Text(
                        "These show images of the data set: where its licence forbids passing them on, this file must "
                        "not be published."
                    )
                what = f"{data}, {variant}, {setting} setting: {text}"
                yield Picture(path.read_bytes(), f"Image grid. {what}.", what)
    if absent:
        of = f" of {'; '.join(absent)}" if shown else ""
        yield Text(
            f"No pictures{of}: no picture sheets were found (the rows come from elsewhere, or the "
            "protected sets are no longer on disk)."
        )
