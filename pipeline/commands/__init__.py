"""Commands around the stages: `hearonce cache`, `checkpoints`, `logs`."""
