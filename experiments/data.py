"""Data modules by name."""

from importlib import import_module

from datamodules.base import ImageDataModule
from datamodules.config import SETS, DataConfig
from experiments.config import Config, ConfigError
from experiments.folder import rank_zero_print
from gan.surrogates import parts_of
from victims.classifier import check_builds
from victims.config import PUBLISHED


def module_of(name: str) -> type[ImageDataModule]:
    """The data module's class of that name."""
    file, _, kind = SETS[name].partition(".")
    found: type[ImageDataModule] = getattr(import_module(f"datamodules.{file}"), kind)
    return found


def unready(config: DataConfig, seed: int = 0) -> ImageDataModule:
    """A data module that has not fetched or read anything yet."""
    return module_of(config.name)(config, seed)


def make_data(config: Config) -> ImageDataModule:
    """The run's data module, set up.

    Raises:
        DataError: the source is missing or unusable.
    """
    data = unready(config.data, config.seed)
    data.setup()
    if data.skipped:
        rank_zero_print(data.left_out())
    return data


def check_networks(config: Config, data: ImageDataModule, keys: list[str]) -> None:
    """Refuses networks that cannot take these images, before there is a run folder.

    Args:
        config: names them.
        data: set up.
        keys: which of ``victim.arch``, ``gan.classifier.arch`` and ``gan.surrogates.kinds`` are asked for.

    Raises:
        ConfigError: one cannot be built.
    """
    recipe = config.victim.resolved()
    own = (recipe.size, recipe.size) if recipe.size else data.size
    asked: list[tuple[str, str, tuple[int, int]]] = []
    if recipe.start not in PUBLISHED:  # whose weights are checked elsewhere
        asked.append(("victim.arch", recipe.arch, own))
    if config.gan.classifier.arch != "none":
        asked.append(("gan.classifier.arch", config.gan.classifier.arch, data.size))
    for kind in config.gan.surrogates.kinds.split("+"):
        arch, side, _ = parts_of(kind)
        asked.append(("gan.surrogates.kinds", arch, (side, side)))
    faults = [
        f"{key}: {fault}"
        for key, arch, size in asked
        if key in keys and (fault := check_builds(arch, data.classes, data.channels, size))
    ]
    if faults:
        raise ConfigError(faults)
