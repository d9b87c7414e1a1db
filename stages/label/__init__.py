"""Stage `label`: clips -> labels by what an encoder measures in them, for subsets."""
