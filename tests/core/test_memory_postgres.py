"""The PostgreSQL memory: the contract, and what belongs to a server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed")

from rar.memory import Memory
from rar.memory.postgres import PostgresMemory
from tests.contract.memory import MemoryContract
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.usefixtures("own_cache")


class TestPostgresMemory(MemoryContract):
    @pytest.fixture
    def fresh(self, postgres: PostgresServer) -> Callable[[], Memory]:
        return lambda: PostgresMemory(postgres.fresh())
