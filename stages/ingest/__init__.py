"""Stage `ingest`: media and annotation files of a corpus -> canonical tables."""
