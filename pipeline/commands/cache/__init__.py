"""`hearonce cache …`: looking into stores and embedding caches, keeping them small and sound, and sharing them."""
