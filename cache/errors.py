"""The one error a user's mistake or a damaged cache raises: a clear sentence, never a traceback."""


class UserError(Exception):
    """What is wrong, where, and what to do about it, in one sentence. The command line prints it and exits with 2."""
