"""Media access: what a file holds, its audio as FLAC, its frames at given times. Knows nothing of stages."""
