"""Stage `train`: cached features -> a network. Decodes no media and runs no other model."""
