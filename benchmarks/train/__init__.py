"""Training over our cache, beside the reference."""
