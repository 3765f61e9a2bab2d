"""The method: generator, discriminator, surrogates, objectives, the LightningModule, and applying a trained generator.

Read in this order: ``config`` (all choices, their defaults), ``noise`` and ``field`` (what is learned), ``classifier``,
``networks``, ``surrogates`` and ``transforms`` (what it is learned against), ``objectives``, ``module`` (the steps of a
batch), ``protection`` (a trained generator at work).
Nothing is imported here, so that the command line can read ``gan.config`` without loading torch.
"""
