"""The search server: one page and a JSON API over the cached embeddings of a project."""
