"""`rar demo --live`: local models, a server before them, a stream of questions, and the dashboard to watch it all."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from rar.demo.questions import Question, stream
from rar.demo.run import NAMESPACE, Settings
from rar.errors import MissingDependencyError
from rar.local.server import LocalServer
from rar.memory import open_memory
from rar.prices import Prices
from rar.values import STRONG, WEAK

_NEEDED = (("xllamacpp", "demo"), ("uvicorn", "server"), ("httpx", "server"), ("nicegui", "dashboard"))
_BREATH = 0.3  # seconds between two questions
_PATIENCE = 120.0  # for one answer of a local model on a busy machine
_PART = 400  # questions that are made at a time


def live(
    memory: str | Path,
    *,
    settings: Settings,
    weak: Literal["weak", "tiny"] = "weak",
    server_port: int = 8080,
    dashboard_port: int = 8090,
    tell: Callable[[str], None],
) -> None:
    """Serve, ask and show until the process is told to stop.

    Raises:
        MissingDependencyError, WeightsError: Something of the extras `[demo,server,dashboard]` is not installed.
        MemoryStoreError: The memory cannot be used.
    """
    for package, extra in _NEEDED:
        if find_spec(package) is None:
            raise MissingDependencyError(package, extra)
    from rar.dashboard.desk import Desk  # noqa: PLC0415 - after the check
    from rar.dashboard.running import serve  # noqa: PLC0415 - likewise

    with ExitStack() as stack:
        tell("Loading the models (the first time, their weights are put together)")
        servers = {role: stack.enter_context(LocalServer(name)) for role, name in ((WEAK, weak), (STRONG, "strong"))}
        url = stack.enter_context(_serving(servers, memory, settings, server_port))
        tell(f"The server answers at {url}/v1, model `rar`. A stream of questions is asked there.")
        stack.enter_context(_asking(url, settings.seed, tell))
        opened = stack.enter_context(closing(open_memory(memory, read_only=True)))
        tell("Watch it in the browser; stop it with Ctrl-C:")
        prices: dict[str, Any] = settings.prices
        serve(Desk(opened, Prices(prices)), port=dashboard_port)


@contextmanager
def _serving(servers: dict[str, LocalServer], memory: str | Path, settings: Settings, port: int) -> Iterator[str]:
    """`rar serve` in front of the models, in a thread; its address."""
    from rar.server.config import ServerConfig, Upstream  # noqa: PLC0415 - after the check
    from rar.server.running import server_of  # noqa: PLC0415 - likewise

    models = {role: Upstream(one.model_id, one.url, price=settings.prices.get(role)) for role, one in servers.items()}
    router = {
        "memory": str(memory), "namespace": NAMESPACE, "quality": settings.quality, "policy": settings.policy,
        "learning_budget": settings.learning_budget, "audit_rate": settings.audit_rate, "seed": settings.seed,
    }  # fmt: skip
    server = server_of(ServerConfig(models, router, port=port), log_level="warning")
    thread = threading.Thread(target=server.run, name="rar-serve", daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10.0)


def questions(seed: int) -> Iterator[Question]:
    """Questions without end that need no documents, some of them asked before."""
    for part in itertools.count():
        yield from (one for one in stream(_PART, seed + part) if one.app == "langchain")


@contextmanager
def _asking(url: str, seed: int, tell: Callable[[str], None]) -> Iterator[None]:
    """Have the questions asked in a thread."""
    import httpx  # noqa: PLC0415 - after the check

    over = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=_PATIENCE) as client:
            for one in questions(seed):
                if over.wait(_BREATH):
                    return
                body = {"model": "rar", "messages": [{"role": "user", "content": one.text}], "temperature": 0}
                try:
                    answer = client.post(f"{url}/v1/chat/completions", json=body).json()
                    facts = answer["rar"]
                    asked = " ".join(one.text.split())[:70]
                    tell(f"{facts['model']:>6}  {facts['reason']:<16}  {asked}")
                except (httpx.HTTPError, KeyError, ValueError) as error:
                    tell(f"No answer: {type(error).__name__}")

    thread = threading.Thread(target=ask, name="rar-asks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5.0)
