"""Which texts are the path of a memory's file, which are addresses, and which are given by mistake."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final

from rar.errors import AddressError, ConfigurationError
from rar.naming import shown

# `Path("redis://host")` has one slash left. One letter is a drive of Windows.
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]+):/")
_FILE_ADDRESS = re.compile(r"(?P<scheme>sqlite(?:\+\w+)?|file):(?://)?(?P<path>[^?]*)", re.IGNORECASE)
_DSN = re.compile(r"\b(?:host|dbname|hostaddr)\s*=", re.IGNORECASE)  # libpq: "host=… dbname=…"
_ELSEWHERE: Final = (
    "Memories on servers ({name}) are not available in this version. Pass the path of a local file, such as 'rar.db', "
    "or an address of a kind that is: {known}."
)
_POSTGRES: Final = "Write that of a database as 'postgresql://user:password@host:5432/database'."


def address_of(given: str | os.PathLike[str], schemes: Sequence[str]) -> tuple[str, str]:
    """The scheme of an address, and what follows; of a path, `"sqlite"` and the path.

    Raises:
        AddressError: It is an address of another scheme.
        ConfigurationError: It is empty, or no text.
    """
    text = os.fspath(given)
    if isinstance(text, str) and (address := _ADDRESS.match(text)) is not None:
        scheme = address["scheme"].lower()
        file = _FILE_ADDRESS.fullmatch(text)
        if scheme == "sqlite" and file is not None and "://" in text:
            return scheme, file["path"].removeprefix("/")  # `sqlite:////x.db` is /x.db
        if scheme in schemes and scheme != "sqlite":
            return scheme, text
    return "sqlite", path_of(given, schemes)


def path_of(given: str | os.PathLike[str], schemes: Sequence[str] = ("sqlite",)) -> str:
    """`given` as a path.

    Raises:
        AddressError: It is the address of a server or a URL; no folder is made of it.
        ConfigurationError: It is empty, or no text.
    """
    path = os.fspath(given)
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise ConfigurationError(
            f"memory={shown(path)} is no path. Pass that of a file, such as 'rar.db', or ':memory:'."
        )
    if (file := _FILE_ADDRESS.match(path)) is not None:
        scheme = file["scheme"].lower()
        bare = file["path"].removeprefix("/" if scheme != "file" else "")  # `sqlite:////x.db` is /x.db
        raise AddressError(scheme, f"Pass the path alone, without what is before it: memory={shown(bare)}.")
    if (address := _ADDRESS.match(path)) is not None:
        scheme = address["scheme"].lower()
        postgres = scheme.startswith(("postgres", "pgsql", "timescale"))
        known = ", ".join(f"{one}://" for one in schemes)
        raise AddressError(scheme, _POSTGRES if postgres else _ELSEWHERE.format(name=scheme, known=known))
    if _DSN.search(path) is not None:
        raise AddressError("postgresql", _POSTGRES)
    return path
