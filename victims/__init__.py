"""Who trains on the published images: classifiers, training recipes and the trainer of victims.

``classifier`` (architectures by name, for surrogates too), ``config`` (options and recipes, free of torch),
``schedule`` (learning rates), ``train`` (one pure function). What an attacker may try: ``defences`` (names and
parameters, free of torch), ``purify`` (pixels, image by image), ``sift`` and ``denoise`` (the whole set), ``lessons``
(every batch).
"""
