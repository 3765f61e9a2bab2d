"""Who trains on the published images: classifiers, training recipes and the trainer of victims.

``classifier`` (architectures by name, for surrogates too), ``config`` (options and recipes, free of torch),
``schedule`` (learning rates), ``train`` (one pure function).
"""
