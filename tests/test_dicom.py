"""DICOM files: what is read, what is refused and why, what copies keep, and what they must not."""

import io
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from albums import RNG, content, lines, network, picture
from PIL import Image

pydicom = pytest.importorskip("pydicom")

from phantoms import SIDE, changed, ct, dicom, lut, protected, shown, stored_values, xray  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian  # noqa: E402

from datamodules.decode import BadImage  # noqa: E402
from experiments.cli import main  # noqa: E402
from photos.dicom import DROPPED, REPLACED, decode_dicom, holds_picture, inventory, is_dicom, is_dicomdir  # noqa: E402
from photos.protector import Protector  # noqa: E402
from photos.read import read_photo  # noqa: E402
from photos.write import save_photo, stored_as  # noqa: E402

CT_WINDOW = {"RescaleSlope": 1, "RescaleIntercept": 0, "WindowCenter": 40, "WindowWidth": 400}


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def jpeg(image: Image.Image | None = None, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    (image or picture()).save(file, kind)
    return file.getvalue()


# from end to end


@pytest.mark.parametrize(
    ("bits", "signed", "form"),
    [(8, False, "MONOCHROME2"), (10, False, "MONOCHROME2"), (12, False, "MONOCHROME2"), (16, True, "MONOCHROME2"),
     (12, True, "MONOCHROME1"), (8, False, "RGB")],
)  # fmt: skip
def test_copies_keep_depth_tags_and_the_bound_of_what_is_displayed(
    gray_generator: Path, tmp_path: Path, bits: int, signed: bool, form: str
) -> None:
    if form == "RGB":
        values = RNG.integers(0, 256, (3, 21, 31)).astype(np.uint8)
    elif signed:
        values = ct(64).clip(-2048, 2047)
    else:
        values = xray(64, peak=(1 << bits) - 1).astype(np.uint8 if bits == 8 else np.uint16)
    tags = (
        {}
        if form == "RGB"
        else CT_WINDOW
        if signed
        else {"WindowCenter": 90 << bits - 8, "WindowWidth": 180 << bits - 8}
    )
    put(tmp_path / "in" / "a.DCM", dicom(values, bits, form, SmallestImagePixelValue=0, **tags))
    places = ["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={gray_generator}"]
    assert main(places) == 0
    entry = lines(tmp_path / "out")["a.DCM"]
    (dataset, old), (copy, new) = (
        stored_values(p.read_bytes()) for p in (tmp_path / "in" / "a.DCM", tmp_path / "out" / entry.path)
    )
    assert np.abs(new - old).max() > 0
    pictures = (old / 255, new / 255) if form == "RGB" else (shown(dataset, old), shown(dataset, new))
    change = np.abs(pictures[1] - pictures[0]).max() * 255
    assert 2 < change <= 8.01
    assert (entry.bits, entry.width, entry.height) == (bits, values.shape[-1], values.shape[-2])
    assert entry.linf == pytest.approx(change, abs=0.01)
    assert entry.psnr == pytest.approx(-10 * np.log10(np.square(pictures[1] - pictures[0]).mean()), abs=0.02)
    assert copy.PatientName == "Doe^Jane"
    assert list(copy.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert copy.SOPInstanceUID != dataset.SOPInstanceUID
    assert copy.SOPInstanceUID == copy.file_meta.MediaStorageSOPInstanceUID
    assert "SmallestImagePixelValue" not in copy
    assert main(["verify", str(tmp_path / "out"), f"source={tmp_path / 'in'}"]) == 0
    before = content(tmp_path / "out")
    (tmp_path / "out" / entry.path).write_bytes(b"damaged")
    assert main(places) == 0
    assert content(tmp_path / "out") == before
    assert main(["inspect", str(tmp_path / "in" / "a.DCM"), places[3], f"out={tmp_path / 'shown.png'}"]) == 0


def test_what_is_left_out_and_why(gray_generator: Path, generator: Path, tmp_path: Path) -> None:
    from pydicom.uid import JPEG2000Lossless

    good = dicom(xray(64), 12, WindowCenter=900, WindowWidth=1800)

    def compress(dataset: Any) -> None:
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.PixelData = pydicom.encaps.encapsulate([b"\0\0"])
        dataset["PixelData"].is_undefined_length = True

    report = Dataset()
    report.file_meta = FileMetaDataset()
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    text = io.BytesIO()
    report.save_as(text, enforce_file_format=True)
    files = {
        "good.dcm": (good, ""),
        "frames.dcm": (dicom(xray(64), 12, NumberOfFrames=2), "8192 bytes of pixels; 16384 expected"),
        "colour.dcm": (dicom(xray(64, peak=255).astype(np.uint8), 8, "PALETTE COLOR"), "PALETTE COLOR"),
        "overlay.dcm": (dicom(xray(64), 12, HighBit=13), "do not end at bit 0"),
        "beyond.dcm": (dicom(xray(64) + 4096, 12), "values beyond its 12 bits"),
        "short.dcm": (dicom(xray(64), 12, Rows=5000), "bytes of pixels"),
        "compressed.dcm": (
            changed(good, compress),
            "compressed DICOM (JPEG 2000 Image Compression (Lossless Only)) that cannot be decoded",
        ),
        "cut.dcm": (good[:300], "damaged DICOM"),
        "ends.dcm": (good[: good.index(b"\xe0\x7f\x10\0OW")], "damaged DICOM (it ends before its pixels)"),
        "report.dcm": (text.getvalue(), "no picture in it (Basic Text SR Storage)"),
        "bare.dcm": (good[good.index(b"\x08\0\x08\0CS") :], "without its 128-byte preamble"),
        "meta.dcm": (good[132:], "without its 128-byte preamble"),
        "narrow.dcm": (dicom(xray(64), 12, WindowCenter=900, WindowWidth=20), "grey levels (window 900/20)"),
        "zero.dcm": (
            dicom(xray(64), 12, WindowCenter=900, WindowWidth=0),
            "its window (centre 900, width 0) cannot be",
        ),
        "other.dcm": (b"no such thing", "no image in a known format"),
    }
    for name, (data, _) in files.items():
        put(tmp_path / "in" / name, data)
    assert main(["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={gray_generator}"]) == 1
    found = lines(tmp_path / "out")
    assert {name for name, line in found.items() if hasattr(line, "path")} == {"good.dcm"}
    for name, (_, reason) in files.items():
        if reason and name in found:  # a walk by content has no line for what is no picture
            assert reason in found[name].skipped, found[name]
    # a copy among the photos
    put(tmp_path / "mixed" / "copy.dcm", (tmp_path / "out" / "good.dcm").read_bytes())
    assert Protector.load(gray_generator).protect_folder(tmp_path / "mixed", tmp_path / "twice").protected == 0
    assert "protected already by this program; give the original" in lines(tmp_path / "twice")["copy.dcm"].skipped
    colour = Protector.load(generator)
    assert colour.protect_folder(tmp_path / "in", tmp_path / "colour").protected == 1, "gray gets the luma of the noise"
    assert Protector.load(gray_generator).protect_folder(tmp_path / "in", tmp_path / "x", strip="all").protected == 0
    assert "whose tags strip= does not know" in lines(tmp_path / "x")["good.dcm"].skipped


def test_without_its_package_it_says_what_to_install(
    gray_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dicom(xray(64), 12)
    put(tmp_path / "in" / "a.dcm", data)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert Protector.load(gray_generator).protect_folder(tmp_path / "in", tmp_path / "out").skipped == 1
    assert "pip install 'confoundergan[dicom]'" in lines(tmp_path / "out")["a.dcm"].skipped
    with pytest.raises(BadImage, match="pip install"):
        inventory(data)


# recognition


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_dicom_is_known_by_its_content(syntax: str) -> None:
    data = dicom(xray(32), 12, syntax=syntax)
    bare = data[data.index(b"\x08\0\x08\0") :]
    length = len(bare) - 8 + (8 if syntax == ImplicitVRLittleEndian else 0)
    grouped = (
        b"\x08\0\0\0"
        + (b"UL\4\0" if syntax == ExplicitVRLittleEndian else b"\4\0\0\0")
        + struct.pack("<I", length)
        + bare
    )
    for one in (data, bare, grouped, data[132:]):
        assert is_dicom(one)
        assert is_dicom(one[:1024])
        assert not is_dicomdir(one)
    for one in (bare, grouped, data[132:]):
        with pytest.raises(BadImage, match="DICOM without its 128-byte preamble and file meta information"):
            read_photo(one)


def test_other_files_are_not_taken_for_dicom() -> None:
    others = [jpeg(kind=kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")]
    others += [b"", b"\x08\0", b"\x08\0\x05\0" + bytes(4), bytes(500), b"\x08\0\x05\0CS\x0a\0" + b"\xff" * 100]
    others += [struct.pack("<HH", 8, 5) + RNG.bytes(200) for _ in range(50)]
    for data in others:
        assert not is_dicom(data)
        assert not is_dicomdir(data)


def test_a_directory_of_a_medium_is_no_photo() -> None:
    def directory(dataset: Any) -> None:
        dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
        dataset.SOPClassUID = "1.2.840.10008.1.3.10"
        for name in ("PixelData", "Rows"):
            del dataset[name]

    data = changed(dicom(xray(32), 12), directory)
    assert is_dicom(data)
    assert is_dicomdir(data)
    assert is_dicomdir(data[:1024])
    with pytest.raises(BadImage, match=r"no picture in it \(Media Storage Directory Storage\)"):
        read_photo(data)


def test_floating_pixels_are_refused() -> None:
    def floating(dataset: Any) -> None:
        del dataset.PixelData
        dataset.add_new("FloatPixelData", "OF", np.ones((32, 32), np.float32).tobytes())

    with pytest.raises(BadImage, match="floating-point pixels, whose displayed range the file does not state"):
        read_photo(changed(dicom(xray(32), 12), floating))


# other copies of the picture


def icon() -> Dataset:
    item = Dataset()
    item.Rows = item.Columns = 16
    item.SamplesPerPixel, item.PhotometricInterpretation, item.PixelRepresentation = 1, "MONOCHROME2", 0
    item.BitsAllocated = item.BitsStored = 8
    item.HighBit, item.PixelData = 7, bytes(range(256))
    item["PixelData"].VR = "OB"
    return item


def with_other_copies(dataset: Any) -> None:
    dataset.IconImageSequence = Sequence([icon()])
    reference = Dataset()
    reference.ReferencedSOPInstanceUID, reference.IconImageSequence = "1.2.9", Sequence([icon()])
    dataset.ReferencedImageSequence = Sequence([reference])
    dataset.private_block(0x0009, "SHOP", create=True).add_new(1, "OB", b"head" + jpeg())
    dataset.private_block(0x0009, "SHOP").add_new(2, "LO", "kept")
    dataset.private_block(0x0009, "SHOP").add_new(3, "OB", bytes(100))
    dataset.private_block(0x0009, "SHOP").add_new(4, "SQ", Sequence([icon()]))
    dataset.private_block(0x0009, "SHOP").add_new(5, "UN", jpeg(kind="PNG"))
    dataset.EncapsulatedDocument = jpeg(kind="WEBP")
    dataset["EncapsulatedDocument"].VR = "OB"
    dataset.add_new("LargestImagePixelValue", "SS", 7)
    signature = Dataset()
    signature.MACIDNumber = 1
    dataset.DigitalSignaturesSequence = Sequence([signature])
    dataset.add_new(0xFFFCFFFC, "OB", jpeg(kind="GIF"))
    dataset.preamble = b"II*\0" + bytes(124)


OTHER_COPIES = {
    "preamble", "IconImageSequence", "ReferencedImageSequence[0].IconImageSequence", "private (0009,1001)",
    "private (0009,1004)[0].PixelData", "private (0009,1005)", "EncapsulatedDocument", "LargestImagePixelValue",
    "DigitalSignaturesSequence", "DataSetTrailingPadding",
}  # fmt: skip


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_no_other_copy_of_the_picture_leaves_with_it(syntax: str) -> None:
    data = changed(dicom(ct(64), syntax=syntax, **CT_WINDOW), with_other_copies)
    copy, _, before = protected(data, network(1))
    for signature in (b"\xff\xd8\xff", b"\x89PNG", b"WEBP", b"GIF8", bytes(range(256))):
        assert signature in data
        assert signature not in copy
    wanted = OTHER_COPIES
    if syntax == ImplicitVRLittleEndian:  # which does not tell that a private element is a sequence
        wanted = {name.removesuffix("[0].PixelData") for name in OTHER_COPIES}
    assert before.dicom is not None
    dropped = before.dicom.dropped
    assert set(dropped) == wanted
    assert before.dropped == {**REPLACED, **dropped}
    assert dropped["IconImageSequence"] == "another copy of the picture, unprotected"
    dataset = pydicom.dcmread(io.BytesIO(copy))
    assert dataset.private_block(0x0009, "SHOP")[2].value == ("kept" if syntax != ImplicitVRLittleEndian else b"kept")
    assert dataset.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.9"
    assert dataset.preamble == bytes(128)
    assert read_photo(data).dropped == before.dropped
    assert read_photo(copy, protected=True).dropped == REPLACED


def test_pictures_are_found_in_bytes_and_numbers_are_not() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF"):
        data = jpeg(kind=kind)
        assert holds_picture(data)
        if kind != "TIFF":
            assert holds_picture(RNG.bytes(1000) + data)
    for kind in (b"ftypheic", b"ftypavif", b"ftypmif1"):
        assert holds_picture(b"\0\0\0\x1c" + kind)
    for numbers in (np.arange(65536), np.arange(65536)[::-1], (np.arange(65536) * 7) % 65536):
        for order in "<>":
            assert not holds_picture(numbers.astype(f"{order}u2").tobytes())
    assert not holds_picture(b"\xff\xd8\xff\xe0" * 3 + bytes(5000))
    assert not holds_picture(b"")


def test_tables_and_overlays_stay() -> None:
    def overlay(dataset: Any) -> None:
        dataset.add_new(0x60003000, "OW", RNG.bytes(512))

    data = changed(dicom(xray(64), 12, VOILUTSequence=Sequence([lut(np.arange(4096), 0, 12)])), overlay)
    copy, _, before = protected(data, network(1))
    assert before.dropped == REPLACED
    now, then = inventory(copy), inventory(data)
    assert now["VOILUTSequence[0].LUTData"] == then["VOILUTSequence[0].LUTData"]
    assert now["OverlayData"] == then["OverlayData"]


# what copies keep


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_everything_else_is_the_same_by_name_and_value(syntax: str) -> None:
    def described(dataset: Any) -> None:
        with_other_copies(dataset)
        dataset.DerivationDescription = "Bone kernel"
        dataset.PatientName, dataset.SpecificCharacterSet = "Mü^Ä=x", "ISO_IR 192"
        dataset.add_new(0x00189999, "UN", b"\1\2")
        dataset.PatientComments, dataset.PixelSpacing = "", ["0.50", "1e-1"]
        group, spacing = Dataset(), Dataset()
        spacing.PixelSpacing = [0.25, 0.5]
        group.PixelMeasuresSequence = Sequence([spacing])
        dataset.SharedFunctionalGroupsSequence = Sequence([group])
        dataset.RedPaletteColorLookupTableData = bytes(range(200))

    data = changed(dicom(ct(64), syntax=syntax, SmallestImagePixelValue=5, **CT_WINDOW), described)
    copy, _, before = protected(data, network(1))
    then, now = inventory(data), inventory(copy)
    for name, value in then.items():
        gone = any(name == other or name.startswith(f"{other}[") for other in before.dropped if other not in REPLACED)
        if gone:
            assert name not in now
        elif name in REPLACED:
            assert now[name] != value
        else:
            assert now[name] == value, name
    assert set(now) <= set(then)
    assert then["SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing"] == b"0.25\\0.5"
    assert then["PixelSpacing"] == b"0.50\\1e-1"
    assert then["PatientName"] == "Mü^Ä=x".encode()
    assert then["PatientComments"] == b""
    assert then["unknown (0018,9999)"] == b"\1\2"
    assert then["private (0009,1003)"].startswith(b"sha256 ")
    assert then["ReferencedImageSequence"] == b"1 items"
    assert then["IconImageSequence[0].PixelData"].startswith(b"sha256 ")
    assert "PixelData" not in then
    assert then["file meta MediaStorageSOPInstanceUID"] == b"1.2.3.4.5"
    assert now["DerivationDescription"] == b"Bone kernel; noise against unauthorised training added (confoundergan)"
    assert set(DROPPED).isdisjoint(now)


def test_inventories_of_what_is_no_dicom() -> None:
    data = dicom(xray(32), 12)
    for one, reason in ((jpeg(), "no DICOM"), (data[132:], "preamble")):
        with pytest.raises(BadImage, match=reason):
            inventory(one)


def test_a_copy_is_written_the_same_twice_and_read_back(tmp_path: Path) -> None:
    data = dicom(ct(64), **CT_WINDOW)
    photo, files = read_photo(data), [io.BytesIO(), io.BytesIO()]
    photo.pixels[5:9] += 1
    for file in files:
        save_photo(photo, file, "png")
    assert files[0].getvalue() == files[1].getvalue()
    assert stored_as(photo, put(tmp_path / "a.dcm", files[0].getvalue()))
    pixels, template = decode_dicom(files[0].getvalue())
    assert np.array_equal(pixels, photo.pixels)
    assert (template.layout.peak, template.layout.offset, template.protected) == (65535, 32768, True)
    with pytest.raises(BadImage, match="protected already by this program; give the original"):
        read_photo(files[0].getvalue())
    again_read = read_photo(files[0].getvalue(), protected=True)
    assert np.array_equal(again_read.pixels, photo.pixels)
    assert again_read.dicom
    assert "confoundergan" in again_read.dicom.dataset.DerivationDescription


def test_image_types_of_one_value_and_long_descriptions() -> None:
    data = dicom(ct(64), ImageType="ORIGINAL", DerivationDescription="x" * 1024, **CT_WINDOW)
    copy, _, _ = protected(data, network(1))
    dataset = pydicom.dcmread(io.BytesIO(copy))
    assert dataset.ImageType == "DERIVED"
    assert len(dataset.DerivationDescription) == 1024
    assert dataset.DerivationDescription.endswith("(confoundergan)")


def test_odd_numbers_of_bytes() -> None:
    values = xray(SIDE, peak=255).astype(np.uint8)[:101, :99]
    data = dicom(values, 8, WindowCenter=60, WindowWidth=120)
    copy, change, _ = protected(data, network(1))
    assert len(pydicom.dcmread(io.BytesIO(copy)).PixelData) == 101 * 99 + 1
    assert 0 < change.stored_largest <= 8 / 255 * 119
