"""Search: the clips whose embeddings are most similar to a query, over everything that is cached."""
