"""What steers a single call in both frameworks: arguments from `rar_force` to `rar_limits`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from rar.errors import FixedNamespaceError, OverrideError, near_name
from rar.limits import Limits
from rar.naming import shown

PREFIX = "rar_"
_ALIKE = 0.85  # `ra_force` is meant for us, `namespace` is not
_STAMPS = ("rar_model", "rar_decision_id")  # what a router says of itself in the metadata of its runs


@dataclass(frozen=True, slots=True)
class Overrides:
    """Those of one call; None where the call says nothing."""

    force: str | None = None
    query: str | None = None
    namespace: str | None = None
    learn: bool | None = None
    user: str | None = None
    thread: str | None = None
    limits: Limits | None = None

    def namespace_in(self, own: str, *, fixed: bool) -> str:
        """The namespace of this call.

        Args:
            own: The constructor's.
            fixed: No call may name another one.

        Raises:
            FixedNamespaceError: It does.
        """
        if fixed and self.namespace not in (None, own):
            raise FixedNamespaceError(own)
        return own if self.namespace is None else self.namespace


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


_KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "rar_force": ('the name of a model, such as "weak" or "strong"', _is_text),
    "rar_query": ("the user's question, a text", _is_text),
    "rar_namespace": ("a name", _is_text),
    "rar_learn": ("True or False", lambda value: isinstance(value, bool)),
    "rar_user": ("a name or id of the user who asks", _is_text),
    "rar_thread": ("an id of the conversation", _is_text),
    "rar_limits": ("a rar.Limits", lambda value: isinstance(value, Limits)),
}
NAMES = tuple(_KINDS)


def overrides_of(*places: Mapping[str, Any]) -> Overrides:
    """The overrides in `places`, the first that has one counting. None counts as not given.

    Raises:
        OverrideError: A name is misspelt or a value is of the wrong type; it says what was probably meant. A question
            that is no text is passed over instead.
    """
    for place in places:
        for name in place:
            if isinstance(name, str) and _misspelt(name):
                raise OverrideError(name, NAMES)
    return Overrides(*(_value(name, places) for name in NAMES))


def without_overrides(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`arguments` for the model: without what is the router's."""
    return {name: value for name, value in arguments.items() if name not in _KINDS}


@lru_cache(1_024)
def _misspelt(name: str) -> bool:
    if name in _KINDS or name in _STAMPS:
        return False
    return name.lower().replace("-", "_").startswith(PREFIX) or near_name(name, NAMES, _ALIKE) is not None


def _value(name: str, places: Sequence[Mapping[str, Any]]) -> Any:
    value = next((found for place in places if (found := place.get(name)) is not None), None)
    what, fits = _KINDS[name]
    if value is None or fits(value):
        return value
    if name == "rar_query":  # it comes from users, whose answer it must not cost
        _say_ignored(type(value).__name__)
        return None
    raise OverrideError(name, NAMES, f"{shown(value)} is not {what}")


@cache
def _say_ignored(kind: str) -> None:
    """Say once that `rar_query` was no text."""
    logging.getLogger("rar").warning(
        "A call's rar_query (%s) holds no text, so the question is looked for in the prompt. Pass the user's question.",
        kind,
    )
