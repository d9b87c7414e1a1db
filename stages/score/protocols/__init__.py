"""The protocols on tables and embedding caches; what they compute stands in `stages/score/` as functions of arrays."""
