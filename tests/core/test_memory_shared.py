"""Each backend that processes share keeps its promises to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.shared_memory import SharedMemoryContract
from tests.postgres_server import PostgresServer


class TestSQLite(SharedMemoryContract):
    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        return str(tmp_path / "rar.db")


@pytest.mark.usefixtures("own_cache")
class TestPostgres(SharedMemoryContract):
    @pytest.fixture
    def address(self, postgres: PostgresServer) -> str:
        return postgres.fresh()
