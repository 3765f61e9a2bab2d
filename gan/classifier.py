"""Classifiers by name: the surrogate inside the GAN, and every victim outside of it, come from here."""

import difflib
from typing import Any

import timm
from timm.models.resnet import BasicBlock, downsample_conv
from torch import Tensor, nn

# Images up to this many pixels a side keep their resolution through the stem (the field's "CIFAR stem").
SMALL = 96


class Normalised(nn.Module):
    """A classifier that takes pixels in [0, 1] and normalises by itself, so that ε means pixel units everywhere.

    The constants are fixed (0.5 and 0.25, ours): nothing is estimated from data, so nothing can leak.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float B×K, of images, float B×C×H×W in [0, 1]."""
        return self.net((images - 0.5) * 4)


def narrow(classes: int, channels: int, width: int = 16) -> nn.Sequential:
    """Our small ResNet-10 for CPUs, of timm's basic blocks: 3×3 stem, no max-pool, 16 to 128 channels.

    A fiftieth of ResNet-18's multiplications. timm's own ResNet cannot be made this narrow: its stem has 64 channels.
    """
    stages: list[nn.Module] = []
    before = width
    for stage in range(4):
        after, stride = width * 2**stage, 1 if stage == 0 else 2
        shortcut = downsample_conv(before, after, 1, stride) if stride > 1 else None
        stages.append(BasicBlock(before, after, stride, shortcut))
        before = after
    stem = (nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


def build_classifier(arch: str, classes: int, channels: int, size: tuple[int, int]) -> nn.Module:
    """A freshly initialised classifier (global torch random state decides its weights).

    Args:
        arch: ``narrow``, ``linear`` (one linear layer on the pixels: a probe) or any timm model name.
        classes: number of classes K.
        channels: 1 or 3.
        size: height and width of the images. Up to 96 pixels a timm model's first convolution becomes 3×3 with
            stride 1 and its stem's max-pool is dropped; transformers and mixers get patches of an eighth of the side.

    Raises:
        ValueError: the name is unknown to timm, or the model cannot take images of this size.
    """
    if arch == "narrow":
        return Normalised(narrow(classes, channels))
    if arch == "linear":
        return Normalised(nn.Sequential(nn.Flatten(), nn.Linear(channels * size[0] * size[1], classes)))
    small = max(size) <= SMALL
    net = _timm(arch, classes, channels, size, small)
    if small:
        _small_stem(net)
    return Normalised(net)


OWN = ("narrow", "linear")


def check_arch(arch: str) -> str | None:
    """One line saying what is wrong with an architecture's name, or None."""
    if arch in OWN or timm.is_model(arch):
        return None
    near = difflib.get_close_matches(arch, [*OWN, *timm.list_models()], 1)
    return f"{arch!r} is neither 'narrow' nor 'linear' nor a timm model" + (
        f"; did you mean {near[0]!r}?" if near else ""
    )


def _timm(arch: str, classes: int, channels: int, size: tuple[int, int], small: bool) -> nn.Module:
    if fault := check_arch(arch):
        raise ValueError(fault)
    options: dict[str, Any] = {"num_classes": classes, "in_chans": channels}
    cfg = timm.get_pretrained_cfg(arch, allow_unregistered=False)
    patched = cfg is not None and cfg.fixed_input_size  # transformers and mixers: their weights know the image size
    if patched:
        options["img_size"] = size
    try:
        if patched and small:
            return _small_patches(arch, options, (size[0] // 8, size[1] // 8))
        return timm.create_model(arch, pretrained=False, **options)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ValueError(f"{arch!r} cannot be built for {size[0]}×{size[1]} images: {error}") from error


def _small_patches(arch: str, options: dict[str, Any], patch: tuple[int, int]) -> nn.Module:
    """A transformer or mixer whose patches are an eighth of the image's sides.

    timm's mixers fix the patch in their name: such a model is made for 8×8 of its own patches, then given a smaller
    patch embedding.
    """
    try:
        return timm.create_model(arch, pretrained=False, patch_size=patch, **options)
    except TypeError:
        own: Any = timm.create_model(arch, pretrained=False)
        side = 8 * own.stem.patch_size[0]
        net: Any = timm.create_model(arch, pretrained=False, **{**options, "img_size": (side, side)})
        old = net.stem.proj
        net.stem.proj = nn.Conv2d(old.in_channels, old.out_channels, patch, stride=patch)
        net.stem.img_size = options["img_size"]
        assert isinstance(net, nn.Module)
        return net


def _small_stem(net: nn.Module) -> None:
    """Replaces a downsampling first convolution by a 3×3 one of stride 1 and the stem's max-pool by nothing."""
    modules = dict(net.named_modules())
    name, conv = next((n, m) for n, m in modules.items() if isinstance(m, nn.Conv2d))
    if "patch_embed" in name or (name.startswith("stem.proj") and conv.kernel_size == conv.stride):
        return  # patches were sized above
    if max(conv.stride) > 1 or max(conv.kernel_size) > 3:
        fresh = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1, bias=conv.bias is not None)
        _replace(net, name, fresh)
    for name, module in modules.items():
        if isinstance(module, nn.MaxPool2d) and name.rsplit(".", 1)[-1] in ("maxpool", "pool0"):
            _replace(net, name, nn.Identity())
            return


def _replace(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, module)
