"""What an owner's protected photos withstand: classifiers trained on these very photos, as they are published. Ours.

The photos and their copies go through each chain of ``victims.chains``, are shrunk as a collector would, and a
classifier is trained on each. Both are tested on unprotected photos that neither was trained on. Where there are no
classes, or too few photos, only the noise that is left after each chain is measured, which is no proof.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps

from datamodules.config import DataError
from datamodules.decode import BadImage
from datamodules.files import write_atomic
from datamodules.images import ImageSet
from datamodules.split import stratified_group_split
from photos.classes import ClassFolders, class_folders
from photos.destination import CHECK
from photos.evidence import LEARNED, NONE, WEAK
from photos.folder import contents
from photos.manifest import MANIFEST, Entry, entries, read_header
from photos.noise import shown
from photos.read import read_photo
from photos.text import printable
from victims.chains import CHAINS, after
from victims.config import RECIPES
from victims.train import train_victim

PUBLISHED, GRAY = "as published", "gray"  # no chain; no platform's, but the first thing that an attacker tries
SMALLEST, KEPT = 20, 0.2  # photos of a class that are needed; share of the photos that the classifiers are tested on
EPOCHS, SEED, FORMAT = 15, 0, 1
OTHERS = {PUBLISHED: "nothing", GRAY: "colours taken away, by who wants the noise gone"}
Grade = Literal["protects", "weak", "none", "unknown"]
WORST_FIRST: tuple[Grade, ...] = ("none", "weak", "unknown", "protects")
LIGHTS: dict[Grade, tuple[str, str]] = {
    "protects": ("🟢", "holds"),
    "weak": ("🟡", "holds in part"),
    "none": ("🔴", "does not hold"),
    "unknown": ("⚪", "not known"),
}


@dataclass(frozen=True)
class ChainResult:
    """What is left after one chain.

    Attributes:
        chain: its name, ``as published`` or ``gray``.
        does: its steps in words.
        noise_left: share of the noise that is still there at the classifiers' size, measured along the noise as it was
            published; the mean over the photos.
        clean: balanced accuracy, in [0, 1], after training on the photos; None where none was trained.
        protected: after training on their copies.
        grade: by the share of what is learned from clean photos, above chance, that is not learned from the copies.
    """

    chain: str
    does: str
    noise_left: float
    clean: float | None
    protected: float | None
    grade: Grade


@dataclass(frozen=True)
class CheckResult:
    """Of a whole check.

    Attributes:
        manifest: sha256 of the manifest of the copies.
        photos: that were looked at.
        classes: the class folders; fewer than two: nothing was trained.
        chance: balanced accuracy of guessing.
        size: pixels per side at which classifiers were trained.
        reason: why no classifier was trained; empty where they were.
        chains: the results.
        format: of the file.
    """

    manifest: str
    photos: int
    classes: list[str]
    chance: float
    size: int
    reason: str
    chains: list[ChainResult]
    format: int = FORMAT

    @property
    def overall(self) -> Grade:
        """The weakest of the photos as published and after each of the platforms' chains."""
        grades = {one.grade for one in self.chains if one.chain != GRAY}
        return next((grade for grade in WORST_FIRST if grade in grades), "unknown")

    def sentence(self) -> str:
        """The result in plain words."""
        if self.reason:
            return (
                f"No classifier was trained: {self.reason}. How much of the noise is left after each chain is no proof "
                "of protection."
            )
        held = [one.chain for one in self.chains if one.grade == "protects"]
        partly = [one.chain for one in self.chains if one.grade == "weak"]
        broken = [one.chain for one in self.chains if one.grade == "none"]
        parts = [
            f"{words}: {', '.join(names)}"
            for words, names in (("holds", held), ("holds in part", partly), ("does not hold", broken))
            if names
        ]
        return (
            f"Measured on {self.photos} of these photos in {len(self.classes)} classes, by one small classifier each: "
            f"the protection {'; '.join(parts) or 'is not known, since the classifiers learned nothing'}."
        )


def grade(clean: float | None, protected: float | None, chance: float) -> Grade:
    """By the thresholds of ``photos.evidence``; unknown where the clean classifier learned nothing."""
    if clean is None or protected is None or clean - chance <= LEARNED:
        return "unknown"
    effect = (clean - protected) / (clean - chance)
    return "none" if effect < NONE else "weak" if effect < WEAK else "protects"


def check_folder(
    dest: Path,
    source: Path,
    size: int = 64,
    limit: int = 1000,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> CheckResult:
    """Measures what the copies in ``dest`` withstand, and writes ``check.json`` beside them.

    Args:
        dest: that ``protect`` wrote; finished.
        source: the owner's photos.
        size: pixels per side to which a collector shrinks the photos.
        limit: photos that are looked at, at most, chosen by a hash of their paths.
        progress: called with what is being done and the share of it that is done.

    Raises:
        DataError: no finished manifest, no such photos, or they have changed since.
    """
    manifest = dest / MANIFEST
    header = read_header(manifest) if manifest.is_file() else None
    if header is None:
        raise DataError(f"{printable(manifest)}: none found, or unfinished; run 'protect' first")
    if not source.is_dir():
        raise DataError(f"source: no folder {printable(source)}; give that of the photos")
    listed = list(entries(manifest))
    names = ClassFolders(header.classes, header.class_level)
    if not names.names:
        names = class_folders({PurePosixPath(one.source).parent.as_posix().removeprefix(".") for one in listed})
    labelled = [one for one in listed if names.of(one.source)] if names.names else listed
    chosen = sorted(sorted(labelled, key=_hashed)[:limit], key=lambda one: one.source)
    if not chosen:
        raise DataError(f"{printable(manifest)}: lists no photos; there is nothing to check")
    chains = [PUBLISHED, *CHAINS, GRAY]
    pixels = {(chain, copy): np.empty((len(chosen), size, size, 3), np.uint8) for chain in chains for copy in (0, 1)}
    for place, one in enumerate(chosen):
        for copy, image in enumerate(_pair(one, dest, source)):
            for chain in chains:
                pixels[chain, copy][place] = _collected(_changed(image, chain), size)
        progress("reading the photos", (place + 1) / len(chosen))
    present = sorted({name for one in chosen if (name := names.of(one.source))})
    labels = torch.tensor([present.index(name) if (name := names.of(one.source)) else -1 for one in chosen])
    counts = labels.bincount(minlength=len(present)) if present else torch.zeros(0)
    reason = ""
    if len(present) < 2:
        reason = "the photos are in no class folders"
    elif int(counts.min()) < SMALLEST:
        few = present[int(counts.argmin())]
        reason = f"the class folder {printable(few)} has {int(counts.min())} photos, and {SMALLEST} are needed"
    results = []
    for number, chain in enumerate(chains):
        before, copies = (torch.from_numpy(pixels[chain, copy]).permute(0, 3, 1, 2).contiguous() for copy in (0, 1))
        scores: dict[int, float] = {}
        if not reason:
            test_rows, train_rows = stratified_group_split(labels, [KEPT], SEED)
            test = ImageSet(before[test_rows], labels[test_rows])
            recipe = replace(RECIPES["quick"], epochs=EPOCHS, augment="crop+flip")
            for copy, images in enumerate((before, copies)):
                train = ImageSet(images[train_rows], labels[train_rows])
                report = train_victim(train, test, len(present), recipe, SEED)
                scores[copy] = report.curve[-1]["balanced_accuracy"]
                progress("training classifiers", (2 * number + copy + 1) / (2 * len(chains)))
        left = _left(pixels[PUBLISHED, 0], pixels[PUBLISHED, 1], pixels[chain, 0], pixels[chain, 1])
        does = CHAINS[chain].does if chain in CHAINS else OTHERS[chain]
        chance = 1 / len(present) if present else 0.0
        clean, protected = scores.get(0), scores.get(1)
        results.append(ChainResult(chain, does, left, clean, protected, grade(clean, protected, chance)))
    sha256 = hashlib.sha256(manifest.read_bytes()).hexdigest()
    found = CheckResult(sha256, len(chosen), present, 1 / max(1, len(present)), size, reason, results)
    write_atomic(dest / CHECK, (json.dumps(asdict(found), indent=2) + "\n").encode(), manifest.stat().st_mode & 0o666)
    return found


def read_check(dest: Path, manifest: Path) -> CheckResult | None:
    """The last check of a folder; None where there is none, none of this version, or the copies have changed since."""
    try:
        fields = json.loads((dest / CHECK).read_text())
        found = CheckResult(**fields | {"chains": [ChainResult(**one) for one in fields["chains"]]})
        current = hashlib.sha256(manifest.read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.format == FORMAT and found.manifest == current else None


def _hashed(entry: Entry) -> str:
    return hashlib.sha256(entry.source.encode(errors="surrogateescape")).hexdigest()


def _pair(entry: Entry, dest: Path, source: Path) -> tuple[Image.Image, Image.Image]:
    """A photo and its copy, in colour, as displayed.

    Raises:
        DataError: one of them has changed, or cannot be read.
    """
    found = []
    for root, path, sha256, copy in (
        (source, entry.source, entry.source_sha256, False),
        (dest, entry.path, entry.protected_sha256, True),
    ):
        try:
            data, _ = contents(root / path)
            if hashlib.sha256(data).hexdigest() != sha256:
                raise DataError(f"{printable(root / path)}: has changed since it was protected; protect again")
            found.append(shown(read_photo(data, protected=copy), 3))
        except BadImage as error:
            raise DataError(f"{printable(root / path)}: {error}; protect again") from error
    return found[0], found[1]


def _changed(image: Image.Image, chain: str) -> Image.Image:
    if chain == GRAY:
        return image.convert("L").convert("RGB")
    return image if chain == PUBLISHED else after(image, chain)


def _collected(image: Image.Image, size: int) -> np.ndarray:
    """As a collector shrinks it: uint8 size×size×3 of the largest centred square."""
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS))


def _left(before: np.ndarray, copies: np.ndarray, chained: np.ndarray, chained_copies: np.ndarray) -> float:
    """The part of the noise, in its own direction, that a chain leaves; uint8 N×S×S×3 each."""
    published = copies.astype(np.float32) - before
    left = chained_copies.astype(np.float32) - chained
    energy = (published**2).sum((1, 2, 3))
    return float(np.mean((published * left).sum((1, 2, 3)) / np.maximum(energy, 1e-6)))
