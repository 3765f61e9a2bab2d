"""LightningDataModules over one base, and protected sets on disk.

``config`` (options, free of torch), ``base`` (image sets, splits, loaders), ``digits`` and ``npz`` (facts about a
source), ``protected`` (what an owner publishes and a victim trains on).
"""
