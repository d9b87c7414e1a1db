"""Why an endpoint gave no answer."""

from __future__ import annotations


class NoAnswer(Exception):
    """Why a request was not answered. Holds no key, neither in its text nor in its chain.

    Attributes:
        again: it may be answered when sent again.
        final: no other request will be either.
        pause_s: seconds that the endpoint asks to wait.
        without_schema: it may be answered when sent without a JSON schema.
        of_caption: it lies in the caption, and says nothing of other requests.
        lost: the endpoint may have answered, and counted tokens, but the answer was lost on its way.
    """

    def __init__(
        self,
        reason: str,
        *,
        again: bool = False,
        final: bool = False,
        pause_s: float | None = None,
        without_schema: bool = False,
        of_caption: bool = False,
        lost: bool = False,
    ) -> None:
        super().__init__(reason)
        self.again, self.final, self.pause_s = again, final, pause_s
        self.without_schema, self.of_caption, self.lost = without_schema, of_caption, lost


class Rejected(NoAnswer):
    """The endpoint understands, and does not want: a wrong key, an unknown model, a parameter it does not know."""
