"""Redaction: what of a question may be looked up and stored, by a function of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from rar.guarding import PASSED_ON
from rar.naming import cause
from rar.notices import Notices
from rar.values import Request

LONGEST_KEY = 1_000_000  # characters of a question; nothing is learned from longer ones


@dataclass(frozen=True)
class Redaction:
    """Applies a user's function, which may fail. Any thread may call it, if the function allows that.

    Args:
        redact: None: texts are stored as they are.
    """

    redact: Callable[[str], str] | None
    notices: Notices

    def request(self, request: Request) -> Request:
        """The request with its question as it may be stored; nothing is learned of one without."""
        key = request.key
        if key is not None and (not isinstance(key, str) or len(key) > LONGEST_KEY):
            self.notices("key", "A question of another type or of too great a length is not looked up or learned.")
            key = None
        if key is not None and self.redact is not None:
            key = self.clean(key)
        return request if key is request.key else replace(request, key=key, learn=request.learn and key is not None)

    def clean(self, text: str) -> str | None:
        """`text` as it may be stored; None where nothing of it may be, for `redact` failed."""
        assert self.redact is not None
        try:
            cleaned = self.redact(text)
        except PASSED_ON:
            raise
        except BaseException as error:
            self.notices(
                "redact", "`redact` raised, so nothing of this request is looked up or learned. %s", cause(error)
            )
            return None
        if isinstance(cleaned, str) and len(cleaned) <= LONGEST_KEY:
            return cleaned
        found = f"{len(cleaned):,} characters" if isinstance(cleaned, str) else f"a {type(cleaned).__name__}"
        self.notices("redacted", "`redact` returned %s; nothing of such a request is looked up or learned.", found)
        return None
