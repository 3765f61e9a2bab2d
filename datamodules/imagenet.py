"""``imagenette`` and ``imagenet100``: subsets of ImageNet in class folders."""

from typing import ClassVar

from datamodules.base import ImageDataModule
from datamodules.config import DataError
from datamodules.download import RemoteFile
from datamodules.source import DatasetInfo, Listing
from datamodules.tree import Tree, from_folders, listing, tree_identity

IMAGENETTE = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
FASTAI = "https://s3.amazonaws.com/fast-ai-imageclas"
DENG = "J. Deng et al., ImageNet: A Large-Scale Hierarchical Image Database, CVPR 2009"


class Imagenette(ImageDataModule):
    """9,469 + 3,925 photos of ten ImageNet classes; the official val part is the test part.

    Of the three published archives, the smallest whose images are as large as ``data.size``.
    """

    info = DatasetInfo(
        title="Imagenette 2",
        kind="natural",
        images="9,469 + 3,925",
        classes=10,
        size="160, 320 or full, mixed shapes",
        licence="Apache-2.0; the photos under ImageNet's terms (non-commercial)",
        citation=f"J. Howard, Imagenette, 2019; {DENG}",
        page="https://github.com/fastai/imagenette",
        todo="nothing: fetched at first use (94 MiB at size 160 or less)",
    )
    archives: ClassVar = {  # largest size, file, md5, bytes
        160: ("imagenette2-160.tgz", "e793b78cc4c9e9a4ccc0c1155377a412", 99003388),
        320: ("imagenette2-320.tgz", "3df6f0d01a2c9592104656642f5e78a3", 341663724),
        1024: ("imagenette2.tgz", "fe2fc210e6bb7c5664d602c3cd71e612", 1557161267),
    }

    def files(self) -> list[RemoteFile]:
        size = self.config.size or 1024
        name, md5, length = next(archive for largest, archive in self.archives.items() if size <= largest)
        return [RemoteFile(name, f"{FASTAI}/{name}", f"md5:{md5}", length)]

    def listing(self) -> Listing:
        """Both parts.

        Raises:
            DataError: the archive is damaged or has other classes.
        """
        tree = Tree(self.root / self.files()[0].name)
        rows, skipped = from_folders(tree)
        return listing(tree, rows, skipped, list(IMAGENETTE), IMAGENETTE)


class Imagenet100(ImageDataModule):
    """A hundred classes of ImageNet (or those of ``data.classes``) from ``train/<wnid>`` and ``val/<wnid>``.

    The official val part is the test part.
    """

    info = DatasetInfo(
        title="ImageNet-100",
        kind="natural",
        images="about 126,700 + 5,000",
        classes=100,
        size="mixed, about 500×375",
        licence="ImageNet's terms (non-commercial research and education)",
        citation=DENG,
        page="https://image-net.org/download",
        todo="accept ImageNet's terms, unpack ILSVRC2012, data.root=<folder with train/ and val/ of class folders>",
    )

    def identity(self) -> list[str]:
        """All files of the folder, and the classes that are asked for.

        Raises:
            DataError: the folder is missing.
        """
        if not self.root.exists():
            raise DataError(f"data.root: no folder or archive {self.root}; {self.info.todo} (terms: {self.info.page})")
        return [tree_identity(self.root), self.config.classes]

    def listing(self) -> Listing:
        """Both parts.

        Raises:
            DataError: the folder is missing or has no images of a class.
        """
        tree = Tree(self.root)
        rows, skipped = from_folders(tree)
        chosen = [name.strip() for name in self.config.classes.split(",") if name.strip()]
        return listing(tree, rows, skipped, chosen)
