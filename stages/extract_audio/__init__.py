"""Stage `extract_audio`: the audio track of each medium, once, as FLAC in the store."""
