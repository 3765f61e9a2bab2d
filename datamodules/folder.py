"""``folder``: your own images, in class folders or with a table of labels."""

from datamodules.base import ImageDataModule
from datamodules.config import path_of
from datamodules.source import DatasetInfo, Listing, identity_of
from datamodules.tree import Tree, from_folders, from_table, listing, tree_identity


class Folder(ImageDataModule):
    """Images under ``data.root``, a folder or a .zip or .tar of one.

    * ``<class>/<image>``, at any depth below the class; or
    * ``train/<class>/<image>`` and ``test/<class>/<image>`` (``val`` without ``test`` counts as test); or
    * images anywhere and ``data.labels=<table>.csv``: columns file and label, optionally patient (or lesion, group),
      which is never divided, and split (train, val, test).
    """

    info = DatasetInfo(
        title="Your folder",
        kind="own",
        images="yours",
        size="any, mixed; brought to data.size",
        licence="yours",
        citation="",
        page="",
        todo="data.root=<folder of class folders>, or also data.labels=<CSV>",
    )

    @property
    def title(self) -> str:
        """The folder, which is what messages are about."""
        return str(self.root)

    def identity(self) -> list[str]:
        """All files of the folder, the table, and the classes that are asked for."""
        table = path_of(self.config.labels)
        return [
            tree_identity(self.root),
            identity_of([table], table.parent) if table.is_file() else "",
            self.config.classes,
        ]

    def listing(self) -> Listing:
        """The images and their labels.

        Raises:
            DataError: as ``datamodules.tree`` says.
        """
        tree = Tree(self.root)
        rows, skipped = from_table(tree, path_of(self.config.labels)) if self.config.labels else from_folders(tree)
        chosen = [name.strip() for name in self.config.classes.split(",") if name.strip()]
        return listing(tree, rows, skipped, chosen)
