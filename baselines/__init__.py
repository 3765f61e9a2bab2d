"""Other protections, written from their papers, behind the one interface of datamodules/protected.py (``Protection``).

``config`` (options, free of torch), ``registry`` (a protection by its name), ``facts`` (paper, bound, cost of each);
a file a method; ``noise`` holds what they share, ``surrogate`` what those share that craft against a clean classifier.
"""
