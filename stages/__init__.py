"""What is computed: one folder per stage of `dvc.yaml`, with all it needs inside."""
