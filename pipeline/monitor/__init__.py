"""Runs as they go on and afterwards: progress, problems, log, metrics, signals, disk space; threads."""
