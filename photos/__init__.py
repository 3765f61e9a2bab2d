"""The owner's side: photo files and folders, what describes them, noise at native size, the report."""
