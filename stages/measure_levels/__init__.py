"""Stage `measure_levels`: how loud each clip is, and which clips are silent."""
