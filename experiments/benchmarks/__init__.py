"""Benchmarks: each a command that writes its result to results/."""
