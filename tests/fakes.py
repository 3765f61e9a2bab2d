"""Tiny data sets in the true on-disk format of their sources: archive names, members, columns, pickles, .mat, .npz.

``python tests/fakes.py <name> <folder>`` writes one, to look at.
"""

import io
import pickle
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from scipy.io import savemat

ISIC_COLUMNS = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def pixels(label: int, classes: int, seed: int, size: tuple[int, int], channels: int = 3) -> np.ndarray:
    """uint8 H×W×C, as bright as the label says."""
    noise = np.random.default_rng(seed).integers(0, 60, (*size, channels))
    return (noise + 190 * label // max(1, classes - 1)).astype(np.uint8)


def many(
    count: int, classes: int, size: tuple[int, int], seed: int, channels: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 N×H×W×C and labels, classes in turn."""
    labels = np.arange(count) % classes
    images = [pixels(k, classes, seed + i, size, channels) for i, k in enumerate(labels)]
    return np.stack(images), labels


def jpeg(array: np.ndarray, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(buffer, kind)
    return buffer.getvalue()


class Python2(pickle._Pickler):
    """Writes strings and bytes as Python 2 wrote its str, which is what the CIFAR archives hold."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_str(self, value: str | bytes) -> None:
        data = value.encode() if isinstance(value, str) else value
        self.write(b"T" + struct.pack("<i", len(data)) + data)  # type: ignore[attr-defined]

    dispatch[str] = dispatch[bytes] = save_str


def pickled(content: Any) -> bytes:
    buffer = io.BytesIO()
    Python2(buffer, protocol=2).dump(content)
    return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def targz(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def zipped(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def planes(images: np.ndarray) -> np.ndarray:
    """N×32×32×3 as CIFAR's rows of 3,072 bytes, the red plane first."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)


def cifar10(root: Path) -> None:
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    members = {"batches.meta": pickled({"num_cases_per_batch": 30, "label_names": names, "num_vis": 3072})}
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        images, labels = many(30, 10, (32, 32), 100 * number)
        members[name] = pickled(
            {
                "batch_label": f"training batch {number} of 5",
                "labels": labels.tolist(),
                "data": planes(images),
                "filenames": [f"image_s_{i:06d}.png" for i in range(30)],
            }
        )
    members["readme.html"] = b"<meta HTTP-EQUIV='REFRESH'>"
    targz(root / "cifar-10-python.tar.gz", {f"cifar-10-batches-py/{name}": data for name, data in members.items()})


def cifar100(root: Path) -> None:
    fine, coarse = [f"fine{i:03d}" for i in range(100)], [f"coarse{i:02d}" for i in range(20)]
    members = {"meta": pickled({"fine_label_names": fine, "coarse_label_names": coarse})}
    for number, (name, count) in enumerate((("train", 600), ("test", 200))):
        images, labels = many(count, 100, (32, 32), 10_000 * number)
        members[name] = pickled(
            {
                "filenames": [f"image_s_{i:06d}.png" for i in range(count)],
                "batch_label": f"{name}ing batch 1 of 1",
                "fine_labels": labels.tolist(),
                "coarse_labels": (labels // 5).tolist(),
                "data": planes(images),
            }
        )
    members["file.txt~"] = b""
    targz(root / "cifar-100-python.tar.gz", {f"cifar-100-python/{name}": data for name, data in members.items()})


def svhn(root: Path) -> None:
    for number, (name, count) in enumerate((("train", 150), ("test", 40))):
        images, labels = many(count, 10, (32, 32), 1000 * number)
        content = {"X": images.transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)}
        savemat(root / f"{name}_32x32.mat", content, do_compression=True)


def stl10(root: Path) -> None:
    names = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]
    members = {"class_names.txt": "\n".join(names).encode() + b"\n"}
    for number, (name, count) in enumerate((("test", 30), ("train", 120))):
        images, labels = many(count, 10, (96, 96), 1000 * number)
        members[f"{name}_X.bin"] = np.ascontiguousarray(images.transpose(0, 3, 2, 1)).tobytes()  # columns first
        members[f"{name}_y.bin"] = (labels + 1).astype(np.uint8).tobytes()
    members["unlabeled_X.bin"] = bytes(96 * 96 * 3 * 2)
    members["fold_indices.txt"] = b"0 1 2\n"
    targz(root / "stl10_binary.tar.gz", {f"stl10_binary/{name}": data for name, data in members.items()})


IMAGENETTE = (
    "n01440764", "n02102040", "n02979186", "n03000684", "n03028079",
    "n03394916", "n03417042", "n03425413", "n03445777", "n03888257",
)  # fmt: skip


def imagenette(root: Path) -> None:
    members = {"imagenette2-160/noisy_imagenette.csv": b"path,noisy_labels_0\n"}
    for part, each in (("train", 12), ("val", 3)):
        for k, wnid in enumerate(IMAGENETTE):
            for i in range(each):
                name = f"{wnid}_{i}" if part == "train" else f"ILSVRC2012_val_{10 * i + k:08d}"
                array = pixels(k, 10, 1000 * k + i + (500 if part == "val" else 0), (160, 213 + i))
                if i == 1:  # some of the photos are gray
                    array = array[..., :1]
                members[f"imagenette2-160/{part}/{wnid}/{name}.JPEG"] = jpeg(array)
    targz(root / "imagenette2-160.tgz", members)


def imagenet100(root: Path, wnids: tuple[str, ...] = IMAGENETTE[:3]) -> None:
    for part, each in (("train", 16), ("val", 3)):
        for k, wnid in enumerate((*wnids, "n99999999")):  # one class more than is asked for
            for i in range(each):
                name = f"{wnid}_{i}" if part == "train" else f"ILSVRC2012_val_{10 * i + k:08d}"
                path = root / part / wnid / f"{name}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(jpeg(pixels(k % 3, 3, 100 * k + i + (50 if part == "val" else 0), (75, 100 + i))))


def isic(root: Path) -> None:
    """Two images of every lesion in the training part."""
    number = 24306
    for part, count in (("Training", 112), ("Test", 21)):
        inputs = {f"ISIC2018_Task3_{part}_Input/{text}.txt": b"..." for text in ("ATTRIBUTION", "LICENSE")}
        truth, lesions = [f"image,{','.join(ISIC_COLUMNS)}"], ["image,lesion_id,diagnosis_confirm_type"]
        for i in range(count):
            name, label = f"ISIC_{number:07d}", (i // 2 if part == "Training" else i) % 7
            inputs[f"ISIC2018_Task3_{part}_Input/{name}.jpg"] = jpeg(pixels(label, 7, number, (45, 60)))
            truth.append(",".join([name, *("1.0" if k == label else "0.0" for k in range(7))]))
            lesions.append(f"{name},HAM_{i // 2:07d},histopathology")
            number += 1
        zipped(root / f"ISIC2018_Task3_{part}_Input.zip", inputs)
        folder = f"ISIC2018_Task3_{part}_GroundTruth"
        zipped(
            root / f"{folder}.zip", {f"{folder}/{folder}.csv": "\n".join(truth).encode(), f"{folder}/LICENSE.txt": b""}
        )
        if part == "Training":
            (root / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text("\n".join(lesions) + "\n")


def medmnist(name: str, classes: int, channels: int, size: int = 28) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        arrays = {}
        for number, (part, each) in enumerate((("train", max(12, 50 // classes)), ("val", 3), ("test", 3))):
            images, labels = many(each * classes, classes, (size, size), 1000 * number, channels)
            arrays[f"{part}_images"] = images if channels == 3 else images[..., 0]
            arrays[f"{part}_labels"] = labels[:, None].astype(np.uint8)
        np.savez_compressed(root / f"{name}{'' if size == 28 else f'_{size}'}.npz", **arrays)

    return write


def covid(root: Path) -> None:
    """Three images of every patient of the training part; numbers of one source have blanks."""
    for part, count in (("train", 90), ("test", 12)):
        lines = []
        for i in range(count):
            label = (i // 3) % 2
            name, source = f"{part}-{i}.png", ("cohen", "sirm")[i // 3 % 2]
            array = pixels(label, 2, 1000 + i if part == "train" else i, (90 + i % 4, 80 + i % 7), 1)
            path = root / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(array, "PNG"))
            number = i // 3 + (1000 if part == "test" else 0)
            patient = f"COVID {number}" if source == "sirm" else str(number)
            lines.append(f"{patient} {name} {('negative', 'positive')[label]} {source}")
        (root / f"{part}.txt").write_text("\n".join(lines) + "\n")


FAKES: dict[str, Callable[[Path], None]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "svhn": svhn,
    "stl10": stl10,
    "imagenette": imagenette,
    "imagenet100": imagenet100,
    "isic": isic,
    "covid": covid,
    "blood": medmnist("bloodmnist", 8, 3, 64),
    "derma": medmnist("dermamnist", 7, 3),
    "path": medmnist("pathmnist", 9, 3),
    "pneumonia": medmnist("pneumoniamnist", 2, 1),
    "retina": medmnist("retinamnist", 5, 3),
    "organ": medmnist("organamnist", 11, 1),
}

if __name__ == "__main__":
    FAKES[sys.argv[1]](Path(sys.argv[2]))
