"""Media access: what a file holds, its sound as FLAC, its pictures at given times. Knows nothing of stages."""
