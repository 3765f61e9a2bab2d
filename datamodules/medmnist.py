"""``blood``, ``derma``, ``path``, ``pneumonia``, ``retina``, ``organ``: MedMNIST v2, at the size of ``data.size``."""

from typing import ClassVar

from datamodules.base import ImageDataModule
from datamodules.config import DataError
from datamodules.download import RemoteFile
from datamodules.npz import npz_listing
from datamodules.source import DatasetInfo, Listing

SIZES = (28, 64, 128, 224)
CITATION = "J. Yang et al., MedMNIST v2, Scientific Data 10, 41, 2023"


def _info(
    title: str, images: str, classes: int, source: str, licence: str = "CC BY 4.0", gray: bool = False
) -> DatasetInfo:
    return DatasetInfo(
        title=title,
        kind="medical",
        images=images,
        classes=classes,
        size=f"28, 64, 128 or 224{', gray' if gray else ''}",
        licence=licence,
        citation=f"{CITATION}; {source}",
        page="https://medmnist.com",
        todo="nothing: fetched at first use" + ("; non-commercial use only" if "NC" in licence else ""),
    )


class MedMnist(ImageDataModule):
    """One set of MedMNIST: its own train, val and test parts.

    Attributes:
        flag: the set's name in file names.
        digests: md5 of the file of each size in SIZES, of release 3 (Zenodo record 10519652).
        names: classes in label order.
    """

    flag: ClassVar[str]
    digests: ClassVar[tuple[str, str, str, str]]
    names: ClassVar[tuple[str, ...]]

    def files(self) -> list[RemoteFile]:
        """The file of ``data.size``.

        Raises:
            DataError: the set is not published at that size.
        """
        size = self.config.size or SIZES[0]
        if size not in SIZES:
            raise DataError(
                f"data.size: is {size}, but data={self.config.name} is published at {', '.join(map(str, SIZES))}; "
                "choose one of them"
            )
        name = f"{self.flag}.npz" if size == SIZES[0] else f"{self.flag}_{size}.npz"
        url = f"https://zenodo.org/records/10519652/files/{name}?download=1"
        return [RemoteFile(name, url, f"md5:{self.digests[SIZES.index(size)]}")]

    def listing(self) -> Listing:
        """All three parts.

        Raises:
            DataError: the file is not laid out as published.
        """
        return npz_listing(self.root / self.files()[0].name, self.names)


class Blood(MedMnist):
    """Single blood cells under the microscope, eight types."""

    info = _info("BloodMNIST", "11,959 + 1,712 + 3,421", 8, "A. Acevedo et al., Data in Brief 30, 105474, 2020")
    flag = "bloodmnist"
    digests = (
        "7053d0359d879ad8a5505303e11de1dc",
        "2b94928a2ae4916078ca51e05b6b800b",
        "adace1e0ed228fccda1f39692059dd4c",
        "b718ff6835fcbdb22ba9eacccd7b2601",
    )
    names = (
        "basophil",
        "eosinophil",
        "erythroblast",
        "immature granulocyte",
        "lymphocyte",
        "monocyte",
        "neutrophil",
        "platelet",
    )


class Derma(MedMnist):
    """Skin lesions, seven diagnoses; its official parts may share lesions (``isic`` keeps each in one part)."""

    info = _info(
        "DermaMNIST", "7,007 + 1,003 + 2,005", 7, "P. Tschandl et al., Scientific Data 5, 180161, 2018", "CC BY-NC 4.0"
    )
    flag = "dermamnist"
    digests = (
        "0744692d530f8e62ec473284d019b0c7",
        "b70a2f5635c6199aeaa28c31d7202e1f",
        "2defd784463fa5243564e855ed717de1",
        "8974907d8e169bef5f5b96bc506ae45d",
    )
    names = (
        "actinic keratosis",
        "basal cell carcinoma",
        "benign keratosis",
        "dermatofibroma",
        "melanoma",
        "melanocytic nevus",
        "vascular lesion",
    )


class Path(MedMnist):
    """Patches of colon tissue, nine kinds; the test part comes from another hospital."""

    info = _info("PathMNIST", "89,996 + 10,004 + 7,180", 9, "J. N. Kather et al., PLOS Medicine 16, e1002730, 2019")
    flag = "pathmnist"
    digests = (
        "a8b06965200029087d5bd730944a56c1",
        "55aa9c1e0525abe5a6b9d8343a507616",
        "ac42d08fb904d92c244187169d1fd1d9",
        "2c51a510bcdc9cf8ddb2af93af1eadec",
    )
    names = (
        "adipose",
        "background",
        "debris",
        "lymphocytes",
        "mucus",
        "smooth muscle",
        "normal colon mucosa",
        "cancer-associated stroma",
        "colorectal adenocarcinoma epithelium",
    )


class Pneumonia(MedMnist):
    """Chest X-rays of children, normal or pneumonia."""

    info = _info("PneumoniaMNIST", "4,708 + 524 + 624", 2, "D. S. Kermany et al., Cell 172, 1122–1131, 2018", gray=True)
    flag = "pneumoniamnist"
    digests = (
        "28209eda62fecd6e6a2d98b1501bb15f",
        "8f4eceb4ccffa70c672198ea285246c6",
        "05b46931834c231683c68f40c47b2971",
        "d6a3c71de1b945ea11211b03746c1fe1",
    )
    names = ("normal", "pneumonia")


class Retina(MedMnist):
    """Photographs of the retina, five grades of diabetic retinopathy (ordered; here plain classes)."""

    info = _info("RetinaMNIST", "1,080 + 120 + 400", 5, "R. Liu et al. (DeepDRiD), Patterns 3, 100512, 2022")
    flag = "retinamnist"
    digests = (
        "bd4c0672f1bba3e3a89f0e4e876791e4",
        "afda852cc34dcda56f86ad2b2457dbcc",
        "e48e916a24454daf90583d4e6efb1a18",
        "eae7e3b6f3fcbda4ae613ebdcbe35348",
    )
    names = ("grade 0", "grade 1", "grade 2", "grade 3", "grade 4")


class Organ(MedMnist):
    """Slices of abdominal CT (axial), eleven organs."""

    info = _info(
        "OrganAMNIST",
        "34,561 + 6,491 + 17,778",
        11,
        "P. Bilic et al., Medical Image Analysis 84, 102680, 2023",
        gray=True,
    )
    flag = "organamnist"
    digests = (
        "68e3f8846a6bd62f0c9bf841c0d9eacc",
        "2dcccc29b88e6da5a01161ef20cda288",
        "eeae80d0a227a8d099027e1b3cfd3b60",
        "50747347e05c87dd3aaf92c49f9f3170",
    )
    names = (
        "bladder",
        "left femur",
        "right femur",
        "heart",
        "left kidney",
        "right kidney",
        "liver",
        "left lung",
        "right lung",
        "pancreas",
        "spleen",
    )
