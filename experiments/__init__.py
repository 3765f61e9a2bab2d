"""The command line, configs, run folders, results and benchmarks."""
