"""One module per kind of corpus: each offers `read(place, config) -> Annotations`."""
