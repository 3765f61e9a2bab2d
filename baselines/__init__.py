"""Other protections, written from their papers, behind the one interface of datamodules/protected.py (``Protection``).

``config`` (options, free of torch), ``registry`` (a protection by its name), then one file a method: ``random_noise``,
``lsp``, ``emn``; ``noise`` holds what they share.
"""
