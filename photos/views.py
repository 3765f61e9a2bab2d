"""What a DICOM file in gray states of its display: PS3.3 C.7.6.3, C.11.1, C.11.2 and C.11.6, and of enhanced objects
the functional groups for frames.

stored value → rescale, or modality table → window (LINEAR, LINEAR_EXACT, SIGMOID), or VOI table → inverted for
MONOCHROME1 and for PresentationLUTShape INVERSE. Where windows and VOI tables are stated, each is a view of its own;
windows come first, as in most viewers. Presentation states are files of their own, and are not known here.
"""

import math
from typing import Any

import numpy as np

from datamodules.decode import BadImage
from photos.display import Display, by_values, counted, ends, ramp, steepness, whole_levels

VALUES = "PixelValueTransformationSequence"
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
TYPICAL = 8.0  # ε by which views are compared for the text
MOST = 16  # windows that are looked at


def dicom_display(dataset: Any, pixels: np.ndarray, offset: int, peak: int) -> Display:
    """The display of a DICOM file in gray.

    Args:
        dataset: pydicom's.
        pixels: unsigned H×W×1, of ``decode_dicom``.
        offset: what was added to stored values to make the lowest possible one 0.
        peak: the highest value that there can be.

    Raises:
        BadImage: what is stated cannot be shown; nothing is stated, and the values do not tell.
    """
    stored = np.arange(peak + 1) - offset
    values = _modality(dataset, stored)
    padding = _padding(dataset, offset, peak)
    counts = counted(pixels, peak, padding)
    views, faults = _windows(dataset, values)
    views += _tables(dataset, values, faults)
    if faults and not views:
        raise BadImage(f"its {faults[0]} cannot be shown")
    texts, shades = zip(*(views or [by_values(values, counts)]), strict=True)
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1" or (
        str(dataset.get("PresentationLUTShape", "")).upper() == "INVERSE"
    )
    levels = whole_levels([1 - shade if inverted else shade for shade in shades])
    return Display(_said(texts, levels), levels, *ends(counts), padding)


def _said(texts: tuple[str, ...], levels: np.ndarray) -> str:
    """What is displayed, and which of several views allows the least."""
    if len(texts) == 1:
        return texts[0]
    least = int(np.argmin([steepness(row, TYPICAL, len(row)) for row in levels]))
    among = f"the {'narrower' if len(texts) == 2 else 'narrowest'} of {len(texts)}"
    return f"{texts[0]}, {among}" if least == 0 else f"{texts[0]}; the bound is that of {texts[least]}, {among}"


def _places(dataset: Any, group: str) -> list[Any]:
    """Where the attributes of a group for frames may be: of each frame, of all, of the file."""
    found = []
    for name in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for item in dataset.get(name) or ():
            found += list(item.get(group) or ())[:1]
    return [*found, dataset]


def _modality(dataset: Any, stored: np.ndarray) -> np.ndarray:
    """What each stored value stands for: float, of the same length; the same in all frames."""
    frames = [list(item.get(VALUES) or ())[:1] for item in dataset.get("PerFrameFunctionalGroupsSequence") or ()]
    if len({str(found) for found in frames}) > 1:
        raise BadImage("its frames are rescaled otherwise, one from the other; save each as a file of its own")
    for place in _places(dataset, VALUES):
        if place.get("ModalityLUTSequence"):
            table, first, _ = _table(place.ModalityLUTSequence[0], dataset, float(stored[0]))
            found: np.ndarray = table[(stored - first).clip(0, len(table) - 1)].astype(np.float64)
            return found
        slopes, intercepts = _numbers(place, "RescaleSlope"), _numbers(place, "RescaleIntercept")
        if not slopes and not intercepts:
            continue
        slope, intercept = (slopes or [1.0])[0], (intercepts or [0.0])[0]
        if slope == 0 or not math.isfinite(slope) or not math.isfinite(intercept):
            raise BadImage(f"its values cannot be shown, rescaled by slope {slope:g} and intercept {intercept:g}")
        return stored * slope + intercept
    return stored.astype(np.float64)


def _windows(dataset: Any, values: np.ndarray) -> tuple[list[tuple[str, np.ndarray]], list[str]]:
    """Text and brightness (float in [0, 1]) of each window that is stated and valid; and those that are not valid."""
    views: dict[str, np.ndarray] = {}
    faults = []
    for place in _places(dataset, "FrameVOILUTSequence"):
        centres, widths = _numbers(place, "WindowCenter"), _numbers(place, "WindowWidth")
        function = str(place.get("VOILUTFunction", None) or "LINEAR").upper()
        for i in range(max(len(centres), len(widths))):
            centre, width = (found[i] if i < len(found) else math.nan for found in (centres, widths))
            least = width >= 1 if function == "LINEAR" else width > 0
            if function not in FUNCTIONS or not least or not math.isfinite(centre) or not math.isfinite(width):
                other = f", function {function[:20]}" if function not in FUNCTIONS else ""
                faults.append(f"window (centre {_plain(centre)}, width {_plain(width)}{other})")
                continue
            text = f"window {_plain(centre)}/{_plain(width)}" + (f" {function}" if function != "LINEAR" else "")
            if text not in views:  # most files state one window for all their frames
                views[text] = _windowed(values, centre, width, function)
            if len(views) > MOST:
                raise BadImage(f"more than {MOST} windows for its frames; save each frame as a file of its own")
    return list(views.items()), faults


def _windowed(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    if function == "SIGMOID":
        found: np.ndarray = 1 / (1 + np.exp((-4 * (values - centre) / width).clip(-700, 700)))
        return found
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return (values > centre).astype(np.float64)
    return ramp(values, centre - width / 2, centre + width / 2)


def _tables(dataset: Any, values: np.ndarray, faults: list[str]) -> list[tuple[str, np.ndarray]]:
    """Text and brightness (float in [0, 1]) of each VOI table that is stated; what is wrong goes to ``faults``."""
    views: list[tuple[str, np.ndarray]] = []
    for place in _places(dataset, "FrameVOILUTSequence"):
        items = list(place.get("VOILUTSequence") or ())
        for number, item in enumerate(items, 1):
            name = "VOI LUT" if len(items) == 1 else f"VOI LUT {number}"
            try:
                table, first, peak = _table(item, dataset, float(values.min()))
            except BadImage as error:
                faults.append(f"{name} ({error})")
                continue
            places = (np.rint(values) - first).clip(0, len(table) - 1).astype(np.int64)
            view = table[places] / peak
            if not any(np.array_equal(view, other) for _, other in views):
                views.append((name, view))
    return views


def _table(item: Any, dataset: Any, lowest: float) -> tuple[np.ndarray, int, int]:
    """A table's entries (int64), the value that its first entry is for, and the level that is white.

    White is what as many bits hold as the entries need: files that state 16 and use 12 are shown either way, and the
    fewer bits are the brighter picture, with the smaller bound.

    Args:
        item: of its sequence.
        dataset: the file's.
        lowest: of the values that go in, by which a first value of 16 bits without a sign is known for a negative one.

    Raises:
        BadImage: it is damaged.
    """
    try:
        count, first, _ = (int(one) for one in item.LUTDescriptor)
        count, data = count or 1 << 16, item.LUTData
        if isinstance(data, bytes):
            order = ">" if dataset.original_encoding[1] is False else "<"
            entries = np.frombuffer(data, f"{order}u2" if len(data) >= 2 * count else "u1").astype(np.int64)
        else:
            entries = np.atleast_1d(np.asarray(data, np.int64))
    except Exception as error:  # of pydicom, on what it cannot read
        raise BadImage(f"damaged table: {str(error)[:60] or type(error).__name__}") from error
    if len(entries) < count or entries[:count].min() < 0 or not entries[:count].any():
        raise BadImage(f"damaged table: {len(entries)} entries of {count}, or black throughout")
    if first > 32767 and lowest < 0:
        first -= 65536
    entries = entries[:count]
    return entries, first, (1 << int(entries.max()).bit_length()) - 1


def _padding(dataset: Any, offset: int, peak: int) -> tuple[int, int] | None:
    """The lowest and highest padding value, as ``Photo.pixels`` has them; None for none that can occur."""
    found = [_numbers(dataset, name)[:1] for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    stated = [int(one) for numbers in found for one in numbers if math.isfinite(one)]
    if not found[0] or not stated:
        return None
    if offset:  # some files write a negative value as one of 16 bits without a sign
        stated = [one - 65536 if one > 32767 else one for one in stated]
    else:
        stated = [one + 65536 if one < 0 else one for one in stated]
    low, high = max(min(stated) + offset, 0), min(max(stated) + offset, peak)
    return (low, high) if low <= high else None


def _numbers(place: Any, name: str) -> list[float]:
    """The numbers of an element, NaN for what is none; empty where it is absent or empty."""
    if name not in place:
        return []
    try:
        found = place[name].value
    except Exception:  # pydicom refuses the whole element for one that is no number
        found = place.get_item(name).value
    if isinstance(found, bytes):
        found = found.decode("latin-1").strip("\0 ").split("\\")
    several = [found] if isinstance(found, str | int | float) else list(found or ())
    return [] if several in ([], [""]) else [_float(one) for one in several]


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _plain(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.10g}"
