"""On-disk forms of rows: Zarr v3 groups, HDF5 files, and the feature files that others publish."""
