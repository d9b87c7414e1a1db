"""Runs on a Dask cluster: media are divided among workers, and one process commits what they compute."""
