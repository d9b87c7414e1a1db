"""Stage `embed`: clips and captions -> embedding caches. The encoders live here."""
