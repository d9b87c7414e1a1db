"""AudioEpicMIR, EpicSoundsRet and AudioEgoMCQ in miniature: the published file formats over the demo's real media."""
