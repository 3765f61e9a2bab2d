"""Classifiers by name: the surrogate inside the GAN, and every victim outside of it, come from here."""

import difflib
from collections.abc import Callable
from typing import Any

import timm
import torch
from timm.models.densenet import DenseNet
from timm.models.mlp_mixer import MlpMixer
from timm.models.resnet import BasicBlock, downsample_conv
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

# Images up to this many pixels per side keep their resolution through the stem (the field's "CIFAR stem").
SMALL = 96
NARROW_FULL = 48  # up to here the narrow network's stem keeps the resolution


class Normalised(nn.Module):
    """A classifier that takes pixels in [0, 1] and normalises by itself, so that ε means pixel units everywhere.

    The constants are fixed (0.5 and 0.25, ours): nothing is estimated from data, so nothing can leak.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float B×K, of images, float B×C×H×W in [0, 1]."""
        found: Tensor = self.net((images - 0.5) * 4)
        return found


def _halving(size: tuple[int, int]) -> int:
    """Stride of the narrow networks' first convolution, so that 64 pixels cost what 32 do."""
    return 2 if max(size) > NARROW_FULL else 1


def _conv(before: int, after: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]


def narrow(classes: int, channels: int, size: tuple[int, int], width: int = 16) -> nn.Module:
    """ResNet-10 of timm's basic blocks: 3×3 stem, no max-pool, 16 to 128 channels.

    A fiftieth of ResNet-18's multiplications. timm's own ResNet cannot be made this narrow: its stem has 64 channels.
    """
    stages: list[nn.Module] = []
    before = width
    for stage in range(4):
        after, stride = width * 2**stage, 1 if stage == 0 else 2
        shortcut = downsample_conv(before, after, 1, stride) if stride > 1 else None
        stages.append(BasicBlock(before, after, stride, shortcut))
        before = after
    stem = _conv(channels, width, _halving(size))
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


def narrow_vgg(classes: int, channels: int, size: tuple[int, int], width: int = 16) -> nn.Module:
    """VGG-like: 3×3 convolutions of 16 to 128 channels, a max-pool after each second one; the head knows places."""
    layers: list[nn.Module] = _conv(channels, width, _halving(size))
    for stage in range(4):
        before = width * 2 ** max(0, stage - 1)
        layers += _conv(before, width * 2**stage) if stage else []
        layers += [*_conv(width * 2**stage, width * 2**stage), nn.MaxPool2d(2)]
    head = nn.Linear(4 * width * 8, classes)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), head)


def narrow_densenet(classes: int, channels: int, size: tuple[int, int]) -> nn.Module:
    """timm's DenseNet with growth 12 and three blocks of four layers, behind a 3×3 stem without max-pool."""
    net: nn.Module = DenseNet(growth_rate=12, block_config=(4, 4, 4), num_classes=classes, in_chans=channels)
    _replace(net, "features.conv0", nn.Conv2d(channels, 24, 3, _halving(size), padding=1, bias=False))
    _replace(net, "features.pool0", nn.Identity())
    return net


def narrow_vit(classes: int, channels: int, size: tuple[int, int]) -> nn.Module:
    """timm's vision transformer with 8×8 patches of an eighth of the sides, 4 blocks, 96 channels, 3 heads."""
    return VisionTransformer(
        img_size=size,
        patch_size=_eighth(size),
        in_chans=channels,
        num_classes=classes,
        embed_dim=96,
        depth=4,
        num_heads=3,
    )


def narrow_mixer(classes: int, channels: int, size: tuple[int, int]) -> nn.Module:
    """timm's MLP mixer with 8×8 patches of an eighth of the sides, 4 blocks, 96 channels."""
    net = MlpMixer(num_classes=classes, img_size=8, in_chans=channels, patch_size=1, num_blocks=4, embed_dim=96)
    _resize_patches(net, size)
    return net


NARROW: dict[str, Callable[[int, int, tuple[int, int]], nn.Module]] = {
    f.__name__: f for f in (narrow, narrow_vgg, narrow_densenet, narrow_vit, narrow_mixer)
}
OWN = (*NARROW, "linear", "two_layer")
HIDDEN = 128  # units of the two-layer network


def build_classifier(arch: str, classes: int, channels: int, size: tuple[int, int]) -> nn.Module:
    """A freshly initialised classifier (global torch random state decides its weights).

    Args:
        arch: one of NARROW (small networks for CPUs), ``linear`` (one linear layer on the pixels: a probe),
            ``two_layer`` (one with HIDDEN rectified units between) or any timm model name.
        classes: number of classes K.
        channels: 1 or 3.
        size: height and width of the images. Up to 96 pixels a timm model's first convolution becomes 3×3 with
            stride 1 and its stem's max-pool is dropped; transformers and mixers get patches of an eighth of the side.

    Raises:
        ValueError: the name is unknown to timm, or the model cannot take images of this size.
    """
    if arch in NARROW:
        if arch != "narrow" and min(size) < 16:  # pools, patches of an eighth; the residual one takes any size
            raise ValueError(f"{arch!r} cannot be built for {size[0]}×{size[1]} images; at least 16 pixels per side")
        return Normalised(NARROW[arch](classes, channels, size))
    values = channels * size[0] * size[1]
    if arch == "linear":
        return Normalised(nn.Sequential(nn.Flatten(), nn.Linear(values, classes)))
    if arch == "two_layer":
        layers = nn.Linear(values, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes)
        return Normalised(nn.Sequential(nn.Flatten(), *layers))
    small = max(size) <= SMALL
    model = Normalised(_timm(arch, classes, channels, size, small))
    _try(model, arch, channels, size)
    return model


def _try(model: nn.Module, arch: str, channels: int, size: tuple[int, int]) -> None:
    """One image through a network, which changes nothing in it: what is too large for the images fails here."""
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, channels, *size))
    except Exception as error:  # timm's networks fail in their own ways
        raise ValueError(
            f"{arch!r} is too large for {size[0]}×{size[1]} images ({_first_line(error)}); choose a smaller network, "
            "or enlarge the images (victim.size, data.size)"
        ) from error
    model.train()


def body_of(classifier: nn.Module) -> nn.Module:
    """A classifier of ``build_classifier`` without its last layer, in place: images to features, float B×D.

    Raises:
        ValueError: it has no last linear layer to take off.
    """
    net: Any = classifier.net
    if hasattr(net, "reset_classifier"):
        net.reset_classifier(0)
    elif isinstance(net, nn.Sequential) and len(net) > 2 and isinstance(net[-1], nn.Linear):
        net[-1] = nn.Identity()
    else:
        raise ValueError("this network has no features below its last layer; choose another victim.arch")
    return classifier


def last_layer(classifier: nn.Module) -> nn.Module:
    """The layer of a classifier of ``build_classifier`` that makes logits of features; ``body_of`` takes it off."""
    net: Any = classifier.net
    found: nn.Module = net.get_classifier() if hasattr(net, "get_classifier") else net[-1]
    return found


def check_arch(arch: str) -> str | None:
    """One line saying what is wrong with an architecture's name, or None."""
    if arch in OWN or timm.is_model(arch):
        return None
    near = difflib.get_close_matches(arch, [*OWN, *timm.list_models()], 1)
    return f"{arch!r} is neither one of {', '.join(OWN)} nor a timm model" + (
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
            net = _small_patches(arch, options, size)
        else:
            net = timm.create_model(arch, pretrained=False, **options)
        if small:
            _small_stem(net)
    except Exception as error:  # timm's networks fail in their own ways
        raise ValueError(
            f"{arch!r} cannot be built for {size[0]}×{size[1]} images ({_first_line(error)}); choose another "
            "network, or enlarge the images (victim.size, data.size)"
        ) from error
    return net


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def check_builds(arch: str, classes: int, channels: int, size: tuple[int, int]) -> str | None:
    """One line saying why a network cannot be had for these images, or None; global random state is not changed.

    Args:
        arch: as ``build_classifier``'s.
        classes: number of classes K.
        channels: 1 or 3.
        size: height and width of the images.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            build_classifier(arch, classes, channels, size)
    except ValueError as error:
        return str(error)
    return None


def _eighth(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] // 8, size[1] // 8


def _resize_patches(net: Any, size: tuple[int, int]) -> None:
    """Gives a mixer made for 8×8 patches of another size patches of an eighth of the image's sides.

    Where eight of them do not fill a side, they are that many pixels larger, and overlap.
    """
    old, stride = net.stem.proj, _eighth(size)
    kernel = size[0] - 7 * stride[0], size[1] - 7 * stride[1]
    net.stem.proj = nn.Conv2d(old.in_channels, old.out_channels, kernel, stride=stride)
    net.stem.img_size = size


def _small_patches(arch: str, options: dict[str, Any], size: tuple[int, int]) -> nn.Module:
    """A transformer or mixer whose patches are an eighth of the image's sides.

    timm's mixers fix the patch in their name: such a model is made for 8×8 of its own patches, then given a smaller
    patch embedding.
    """
    try:
        return timm.create_model(arch, pretrained=False, patch_size=_eighth(size), **options)
    except TypeError:
        own: Any = timm.create_model(arch, pretrained=False)
        side = 8 * own.stem.patch_size[0]
        net: nn.Module = timm.create_model(arch, pretrained=False, **{**options, "img_size": (side, side)})
        _resize_patches(net, size)
        return net


def _small_stem(net: nn.Module) -> None:
    """Replaces a downsampling first convolution by a 3×3 one of stride 1 and the stem's max-pool by nothing."""
    modules = dict(net.named_modules())
    name, conv = next((n, m) for n, m in modules.items() if isinstance(m, nn.Conv2d))
    if "patch_embed" in name or (name == "stem.proj" and hasattr(net.stem, "img_size")):
        return  # patches were sized before
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
