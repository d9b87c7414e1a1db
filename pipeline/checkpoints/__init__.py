"""Official checkpoint and annotation files: where they are, how they are fetched, and which bytes they had."""
