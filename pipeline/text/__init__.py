"""Texts that people give: how their bytes are read, and the dialects of their tables."""
