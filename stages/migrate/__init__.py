"""`hearonce migrate`: params.yaml, configs/ and outputs of the last version in the form of this one."""
