"""How a stage runs: configuration, media access, the incremental run, progress, problems and the command line."""
