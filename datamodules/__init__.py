"""LightningDataModules over one base, and protected sets on disk.

``config`` (options, free of torch); ``base`` (fetch, decode, split, load) over ``download``, ``archive``, ``decode``,
``cache``, ``split``, ``images`` and ``batches``; one file per source, which states its ``DatasetInfo`` (``cifar``,
``isic``, ``folder``, …), with ``source``, ``tree`` and ``arrays`` to list its images; ``augment`` (batches on their
device); ``protection`` (what every protection offers), ``protected`` (what an owner publishes and a victim trains on),
``files`` (whole or absent); ``renames`` (names that options, settings and grids had before).
"""
