"""`hearonce cache …`: looking into stores and embedding caches, keeping them tidy, and sharing them."""
