"""The command line `rar`; needs the extra `[cli]`, its demo the extra `[demo]`."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from rar.errors import MissingDependencyError


def main() -> None:
    """Run the command line of `sys.argv`. Exit status: 0, 1 for an error that a message explains, 2 for wrong usage."""
    for package in ("typer", "rich"):
        if find_spec(package) is None:
            sys.stderr.write(f"rar: {MissingDependencyError(package, 'cli')}\n")
            sys.exit(2)
    from rar.cli.commands import app  # noqa: PLC0415 - after the check, for it imports both

    app()
