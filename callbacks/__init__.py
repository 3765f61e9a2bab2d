"""Lightning callbacks: what happens around the training of a generator.

``seeding`` (random numbers that a resumed run repeats), ``stopping`` (Ctrl-C, SIGTERM), ``throughput`` (images per
second), ``periodic_evaluation`` (pictures and briefly trained victims while the generator learns).
"""
