"""DICOM's transfer syntaxes and frames: what is decoded, what copies are, and that frames are worked on one by one."""

import io
import mmap
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from albums import lines, network, smooth

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("gdcm")

from phantoms import changed, compressed, ct, dicom, jpeg_in_ybr, protected, shown, xray  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian  # noqa: E402

from datamodules.decode import BadImage  # noqa: E402
from experiments.cli import main  # noqa: E402
from photos.dicom import stored_in  # noqa: E402
from photos.read import items_of, pixels_in, read_photo  # noqa: E402
from photos.write import save_photo  # noqa: E402

CT_WINDOW = {"RescaleSlope": 1, "RescaleIntercept": 0, "WindowCenter": 40, "WindowWidth": 400}
XRAY_WINDOW = {"WindowCenter": 900, "WindowWidth": 1800}
LOSSLESS = ("RLELossless", "JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless")
LOSSY = ("JPEGLSNearLossless", "JPEG2000", "JPEGBaselineProcess1", "JPEGExtendedProcess2_4")


def volume(count: int = 3, side: int = 64) -> np.ndarray:
    return np.concatenate([xray(side, seed) for seed in range(count)])


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("kind", ["signed", "twelve", "eight", "colour", "frames"])
def test_what_is_compressed_without_loss_is_read_as_it_was(syntax: str, kind: str) -> None:
    data = {
        "signed": dicom(ct(64), **CT_WINDOW),
        "twelve": dicom(xray(64), 12, **XRAY_WINDOW),
        "eight": dicom(xray(64, peak=255).astype(np.uint8), 8, WindowCenter=60, WindowWidth=120),
        "colour": dicom(np.asarray(smooth(48, 32)).transpose(2, 0, 1), 8, "RGB"),
        "frames": dicom(volume(), 12, NumberOfFrames=3, Rows=64, **XRAY_WINDOW),
    }[kind]
    packed = compressed(data, syntax)
    before, after = read_photo(data), read_photo(packed)
    assert np.array_equal(before.pixels, after.pixels)
    assert (after.peak, after.frames) == (before.peak, before.frames)
    assert pixels_in(packed) == before.pixels[..., 0].size
    told = after.dropped["file meta TransferSyntaxUID"]
    assert told.startswith("replaced: it was ")
    assert told.endswith("; the copy is not compressed")
    assert "lossy" not in told


@pytest.mark.parametrize("syntax", LOSSY)
def test_copies_of_lossy_files_say_what_these_were(syntax: str, gray_generator: Path, tmp_path: Path) -> None:
    data = compressed(dicom(xray(64, peak=255).astype(np.uint8), 8, WindowCenter=60, WindowWidth=120), syntax)
    put(tmp_path / "in" / "a.dcm", data)
    places = ["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={gray_generator}"]
    assert main(places) == 0
    copy = pydicom.dcmread(tmp_path / "out" / "a.dcm")
    assert copy.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert copy.LossyImageCompression == "01"
    assert copy.LossyImageCompressionMethod.startswith("ISO_1")
    assert copy.LossyImageCompressionRatio > 1
    [entry] = lines(tmp_path / "out").values()
    assert any("TransferSyntaxUID (replaced: it was JPEG" in told and ", lossy" in told for told in entry.lost)
    assert "LossyImageCompression" in entry.added
    assert 0 < entry.linf <= 8
    assert main(["verify", str(tmp_path / "out"), f"source={tmp_path / 'in'}"]) == 0


def test_what_a_lossy_file_says_of_itself_stays() -> None:
    def told(dataset: Any) -> None:
        dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_14495_1"
        dataset.LossyImageCompressionRatio = [7, 3]

    data = changed(dicom(xray(64, peak=255).astype(np.uint8), 8, WindowCenter=60, WindowWidth=120), told)
    copy, _, _ = protected(compressed(data, "JPEGBaselineProcess1"), network(1))
    assert pydicom.dcmread(io.BytesIO(copy)).LossyImageCompressionRatio == [7, 3]
    other = changed(data, lambda dataset: setattr(dataset, "LossyImageCompression", "00"))
    photo = read_photo(compressed(other, "JPEGBaselineProcess1"))
    assert photo.dropped["LossyImageCompression"] == "replaced: the file was lossy"


def test_luma_and_colour_differences_become_rgb(tmp_path: Path, generator: Path) -> None:
    picture = smooth(64, 80)
    data = jpeg_in_ybr(picture)
    photo = read_photo(data)
    assert np.abs(photo.pixels.astype(int) - np.asarray(picture)).mean() < 3
    assert photo.dropped["PhotometricInterpretation"] == "replaced: YBR_FULL_422 became RGB"
    put(tmp_path / "in" / "a.dcm", data)
    assert main(["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={generator}"]) == 0
    copy = pydicom.dcmread(tmp_path / "out" / "a.dcm")
    assert (copy.PhotometricInterpretation, copy.PlanarConfiguration) == ("RGB", 0)
    change = copy.pixel_array.astype(int) - photo.pixels
    assert 0 < np.abs(change).max() <= 8
    full = read_photo(changed(dicom(np.asarray(picture).transpose(2, 0, 1), 8, "RGB"), in_ybr))
    assert np.abs(full.pixels.astype(int) - np.asarray(picture)).max() <= 3
    assert full.dropped["PlanarConfiguration"] == "replaced: the copy's colours lie pixel by pixel"


def in_ybr(dataset: Any) -> None:
    from pydicom.pixels import convert_color_space

    planes = dataset.pixel_array
    converted = convert_color_space(planes, "RGB", "YBR_FULL")
    dataset.PhotometricInterpretation, dataset.PixelData = "YBR_FULL", converted.transpose(2, 0, 1).tobytes()


def test_every_frame_is_protected_in_what_is_displayed_of_it(gray_generator: Path, tmp_path: Path) -> None:
    data = dicom(volume(), 12, NumberOfFrames=3, Rows=64, **XRAY_WINDOW)
    for name, file in (("plain.dcm", data), ("packed.dcm", compressed(data, "JPEG2000Lossless"))):
        put(tmp_path / "in" / name, file)
    assert main(["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={gray_generator}"]) == 0
    before = pydicom.dcmread(io.BytesIO(data))
    for name in ("plain.dcm", "packed.dcm"):
        copy = pydicom.dcmread(tmp_path / "out" / name)
        assert copy.NumberOfFrames == 3
        for old, new in zip(before.pixel_array, copy.pixel_array, strict=True):
            change = np.abs(shown(before, new.astype(np.int64)) - shown(before, old.astype(np.int64))).max() * 255
            assert 2 < change <= 8.01
        entry = lines(tmp_path / "out")[name]
        assert (entry.width, entry.height, entry.displayed) == (64, 64, "window 900/1800")
    assert main(["verify", str(tmp_path / "out"), f"source={tmp_path / 'in'}"]) == 0
    out = f"out={tmp_path / 'shown.png'}"
    shown_by = main(["inspect", str(tmp_path / "in" / "plain.dcm"), f"generator={gray_generator}", out])
    assert shown_by == 0


def test_windows_of_single_frames_hold_in_all_of_them() -> None:
    def window(width: int, slope: float = 1) -> Dataset:
        voi, frame, rescaled = Dataset(), Dataset(), Dataset()
        voi.WindowCenter, voi.WindowWidth = 900, width
        rescaled.RescaleSlope, rescaled.RescaleIntercept = slope, 0
        frame.FrameVOILUTSequence = Sequence([voi])
        frame.PixelValueTransformationSequence = Sequence([rescaled])
        return frame

    def with_windows(*frames: Dataset) -> bytes:
        return changed(
            dicom(volume(len(frames), 32), 12, NumberOfFrames=len(frames), Rows=32),
            lambda dataset: setattr(dataset, "PerFrameFunctionalGroupsSequence", Sequence(list(frames))),
        )

    photo = read_photo(with_windows(window(1800), window(600), window(1800)))
    assert photo.display is not None
    assert photo.display.text == "window 900/1800; the bound is that of window 900/600, the narrower of 2"
    assert photo.display.bound(8) == 18  # 8 of 255 of the narrower
    with pytest.raises(BadImage, match="its frames are rescaled otherwise"):
        read_photo(with_windows(window(1800), window(1800, 2)))
    with pytest.raises(BadImage, match="more than 16 windows for its frames"):
        read_photo(with_windows(*(window(1800 + number) for number in range(17))))


def test_the_code_is_read_from_the_middle_frame() -> None:
    from photos.noise import reduced

    frames = [np.zeros((64, 64), np.uint16), xray(64), np.zeros((64, 64), np.uint16)]
    one = read_photo(dicom(frames[1], 12, **XRAY_WINDOW))
    three = read_photo(dicom(np.concatenate(frames), 12, NumberOfFrames=3, Rows=64, **XRAY_WINDOW))
    assert np.array_equal(reduced(one, 1, (16, 16)), reduced(three, 1, (16, 16)))


def test_frames_are_written_and_compared_one_by_one(tmp_path: Path) -> None:
    count, side = 40, 256
    data = dicom(np.tile(xray(side), (count, 1)), 12, NumberOfFrames=count, Rows=side, **XRAY_WINDOW)
    photo = read_photo(data)
    path, frame = tmp_path / "a.dcm", side * side * 2
    tracemalloc.start()
    with path.open("wb") as file:
        save_photo(photo, file, "png")
    assert tracemalloc.get_traced_memory()[1] < 8 * frame
    tracemalloc.reset_peak()
    assert stored_in(path, photo.pixels)
    assert tracemalloc.get_traced_memory()[1] < (count + 8) * frame
    tracemalloc.stop()
    photo.pixels[-1, -1] ^= 1
    assert not stored_in(path, photo.pixels)
    assert not stored_in(path, photo.pixels[:-side])


def test_long_values_are_compared_too(tmp_path: Path) -> None:
    def with_long_value(value: bytes) -> bytes:
        return changed(dicom(xray(64), 12), lambda d: d.private_block(9, "SHOP", create=True).add_new(1, "OB", value))

    data, other = with_long_value(bytes(3 << 20)), with_long_value(bytes(3 << 20) + b"12")
    found = items_of(data)
    assert found["private (0009,1001)"].startswith(b"sha256 ")
    assert found != items_of(other)
    with (
        put(tmp_path / "a.dcm", data).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        assert items_of(mapped) == found


def test_what_is_not_decoded_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = compressed(dicom(xray(64), 12, **XRAY_WINDOW), "JPEGExtendedProcess2_4")
    with pytest.raises(BadImage, match=r"JPEG Extended \(Process 2 and 4\)\) that cannot be decoded \(.*12-bit"):
        read_photo(deep)
    packed = compressed(dicom(volume(), 12, NumberOfFrames=3, Rows=64, **XRAY_WINDOW), "JPEGLSLossless")
    video = changed(packed, lambda d: setattr(d.file_meta, "TransferSyntaxUID", "1.2.840.10008.1.2.4.102"))
    with pytest.raises(BadImage, match=r"compressed DICOM \(MPEG-4 .*\), which is not read; decompress it first"):
        read_photo(video)
    with pytest.raises(BadImage, match="frames"):
        read_photo(changed(packed, lambda dataset: setattr(dataset, "NumberOfFrames", 5)))
    with pytest.raises(BadImage, match="frames of together more than 179 megapixels"):
        read_photo(changed(packed, lambda dataset: setattr(dataset, "NumberOfFrames", 10**6)))
    with pytest.raises(BadImage, match=r"0 frames|frames of 0×64 pixels|frames of 64×0 pixels"):
        read_photo(changed(packed, lambda dataset: setattr(dataset, "Rows", 0)))
    from pydicom.pixels.common import CoderBase

    monkeypatch.setattr(CoderBase, "available_plugins", property(lambda coder: ()))
    with pytest.raises(BadImage, match=r"JPEG-LS .* needs python-gdcm: pip install 'confoundergan\[dicom\]'"):
        read_photo(packed)
