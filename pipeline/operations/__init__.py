"""How a run is begun, watched, ended and remembered: its plan, room on the disk, signals, log and measured speed."""
