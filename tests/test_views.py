"""Every way in which a DICOM file says how it is displayed: the bound holds there, by pydicom's own reckoning."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from albums import network
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pydicom = pytest.importorskip("pydicom")

from phantoms import ct, dB, dicom, lut, protected, shown, stored_values, views, xray  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian  # noqa: E402

from datamodules.decode import BadImage  # noqa: E402
from photos.display import Display  # noqa: E402
from photos.noise import PhotoNoise, add_noise, noise_of  # noqa: E402
from photos.photo import Photo, change_between  # noqa: E402
from photos.read import read_photo  # noqa: E402
from photos.write import save_photo  # noqa: E402

EPSILON = 8.0
STEP = 1 / 65535  # of brightness: it is kept in whole numbers
SIGMOID = 1 / (1 + np.exp(-np.linspace(-5, 5, 1000)))


class Signs:
    """A field of ±1, one by one at random."""

    def rows(self, height: int, width: int, rows: slice) -> np.ndarray:
        signs = np.random.default_rng(0).integers(0, 2, (height, width, 1)) * 2 - 1
        return signs[rows].astype(np.float32)


def extreme(photo: Photo, epsilon: float = EPSILON) -> PhotoNoise:
    """Noise that goes to the bound everywhere."""
    assert photo.display
    bound = photo.display.bound(epsilon)
    return PhotoNoise(Signs(), bound, bound)


def check_dicom(data: bytes, epsilon: float = EPSILON) -> Photo:
    """A copy with as much noise as is allowed keeps the bound in every view, by pydicom's own reckoning."""
    photo, before = read_photo(data), read_photo(data)
    change = add_noise(photo, extreme(photo, epsilon))
    file = io.BytesIO()
    save_photo(photo, file, "png")
    (dataset, old), (copy, new) = stored_values(data), stored_values(file.getvalue())
    assert photo.display
    padding = photo.display.is_padding(before.pixels[..., 0])
    assert np.array_equal(old[padding], new[padding])
    assert not photo.display.is_padding(photo.pixels[..., 0])[~padding].any()
    assert old[~padding].min() <= new[~padding].min()
    assert new[~padding].max() <= old[~padding].max()
    largest = 0.0
    for view in range(views(dataset)):
        pictures = [shown(dataset, values, view) for values in (old, new)]
        off = np.abs(pictures[1] - pictures[0])
        assert off.max() <= epsilon / 255 + STEP
        largest = max(largest, off.max())
        if view == 0:
            assert np.allclose(before.eight()[..., 0], pictures[0] * 255, atol=0.51)
            assert np.allclose(photo.eight(before.display)[..., 0], pictures[1] * 255, atol=0.51)
            mean = np.square(off).sum() / max(1, np.count_nonzero(~padding))
            if mean > 1e-6:  # below, rounding to whole numbers shows
                assert change.psnr == pytest.approx(-10 * np.log10(mean), abs=0.02)
            moved = (pictures[1] - pictures[0]).sum() / max(1, np.count_nonzero(~padding)) * 255
            assert change.cast == pytest.approx(moved, abs=0.01)
    if views(dataset):
        assert change.levels == pytest.approx(largest * 255, abs=0.01)
    assert change.stored_largest == np.abs(new - old).max()
    after = read_photo(file.getvalue(), protected=True)
    assert change_between(before, after) == change
    assert dataset.get("WindowCenter") == copy.get("WindowCenter")
    return before


def test_a_ct_slice_changes_by_a_few_units_in_its_own_window() -> None:
    data = dicom(ct(), RescaleSlope=1, RescaleIntercept=0, WindowCenter=40, WindowWidth=400)
    photo = check_dicom(data)
    assert photo.display
    assert photo.display.text == "window 40/400"
    assert photo.display.bound(EPSILON) == 12  # 8/255 of 399 units
    copy, change, _ = protected(data, network(1))
    (dataset, old), (_, new) = stored_values(data), stored_values(copy)
    assert np.abs(new - old).max() <= 12
    assert dB(shown(dataset, old), shown(dataset, new)) == pytest.approx(change.psnr, abs=0.02)
    assert change.psnr > 30


def sequences(**tags: Any) -> dict[str, Any]:
    return {name: Sequence([value] if isinstance(value, Dataset) else value) for name, value in tags.items()}


def functional(**tags: Any) -> Dataset:
    """Groups of an enhanced object: those for the window and for the rescale."""
    group, window, values = Dataset(), Dataset(), Dataset()
    for name, value in tags.items():
        setattr(values if name.startswith("Rescale") else window, name, value)
    group.FrameVOILUTSequence, group.PixelValueTransformationSequence = Sequence([window]), Sequence([values])
    return group


POSITIVE = (ct() + 1024).clip(1).astype(np.uint16)
WINDOWED = {"WindowCenter": 900, "WindowWidth": 1800}
CT_WINDOW = {"WindowCenter": 40, "WindowWidth": 400}
HALF = np.arange(0, 4096) // 2 * 16  # a table from 12 to 15 bits
FORMS: dict[str, tuple[np.ndarray, int, dict[str, Any], str, int]] = {
    # values, bits, tags, text, bound
    "8 bits": (xray(peak=255) * 2, 8, {"WindowCenter": 90, "WindowWidth": 180}, "window 90/180", 5),
    "10 bits": (xray(peak=1023), 10, {"WindowCenter": 220, "WindowWidth": 440}, "window 220/440", 13),
    "12 bits": (xray(), 12, WINDOWED, "window 900/1800", 56),
    "12 bits, signed": (ct().clip(-2048, 2047), 12, CT_WINDOW, "window 40/400", 12),
    "16 bits": (xray(peak=65535), 16, {"WindowCenter": 14000, "WindowWidth": 28000}, "window 14000/28000", 878),
    "16 bits, signed": (ct(), 16, CT_WINDOW, "window 40/400", 12),
    "white is 0": (xray(), 12, {**WINDOWED, "form": "MONOCHROME1"}, "window 900/1800", 56),
    "inverse": (xray(), 12, {**WINDOWED, "PresentationLUTShape": "INVERSE"}, "window 900/1800", 56),
    "identity": (xray(), 12, {**WINDOWED, "PresentationLUTShape": "IDENTITY"}, "window 900/1800", 56),
    "both ways": (xray(), 12, {**WINDOWED, "form": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, "window 900/1800", 56),
    "two windows": (ct(), 16, {"WindowCenter": [40, -600], "WindowWidth": [400, 1500]}, "window 40/400, the narrower of 2", 12),
    "three windows": (
        ct(), 16, {"WindowCenter": [40, 40, 300], "WindowWidth": [400, 80, 1500]},
        "window 40/400; the bound is that of window 40/80, the narrowest of 3", 2,
    ),
    "exact": (ct(), 16, {**CT_WINDOW, "VOILUTFunction": "LINEAR_EXACT"}, "window 40/400 LINEAR_EXACT", 12),
    "sigmoid": (ct(), 16, {**CT_WINDOW, "VOILUTFunction": "SIGMOID"}, "window 40/400 SIGMOID", 12),
    "rescaled": (
        POSITIVE, 12, {**CT_WINDOW, "RescaleSlope": 1, "RescaleIntercept": -1024}, "window 40/400", 12,
    ),
    "slope of a half": (
        POSITIVE * 2, 16, {**CT_WINDOW, "RescaleSlope": 0.5, "RescaleIntercept": -1024},
        "window 40/400", 25,
    ),
    "negative slope": (
        2048 - POSITIVE, 12, {**CT_WINDOW, "RescaleSlope": -1, "RescaleIntercept": 1024}, "window 40/400", 12,
    ),
    "VOI table": (xray(), 12, sequences(VOILUTSequence=lut((SIGMOID * 4095).astype(int), 500, 12)), "VOI LUT", 12),
    "two VOI tables": (
        xray(), 12, sequences(VOILUTSequence=[lut(np.arange(4096), 0, 12), lut(np.arange(256) * 255, 800, 16)]),
        "VOI LUT 1; the bound is that of VOI LUT 2, the narrower of 2", 8,
    ),
    "window and VOI table": (
        xray(), 12, {**WINDOWED, **sequences(VOILUTSequence=lut(np.arange(4096), 0, 12))}, "window 900/1800, the narrower of 2", 56,
    ),
    "VOI table below 0": (ct(), 16, sequences(VOILUTSequence=lut(np.arange(512) * 8, -200, 12)), "VOI LUT", 16),
    "modality table": (
        xray(), 12, {"WindowCenter": 14000, "WindowWidth": 28000, **sequences(ModalityLUTSequence=lut(HALF, 0, 16))},
        "window 14000/28000", 108,
    ),
    "padding": (ct(), 16, {**CT_WINDOW, "PixelPaddingValue": -1000}, "window 40/400", 12),
    "padding, a range": (
        ct(), 16, {**CT_WINDOW, "PixelPaddingValue": -1100, "PixelPaddingRangeLimit": -950}, "window 40/400", 12,
    ),
    "padding amid the values": (
        ct(), 16, {**CT_WINDOW, "PixelPaddingValue": 60, "PixelPaddingRangeLimit": 45}, "window 40/400", 12,
    ),
    "big endian": (ct(), 16, {**CT_WINDOW, "syntax": ExplicitVRBigEndian}, "window 40/400", 12),
    "implicit": (ct(), 16, {**CT_WINDOW, "syntax": ImplicitVRLittleEndian, "PixelPaddingValue": -1000}, "window 40/400", 12),
    "one of two is valid": (ct(), 16, {"WindowCenter": [0, 40], "WindowWidth": [0, 400]}, "window 40/400", 12),
    "far too wide": (xray(), 16, {"WindowCenter": 32768, "WindowWidth": 65536}, "window 32768/65536", 128),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_the_bound_holds_in_every_view(name: str) -> None:
    values, bits, tags, text, bound = FORMS[name]
    values = values.astype(np.uint8) if bits == 8 else values
    if name in ("one of two is valid",):  # pydicom's windowing takes no invalid one
        photo = read_photo(dicom(values, bits, **tags))
    else:
        photo = check_dicom(dicom(values, bits, **tags))
    assert photo.display
    assert photo.display.text == text
    assert photo.display.bound(EPSILON) == bound
    assert photo.bits == bits


def test_big_endian_tables_and_files_that_are_vague_about_signs() -> None:
    item = lut(np.arange(512) * 8, -200, 12)
    item["LUTData"].value = (np.arange(512) * 8).astype(">u2").tobytes()
    photo = check_dicom(dicom(ct(), syntax=ExplicitVRBigEndian, **sequences(VOILUTSequence=item)))
    assert photo.display
    assert photo.display.bound(EPSILON) == 16
    # unsigned values, rescaled below 0: a first value of -200 is stored as 65336
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [512, 65336, 12])
    item.add_new("LUTData", "OW", (np.arange(512) * 8).astype("<u2").tobytes())
    values = POSITIVE
    other = read_photo(dicom(values, RescaleSlope=1, RescaleIntercept=-1024, **sequences(VOILUTSequence=item)))
    assert np.array_equal(other.eight(), photo.eight())
    # 63536 for -2000 in signed values
    values = ct()
    values[:20] = -2000
    data = dicom(values, **CT_WINDOW)
    file = pydicom.dcmread(io.BytesIO(data))
    file.add_new("PixelPaddingValue", "US", 63536)
    buffer = io.BytesIO()
    file.save_as(buffer)
    padded = read_photo(buffer.getvalue())
    assert padded.display
    assert padded.display.padding == (30768, 30768)
    assert np.count_nonzero(padded.display.is_padding(padded.pixels)) == 20 * 128


def test_8_bit_entries_of_a_voi_table() -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [256, 0, 8])
    item.add_new("LUTData", "OW", bytes(range(256)))
    photo = read_photo(dicom((xray(peak=255) * 2).astype(np.uint8), 8, **sequences(VOILUTSequence=item)))
    assert np.array_equal(photo.eight(), photo.pixels)


def test_enhanced_objects_state_it_in_functional_groups() -> None:
    values = POSITIVE
    wanted = read_photo(dicom(values, 12, **CT_WINDOW, RescaleSlope=1, RescaleIntercept=-1024))
    tags = {**CT_WINDOW, "RescaleSlope": 1, "RescaleIntercept": -1024}
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        photo = read_photo(dicom(values, 12, NumberOfFrames=1, **sequences(**{name: functional(**tags)})))
        assert photo.display
        assert wanted.display
        assert photo.display.text == "window 40/400"
        assert np.array_equal(photo.display.levels, wanted.display.levels)
    both = sequences(
        SharedFunctionalGroupsSequence=functional(RescaleSlope=1, RescaleIntercept=-1024),
        PerFrameFunctionalGroupsSequence=functional(**CT_WINDOW),
    )
    assert np.array_equal(read_photo(dicom(values, 12, **both)).eight(), wanted.eight())


def test_without_a_window_the_values_tell_in_their_own_units() -> None:
    values = POSITIVE
    photo = read_photo(dicom(values, 12, RescaleSlope=1, RescaleIntercept=-1024))
    low, high = np.quantile(POSITIVE - 1024.0, [0.001, 0.999], method="inverted_cdf")
    assert photo.display
    assert photo.display.text == f"values used, {low:,.0f} to {high:,.0f}"
    padded = values.copy()
    padded[:40] = 0
    photo = check_dicom(dicom(padded, 12, PixelPaddingValue=0))
    low, high = np.quantile(padded[40:], [0.001, 0.999], method="inverted_cdf")
    assert photo.display
    assert photo.display.text == f"values used, {low:,} to {high:,}"
    half = read_photo(dicom(values, 12, RescaleSlope=0.3, RescaleIntercept=0.25))
    assert half.display
    assert half.display.text.startswith("values used, ")
    turned = read_photo(dicom(4095 - values, 12, RescaleSlope=-1, RescaleIntercept=3071))
    assert np.abs(turned.eight().astype(int) - read_photo(dicom(values, 12)).eight()).max() <= 1


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"WindowCenter": 40, "WindowWidth": 0}, r"its window \(centre 40, width 0\) cannot be shown"),
        ({"WindowCenter": 40, "WindowWidth": 0.5}, r"its window \(centre 40, width 0.5\) cannot be shown"),
        ({"WindowCenter": 40}, r"its window \(centre 40, width none\) cannot be shown"),
        ({"WindowCenter": 40, "WindowWidth": -3, "VOILUTFunction": "SIGMOID"}, r"centre 40, width -3\) cannot"),
        ({**CT_WINDOW, "VOILUTFunction": "CUBIC"}, r"centre 40, width 400, function CUBIC\) cannot be shown"),
        ({**CT_WINDOW, "RescaleSlope": 0, "RescaleIntercept": 3}, "rescaled by slope 0 and intercept 3"),
        (sequences(VOILUTSequence=lut(np.zeros(9, int), 0, 8)), r"its VOI LUT \(damaged table"),
        (sequences(VOILUTSequence=Dataset()), r"its VOI LUT \(damaged table"),
        ({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": 2000}, "all of its pixels are padding"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_its_reason(tags: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        read_photo(dicom(ct(), **tags))


def test_windows_that_are_no_numbers() -> None:
    data = dicom(ct(), WindowCenter=["40", "41"], WindowWidth=["400", "401"])
    broken = data.replace(b"41", b"xy").replace(b"401", b"zzz")
    photo = read_photo(broken)
    assert photo.display
    assert photo.display.text == "window 40/400"
    with pytest.raises(BadImage, match=r"its window \(centre none, width 400\) cannot be shown"):
        read_photo(data.replace(b"40\\41", b"xx\\xx"))


def test_a_window_of_fewer_levels_than_the_bound_can_divide() -> None:
    photo = read_photo(dicom(ct(), WindowCenter=40, WindowWidth=2))
    with pytest.raises(
        BadImage, match=r"one stored level is displayed as up to 255 of 255 grey levels \(window 40/2\)"
    ):
        noise_of(network(1), torch.zeros(1, 2), photo, 1, EPSILON)
    assert read_photo(dicom(ct(), WindowCenter=40, WindowWidth=33)).display.bound(EPSILON) == 1
    with pytest.raises(BadImage, match="up to 8.23 of 255"):
        read_photo(dicom(ct(), WindowCenter=40, WindowWidth=32)).display.bound(EPSILON)


def test_colour_is_displayed_as_it_is() -> None:
    values = np.random.default_rng(0).integers(0, 256, (3, 21, 31)).astype(np.uint8)
    photo = read_photo(dicom(values, 8, "RGB", **CT_WINDOW))
    assert photo.display is None
    assert np.array_equal(photo.eight(), values.transpose(1, 2, 0))


@st.composite
def files(draw: Any) -> dict[str, Any]:
    """What ``dicom`` makes files of: any depth, sign, window, slope, table and padding."""
    bits = draw(st.sampled_from([8, 10, 12, 14, 16]))
    signed, seed = draw(st.booleans()), draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    low = -(1 << bits - 1) if signed else 0
    ends = sorted(draw(st.lists(st.integers(low, low + (1 << bits) - 1), min_size=2, max_size=2)))
    kind = f"{'i' if signed else 'u'}{1 if bits == 8 else 2}"
    values = rng.integers(ends[0], ends[1] + 1, (40, 33)).astype(kind)
    tags: dict[str, Any] = {}
    slope, intercept = draw(st.sampled_from([(1, 0), (1, -1024), (-1, 0), (0.5, 3), (-0.25, 100), (2.5, -7.5)]))
    if draw(st.booleans()):
        tags |= {"RescaleSlope": slope, "RescaleIntercept": intercept}
    else:
        slope, intercept = 1, 0
    reach = abs(slope) * (1 << bits)
    count = draw(st.integers(0, 3))
    if count:
        numbers = st.floats(0.01, 1.2)
        tags["WindowWidth"] = [float(f"{max(2, draw(numbers) * reach):.4g}") for _ in range(count)]
        tags["WindowCenter"] = [
            float(f"{slope * (low + draw(numbers) * (1 << bits)) + intercept:.4g}") for _ in range(count)
        ]
        tags["VOILUTFunction"] = draw(st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
    if draw(st.booleans()) and slope == 1 and abs(intercept + low) < 30000:
        entries = np.sort(rng.integers(0, 4096, draw(st.integers(200, 5000))))
        entries[-1] = 4095
        tags["VOILUTSequence"] = Sequence([lut(entries, int(low + intercept), 12)])
    if draw(st.booleans()):
        tags["PixelPaddingValue"] = int(rng.choice(values.ravel()))
        if draw(st.booleans()):
            tags["PixelPaddingRangeLimit"] = int(rng.choice(values.ravel()))
    form = draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"]))
    return {"stored": values, "bits": bits, "form": form, **tags}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(files(), st.sampled_from([2.0, 8.0, 16.0]))
def test_the_bound_holds_whatever_a_file_states(stated: dict[str, Any], epsilon: float) -> None:
    data = dicom(**stated)
    try:
        photo = read_photo(data)
        assert photo.display
        photo.display.bound(epsilon)
    except BadImage as error:
        reasons = ("padding", "nearly all of its pixels", "is less than one", "more than ε")
        if not any(reason in str(error) for reason in reasons):
            raise
        return
    check_dicom(data, epsilon)


def test_no_larger_bound_would_hold() -> None:
    for values, bits, tags, _, bound in FORMS.values():
        display = read_photo(dicom(values.astype(np.uint8) if bits == 8 else values, bits, **tags)).display
        assert isinstance(display, Display)
        part = display.levels[:, display.lowest : display.highest + 1]
        further = np.abs(part[:, bound + 1 :] - part[:, : -bound - 1]).max() > 8 * 257
        assert further or bound + 1 > 8 / 255 * (display.highest - display.lowest)
