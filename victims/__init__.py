"""Who trains on the published images: training recipes and the trainer of victims.

``config`` (options and recipes, free of torch), ``train`` (one pure function).
"""
