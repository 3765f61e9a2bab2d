"""Other protections, written from their papers, behind the one interface of datamodules/protection.py (``Protection``).

``config`` (options, free of torch), ``registry`` (a protection by its name), ``info`` (paper, bound, cost of each);
one file per method; ``noise`` holds what they share, ``surrogate`` what those share that craft against a clean
classifier.
"""
