"""Audio descriptions and relevancy levels of captions, written by a language model."""
