"""How fast features are computed, beside the originals: `python -m benchmarks.features`."""
