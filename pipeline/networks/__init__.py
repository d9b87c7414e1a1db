"""The networks of the encoders: torch modules and their preprocessing, which know nothing of stages or caches."""
