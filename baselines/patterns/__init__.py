"""The first build of this project as a baseline: patterns chosen by hand, one a class, in the mixture that is read."""
