"""The first build of this project as a baseline: patterns chosen by hand, one per class, mixed by the class code."""
