"""Pictures: clean images, protected ones and the noise, amplified."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from datamodules.files import write_atomic
from datamodules.images import ImageSet
from datamodules.protection import change_sizes
from evaluation.imperceptibility import Imperceptibility
from evaluation.rows import EpochScores

CELL, HEAD, SIDE, GAP, COLUMNS = 72, 20, 92, 4, 10
PICTURES = "pictures"  # their folder in a run's, or a stored protection's
# A setting's sheets by file name, and what they show.
SHEETS = {
    "{}.png": "the first image of each class (ten at most): clean, protected, and the noise amplified",
    "{}_worst.png": "the ten images on which the noise is seen most (lowest SSIM; lowest PSNR where a side is below 11 "
    "pixels): clean, protected, and the noise amplified",
}


class PictureGrid:
    """One column per class (ten at most), with rows clean, protected and noise; the noise fills black to white at ±ε.

    Args:
        class_names: in label order.
        epsilon: in grey levels.
    """

    def __init__(self, class_names: tuple[str, ...], epsilon: float) -> None:
        self.class_names, self.epsilon = class_names, epsilon

    def run(self, clean: ImageSet, stored: ImageSet) -> Image.Image:
        """The grid of each class's first image; a class without any has no column."""
        found = [(k, (clean.labels == k).nonzero()) for k in range(min(COLUMNS, len(self.class_names)))]
        firsts = {k: int(rows[0]) for k, rows in found if len(rows)}
        return self._sheet(clean, stored, list(firsts.values()), [self.class_names[k] for k in firsts])

    def worst(self, clean: ImageSet, stored: ImageSet) -> Image.Image:
        """The grid of the COLUMNS images on which the noise is seen most, by SSIM, else by PSNR."""
        found = Imperceptibility().each(clean, stored)
        name, form = ("ssim", "SSIM {:.3f}") if "ssim" in found else ("psnr", "{:.1f} dB")
        values, rows = found[name].sort(stable=True)
        return self._sheet(clean, stored, rows[:COLUMNS].tolist(), [form.format(v) for v in values[:COLUMNS].tolist()])

    def _sheet(self, clean: ImageSet, stored: ImageSet, chosen: list[int], heads: list[str]) -> Image.Image:
        rows = torch.tensor(chosen)
        before, after = clean.pixels(rows).float(), stored.pixels(rows).float()
        noise = 127.5 + (after - before) * (127.5 / self.epsilon)
        sheet = Image.new("RGB", (SIDE + len(rows) * (CELL + GAP), HEAD + 3 * (CELL + GAP)), "white")
        draw = ImageDraw.Draw(sheet)
        font = ImageFont.load_default(12)
        for row, (title, images) in enumerate((("clean", before), ("protected", after), ("noise", noise))):
            top = HEAD + row * (CELL + GAP)
            draw.text(
                (4, top + CELL // 2 - 6), f"{title} x{127.5 / self.epsilon:.0f}" if row == 2 else title, "black", font
            )
            for column, image in enumerate(images):
                left = SIDE + column * (CELL + GAP)
                sheet.paste(_picture(image), (left, top))
                if row == 0:
                    draw.text((left, 3), heads[column][:11], "black", font)
        return sheet


def save_sheets(
    folder: Path, setting: str, class_names: tuple[str, ...], epsilon: float, clean: ImageSet, stored: ImageSet
) -> None:
    """Writes a setting's SHEETS; the noise is amplified by ε, or by its largest change where a method goes beyond."""
    largest = change_sizes(clean.images, stored.images, "linf").max().item()
    grid = PictureGrid(class_names, max(epsilon, largest))
    for name, draw in zip(SHEETS, (grid.run, grid.worst), strict=True):
        save_picture(draw(clean, stored), folder / name.format(setting))


def _picture(image: Tensor) -> Image.Image:
    """C×H×W in 0–255 as an RGB picture of CELL pixels per side."""
    pixels = image.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    rgb = Image.fromarray(np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels)
    enlarge = max(rgb.size) <= CELL
    return rgb.resize((CELL, CELL), Image.Resampling.NEAREST if enlarge else Image.Resampling.LANCZOS)


def save_picture(picture: Image.Image, path: Path) -> None:
    """Writes a PNG that is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_atomic(path, buffer.getvalue())


def plot_curves(curves: dict[str, list[EpochScores]], chance: float, path: Path) -> None:
    """Each victim's accuracy on clean test images by measured epoch, against chance."""
    from matplotlib.figure import Figure  # heavy; needed here alone

    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        epochs, values = [point.epoch for point in curve], [100 * point.accuracy for point in curve]
        axes.plot(epochs, values, label=name, marker=".")
    axes.axhline(100 * chance, color="grey", linestyle=":", label="chance")
    axes.set(xlabel="epoch of the victim", ylabel="accuracy on clean test images, %", ylim=(0, 102))
    figure.legend(loc="outside right upper")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())
