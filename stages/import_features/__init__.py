"""Published feature files -> embedding caches."""
