"""`hearonce add`: a shipped corpus into params.yaml, with all that belongs to it."""
