"""Networks and weight readers that the encoders are built from."""
