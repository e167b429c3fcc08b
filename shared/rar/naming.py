"""How what a user passed is named in messages, logs and reprs: by what it is.

Its own `repr` may hold an API key, and so may the message of an error that a model raised. Only plain values are shown.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import sqlite3
import traceback
import types
from pathlib import Path
from typing import Any

_LONGEST = 60  # characters of a string
_SHOWN_AS_THEY_ARE = (bool, int, float, type(None), type(...))
_NAMED = re.compile(r"<[\w. ()]+>")  # what `shown` itself says of an object
_CREDENTIALS = re.compile(r"(:/{1,2})[^/?#\s]*@")  # of `scheme://user:password@host`; a `Path` has one slash left
_KEY = re.compile(  # as providers begin them, or a long run of letters and digits, which no name of a model is
    r"\b(?:(?:sk|pk|rk|hf|gsk|gh[pousr]|xox[a-z]|glpat)[-_]|AIza|AKIA|eyJ)[-_A-Za-z0-9.]{15,}[-_A-Za-z0-9]"
    r"|\b(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{24,}\b"
)
_CODE = re.compile(r"[a-z][a-z_]{1,39}|[A-Z]{1,3}\d{2,5}|\d{1,5}")  # `invalid_api_key`, `HTTP401`, `429`


def shown(value: object) -> str:
    """A plain value as Python writes it, without what looks like a key; anything else by its type: `<OpenAI object>`.

    Objects of this package are shown as they show themselves, which is by this function again.
    """
    kind = type(value)
    if kind is str:
        return _text(str(value))
    if kind in _SHOWN_AS_THEY_ARE:
        return repr(value)
    if kind in (tuple, list):
        return _row(value)  # type: ignore[arg-type]  # it is one of these
    if isinstance(value, type):
        return f"<class {value.__name__}>"
    if isinstance(value, types.FunctionType):
        return f"<function {value.__name__}>"
    if kind is functools.partial:
        return "<partial object>"
    if isinstance(value, Path):
        return _text(str(value))
    if kind.__module__.partition(".")[0] == "rar" and kind.__repr__ is not object.__repr__:
        return repr(value)
    return f"<{kind.__name__} object>"


def plain(value: object) -> Any:
    """`value` where it may be kept in an error: itself if it is plain, else its name."""
    return value if type(value) in _SHOWN_AS_THEY_ARE else without_keys(value) if type(value) is str else shown(value)


def without_keys(text: str) -> str:
    """`text` without what looks like a key or a password."""
    return _KEY.sub("…", without_credentials(text))


def without_credentials(address: str) -> str:
    """`address` without user and password; paths stay as they are."""
    return _CREDENTIALS.sub(r"\1…@", address)


def cause(error: BaseException) -> str:
    """What went wrong, for a log: type, code and place. Not the message, which may quote a key or a user's text.

    Errors of this package, of files and of SQLite say nothing of the kind, so that they are told in full.
    """
    name = type(error).__name__
    if type(error).__module__ == "rar.errors" or isinstance(error, sqlite3.Error):
        return f"{name}: {without_keys(str(error))}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{name}{_code(error)}{place}"


def fields_repr(self: Any) -> str:
    """The `__repr__` of a dataclass whose fields a user may fill with anything."""
    given = ", ".join(
        f"{field.name}={shown(getattr(self, field.name))}" for field in dataclasses.fields(self) if field.repr
    )
    return f"{type(self).__name__}({given})"


def function_name(value: object) -> str:
    """What a function is called; of another callable, its type's name."""
    return str(value.__name__) if inspect.isroutine(value) else type(value).__name__


def _text(text: str) -> str:
    text = without_keys(text)
    if _NAMED.fullmatch(text):
        return text
    return repr(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")


def _row(values: tuple[object, ...] | list[object]) -> str:
    inside = ", ".join(shown(value) for value in values[:4]) + (", …" if len(values) > 4 else "")
    if isinstance(values, list):
        return f"[{inside}]"
    return f"({inside},)" if len(values) == 1 else f"({inside})"


def _code(error: BaseException) -> str:
    for name in ("status_code", "http_status", "code"):
        code = getattr(error, name, None)
        if isinstance(code, (int, str)) and _CODE.fullmatch(str(code)):
            return f" ({code})"
    return ""
