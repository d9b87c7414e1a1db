"""Typed configuration: `params.yaml` says what a run takes in, `configs/` holds a YAML file per thing named."""
