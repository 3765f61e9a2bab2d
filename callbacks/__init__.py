"""What happens around a GAN run.

Callbacks of the Trainer: ``seeding`` (random numbers that a resumed run repeats), ``stopping`` (Ctrl-C, SIGTERM),
``throughput`` (images per second), ``periodic_evaluation`` (pictures and briefly trained victims while the generator
learns). Evaluators, small classes with a ``run``: ``export``, ``imperceptibility``, ``diagnostics``, ``detection``,
``retraining`` and ``pictures``.
"""
