"""A busy machine makes no test of scoring fail: examples have no time limit."""

from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
