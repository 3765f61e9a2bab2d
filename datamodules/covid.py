"""``covid``: chest X-rays in the layout of COVIDx CXR, with its patient numbers."""

from pathlib import Path

from datamodules.base import ImageDataModule
from datamodules.config import DataError
from datamodules.download import RemoteFile
from datamodules.source import PARTS, DatasetInfo, Listing
from datamodules.tree import Row, Tree, listing, tree_identity

CLASSES = ("negative", "positive", "normal", "pneumonia", "COVID-19")


class Covid(ImageDataModule):
    """COVIDx CXR: folders ``train``, ``test`` (and ``val``) of images, and for each a list ``train.txt``, ….

    A line of a list: patient number, file name, class (negative or positive; in early releases normal, pneumonia or
    COVID-19), source. All images of a patient stay in one part; numbers count within their source.
    """

    info = DatasetInfo(
        title="COVIDx CXR",
        kind="medical",
        images="15,464 + 200 (release 7B; later ones more)",
        classes=2,
        size="mixed, often above 1000×1000, gray",
        licence="that of its sources, image by image; research use",
        citation="L. Wang et al., COVID-Net, Scientific Reports 10, 19549, 2020",
        page="https://github.com/lindawangg/COVID-Net/blob/master/docs/COVIDx.md",
        todo="accept its sources' terms, fetch it by hand, data.root=<folder with train.txt, test.txt and the images>",
    )

    def files(self) -> list[RemoteFile]:
        """The two lists that every release has; none may be fetched automatically."""
        return [RemoteFile(f"{part}.txt", "", "") for part in ("train", "test")]

    def identity(self) -> str:
        """All files of the folder."""
        return tree_identity(self.root)

    def listing(self) -> Listing:
        """All parts.

        Raises:
            DataError: a list has a line of another form, or names images that are not there.
        """
        tree = Tree(self.root)
        present = set(tree.images)
        rows: list[Row] = []
        for part in PARTS:
            path = self.root / f"{part}.txt"
            if path.is_file():
                rows += _rows(path, part, present)
        named = {row.name for row in rows}
        if len(named) < len(rows):
            raise DataError(f"{self.root}: {len(rows) - len(named)} images are listed twice; fetch the lists again")
        skipped = [(name, "in none of the lists") for name in tree.images if name not in named]
        found = {row.label for row in rows}
        return listing(tree, rows, skipped, [name for name in CLASSES if name in found], channels=1)


def _rows(path: Path, part: str, present: set[str]) -> list[Row]:
    """The rows of one list."""
    rows, missing = [], []
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        # from the right: some patient numbers have blanks, early lists name no source
        named = words[:-1] if len(words) > 3 and words[-2] in CLASSES else words
        if len(named) < 3 or named[-1] not in CLASSES:
            raise DataError(
                f"{path}: line {number} is {line[:60]!r}; patient, file name, class ({', '.join(CLASSES)}) and source "
                "expected"
            )
        *patient, file, label = named
        name = f"{part}/{file}"
        if name not in present:
            missing.append(name)
            continue
        rows.append(Row(name, label, part, " ".join([*words[len(named) :], *patient])))
    if missing:
        raise DataError(
            f"{path}: names {len(missing)} images that are not in {path.parent} ({missing[0]}, …); fetch them, or "
            "correct data.root"
        )
    return rows
