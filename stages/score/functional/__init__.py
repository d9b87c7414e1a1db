"""Functions of arrays: similarity, ranking, metrics, transforms of similarities, uncertainty."""
