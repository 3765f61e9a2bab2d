"""A generator for an owner's own photos: labels from class folders, else from groups of like photos.

The groups are k-means clusters of what the frozen encoder sees. They are no classes that an owner would name; what the
run measures with them (results.json) is how badly classifiers learn those groups from protected photos.
"""

import csv
import io
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from sklearn.cluster import KMeans

from datamodules.config import DataError
from datamodules.decode import BadImage, TargetFormat, read
from datamodules.files import write_atomic
from datamodules.images import to_float
from datamodules.tree import Tree, from_folders
from experiments.config import compose
from experiments.folder import RunError, is_main, rank_zero_print
from gan.encoder import Encoder, PretrainedEncoder

SIDE, BATCH = 64, 32
SMALLEST = 10  # photos of a class: fewer cannot be divided into the parts of a run


def fit(source: Path, run: Path, clusters: int, options: list[str], encoder: Encoder | None = None) -> Path:
    """Trains a generator on a folder of photos, or resumes a training.

    Args:
        source: the photos; class folders with at least two classes of SMALLEST photos are taken for labels.
        run: its folder; one that is there already is finished, or used as it is where it is.
        clusters: how many groups stand in where there are no class folders.
        options: of ``train``; the same when the run is resumed.
        encoder: what groups the photos; None: the pretrained one.

    Returns:
        The run's folder.

    Raises:
        DataError, RunError, ConfigError: as their messages say.
    """
    from experiments.train import train

    table = run.with_name(f"{run.name}.labels.csv")
    mine = [f"data.root={source}", "data=folder"]
    if (run / "config.yaml").is_file():
        _check(run, source)
        if (run / "results.json").is_file():
            rank_zero_print(f"fit: {run} is trained already")
            return run
        rank_zero_print(f"fit: resumes {run} with the options it was started with")
        train(compose([f"resume={run}"])[0], [f"resume={run}"])
        return run
    if _has_classes(source):
        rank_zero_print("fit: labels are the names of the folders")
    else:
        labels = _clusters(source, clusters, encoder)
        table.parent.mkdir(parents=True, exist_ok=True)
        _write(table, labels)
        rank_zero_print(
            f"fit: no class folders of {SMALLEST} photos each, so {clusters} groups of like photos stand in for "
            f"classes; they are in {table}"
        )
        mine.append(f"data.labels={table}")
    arguments = [*mine, f"run_dir={run}", *options]
    train(compose(arguments)[0], arguments)
    return run


def _check(run: Path, source: Path) -> None:
    """Refuses a run of other photos."""
    from omegaconf import OmegaConf

    root = OmegaConf.select(OmegaConf.load(run / "config.yaml"), "data.root")
    if root is None or Path(root).resolve() != source.resolve():
        raise RunError(f"run: {run} was trained on {root}, not on {source}; give run=<another folder>")


def _has_classes(source: Path) -> bool:
    """Whether the folder has class folders, and two of them enough photos."""
    try:
        rows, outside = from_folders(Tree(source))
    except DataError:
        return False
    if len(outside) > 0.05 * len(rows):  # more than a run leaves out
        return False
    counts = np.unique([row.label for row in rows], return_counts=True)[1]
    return len(counts) > 1 and int(counts.min()) >= SMALLEST


def _clusters(source: Path, count: int, encoder: Encoder | None) -> dict[str, int]:
    """Each photo's group, by its path; groups are numbered by their size, the largest first.

    Raises:
        DataError: too few photos, or a group is too small to be divided.
    """
    tree, names, features = Tree(source), [], []
    waiting: list[np.ndarray] = []
    _check_count(len(tree.images), count)
    seeing = encoder or PretrainedEncoder()

    def settle() -> None:
        images = torch.from_numpy(np.stack(waiting)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            features.append(seeing(to_float(images)).numpy())
        waiting.clear()

    for name in track(tree.images, "reading photos", disable=not is_main(), transient=True):
        try:
            waiting.append(read(source / name, TargetFormat(SIDE, "crop", 3)))
        except BadImage:  # 'train' and 'protect' list it, with the reason
            continue
        names.append(name)
        if len(waiting) == BATCH:
            settle()
    if waiting:
        settle()
    _check_count(len(names), count)
    found = np.concatenate(features)
    scaled = (found - found.mean(0)) / (found.std(0) + 1e-3)
    groups = KMeans(count, n_init=4, random_state=0).fit_predict(scaled)
    sizes = np.bincount(groups, minlength=count)
    if sizes.min() < SMALLEST:
        raise DataError(
            f"clusters: of {count} groups the smallest has {sizes.min()} photos, {SMALLEST} are needed; give fewer "
            "clusters"
        )
    rank = np.argsort(np.argsort(-sizes, kind="stable"))
    return dict(zip(names, rank[groups].tolist(), strict=True))


def _check_count(photos: int, count: int) -> None:
    if photos < count * SMALLEST:
        raise DataError(
            f"clusters: {photos} photos are too few for {count} groups of {SMALLEST}; give fewer clusters, or protect "
            "with a generator that was trained on other photos"
        )


def _write(table: Path, labels: dict[str, int]) -> None:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["file", "label"])
    lines.writerows((name, f"group {label}") for name, label in labels.items())
    write_atomic(table, text.getvalue().encode(errors="surrogateescape"))
