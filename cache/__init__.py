"""Where everything computed is kept: row keys, tables, the row store and the artifact. Knows nothing of models."""
