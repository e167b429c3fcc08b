"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import random
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

import rar.deciding
from tests.fake_openai import FakeOpenAI
from tests.postgres_server import PostgresServer, running


@pytest.fixture(scope="session", autouse=True)
def same_draws() -> Iterator[None]:
    """Routers without a seed draw the same audits in every run, so that no test fails by chance."""
    with pytest.MonkeyPatch.context() as patch:
        seeded = SimpleNamespace(Random=lambda seed=None: random.Random(0 if seed is None else seed))
        patch.setattr(rar.deciding, "random", seeded)
        yield


@pytest.fixture
def fake_openai() -> Iterator[FakeOpenAI]:
    """A running fake OpenAI server of this test alone."""
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL server of this session."""
    yield from running()


@pytest.fixture(scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What memories on servers keep on this machine is kept in a folder of this session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
