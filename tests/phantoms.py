"""Pictures with the geometry of true ones, DICOM files of them, and how pydicom displays these."""

import io
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from gan.networks import Generator
from photos.change import Change
from photos.noise import add_noise, noise_of, read_codes
from photos.photo import Photo
from photos.read import read_photo
from photos.write import save_photo

SIDE = 128
CT_STORAGE, XRAY_STORAGE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1.1"


def ct(side: int = SIDE, seed: int = 0) -> np.ndarray:
    """Hounsfield units, int16: a body of soft tissue with organs, spine and lungs, in air."""
    y, x = np.mgrid[0:side, 0:side] * (256 / side)

    def ellipse(cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
        return np.hypot((x - cx) / rx, (y - cy) / ry) < 1

    values = np.full((side, side), -1000.0)
    values[ellipse(128, 128, 108, 92)] = -90  # fat
    values[ellipse(128, 128, 98, 82)] = 45 + 0 * x[0, 0]
    values[ellipse(80, 110, 34, 46)] = -820
    values[ellipse(176, 110, 34, 46)] = -820
    values[ellipse(128, 110, 22, 30)] = 60
    values[ellipse(128, 185, 18, 16)] = 650
    values[ellipse(92, 172, 12, 8)] = 25
    values[ellipse(164, 172, 9, 9)] = 75
    noise = np.random.default_rng(seed).normal(0, 8, values.shape)
    return (values + noise + (values > -100) * 6 * np.sin(x / 9)).round().astype(np.int16)


def xray(side: int = SIDE, seed: int = 0, peak: int = 4095) -> np.ndarray:
    """Stored levels, uint16, of a radiograph that uses less than half of its range, with a marker as white as it gets."""
    y, x = np.mgrid[0:side, 0:side] * (256 / side)
    values = np.where(
        np.hypot((x - 128) / 108, (y - 128) / 92) < 1, 0.22 + 0.06 * np.sin(x / 23) * np.cos(y / 31), 0.006
    )
    for rib in range(5):
        values[np.abs(y - 60 - 28 * rib - (x - 128) ** 2 / 500) < 5] += 0.06
    values[np.hypot(x - 128, y - 190) < 14] = 0.42
    values = values * peak + np.random.default_rng(seed).normal(0, peak / 800, values.shape)
    values[4:8, 4:6] = peak
    return values.clip(0, peak).round().astype(np.uint16)


def dicom(stored: np.ndarray, bits: int = 16, form: str = "MONOCHROME2", syntax: str = ExplicitVRLittleEndian,
          enforce: bool = True, **tags: Any) -> bytes:  # fmt: skip
    """A DICOM file of stored values, H×W or, in colour, 3×H×W; of signed ones where their type has a sign."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, CT_STORAGE
    meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    big, implicit = syntax == ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    data = FileDataset("", {}, bytes(128), meta, is_implicit_VR=implicit, is_little_endian=not big)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.PatientName, data.ImageType = "Doe^Jane", ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Rows, data.Columns = stored.shape[-2:]
    data.PhotometricInterpretation, data.SamplesPerPixel = form, 3 if form == "RGB" else 1
    if form == "RGB":
        data.PlanarConfiguration = 1
    allocated = 8 if bits == 8 else 16
    signed = stored.dtype.kind == "i"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = allocated, bits, bits - 1, int(signed)
    data.PixelData = stored.astype(f"{'>' if big else '<'}{'i' if signed else 'u'}{allocated // 8}").tobytes()
    data.PixelData += b"\0" * (len(data.PixelData) % 2)
    data["PixelData"].VR = "OW"
    for name, value in tags.items():
        setattr(data, name, value)
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=enforce)
    return file.getvalue()


def compressed(data: bytes, syntax: str) -> bytes:
    """The same file with its pixels in one of GDCM's transfer syntaxes, by the name that it has there."""
    import gdcm

    with TemporaryDirectory() as folder:
        before, after = f"{folder}/before.dcm", f"{folder}/after.dcm"
        Path(before).write_bytes(data)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(before)
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(after)
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return Path(after).read_bytes()


def jpeg_in_ybr(picture: Image.Image, **tags: Any) -> bytes:
    """A DICOM file of a JPEG as ultrasound devices write it: luma, and colours at half the width."""
    from pydicom.encaps import encapsulate

    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90, subsampling="4:2:2")

    def encode(dataset: Any) -> None:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "YBR_FULL_422", 0
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.PixelData = encapsulate([buffer.getvalue()])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True

    return changed(dicom(np.asarray(picture).transpose(2, 0, 1), 8, "RGB", **tags), encode)


def changed(data: bytes, change: Callable[[Any], None]) -> bytes:
    """A file with something changed in its dataset."""
    dataset, file = dcmread(io.BytesIO(data)), io.BytesIO()
    change(dataset)
    dataset.save_as(file)
    return file.getvalue()


def lut(entries: np.ndarray, first: int, bits: int, **tags: Any) -> Dataset:
    """An item of a modality or VOI LUT sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    for name, value in tags.items():
        setattr(item, name, value)
    return item


def views(dataset: Any) -> int:
    """How many windows a file states, and how many VOI LUTs, in all."""
    windows = dataset["WindowCenter"].VM if "WindowCenter" in dataset else 0
    return windows + len(dataset.get("VOILUTSequence", ()))


def shown(dataset: Any, stored: np.ndarray, view: int = 0) -> np.ndarray:
    """Stored values as pydicom displays them, float in [0, 1], black to white; windows come first."""
    values = apply_modality_lut(stored, dataset)
    windows = dataset["WindowCenter"].VM if "WindowCenter" in dataset else 0
    if view < windows:
        if "ModalityLUTSequence" in dataset:
            ends = [0.0, 2.0 ** dataset.ModalityLUTSequence[0].LUTDescriptor[2] - 1]
        else:
            low = -(1 << dataset.BitsStored - 1) if dataset.PixelRepresentation else 0
            slope, intercept = (float(dataset.get(k, d)) for k, d in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
            ends = [(low + step) * slope + intercept for step in (0, (1 << dataset.BitsStored) - 1)]
        bright = (apply_windowing(values, dataset, view) - ends[0]) / (ends[1] - ends[0])
    else:
        table = dataset.VOILUTSequence[view - windows]
        whole = values.round().astype(np.int64)
        bright = apply_voi(whole, dataset, view - windows) / (2.0 ** table.LUTDescriptor[2] - 1)
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE"
    return 1 - bright if inverted else bright


def stored_values(data: bytes) -> tuple[Any, np.ndarray]:
    """A file as pydicom reads it, and its stored values, int64 H×W."""
    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(data))
    return dataset, dataset.pixel_array.astype(np.int64)


def protected(data: bytes, net: Generator, epsilon: float = 8.0) -> tuple[bytes, Change, Photo]:
    """A copy's file, what was done to it, and the photo that it was made from."""
    photo = read_photo(data)
    code = read_codes(net, [photo], 1, (16, 16))
    change = add_noise(photo, noise_of(net, code, photo, 1, epsilon))
    file = io.BytesIO()
    save_photo(photo, file, "png")
    return file.getvalue(), change, read_photo(data)


def dB(before: np.ndarray, after: np.ndarray, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio."""
    return 10 * float(np.log10(peak**2 / np.square(after.astype(float) - before).mean()))
