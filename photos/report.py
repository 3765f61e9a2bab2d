"""The owner's report: one HTML file without links, about a folder of protected photos.

It holds no pixel of an unprotected photo, since it lies beside the copies and may be published with them by mistake.
"""

import base64
import heapq
import html
import io
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torchmetrics.functional.image import structural_similarity_index_measure

from gan.protection import Card
from photos.folder import Summary
from photos.manifest import Entry, Skipped, lines_of
from photos.photo import Photo, read_middle

SSIM_WINDOW = 11  # pixels, of torchmetrics' kernel; smaller pictures have none
WORST, LISTED, CROP, BIN = 10, 500, 128, 0.5
SIMILAR, SIDE = 50, 128  # photos that SSIM is measured on, and pixels a side of their middles
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
    "td,th{padding:.2em .8em;border-bottom:1px solid #ccc;text-align:left}img{max-width:100%}"
)
LIMITS = (
    "The protection lives in the finest details of the files as they are here. Saving them as JPEG again, resizing, "
    "blurring or taking a picture of the screen removes much of it, and so do sites that re-encode what is uploaded.",
    "It acts on classifiers that are trained from scratch on many of these photos. A single photo is not protected "
    "from being looked at, copied or recognised, and models that were trained elsewhere recognise it all the same.",
    "Photos of kinds that the generator was not trained on get noise too, but there is no evidence that it helps.",
    "Whoever has the unprotected photos, from an earlier publication for example, can train on those.",
)


def page(
    manifest: Path, folder: Path, source: Path, summary: Summary, card: Card, evidence: dict[str, Any] | None
) -> str:
    """The report as HTML; the same for the same folder, whenever it is made.

    Args:
        manifest: of the folder, whole.
        folder: holds the copies.
        source: holds the photos.
        summary: of the call that made them.
        card: of the generator.
        evidence: results.json of the generator's run, or None.
    """
    bins: Counter[int] = Counter()
    totals = {"bytes": 0, "lost": 0, "unchanged": 0}
    largest = psnr_sum = 0.0
    similar: list[float] = []
    kept: list[float] = []
    qualities: Counter[int] = Counter()
    number = 0
    skipped: list[Skipped] = []
    worst: list[tuple[float, str, Entry]] = []
    for line in lines_of(manifest):
        if isinstance(line, Skipped):
            if len(skipped) < LISTED:
                skipped.append(line)
            continue
        if number * SIMILAR % max(summary.protected, SIMILAR) < SIMILAR:  # evenly spread over the folder
            similar += ssim(source / line.source, folder / line.path)
        number += 1
        if line.kept is not None:
            kept.append(line.kept)
            qualities[line.quality] += 1
        totals["bytes"] += line.bytes
        totals["lost"] += bool(line.lost)
        largest = max(largest, line.linf)
        if line.psnr is None:
            totals["unchanged"] += 1
            continue
        bins[int(line.psnr / BIN)] += 1
        psnr_sum += line.psnr
        heapq.heappush(worst, (-line.psnr, line.path, line))
        if len(worst) > WORST:
            heapq.heappop(worst)
    measured, others = sum(bins.values()), sorted(summary.others.items())
    parts = [
        "<h1>Protected photos</h1>",
        _table(
            [
                ("photos protected", f"{summary.protected:,}"),
                ("left out", f"{summary.skipped:,}" + (", with reasons below" if summary.skipped else "")),
                ("largest change allowed (ε)", f"{card.epsilon:g} of 255 grey levels"),
                ("largest change found in the files", f"{largest:g} of 255"),
                ("PSNR, mean", f"{psnr_sum / measured:.1f} dB" if measured else "–"),
                (f"SSIM, lowest, mean, highest (of {len(similar)} photos' middles)", _spread(similar, 4)),
                *_jpeg(kept, qualities),
                ("photos that nothing changed in", f"{totals['unchanged']:,}"),
                ("photos that lost some description (manifest: lost)", f"{totals['lost']:,}"),
                ("size of the copies", f"{totals['bytes'] / 1e6:,.1f} MB"),
                ("copies of photos that are gone, not listed", f"{summary.left:,}"),
                (
                    "other files, not copied",
                    ", ".join(f"{n} {k or 'no suffix'}" for k, n in others),
                ),
            ]
        ),
        "<h2>How visible</h2><p>PSNR compares a copy with its photo: the higher, the less is changed. SSIM does so by "
        f"structure, 1 being equal; it is measured in gray on the middle {SIDE}×{SIDE} pixels of at most {SIMILAR} "
        "photos, evenly spread over the folder. Changes show first in smooth areas, such as sky and white paper.</p>",
        _histogram(bins) if measured else "",
        "<h2>What this generator withstands</h2>",
        *_evidence(card, evidence),
        "<h2>What it cannot do</h2><ul>",
        *(f"<li>{html.escape(text)}</li>" for text in LIMITS),
        "</ul>",
        f"<h2>Left out ({summary.skipped:,})</h2>",
        _table([(line.source, line.skipped) for line in skipped]) if skipped else "<p>Nothing.</p>",
        f"<p>The first {LISTED}; all are in manifest.jsonl.</p>" if summary.skipped > LISTED else "",
        f"<h2>The {min(WORST, len(worst))} most changed</h2><p>The middle of each copy, as it is published.</p><table>",
    ]
    for _, _, entry in sorted(worst, key=lambda item: (-item[0], item[1])):
        parts.append(
            f"<tr><td>{_text(entry.path)}<br>{entry.width}×{entry.height}, {entry.psnr:.1f} dB, largest change "
            f"{entry.linf:g}</td><td>{_crop(folder / entry.path)}</td></tr>"
        )
    parts.append("</table><p>This file and manifest.jsonl are for the owner; they need not be published.</p>")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Protected photos</title><style>{STYLE}</style>'
        + "\n".join(parts)
        + "</html>\n"
    )


def ssim(before: Path, after: Path) -> list[float]:
    """Structural similarity (Wang et al., 2004) of a photo's gray middle and its copy's; nothing where it has none.

    Args:
        before: the photo.
        after: the copy.
    """
    try:
        middles = [_gray(read_middle(path, SIDE)) for path in (before, after)]
    except Exception:  # a report is made whatever became of a file since; 'verify' tells
        return []
    if middles[0].shape != middles[1].shape or min(middles[0].shape[-2:]) < SSIM_WINDOW:
        return []
    found = structural_similarity_index_measure(middles[1], middles[0], data_range=1.0)
    assert isinstance(found, torch.Tensor)
    return [found.item()]


def _gray(photo: Photo) -> torch.Tensor:
    """Float 1×1×H×W in [0, 1]."""
    return torch.from_numpy(np.asarray(Photo(photo.eight()).image().convert("L"), np.float32) / 255)[None, None]


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


def _evidence(card: Card, evidence: dict[str, Any] | None) -> list[str]:
    shown = ", ".join(card.class_names[:12]) + (", …" if len(card.class_names) > 12 else "")
    found = [
        f"<p>Trained on {card.images:,} images of <b>{_text(card.data)}</b> ({card.size[1]}×{card.size[0]}, "
        f"{'gray' if card.channels == 1 else 'colour'}), classes: {_text(shown)}.</p>"
    ]
    mean = evidence["mean"] if evidence else {}
    rows = [("classifiers trained on", "right on clean test images, at their last epoch")]
    for key, title in (
        ("clean", "unprotected images"),
        ("standard", "protected images that the generator was trained on"),
        ("clean_fast", "unprotected images that it had not seen"),
        ("fast", "protected images that it had not seen"),
    ):
        try:
            rows.append((title, f"{100 * mean[key]['accuracy']['last']:.1f} %"))
        except (KeyError, TypeError):
            continue
    if evidence is None or len(rows) == 1:
        return [
            *found,
            "<p>No measurements lie beside this generator: nothing is known of what it withstands.</p>",
        ]
    with suppress(KeyError, TypeError):
        rows.append(("chance", f"{100 * evidence['chance']:.1f} %"))
    return [
        *found,
        _table(rows),
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
    """Text for HTML; bytes of names that are no UTF-8 as escapes."""
    return html.escape(text.encode(errors="backslashreplace").decode())
