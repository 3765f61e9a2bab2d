"""A folder of protected photos, looked at again: files, bound, permissions, and what describes the photos."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from datamodules.config import DataError
from datamodules.decode import BadImage
from photos.description.metadata import compare_items
from photos.destination import CHECK, LOCK, REPORT, SHARD, mode_of
from photos.folder import contents
from photos.kinds import is_litter
from photos.manifest import MANIFEST, PARTIAL, PREVIOUS, Entry, ManifestHeader, Skipped, lines_of, read_header
from photos.photo import SUFFIX, Photo, change_between
from photos.read import items_of, places_in, previews_in, read_photo
from photos.text import printable
from photos.tree import PhotoTree


def verify_folder(
    dest: Path, source: Path | None, progress: Callable[[], None] = lambda: None
) -> Iterator[tuple[str, str]]:
    """What is wrong with a folder of protected photos: a path and what was found there; nothing when all is well.

    Args:
        dest: the folder.
        source: the owner's, if the bound is to be measured anew on the decoded files, descriptions and permissions are
            to be compared, and every photo is to have its copy.
        progress: called after every photo.

    Raises:
        DataError: no manifest, an unfinished or a damaged one; no such source.
    """
    header = _header(dest)
    if source is not None and not source.is_dir():
        raise DataError(f"source: no folder {printable(source)}; give that of the photos, or leave it out")
    listed, left_out = {}, {}
    for line in lines_of(dest / MANIFEST):
        if isinstance(line, Skipped):
            left_out[line.source] = line.skipped
            continue
        listed[line.source] = line.path
        for fault in _faults(dest, source, header, line):
            yield line.path, fault
        progress()
    yield from _unlisted(dest, set(listed.values()))
    if source is not None:
        for found in PhotoTree(source, SUFFIX[header.output], (MANIFEST, PARTIAL, PREVIOUS, REPORT, CHECK)):
            if found.source not in listed:
                reason = found.reason or left_out.get(found.source, "came after the folder was protected")
                yield found.source, f"has no copy: {reason}"


def _header(dest: Path) -> ManifestHeader:
    manifest = dest / MANIFEST
    if not manifest.is_file():
        unfinished = (dest / PARTIAL).exists() or (dest / PREVIOUS).exists() or any(dest.glob(f"{SHARD}*"))
        state = "its writing was cut off; protect again to finish it" if unfinished else "none found"
        raise DataError(f"{printable(manifest)}: no finished folder of protected photos here ({state})")
    header = read_header(manifest)
    if header is None:
        raise DataError(f"{printable(manifest)}: is empty; protect the photos again")
    return header


def _unlisted(dest: Path, paths: set[str]) -> Iterator[tuple[str, str]]:
    for folder, folders, files in os.walk(dest):
        folders[:] = sorted(name for name in folders if not is_litter(name))
        for name in sorted(files):
            path = os.path.relpath(os.path.join(folder, name), dest).replace(os.sep, "/")
            if path not in paths and path not in (MANIFEST, REPORT, CHECK, LOCK) and not is_litter(name):
                yield path, "is not in the manifest"


def _faults(dest: Path, source: Path | None, header: ManifestHeader, entry: Entry) -> Iterator[str]:
    path = dest / entry.path
    try:
        stored = path.read_bytes()
    except OSError as error:
        yield f"is in the manifest, but cannot be read ({error.strerror})"
        return
    if hashlib.sha256(stored).hexdigest() != entry.protected_sha256:
        yield "is not the file that the manifest describes"
        return
    if header.strip != "none" and (places := places_in(stored)):
        yield f"tells a place, though strip={header.strip} was asked for ({', '.join(map(printable, places))})"
    if previews := previews_in(stored):
        yield f"holds another, unprotected picture ({', '.join(map(printable, previews))})"
    if source is None:
        return
    shown = printable(entry.source)
    try:
        data, _ = contents(source / entry.source)
        if hashlib.sha256(data).hexdigest() != entry.source_sha256:
            yield f"its photo {shown} has changed since it was protected; protect again"
            return
        before, after = read_photo(data), read_photo(stored, protected=True)
    except BadImage as error:
        yield f"its photo {shown}: {error}"
        return
    if wider := mode_of(path) & ~mode_of(source / entry.source):
        yield f"can be used by more people than {shown} (permissions {wider:03o} too many); chmod it"
    yield from _pixel_faults(header, shown, before, after)
    if entry.kept is not None:
        yield from _description_faults(entry, items_of(data), items_of(stored))


def _pixel_faults(header: ManifestHeader, shown: str, before: Photo, after: Photo) -> Iterator[str]:
    if before.pixels.shape[:2] != after.pixels.shape[:2] or before.bits != after.bits:
        yield f"has another size or depth than {shown}"
        return
    if before.pixels.shape[2] != after.pixels.shape[2]:
        before = before.in_colour()
    change = change_between(before, after)
    if change.levels > header.epsilon:
        yield f"differs from {shown} by {change.levels:g} grey levels, above ε = {header.epsilon:g}"
    if before.alpha is not None:
        alpha = np.full_like(before.alpha, 255) if after.alpha is None else after.alpha
        if not np.array_equal(before.alpha, alpha):
            yield f"has another transparency than {shown}"


def _description_faults(entry: Entry, before: dict[str, bytes], after: dict[str, bytes]) -> Iterator[str]:
    now = compare_items(before, after, {})
    shown = printable(entry.source)
    for name in now.lost:
        if not any(told == name or told.startswith(f"{name} (") for told in entry.lost):
            yield f"lacks {printable(name)} of {shown}, which should have stayed"
    for name in now.added:
        if name not in (entry.added or ()):
            yield f"has {printable(name)}, which {shown} has not"
