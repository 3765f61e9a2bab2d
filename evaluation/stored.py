"""Protected sets of a run, read back from disk with what their manifests state."""

from pathlib import Path

from torchmetrics.functional.classification import multiclass_accuracy

from datamodules.base import ImageDataModule
from datamodules.config import DataError
from datamodules.images import ImageSet
from datamodules.protected import ProtectedDataset
from evaluation.export import SETTINGS, describe_part, predicted_classes
from evaluation.rows import ClassAccuracy
from victims.pairs import Pairs

# what an image set that is no protected one stands beside
BESIDE = {"clean": "standard", "remainder": "standard"}
BESIDE |= dict.fromkeys(("clean_fast", "remainder_fast", "misclassified"), "fast")


def settings_of(run: Path, data: ImageDataModule) -> list[str]:
    """The settings that a run has protected sets for: methods that need labels have none for unseen images."""
    return [
        setting
        for setting, part in SETTINGS.items()
        if part in data.parts and (setting == "standard" or (run / "protected" / setting).exists())
    ]


def stored_set(run: Path, data: ImageDataModule, setting: str) -> ImageSet:
    """A setting's protected images, decoded from their files.

    Raises:
        DataError: the set is missing, damaged, or of other images than those at hand.
    """
    protected = ProtectedDataset(run / "protected" / setting)
    if protected.header.data != describe_part(data, SETTINGS[setting]):
        raise DataError(f"{protected.folder}: protects other images than those at hand; restore the data")
    return protected.load()


def pairs_of(run: Path, data: ImageDataModule, setting: str) -> Pairs:
    """Pictures that an attacker protected himself: what he learns from to take the noise off a setting's images.

    Those of the other part, which the same generator protected: B for a victim on A, and A for one on B. A method that
    protects no new pictures has no other: then they are the set's own, as if some were published unprotected, too.

    Args:
        run: folder of the protected sets.
        data: as the run had it, set up.
        setting: of the victim, protected or of those in BESIDE.

    Raises:
        DataError: the set is missing, damaged, or of other images than those at hand.
    """
    own = BESIDE.get(setting, setting)
    chosen = next((other for other in settings_of(run, data) if other != own), own)
    return Pairs(data.parts[SETTINGS[chosen]].images, stored_set(run, data, chosen).images)


def linf_bound(run: Path) -> float | None:
    """The L∞ bound of a run's protected sets in grey levels; None where they are bounded otherwise or not at all.

    Raises:
        DataError: the set is missing or damaged.
    """
    header = ProtectedDataset(run / "protected" / "standard").header
    return header.epsilon if header.norm == "linf" else None


def class_accuracy(run: Path, data: ImageDataModule) -> ClassAccuracy | None:
    """How often the class read from unseen images is right; None where none is read."""
    names = predicted_classes(run)
    if names is None:
        return None
    labels = data.parts[SETTINGS["fast"]].labels
    plain, balanced = (multiclass_accuracy(names, labels, data.classes, average=kind) for kind in ("micro", "macro"))
    return ClassAccuracy(accuracy=plain.item(), balanced_accuracy=balanced.item())
