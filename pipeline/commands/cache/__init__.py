"""`hearonce cache …`: list, verify, repair, maintain and exchange row stores and embedding caches."""
