"""A real server on the loopback interface, in front of a fake endpoint."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openai
import pytest

pytest.importorskip("uvicorn", reason="rar serve needs the extra [server]")

from rar.server import ServerConfig, Upstream
from rar.server.running import server_of
from tests.fake_openai import FakeOpenAI


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    url: str
    app: Any

    @property
    def router(self) -> Any:
        return self.app.state.service.router

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    def aclient(self, key: str = "none") -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)


@contextlib.contextmanager
def running(config: ServerConfig) -> Iterator[Served]:
    """Serve on a free port until the block ends."""
    server = server_of(config, port=0, log_level="warning")
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Served(f"http://127.0.0.1:{port}", server.config.app)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def config(fake_openai: FakeOpenAI, tmp_path: Path) -> ServerConfig:
    models = {"weak": Upstream("small-1", fake_openai.url), "strong": Upstream("large-1", fake_openai.url)}
    options = {
        "memory": str(tmp_path / "rar.db"), "embedder": "hashing", "learning": "inline", "seed": 0, "quality": 0.9,
        "prices": {"small-1": (0.1, 0.4), "large-1": (2.0, 8.0)},
    }  # fmt: skip
    return ServerConfig(models, options, patience=2.0)


@pytest.fixture
def serve(config: ServerConfig) -> Iterator[Callable[..., Served]]:
    """Starts servers of `config` with other settings."""
    with contextlib.ExitStack() as running_ones:
        yield lambda **changes: running_ones.enter_context(running(replace(config, **changes)))


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    return serve()
