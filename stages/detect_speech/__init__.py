"""Stage `detect_speech`: whether somebody speaks in each clip."""
