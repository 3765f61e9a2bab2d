"""What is worth running on a GPU; every program here also runs, at a small size, on a CPU."""
