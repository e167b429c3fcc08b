"""Guides of recorded outcomes: a text that names the group it is for, as the router stores and sends any other."""

from __future__ import annotations

import re

from rar.errors import EvaluationDataError
from rar.outcomes import Outcomes
from rar.values import Guide, Request

_LETTERS = "bcdfghjklmnpqrstvwxz"  # they spell no word that a check of guides may take for something else
_NAMED = re.compile(rf"of the kind ([{_LETTERS}]+)\.")
_QUOTED = re.compile(r"(?ms)^----- conversation (\w+) -----\n(.*)\n----- end of conversation \1 -----$")


def guide_text(group: int, edition: int) -> str:
    """The text of a guide for the group of this number. Editions differ, as what a model writes twice does."""
    return (
        f"Use when: the request is of the kind {_spelled(group)}.\n"
        f"1. Recall the method {_spelled(edition)} for it.\n2. Apply the method step by step.\nAvoid: haste."
    )


def is_for(guide: Guide, group: int) -> bool:
    """Whether a guide is a recorded one for the group of this number."""
    named = _NAMED.search(guide.text)
    return named is not None and named[1] == _spelled(group)


def group_at(outcomes: Outcomes, row: int) -> int:
    """The number of a row's group; all rows are of one where groups are not known."""
    return 0 if outcomes.groups is None else outcomes.group_numbers[outcomes.groups[row]]


def row_written_for(outcomes: Outcomes, request: Request) -> int:
    """The row whose question a request for a guide quotes.

    Raises:
        EvaluationDataError: It quotes none.
    """
    quoted = _QUOTED.search(request.messages[-1].text)
    said = quoted[2] if quoted else ""
    for start in re.finditer("user: ", said):
        if (row := outcomes.places.get(said[start.end() :])) is not None:
            return row
    raise EvaluationDataError(outcomes.name, "a guide was asked for with a question that is in none of its rows")


def _spelled(number: int) -> str:
    """A number in letters, four at least."""
    found = ""
    while number or len(found) < 4:
        number, digit = divmod(number, len(_LETTERS))
        found = _LETTERS[digit] + found
    return found
