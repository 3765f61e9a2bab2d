"""The method: generator, discriminator, surrogate, objectives, the LightningModule, and applying a trained generator.

Read in this order: ``config`` (every choice and its default), ``networks``, ``reader``, ``objectives``,
``module`` (the three steps of a batch), ``protection`` (a trained generator at work).
Nothing is imported here, so that the command line can read ``gan.config`` without loading torch.
"""
