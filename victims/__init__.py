"""Who trains on the published images: classifiers, training recipes, defences and the trainer of victims.

``classifier`` (architectures by name, for surrogates too), ``config`` (options and recipes, free of torch),
``loop`` (the epochs of every training, signed steps, optimizers), ``schedule`` (learning rates), ``defences`` (what an
attacker may try, free of torch; carried out in ``input_stage``,
``batch_stage``, ``dataset_stage`` and ``denoise``), ``train`` (one pure function).
"""
