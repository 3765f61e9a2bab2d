"""Images in a folder or an archive, told apart by their class folders or by a table."""

import csv
import difflib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from datamodules.archive import Archive
from datamodules.config import DataError
from datamodules.decode import SUFFIXES
from datamodules.source import PARTS, Listing, Raw, identity_of

# pictures that people have, but that are not read: silence would lose them
UNREAD = (
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".dcm", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".psd",
    ".svg",
)  # fmt: skip
SIDES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip
COLUMNS = {
    "file": (
        "file", "filename", "file_name", "image", "image_id", "image_name", "image_path", "image_file", "img",
        "img_name", "img_path", "path", "filepath", "file_path", "name", "id", "id_code", "isic_id",
    ),
    "label": (
        "label", "class", "target", "category", "diagnosis", "dx", "finding", "label_name", "class_name", "class_id",
        "benign_malignant", "y",
    ),
    "group": ("group", "patient", "patient_id", "patientid", "lesion", "lesion_id", "subject", "subject_id"),
    "part": ("part", "split", "set"),
}  # fmt: skip


def tree_identity(root: Path) -> str:
    """A hash of every file's name, size and time in a folder, or of an archive's.

    Raises:
        DataError: there is no such folder or archive, or it is refused.
    """
    if not root.exists():
        raise DataError(f"data.root: no folder or archive {root}; give data.root=<where the images are>")
    if root.is_file():
        return identity_of([root], root.parent)
    return identity_of([root / member.name for member in Archive(root).members()], root)


class Tree:
    """The image files of a folder, .zip or .tar, by their path below it.

    Args:
        root: folder or archive.

    Raises:
        DataError: it has no images, or is damaged or unsafe.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        files = [member.name for member in Archive(root).members()]
        pictures = [name for name in files if name.lower().endswith(SUFFIXES)]
        # what programs keep beside the images, such as .ipynb_checkpoints, would pass for a class
        hidden = {name for name in pictures if any(part.startswith(".") for part in PurePosixPath(name).parts)}
        self.images = [name for name in pictures if name not in hidden]
        self.skipped = [(name, "hidden: begins with a dot") for name in pictures if name in hidden]
        self.skipped += [
            (name, f"{PurePosixPath(name).suffix} files are not read; convert them to JPEG or PNG")
            for name in files
            if name.lower().endswith(UNREAD)
        ]
        if not self.images:
            found = sorted({PurePosixPath(name).suffix or "none" for name in files})[:8]
            raise DataError(
                f"{root}: has no images ({', '.join(SUFFIXES)})"
                + (f"; its {len(files)} files end in {', '.join(found)}" if files else "; it is empty")
            )

    def read(self, names: Sequence[str]) -> Iterator[Raw]:
        """The files ``names`` (in the order of ``images``), one after the other."""
        if self.root.is_dir():
            yield from (self.root / name for name in names)  # read by the threads that decode
            return
        yield from (data for _, data in Archive(self.root).stream(names))


@dataclass(frozen=True)
class Row:
    """One image of a table or a class folder."""

    name: str
    label: str
    part: str = "train"
    group: str = ""


def listing(
    tree: Tree,
    rows: list[Row],
    skipped: list[tuple[str, str]],
    classes: Sequence[str] = (),
    titles: dict[str, str] | None = None,
    channels: int = 3,
) -> Listing:
    """A listing of rows.

    Args:
        tree: holds the files.
        rows: in any order.
        skipped: what was left out already.
        classes: the labels to use, in this order; empty: all, sorted (numbers by value).
        titles: a readable name for each label; without it the label itself.
        channels: 1 or 3.

    Raises:
        DataError: a class that is asked for has no images.
    """
    found = sorted({row.label for row in rows}, key=lambda label: (int(label) if label.isdecimal() else -1, label))
    for name in classes:
        if name not in found:
            near = difflib.get_close_matches(name, found, 1)
            raise DataError(
                f"data.classes: {tree.root} has no images of class {name!r}"
                + (f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(found[:10])}")
            )
    labels = list(classes) or found
    number = {label: i for i, label in enumerate(labels)}
    place = {name: i for i, name in enumerate(tree.images)}
    used = sorted((row for row in rows if row.label in number), key=lambda row: place[row.name])
    names = [row.name for row in used]
    parts = {row.part for row in used}
    if "val" in parts and "test" not in parts:  # a held-out part for measuring matters more; val is cut from train
        used = [Row(row.name, row.label, "test" if row.part == "val" else row.part, row.group) for row in used]
    return Listing(
        names=names,
        labels=np.array([number[row.label] for row in used], dtype=np.int64),
        class_names=tuple((titles or {}).get(label, label) for label in labels),
        read=lambda: tree.read(names),
        channels=channels,
        parts=np.array([PARTS.index(row.part) for row in used], dtype=np.int64),
        groups=[row.group for row in used] if any(row.group for row in used) else None,
        skipped=tree.skipped + skipped,
    )


def from_folders(tree: Tree) -> tuple[list[Row], list[tuple[str, str]]]:
    """Rows of ``<class>/…/<image>``, or of ``train|val|test/<class>/…/<image>``; folders above are passed over.

    Returns:
        Rows, and the images in no class folder with that reason.

    Raises:
        DataError: there are no class folders, or there are parts and other folders side by side.
    """
    paths = {name: PurePosixPath(name).parts for name in tree.images}
    while len({parts[0] for parts in paths.values()}) == 1 and min(map(len, paths.values())) > 2:
        paths = {name: parts[1:] for name, parts in paths.items()}
    tops = {parts[0].lower() for parts in paths.values() if len(parts) > 1}
    sides = {SIDES.get(top) for top in tops} - {None}
    divided = "train" in sides and tops <= set(SIDES)
    if "train" in sides and len(sides) > 1 and not divided:
        raise DataError(
            f"{tree.root}: has a split (train, val, test) and beside it the folder {min(tops - set(SIDES))!r}; move "
            "that elsewhere"
        )
    rows, skipped = [], []
    for name, parts in paths.items():
        folders = parts[:-1]
        if len(folders) < 1 + divided:
            skipped.append((name, "in no class folder"))
        elif divided:
            rows.append(Row(name, folders[1], SIDES[folders[0].lower()]))
        else:
            rows.append(Row(name, folders[0]))
    if not rows:
        raise DataError(
            f"{tree.root}: {len(paths)} images but no class folders; sort them into one folder per class, or give "
            "data.labels=<CSV of file name and label>"
        )
    return rows, skipped


def from_table(tree: Tree, table: Path) -> tuple[list[Row], list[tuple[str, str]]]:
    """Rows of a CSV with a header: file and label, optionally group (patient, lesion) and split (train, val, test).

    File names may leave out folders or the suffix where that is unambiguous, and may begin with the path of the root or
    the end of it.

    Returns:
        Rows, and the images without a label with that reason.

    Raises:
        DataError: the table is missing or damaged, has no such columns, names a file twice or names files that are not
            there.
    """
    if not table.is_file():
        raise DataError(f"data.labels: no file {table}; give a CSV of file name and label")
    try:
        text = table.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{table}: is not UTF-8 text ({error.reason}); save it as CSV UTF-8") from error
    try:
        lines = list(csv.reader(io.StringIO(text, newline=None), delimiter=_delimiter(text)))
    except csv.Error as error:
        raise DataError(f"{table}: is no table ({error}); look for a quotation mark that is never closed") from error
    if not lines:
        raise DataError(f"{table}: is empty; a header and one line per image are expected")
    header = [cell.strip().lower() for cell in lines[0]]
    columns = {key: next((header.index(n) for n in names if n in header), None) for key, names in COLUMNS.items()}
    for key in ("file", "label"):
        if columns[key] is None:
            raise DataError(
                f"{table}: has no {key} column (its header is {', '.join(header)}); name one of them "
                f"{', '.join(COLUMNS[key][:-1])} or {COLUMNS[key][-1]}"
            )
    known = _known(tree.images)
    rows: dict[str, Row] = {}
    missing, skipped = [], []
    for number, line in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in line):
            continue
        cells = {key: line[i].strip() if i is not None and i < len(line) else "" for key, i in columns.items()}
        written = cells["file"].replace("\\", "/").removeprefix("./")
        name = known.get(written) or known.get(_below(written, tree.root))
        if name is None:
            missing.append(f"{cells['file'][:60]!r} (line {number})")
            continue
        if name in rows:
            raise DataError(f"{table}: line {number} names {cells['file']!r} a second time; one line per image")
        part = SIDES.get(cells["part"].lower() or "train")
        if part is None:
            raise DataError(f"{table}: line {number} has split {cells['part']!r}; train, val or test expected")
        rows[name] = Row(name, cells["label"], part, cells["group"])
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(
            f"{table}: names {len(missing)} files that are not in {tree.root} (or more than one fits): "
            f"{', '.join(missing[:3])}{more}; correct data.root or the table"
        )
    skipped = [(name, "no line in the table") for name in tree.images if name not in rows]
    skipped += [(row.name, "no label in the table") for row in rows.values() if not row.label]
    return [row for row in rows.values() if row.label], skipped


def _below(written: str, root: Path) -> str:
    """A path as it stands below the root, if it begins with the root's path or the end of it; else as it is."""
    parts, above = PurePosixPath(written).parts, root.resolve().parts
    for folder in (above, (*above[:-1], root.stem)):  # an archive has the folder's name and a suffix
        for length in range(min(len(parts) - 1, len(folder)), 0, -1):
            if parts[:length] == folder[-length:]:
                return "/".join(parts[length:])
    return written


def _delimiter(text: str) -> str:
    head = text.partition("\n")[0]
    return max(",;\t", key=head.count)


def _known(images: list[str]) -> dict[str, str]:
    """Each image by its path, its name, and both without suffix, where only one image is meant."""
    keys: dict[str, set[str]] = {}
    for image in images:
        path = PurePosixPath(image)
        for key in {image, path.name, image.removesuffix(path.suffix), path.stem}:
            keys.setdefault(key, set()).add(image)
    # a full path always means its own file
    return {key: next(iter(found)) for key, found in keys.items() if len(found) == 1} | {i: i for i in images}
