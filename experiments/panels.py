"""The dashboard as code: which panels show which metrics. Free of torch, and the same for W&B and TensorBoard."""

from dataclasses import dataclass
from typing import Literal

STEP, VICTIM_EPOCH = "trainer/global_step", "victim/epoch"


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        title: what it shows.
        metrics: names as a run logs them; of pictures, the key.
        kind: lines over ``x``, bars of the final value, or pictures.
        x: what the lines run over.
    """

    title: str
    metrics: tuple[str, ...]
    kind: Literal["line", "bar", "media"] = "line"
    x: str = STEP


PANELS: dict[str, tuple[Panel, ...]] = {
    "Protection": (
        Panel(
            "Accuracy of brief victims on clean validation images, while the generator learns",
            ("check/clean", "check/standard", "check/fast", "check/chance"),
        ),
        Panel(
            "Accuracy of the victims on clean test images, by their epoch",
            ("victim/clean", "victim/standard", "victim/clean_fast", "victim/fast", "victim/chance"),
            x=VICTIM_EPOCH,
        ),
        Panel(
            "Balanced accuracy at the last epoch, and chance",
            (*(f"{v}/balanced_accuracy/last" for v in ("clean", "standard", "clean_fast", "fast")), "chance"),
            "bar",
        ),
        Panel("A victim answers the label of noise on another image", ("swap/standard", "swap/fast"), "bar"),
    ),
    "Losses": (
        Panel("Discriminator", ("loss_d_epoch",)),
        Panel("Surrogates", ("loss_s_epoch",)),
        Panel("Generator", ("loss_g_epoch",)),
        Panel(
            "Generator, its terms before weighting",
            ("loss_s_epoch", "loss_g_gan_epoch"),
        ),
        Panel("Every step", ("loss_d_step", "loss_s_step", "loss_g_step")),
    ),
    "Noise": (
        Panel("Size of a pixel's noise in grey levels: mean and largest", ("noise_mean_epoch", "noise_max_epoch")),
        Panel("PSNR in dB", ("psnr_epoch",)),
        Panel(
            "Share of codes that surrogates classify correctly, and how hard the game is (level)",
            ("read_epoch", "level_epoch"),
        ),
        Panel("Stored files: PSNR in dB", ("imperceptibility/psnr", "imperceptibility/psnr_min"), "bar"),
        Panel(
            "Stored files: SSIM, and largest change in [0, 1]",
            ("imperceptibility/ssim", "imperceptibility/linf"),
            "bar",
        ),
        Panel(
            "Label read from the stored noise alone", ("noise_only/linear/standard", "noise_only/conv/standard"), "bar"
        ),
    ),
    "Pictures": (
        Panel("Clean, protected, noise, while the generator learns", ("pictures",), "media"),
        Panel("Stored files, and the victims' curves", ("final",), "media"),
    ),
    "Throughput and cost": (
        Panel("Images per second", ("images_per_second",)),
        Panel("Seconds per epoch", ("seconds_per_epoch",)),
        Panel(
            "Seconds of each phase",
            (
                "seconds/training",
                "seconds/export",
                "seconds/measuring",
                "seconds/victim_clean",
                "seconds/victim_standard",
            ),
            "bar",
        ),
        Panel("Hours of all devices", ("cost/device_hours",), "bar"),
    ),
}
# W&B keeps of these, beside the last value, the best one: a victim of protected images is best where it learns least.
BEST: dict[str, Literal["min", "max"]] = {
    "check/clean": "max",
    "check/standard": "min",
    "check/fast": "min",
    "psnr_epoch": "max",
    "noise_max_epoch": "max",
    "read_epoch": "max",
    "level_epoch": "max",
    "images_per_second": "max",
    "seconds_per_epoch": "min",
}


def panel_metrics() -> dict[str, str]:
    """Every metric that a panel shows, and the title of the first that does."""
    found: dict[str, str] = {}
    for panels in PANELS.values():
        for panel in panels:
            for name in panel.metrics:
                found.setdefault(name, panel.title)
    return found
