"""What a data set file states: what a user should know of the source, and a listing of its images."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

Raw = bytes | Path | np.ndarray  # an encoded image, its file, or stored pixels (uint8 H×W×C)
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class DatasetInfo:
    """What a user should know of a source; the table of docs/DATA.md is made from it.

    Attributes:
        title: full name.
        kind: natural, medical or own.
        images: how many, train + test.
        size: pixels, as published.
        licence: of the images.
        citation: authors, title, where, year.
        page: where the terms stand; empty for the user's own.
        todo: what the user must do.
        classes: how many; 0: as many as are found.
    """

    title: str
    kind: str
    images: str
    size: str
    licence: str
    citation: str
    page: str
    todo: str
    classes: int = 0


@dataclass(frozen=True)
class Listing:
    """The images of a source, one row each, before anything is decoded.

    Attributes:
        names: what to call each row in messages; no two alike.
        labels: int64 N, from 0.
        class_names: in label order.
        read: a fresh pass over all rows, in order.
        channels: of the images where the options do not say: 1 or 3.
        parts: integer N, the index in PARTS of the source's own division; None: it has none. Where the source has no
            val part, one is cut from train.
        groups: what must stay together (a lesion, a patient), equal for rows of one group, "" for a row that belongs to
            none; None: no groups.
        skipped: images that were left out already, with the reason.
    """

    names: Sequence[str]
    labels: np.ndarray
    class_names: tuple[str, ...]
    read: Callable[[], Iterable[Raw]]
    channels: int = 3
    parts: np.ndarray | None = None
    groups: Sequence[str] | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)


def identity_of(files: Iterable[Path], base: Path) -> str:
    """A hash over names, sizes and times of change of files: cheap, and another when one of them changes."""
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        digest.update(json.dumps([path.relative_to(base).as_posix(), status.st_size, status.st_mtime_ns]).encode())
    return digest.hexdigest()


def chained(*passes: Callable[[], Iterable[Raw]]) -> Callable[[], Iterator[Raw]]:
    """One pass over several, one after the other."""

    def read() -> Iterator[Raw]:
        for one in passes:
            yield from one()

    return read


def drop_leaking_groups(listing: Listing) -> Listing:
    """The listing without images whose group is in a later part of the source's own division too.

    Of a patient in train and test those in train are left out, and listed: a source's test part is kept as it is, and
    a model must not have seen its patients.
    """
    if listing.parts is None or listing.groups is None:
        return listing
    last: dict[str, int] = {}
    for group, part in zip(listing.groups, listing.parts.tolist(), strict=True):
        last[group] = max(part, last.get(group, part))
    pairs = zip(listing.groups, listing.parts.tolist(), strict=True)
    keep = np.array([group == "" or part == last[group] for group, part in pairs], dtype=bool)
    return replace(
        listing,
        names=list(compress(listing.names, keep)),
        labels=listing.labels[keep],
        read=lambda: compress(listing.read(), keep),
        parts=listing.parts[keep],
        groups=list(compress(listing.groups, keep)),
        skipped=listing.skipped
        + [
            (name, f"its patient or lesion {group} is in the {PARTS[last[group]]} part too")
            for name, group in compress(zip(listing.names, listing.groups, strict=True), ~keep)
        ],
    )


def concat(listings: Sequence[Listing]) -> Listing:
    """One listing of several with the same classes, one after the other."""

    def column(name: str, absent: Any) -> list[Any]:
        return [
            item
            for one in listings
            for item in ([absent] * len(one.labels) if getattr(one, name) is None else getattr(one, name))
        ]

    return Listing(
        names=column("names", ""),
        labels=np.concatenate([one.labels for one in listings]),
        class_names=listings[0].class_names,
        read=chained(*(one.read for one in listings)),
        channels=max(one.channels for one in listings),
        parts=np.array(column("parts", 0)),
        groups=column("groups", ""),
        skipped=[entry for one in listings for entry in one.skipped],
    )
