"""The owner's report: one HTML file without links, about a folder of protected photos.

It holds no pixel of an unprotected photo, since it lies beside the copies and may be published with them by mistake.
"""

import base64
import heapq
import html
import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torchmetrics.functional.image import structural_similarity_index_measure

from gan.protection import GeneratorCard
from photos.check import CheckResult, read_check, section
from photos.display import Display
from photos.evidence import Evidence
from photos.folder import Summary
from photos.manifest import Entry, Skipped, lines_of
from photos.photo import Photo
from photos.read import read_middle
from photos.text import printable

CHECKED = "<!-- check -->", "<!-- end of check -->"
KINDS = 50  # names of a counter that are counted one by one
SSIM_WINDOW = 11  # pixels, of torchmetrics' kernel; smaller pictures have none
WORST, LISTED, CROP, BIN = 10, 500, 128, 0.5
SIMILAR, SIDE = 50, 128  # photos that SSIM is measured on, and pixels per side of their middles
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
    "td,th{padding:.2em .8em;border-bottom:1px solid #ccc;text-align:left}img{max-width:100%}"
)
FIGURES = (
    "ε is the most that a pixel of a copy may differ from its photo, of the 255 steps from black to white on a screen.",
    "PSNR says how little a copy differs from its photo on the whole: above 40 dB hardly anybody sees it, at 30 dB the "
    "noise shows on smooth areas, such as sky, skin and white paper.",
    "SSIM says how alike the structures of both are, 1 being equal; it is measured in gray on the middle 128×128 "
    "pixels of at most 50 photos, evenly spread over the folder.",
    "A cast of colour is the mean change of the channel (red, green, blue or gray) that moved most: all of the photo "
    "is so much brighter (+) or darker (−) in it; below 1 nobody sees it.",
)
LIMITS = (
    "The noise is made to be there after the copies were shrunk, cropped and saved again as JPEG. That is not the same "
    "as being unremovable: strong filters take part of it, and a program that was trained on the same generator more.",
    "It is made of soft bands and areas of colour. On smooth areas, as sky and skin, they can be seen by who looks for "
    "them.",
    "It acts on classifiers that are trained from scratch on many of these photos. A single photo is not protected "
    "from being looked at, copied or recognised, and models that were trained elsewhere recognise it all the same.",
    "Photos of kinds that the generator was not trained on get noise too, but there is no evidence that it helps.",
    "Whoever has the unprotected photos, from an earlier publication for example, can train on those.",
)


@dataclass
class _FolderStatistics:
    """What the lines of a manifest add up to."""

    bins: Counter[int] = field(default_factory=Counter)
    psnr: float = 0.0
    largest: float = 0.0
    cast: float = 0.0
    bytes: int = 0
    unchanged: int = 0
    incomplete: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    displayed: Counter[str] = field(default_factory=Counter)
    similar: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    qualities: Counter[int] = field(default_factory=Counter)
    skipped: list[Skipped] = field(default_factory=list)
    worst: list[tuple[float, str, Entry]] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        if entry.noise_share is not None:
            self.shares.append(entry.noise_share)
            self.qualities[entry.quality] += 1
        self.bytes += entry.bytes
        self.incomplete += bool(entry.lost)
        for name in entry.lost:
            self.lost[name if name in self.lost or len(self.lost) < KINDS else "other"] += 1
        if entry.displayed:
            self.displayed[
                entry.displayed if entry.displayed in self.displayed or len(self.displayed) < KINDS else "other"
            ] += 1
        self.largest = max(self.largest, entry.linf)
        self.cast = max(self.cast, entry.cast or 0.0, key=abs)
        if entry.psnr is None:
            self.unchanged += 1
            return
        self.bins[int(entry.psnr / BIN)] += 1
        self.psnr += entry.psnr
        heapq.heappush(self.worst, (-entry.psnr, entry.path, entry))
        if len(self.worst) > WORST:
            heapq.heappop(self.worst)


def page(
    manifest: Path,
    folder: Path,
    source: Path,
    summary: Summary,
    card: GeneratorCard,
    evidence: Evidence,
    codes: str = "",
) -> str:
    """The report as HTML; the same for the same folder, whenever it is made.

    Args:
        manifest: of the folder, whole.
        folder: holds the copies.
        source: holds the photos.
        summary: of the call that made them.
        card: of the generator.
        evidence: of the generator's own test.
        codes: where the photos' codes come from, in words.
    """
    statistics, number = _FolderStatistics(), 0
    for line in lines_of(manifest):
        if isinstance(line, Skipped):
            if len(statistics.skipped) < LISTED:
                statistics.skipped.append(line)
            continue
        if number * SIMILAR % max(summary.protected, SIMILAR) < SIMILAR:  # evenly spread over the folder
            statistics.similar += ssim(source / line.source, folder / line.path)
        number += 1
        statistics.add(line)
    measured, others = sum(statistics.bins.values()), sorted(summary.others.items())
    parts = [
        f"<h1>{_text(evidence.headline)}</h1>",
        f"<p><b>{_text(evidence.sentence)}</b></p>",
        with_check(read_check(folder, manifest)),
        _table(
            [
                ("photos with a copy", f"{summary.protected:,}"),
                ("codes", codes or "–"),
                ("left out", f"{summary.skipped:,}" + (", with reasons below" if summary.skipped else "")),
                ("largest change allowed (ε)", f"{card.epsilon:g} of 255 grey levels"),
                ("largest change found in the files, as displayed", f"{statistics.largest:g} of 255"),
                ("PSNR, mean", f"{statistics.psnr / measured:.1f} dB" if measured else "–"),
                (
                    f"SSIM, lowest, mean, highest (of {len(statistics.similar)} photos' middles)",
                    _spread(statistics.similar, 4),
                ),
                (
                    "cast of colour, largest in a photo",
                    f"{statistics.cast:+.2f} of 255 grey levels" if measured else "–",
                ),
                *_jpeg(statistics.shares, statistics.qualities),
                ("photos that nothing changed in", f"{statistics.unchanged:,}"),
                ("photos whose copy lacks something, listed below", f"{statistics.incomplete:,}"),
                ("size of the copies", f"{statistics.bytes / 1e6:,.1f} MB"),
                ("copies of photos that are gone, not listed", f"{summary.left:,}"),
                (
                    "other files, no photos by their content, not copied",
                    ", ".join(f"{n} {k or 'no suffix'}" for k, n in others),
                ),
            ]
        ),
        f"<h2>How visible</h2><ul><li>{'</li><li>'.join(FIGURES)}</li></ul>",
        _histogram(statistics.bins) if measured else "",
        *_displayed(statistics.displayed),
        "<h2>What this generator withstands</h2>",
        *_evidence(card, evidence),
        "<h2>What it cannot do</h2><ul>",
        *(f"<li>{html.escape(text)}</li>" for text in LIMITS),
        "</ul>",
        f"<h2>Left out ({summary.skipped:,})</h2>",
        _table([(line.source, line.skipped) for line in statistics.skipped])
        if statistics.skipped
        else "<p>Nothing.</p>",
        f"<p>The first {LISTED}; all are in manifest.jsonl.</p>" if summary.skipped > LISTED else "",
        "<h2>What the photos describe and their copies do not</h2>",
        "<p>Found by comparing each copy with its photo. The reason is in brackets; without one, the format of the "
        "copy cannot hold it.</p>",
        _counted(statistics.lost) if statistics.lost else "<p>Nothing.</p>",
        f"<h2>The {min(WORST, len(statistics.worst))} most changed</h2>",
        "<p>The middle of each copy, as it is published.</p><table>",
    ]
    for _, _, entry in sorted(statistics.worst, key=lambda item: (-item[0], item[1])):
        parts.append(
            f"<tr><td>{_text(entry.path)}<br>{entry.width}×{entry.height}, {entry.psnr:.1f} dB, largest change "
            f"{entry.linf:g}</td><td>{_crop(folder / entry.path)}</td></tr>"
        )
    parts.append("</table><p>This file and manifest.jsonl are for the owner; they need not be published.</p>")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(evidence.headline)}</title>'
        f"<style>{STYLE}</style>" + "\n".join(parts) + "</html>\n"
    )


def with_check(found: CheckResult | None) -> str:
    """What was measured on these photos, between marks by which a later check finds its place (``renewed``)."""
    return f"{CHECKED[0]}\n{section(found)}\n{CHECKED[1]}"


def renewed(page: str, found: CheckResult) -> str:
    """A report with another check; as it is where it has no place for one (of an earlier version)."""
    before, mark, rest = page.partition(CHECKED[0])
    _, end, rest = rest.partition(CHECKED[1])
    return before + with_check(found) + rest if mark and end else page


def _displayed(ranges: Counter[str]) -> list[str]:
    """Of pictures deeper than 8 bits: in which range each is shown, and so changed."""
    if not ranges:
        return []
    return [
        "<h2>Gray pictures of more than 8 bits, and DICOM</h2>",
        "<p>ε, PSNR and SSIM are those of the picture as a viewer displays it, in these ranges. The manifest has the "
        "figures of the stored values beside them.</p>",
        _counted(ranges),
    ]


def _counted(names: Counter[str]) -> str:
    """What so many photos have, the most frequent first."""
    ordered = sorted(names.items(), key=lambda item: (-item[1], item[0]))
    return _table([(name, f"{count:,} {'photo' if count == 1 else 'photos'}") for name, count in ordered])


def ssim(before: Path, after: Path) -> list[float]:
    """Structural similarity (Wang et al., 2004) of a photo's gray middle and its copy's; nothing where it has none.

    Args:
        before: the photo.
        after: the copy.
    """
    try:
        photos = [read_middle(path, SIDE) for path in (before, after)]
        middles = [_gray(photo, photos[0].display) for photo in photos]
    except Exception:  # a report is made whatever became of a file since; 'verify' tells
        return []
    if middles[0].shape != middles[1].shape or min(middles[0].shape[-2:]) < SSIM_WINDOW:
        return []
    found = structural_similarity_index_measure(middles[1], middles[0], data_range=1.0)
    assert isinstance(found, torch.Tensor)
    return [found.item()]


def _gray(photo: Photo, display: Display | None) -> torch.Tensor:
    """Float 1×1×H×W in [0, 1], as displayed."""
    shown = Photo(photo.eight(display)).image().convert("L")
    return torch.from_numpy(np.asarray(shown, np.float32) / 255)[None, None]


def _spread(values: list[float], digits: int) -> str:
    if not values:
        return "–"
    return ", ".join(f"{value:.{digits}f}" for value in (min(values), sum(values) / len(values), max(values)))


def _jpeg(kept: list[float], qualities: Counter[int]) -> list[tuple[str, str]]:
    if not kept:
        return []
    used = ", ".join(f"{count:,} at {quality}" for quality, count in sorted(qualities.items()))
    return [
        ("share of the noise that JPEG leaves: least, mean, most", _spread([100 * share for share in kept], 0) + " %"),
        ("quality of the JPEGs, as the bound asked for", used),
    ]


def _evidence(card: GeneratorCard, evidence: Evidence) -> list[str]:
    shown = ", ".join(card.class_names[:12]) + (", …" if len(card.class_names) > 12 else "")
    found = [
        f"<p>Trained on {card.images:,} images of <b>{_text(card.data)}</b> ({card.size[1]}×{card.size[0]}, "
        f"{'gray' if card.channels == 1 else 'colour'}){f', classes: {_text(shown)}' if shown else ''}.</p>"
    ]
    if not evidence.rows:
        return [*found, f"<p>{_text(evidence.sentence)}</p>"]
    return [
        *found,
        _table([("classifiers trained on", "right on clean test images, at their last epoch"), *evidence.rows]),
        "<p>Measured by the generator's own run, on its own images. Unless your photos are those, the rows of images "
        "that it had not seen are the ones to compare; they say something about photos of these classes, taken alike, "
        "and nothing about others. Nothing was measured on the photos of this folder.</p>",
    ]


def _histogram(bins: Counter[int]) -> str:
    figure = Figure(figsize=(6, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.bar(
        [(place + 0.5) * BIN for place in sorted(bins)], [bins[place] for place in sorted(bins)], BIN, color="#357"
    )
    axes.set(xlabel="PSNR, dB", ylabel="photos")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return _embedded(buffer.getvalue(), "photos by PSNR")


def _crop(path: Path) -> str:
    """The middle of a copy, its true pixels; a note where it cannot be read any more."""
    try:
        photo = read_middle(path, CROP)
    except Exception as error:  # a report is made whatever became of a copy since; 'verify' tells
        return _text(str(error))
    return _picture(Photo(photo.eight()).image(), path.name)


def _picture(image: Image.Image, title: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return _embedded(buffer.getvalue(), title)


def _embedded(png: bytes, title: str) -> str:
    return f'<img alt="{_text(title)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td>{_text(name)}</td><td>{_text(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


def _text(text: str) -> str:
    """Text for HTML; what cannot be shown of names as escapes."""
    return html.escape(printable(text))
