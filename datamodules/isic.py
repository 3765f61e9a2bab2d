"""``isic``: skin lesions of ISIC 2018 Task 3 (HAM10000), full-size JPEGs with the official ground truth."""

import csv
import io
from pathlib import Path
from typing import ClassVar

from datamodules.archive import Archive
from datamodules.base import ImageDataModule
from datamodules.config import DataError
from datamodules.download import RemoteFile
from datamodules.source import DatasetInfo, Listing, concat
from datamodules.tree import Row, Tree, listing

CLASSES = {
    "MEL": "melanoma",
    "NV": "melanocytic nevus",
    "BCC": "basal cell carcinoma",
    "AKIEC": "actinic keratosis",
    "BKL": "benign keratosis",
    "DF": "dermatofibroma",
    "VASC": "vascular lesion",
}
BASE = "https://isic-archive.s3.amazonaws.com/challenges/2018"
# in the ground truth, but flagged as synthetic, left out of the official scoring, and absent from some copies
NOT_SCORED = "ISIC_0035068"
LESIONS = "ISIC2018_Task3_Training_LesionGroupings.csv"


class Isic(ImageDataModule):
    """10,015 + 1,512 dermoscopic images, seven classes; the official test part.

    All images of a lesion stay in one part (``lesion_id`` of the official groupings). The official validation part (193
    images) is not used; ours is cut from the training images, by lesions.
    """

    info = DatasetInfo(
        title="ISIC 2018 Task 3 (HAM10000)",
        kind="medical",
        images="10,015 + 1,512",
        classes=7,
        size="600×450",
        licence="CC BY-NC 4.0",
        citation="P. Tschandl et al., Scientific Data 5, 180161, 2018; N. Codella et al., arXiv 1902.03368, 2019",
        page="https://challenge.isic-archive.com/data/#2018",
        todo="nothing: fetched at first use (3 GiB); non-commercial use only",
    )
    inputs: ClassVar = ("ISIC2018_Task3_Training_Input", "ISIC2018_Task3_Test_Input")

    def files(self) -> list[RemoteFile]:
        """Five files. The source publishes no digests; the one here was computed by others from their own copies."""
        digests = {"ISIC2018_Task3_Training_GroundTruth.zip": "md5:8302427e4ce0c107559531b9f444abe9"}
        names = [f"{stem}.zip" for stem in self.inputs]
        names += [name.replace("_Input", "_GroundTruth") for name in names] + [LESIONS]
        return [RemoteFile(name, f"{BASE}/{name}", digests.get(name, "")) for name in names]

    def listing(self) -> Listing:
        """Both parts.

        Raises:
            DataError: a file is damaged, or an image has no class or lesion.
        """
        table = _table((self.root / LESIONS).read_bytes(), str(self.root / LESIONS), ("lesion_id",))
        lesions = {line["image"]: line["lesion_id"] for line in table}
        parts = []
        for stem, part in zip(self.inputs, ("train", "test"), strict=True):
            tree = Tree(self.root / f"{stem}.zip")
            truth = _truth(self.root / f"{stem.removesuffix('_Input')}_GroundTruth.zip")
            rows, skipped = [], []
            for name in tree.images:
                image = Path(name).stem
                if image == NOT_SCORED:
                    continue
                if image not in truth:
                    skipped.append((name, "not in the ground truth"))
                elif part == "train" and image not in lesions:
                    skipped.append((name, f"not in {LESIONS}"))
                else:
                    rows.append(Row(name, truth[image], part, lesions[image] if part == "train" else ""))
            absent = sorted(set(truth) - {NOT_SCORED} - {Path(row.name).stem for row in rows})
            if absent:
                raise DataError(
                    f"{self.root / stem}.zip: has no image {absent[0]} (and {len(absent) - 1} more of the ground "
                    "truth); delete it and fetch it again"
                )
            parts.append(listing(tree, rows, skipped, list(CLASSES), CLASSES))
        return concat(parts)


def _truth(path: Path) -> dict[str, str]:
    """Each image's class, from one column per class with 1.0 in one of them."""
    archive = Archive(path)
    tables = [member.name for member in archive.members() if member.name.endswith("_GroundTruth.csv")]
    if len(tables) != 1:
        raise DataError(f"{path}: has {len(tables)} tables …_GroundTruth.csv; one expected: fetch it again")
    truth = {}
    for line in _table(archive.read(tables[0]), f"{path}: {tables[0]}", tuple(CLASSES)):
        found = [name for name in CLASSES if line[name] in ("1.0", "1")]
        if len(found) != 1:
            raise DataError(f"{path}: {line['image']} has {len(found)} classes; one expected: fetch it again")
        truth[line["image"]] = found[0]
    return truth


def _table(data: bytes, name: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a CSV whose header has ``image`` and ``columns``; every row has a value for each."""
    try:
        lines = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig")), restval=""))
    except (UnicodeDecodeError, csv.Error):
        lines = []
    for column in ("image", *columns):
        if not lines or column not in lines[0]:
            raise DataError(f"{name}: is no table with a column {column}; delete it and fetch it again")
    return lines
