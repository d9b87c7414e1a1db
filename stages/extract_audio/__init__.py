"""Stage `extract_audio`: the sound track of each medium, once, as FLAC in the store."""
