"""The owner's report: one HTML file that loads nothing, about a folder of protected photos.

Its frame is ``photos/page/report.html``. Where it shows photos before and after it holds pixels of unprotected ones: it
says so first, and nobody but the owner can read it.
"""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from markupsafe import Markup
from torchmetrics.functional.image import structural_similarity_index_measure

from gan.protection import GeneratorCard
from photos.check import LIGHTS, CheckResult, read_check
from photos.compare import compared, picture_uri
from photos.display import Display
from photos.evidence import NONE, WEAK, Evidence
from photos.folder import Summary
from photos.manifest import Entry, Skipped, lines_of
from photos.pages import render, script
from photos.photo import Photo
from photos.read import read_middle

CHECKED = "<!-- check -->", "<!-- end of check -->"
KINDS = 50  # names of a counter that are counted one by one
SSIM_WINDOW = 11  # pixels, of torchmetrics' kernel; smaller pictures have none
WORST, LISTED, CROP, BIN = 10, 500, 128, 0.5
SIMILAR, SIDE = 50, 128  # photos that SSIM is measured on, and pixels per side of their middles
SHOWN = 4  # photos before and after


@dataclass
class FolderStatistics:
    """What the lines of a manifest add up to.

    Attributes:
        bins: how many photos have which PSNR, in steps of BIN.
        psnr: sum, of those that were changed.
        largest: change of a pixel as displayed, in grey levels of 255.
        cast: largest of a photo.
        bytes: of the copies.
        source_bytes: of their photos.
        unchanged: photos that nothing changed in.
        incomplete: copies that lack something of the photo's description.
        lost: what they lack.
        displayed: how deep pictures are displayed.
        similar: SSIM of some photos.
        shares: of the noise that is left in each JPEG.
        qualities: of the JPEGs.
        skipped: the first that were left out.
        reasons: of all that were left out.
        worst: the most changed: −PSNR, path, line.
        even: some photos, spread evenly over the folder.
    """

    bins: Counter[int] = field(default_factory=Counter)
    psnr: float = 0.0
    largest: float = 0.0
    cast: float = 0.0
    bytes: int = 0
    source_bytes: int = 0
    unchanged: int = 0
    incomplete: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    displayed: Counter[str] = field(default_factory=Counter)
    similar: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    qualities: Counter[int] = field(default_factory=Counter)
    skipped: list[Skipped] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    worst: list[tuple[float, str, Entry]] = field(default_factory=list)
    even: list[Entry] = field(default_factory=list)

    @property
    def measured(self) -> int:
        """Photos that have a PSNR."""
        return self.bins.total()

    def most_changed(self) -> list[Entry]:
        """The most changed first."""
        return [entry for _, _, entry in sorted(self.worst, key=lambda item: (-item[0], item[1]))]

    def leave_out(self, line: Skipped) -> None:
        """Counts what has no copy."""
        _count(self.reasons, line.skipped)
        if len(self.skipped) < LISTED:
            self.skipped.append(line)

    def add(self, entry: Entry) -> None:
        """Counts a copy."""
        if entry.noise_share is not None:
            self.shares.append(entry.noise_share)
            self.qualities[entry.quality] += 1
        self.bytes += entry.bytes
        self.incomplete += bool(entry.lost)
        for name in entry.lost:
            _count(self.lost, name)
        if entry.displayed:
            _count(self.displayed, entry.displayed)
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


@dataclass(frozen=True)
class Bar:
    """Of the figure of PSNR: from ``low`` to ``high`` dB, so many photos, so high as a share of the highest."""

    low: float
    high: float
    count: int
    height: float


def page(
    manifest: Path,
    folder: Path,
    source: Path,
    summary: Summary,
    card: GeneratorCard,
    evidence: Evidence,
    codes: str = "",
    shown: int = SHOWN,
) -> str:
    """The report as HTML; the same for the same folder, whenever it is made, but for the minutes that the call took.

    Args:
        manifest: of the folder, whole.
        folder: holds the copies.
        source: holds the photos.
        summary: of the call that made them.
        card: of the generator.
        evidence: of the generator's own test.
        codes: where the photos' codes come from, in words.
        shown: photos that are shown before and after.
    """
    found = _statistics(manifest, folder, source, summary.protected, shown)
    worst = found.most_changed()
    chosen = (worst[:1] + [entry for entry in found.even if entry not in worst[:1]])[:shown]
    text, script_hash = script()
    return render(
        "report.html",
        evidence=evidence,
        summary=summary,
        card=card,
        codes=codes,
        found=found,
        bars=_bars(found.bins),
        check=Markup(with_check(read_check(folder, manifest))),
        shown=[compared(entry, source, folder, card.epsilon) for entry in chosen],
        crops=[(entry, *_crop(folder / entry.path)) for entry in worst],
        amplification=127.5 / card.epsilon,
        lossless=not found.qualities,
        script=text,
        script_hash=script_hash,
    )


def _statistics(manifest: Path, folder: Path, source: Path, count: int, shown: int) -> FolderStatistics:
    """Of the lines of a manifest, of which ``count`` are photos."""
    found, number = FolderStatistics(), 0
    for line in lines_of(manifest):
        if isinstance(line, Skipped):
            found.leave_out(line)
            continue
        if number * SIMILAR % max(count, SIMILAR) < SIMILAR:  # evenly spread over the folder
            found.similar += ssim(source / line.source, folder / line.path)
        if number * shown // max(count, 1) >= len(found.even) and shown:
            found.even.append(line)
        number += 1
        try:
            found.source_bytes += (source / line.source).stat().st_size
        except OSError:  # gone since; 'verify' tells
            found.source_bytes += line.bytes
        found.add(line)
    return found


def with_check(found: CheckResult | None) -> str:
    """What was measured on these photos, between marks by which a later check finds its place (``renewed``)."""
    section = render("check.html", found=found, lights=LIGHTS, wholly=WEAK, partly=NONE)
    return f"{CHECKED[0]}\n{section}\n{CHECKED[1]}"


def renewed(page: str, found: CheckResult) -> str:
    """A report with another check; as it is where it has no place for one (of an earlier version)."""
    before, mark, rest = page.partition(CHECKED[0])
    _, end, rest = rest.partition(CHECKED[1])
    return before + with_check(found) + rest if mark and end else page


def _count(counts: Counter[str], name: str) -> None:
    counts[name if name in counts or len(counts) < KINDS else "other"] += 1


def _bars(bins: Counter[int]) -> list[Bar]:
    """All bins from the lowest to the highest."""
    most = max(bins.values(), default=0)
    return [
        Bar(place * BIN, (place + 1) * BIN, bins[place], bins[place] / most)
        for place in range(min(bins, default=0), max(bins, default=-1) + 1)
    ]


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


def _crop(path: Path) -> tuple[str, str]:
    """The middle of a copy, its true pixels, as a data URI; or why it cannot be read any more."""
    try:
        photo = read_middle(path, CROP)
    except Exception as error:  # a report is made whatever became of a copy since; 'verify' tells
        return "", str(error)
    return picture_uri(Photo(photo.eight()).image()), ""
