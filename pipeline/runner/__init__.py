"""How rows are computed: plan what is missing, prefetch, batch, encode, commit; in this process or on a Dask cluster.

The runner is handed a reader, a loader of the encoder and a row store, and knows no stage.
"""
