"""How visible the noise is, measured on what is stored."""

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from datamodules.images import ImageSet, to_float
from datamodules.protection import change_sizes
from evaluation.rows import NoiseSize
from gan.objectives import psnr

SSIM_WINDOW = 11


class Imperceptibility:
    """L∞, L2, L0, PSNR and SSIM between the clean images and those decoded from the protected files."""

    def run(self, clean: ImageSet, stored: ImageSet) -> NoiseSize:
        """Measures whole sets; SSIM is None where a side is below its window of 11 pixels."""
        found = self.each(clean, stored)
        return NoiseSize(
            linf=found["linf"].max().item(),
            l2=found["l2"].mean().item(),
            l2_max=found["l2"].max().item(),
            l0=found["l0"].mean().item(),
            l0_max=found["l0"].max().item(),
            psnr=found["psnr"].mean().item(),
            psnr_min=found["psnr"].min().item(),
            ssim=found["ssim"].mean().item() if "ssim" in found else None,
        )

    def each(self, clean: ImageSet, stored: ImageSet) -> dict[str, Tensor]:
        """The same for each image, float N: ``linf``, ``l2``, ``l0``, ``psnr``, and ``ssim`` where its window fits."""
        found: dict[str, list[Tensor]] = {"linf": [], "l2": [], "l0": [], "psnr": [], "ssim": []}
        for a, b in zip(clean.images.split(512), stored.images.split(512), strict=True):
            x, z = to_float(a), to_float(b)
            found["linf"].append(change_sizes(a, b, "linf") / 255)
            found["l2"].append(change_sizes(a, b, "l2"))
            found["l0"].append(change_sizes(a, b, "l0"))
            found["psnr"].append(psnr(x, z))
            if min(x.shape[-2:]) >= SSIM_WINDOW:
                ssim = structural_similarity_index_measure(z, x, data_range=1.0, reduction="none")
                assert isinstance(ssim, Tensor)
                found["ssim"].append(ssim)
        return {name: torch.cat(values) for name, values in found.items() if values}
