"""Stages on a Dask cluster: the media of a run are divided among workers, and one process keeps what they make."""
