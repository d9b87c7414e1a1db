"""The console: the command's frame, text made safe to show, tables."""
