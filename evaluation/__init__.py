"""What is measured of a protection and of the victims that are trained on it; nothing here knows a command line.

``stored``: protected sets read back; ``imperceptibility``, ``diagnostics``, ``detection``: small classes with ``run``;
``measure``: the one way to measure a protection and to train and score a victim; ``export``: what a fitted protection
leaves on disk; ``pictures``; ``jobs``: work shared out among processes.
"""
