"""Upkeep of row stores: merging segments, finding damage and dropping what it touched, moving rows between stores."""
