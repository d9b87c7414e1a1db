"""Which conditions in SQL the server accepts: comparisons of columns, nothing that reads a file or takes memory.

Polars' SQL knows tables that are files (`SELECT * FROM read_csv('...')`), so a condition with a subquery could read
what is not served. On the command line a condition is the user's own; from a browser it is checked.
"""

from __future__ import annotations

import re

import polars as pl

from cache.errors import UserError

_LITERAL = re.compile(r"'(?:[^']|'')*'")
_CALL = re.compile(r"\b([A-Za-z_]\w*)\s*\(")
_WORD = re.compile(r"\b[A-Za-z_]\w*\b")
_FORBIDDEN = ("\\", "--", "/*", "$", "`", '"', "#", ";")
"""Escapes, comments and other quotes: none is needed, and each makes it doubtful where a literal ends."""

_QUERIES = frozenset(
    {
        "select",
        "from",
        "table",
        "values",
        "with",
        "union",
        "intersect",
        "except",
        "exists",
        "into",
        "set",
        "insert",
        "update",
        "delete",
        "drop",
        "create",
        "copy",
    }
)
FUNCTIONS = frozenset(
    {
        "abs",
        "ceil",
        "floor",
        "round",
        "mod",
        "coalesce",
        "ifnull",
        "nullif",
        "greatest",
        "least",
        "lower",
        "upper",
        "length",
        "char_length",
        "starts_with",
        "ends_with",
        "strpos",
        "regexp_like",
    }
)
_BEFORE_BRACKETS = frozenset(
    {
        "and",
        "or",
        "not",
        "in",
        "like",
        "ilike",
        "between",
        "is",
        "when",
        "then",
        "else",
        "case",
        "on",
        "any",
        "all",
    }
)


def check_condition(condition: str) -> None:
    """Refuses a condition that is more than a comparison of columns.

    Raises:
        UserError: it is, or it cannot be understood.

    Example:
        >>> check_condition("duration_s < 5 AND lower(text) LIKE '%select%'")
    """
    outside = _LITERAL.sub(" '' ", condition)
    for sign in _FORBIDDEN:
        if sign in outside or (sign == "\\" and sign in condition):
            raise UserError(f"The condition must not contain {sign!r}.")
    queries = _QUERIES & {word.lower() for word in _WORD.findall(outside)}
    if queries or outside.count("'") % 2:
        found = ", ".join(sorted(queries)).upper() or "a single quote"
        raise UserError(f"The condition compares columns, so it must not contain {found}.")
    calls = {name.lower() for name in _CALL.findall(outside)} - FUNCTIONS - _BEFORE_BRACKETS
    if calls:
        raise UserError(
            f"The condition calls {', '.join(sorted(calls))}; of functions these can be used: "
            f"{', '.join(sorted(FUNCTIONS))}."
        )
    try:
        expression = pl.sql_expr(condition)
    except pl.exceptions.PolarsError as error:
        raise UserError(
            f"The condition {condition[:200]!r} cannot be understood ({str(error).splitlines()[0]})."
        ) from None
    if "subplan(" in str(expression).lower() and "subplan(" not in condition.lower():
        raise UserError("The condition compares columns, so it must not contain a query of its own.")
