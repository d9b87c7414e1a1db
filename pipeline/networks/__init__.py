"""Torch modules and how published weights fill them; they know nothing of stages, stores or clips."""
