"""Exact ranks and nearest items where the matrix of similarities is larger than memory."""
