"""Stage `score`: tables + embedding caches -> metrics of one experiment. Loads no model and no torch."""
