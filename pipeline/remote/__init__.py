"""Media that lie elsewhere: addresses, what goes wrong on the way, downloads, and a bounded place for them here."""
