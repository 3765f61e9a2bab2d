"""The manifest of a folder of protected photos: its lines, and what earlier calls knew.

The first line is about the folder (ManifestHeader), then there is one line per photo: its copy (Entry), or why it is
left out (Skipped), in the order of the walk.
"""

import heapq
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from datamodules.config import DataError
from photos.description.metadata import Output, Strip

FORMAT = 2  # 1 measured deep pictures in stored values, and did not list what was kept
READABLE = (1, FORMAT)
MANIFEST, PARTIAL, PREVIOUS = "manifest.jsonl", "manifest.partial.jsonl", "manifest.previous.jsonl"


@dataclass(frozen=True)
class ManifestHeader:
    """The manifest's first line: what decides the bytes of a copy.

    Attributes:
        method: name of the protection.
        checkpoint: sha256 of the generator's file.
        epsilon: the bound, in grey levels of 255.
        seed: of the generator.
        data: that the generator was trained on.
        output: ``png``, ``webp`` or ``jpeg``.
        strip: what is left out of the description of photos.
        quality: the lowest of JPEG; 0 for the others.
        classes: the class folders, in the order of their codes; none where codes are read from the photos.
        class_level: folders above a class folder.
        groups: centres of groups of like photos, whose codes the photos get (``photos.groups``); empty for none.
        visible: how visible the noise may be on smooth areas (``photos.texture``).
        format: of the manifest.
    """

    method: str
    checkpoint: str
    epsilon: float
    seed: int
    data: str
    output: Output
    strip: Strip
    quality: int = 0
    classes: tuple[str, ...] = ()
    class_level: int = 0
    groups: str = ""
    visible: str = "full"
    format: int = FORMAT


@dataclass(frozen=True)
class Entry:
    """A photo's line in the manifest.

    Attributes:
        source: below the owner's folder.
        path: of its copy, relative to the manifest.
        source_sha256: of the owner's file.
        protected_sha256: of the copy.
        bytes: size of the copy.
        width: in pixels, upright.
        height: likewise.
        bits: 8 or 16 per channel; of DICOM what it stores.
        linf: largest change of a pixel as it is displayed, in grey levels of 255.
        psnr: of the displayed pictures, in dB; None where nothing changed.
        lost: what of the owner's file is not in the copy, found by comparing the two; with reasons.
        quality: of a JPEG; 0 for others, which are without loss.
        noise_share: share of the noise that is left in a JPEG; None for others.
        displayed: how the displayed range of gray deeper than 8 bits is known; empty for what is shown as it is.
        stored_linf: largest change of a stored value, in levels of the file's own depth.
        stored_psnr: of the stored values over the whole range that they may have, in dB.
        cast: mean change of the colour channel that moved most, in grey levels of 255, with its sign.
        kept: what of the owner's file is in the copy as it was; None in manifests of format 1.
        added: what the copy has and the owner's file has not.
    """

    source: str
    path: str
    source_sha256: str
    protected_sha256: str
    bytes: int
    width: int
    height: int
    bits: int
    linf: float
    psnr: float | None
    lost: list[str]
    quality: int = 0
    noise_share: float | None = None
    displayed: str = ""
    stored_linf: int | None = None
    stored_psnr: float | None = None
    cast: float | None = None
    kept: list[str] | None = None
    added: list[str] | None = None


@dataclass(frozen=True)
class Skipped:
    """The manifest's line of what is left out, and why."""

    source: str
    skipped: str


def private(path: Path) -> TextIO:
    """A text file to write that its owner alone can read: it tells about photos that others may not see."""
    opened = open(path, "w", buffering=1, opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115
    os.chmod(path, 0o600)  # an earlier one of that name had a mode of its own
    return opened


class Known:
    """What an earlier call wrote, read beside a walk in the same order."""

    def __init__(self, path: Path) -> None:
        self.lines = entries(path) if path.exists() else iter(())
        self.next, self.passed = next(self.lines, None), 0

    def take(self, source: str, target: str) -> Entry | None:
        """The entry of a photo that has the same name for its copy; called in the order of the walk."""
        while self.next and order(self.next.source) < order(source):
            self._pass()
        if self.next is None or self.next.source != source:
            return None
        if self.next.path != target:
            self._pass()
            return None
        entry, self.next = self.next, next(self.lines, None)
        return entry

    def left(self) -> int:
        """How many entries were not taken; at the end of the walk."""
        while self.next:
            self._pass()
        return self.passed

    def _pass(self) -> None:
        self.passed, self.next = self.passed + 1, next(self.lines, None)


def entries(path: Path) -> Iterator[Entry]:
    """The photos of a manifest, one after the other; a torn last line, and what is left out, are passed over."""
    for line in lines_of(path):
        if isinstance(line, Entry):
            yield line


def lines_of(path: Path) -> Iterator[Entry | Skipped]:
    """The lines of a manifest after the first; a torn last line is passed over.

    Raises:
        DataError: a line is damaged.
    """
    with path.open(newline="\n") as lines:
        next(lines, None)
        for number, line in enumerate(lines, 2):
            if not line.endswith("\n"):
                return
            try:
                fields = json.loads(line)
                yield Skipped(**fields) if "skipped" in fields else Entry(**_renamed(fields))
            except (ValueError, TypeError) as error:
                raise DataError(
                    f"{path}: line {number} is damaged ({error}); delete this file, protect again"
                ) from error


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    """An entry's fields; format 1 called the share of the noise that a JPEG keeps ``kept``."""
    if not isinstance(fields.get("kept", []), list):
        fields["noise_share"] = fields.pop("kept")
    return fields


def order(source: str) -> tuple[tuple[int, str], ...]:
    """A key by which paths sort as a walk gives them."""
    *folders, name = source.split("/")
    return (*((1, folder) for folder in folders), (0, name))


def header_line(header: ManifestHeader) -> str:
    """The manifest's first line."""
    return json.dumps({"format": header.format, **asdict(header)}) + "\n"


def read_header(path: Path) -> ManifestHeader | None:
    """A manifest's first line; None where it was torn while being written.

    Raises:
        DataError: it is damaged, or of another version.
    """
    with path.open(newline="\n") as lines:
        line = lines.readline()
    if not line.endswith("\n"):
        return None
    try:
        fields = json.loads(line)
        if fields.get("format") not in READABLE:
            raise DataError(f"{path}: made by another version of this program; choose another folder")
        return ManifestHeader(**fields | {"classes": tuple(fields.get("classes", ()))})
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no manifest of this program ({error}); choose another folder") from error


def difference(wanted: ManifestHeader, found: ManifestHeader) -> str:
    """In which option two heads differ, in words."""
    before, now = asdict(found), asdict(wanted)
    if found.format != wanted.format:
        return "was made by an earlier version of this program, whose copies are measured otherwise"
    if found.checkpoint != wanted.checkpoint:
        return f"was made with another generator ({_named(found)}), not with this one ({_named(wanted)})"
    if (found.classes, found.class_level, found.groups) != (wanted.classes, wanted.class_level, wanted.groups):
        return f"was made with {_codes(found)}, now it would be {_codes(wanted)}"
    key = next(key for key in now if before[key] != now[key])
    return f"was made with {key} {before[key]}, now {now[key]} is asked for"


def continues(wanted: ManifestHeader, found: ManifestHeader) -> bool:
    """Whether a folder begun with one header may be resumed with another: further class folders may have come."""
    grown = wanted.classes[: len(found.classes)] == found.classes and bool(found.classes) == bool(wanted.classes)
    return grown and replace(found, classes=wanted.classes) == wanted


def _codes(head: ManifestHeader) -> str:
    """Where codes come from, in words."""
    shown = ", ".join(head.classes[:5]) + (", …" if len(head.classes) > 5 else "")
    if head.classes:
        return f"one code for each class folder ({shown})"
    return "one code for each group of like photos" if head.groups else "codes read from the photos"


def _named(head: ManifestHeader) -> str:
    """A generator by its card; the hash's first digits tell apart what is alike otherwise."""
    return f"trained on {head.data}, seed {head.seed}, ε {head.epsilon:g}, {head.checkpoint[:8]}"


def fold_manifests(dest: Path) -> None:
    """Brings what earlier calls knew into one file, ``manifest.previous.jsonl``; a kill meanwhile loses nothing."""
    previous, partial, final = dest / PREVIOUS, dest / PARTIAL, dest / MANIFEST
    if final.exists():
        os.replace(final, previous)
    if partial.exists() and read_header(partial) is None:  # killed in its first line
        partial.unlink()
    if not partial.exists():
        return
    if not previous.exists():
        os.replace(partial, previous)
        return
    merged = dest / f"{PREVIOUS}.tmp"
    with private(merged) as file, previous.open() as lines:
        file.write(lines.readline())
        last = None
        # of two lines for a photo the partial one, which is newer, comes first
        for entry in heapq.merge(entries(partial), entries(previous), key=lambda entry: order(entry.source)):
            if entry.source != last:
                file.write(json.dumps(asdict(entry)) + "\n")
            last = entry.source
    os.replace(merged, previous)
    partial.unlink()
