"""Data modules by name."""

from datamodules.base import ImageDataModule
from experiments.config import Config


def make_data(config: Config) -> ImageDataModule:
    """The run's data module, set up.

    Raises:
        DataError: the source is missing or unusable.
    """
    from datamodules.digits import Digits
    from datamodules.npz import Npz

    module = {"digits": Digits, "npz": Npz}[config.data.name]
    data = module(config.data, config.seed)
    data.setup()
    return data
