"""Ceilings and budgets of processes that share a memory: what one reserves, no other spends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rar.memory import SQLiteMemory, open_memory, tills
from rar.memory.base import Batch, Spend
from rar.memory.tills import Account, Ask, Settled
from tests.postgres_server import PostgresServer

DAY = 86_400.0


@pytest.fixture(params=["file", "server"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return str(tmp_path / "rar.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.fresh()


@pytest.fixture
def open_it(address: str, own_cache: Any) -> Iterator[Callable[[], Any]]:
    """Opens the memory anew, as another process does."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(open_memory(address))  # type: ignore[arg-type]


def account(limit: float, name: str = "day", *, namespace: str | None = None, kept: bool = False) -> Account:
    return Account(name, namespace, 0.0, lambda stored: (limit, sum(spend.usd for spend in stored)), kept=kept)


def spend(usd: float, namespace: str = "a") -> Spend:
    return Spend(namespace, "serve", "strong", "big-1", 1, 10, 10, usd)


class TestAMemory:
    def test_what_one_process_reserves_does_not_fit_for_another(self, open_it: Any) -> None:
        one, other = open_it(), open_it()

        (first,) = one.reserve("one", [Ask(account(1.0), 0.0, 0.0, 0.0, (0.6,))])
        (second,) = other.reserve("other", [Ask(account(1.0), 0.0, 0.0, 0.0, (0.6, 0.3))])
        (third,) = other.reserve("other", [Ask(account(1.0), 0.3, 0.3, 0.3, (0.6, 0.3))])

        assert [grant.free for grant in (first, second, third)] == [0.6, 0.3, 0.0]
        assert third.left == pytest.approx(0.1)

    def test_far_from_a_ceiling_more_is_reserved_than_a_call_needs(self, open_it: Any) -> None:
        (grant,) = open_it().reserve("one", [Ask(account(320.0), 0.0, 0.0, 0.0, (0.5,))])

        assert grant.free == 10.0

    def test_what_is_spent_is_reserved_no_more_in_the_transaction_that_adds_it_up(self, open_it: Any) -> None:
        one, other = open_it(), open_it()
        one.reserve("one", [Ask(account(1.0), 0.25, 0.25, 0.25)])
        one.write(Batch(spending=(spend(0.25),), settled=(Settled("day", None, "one", 0.25),)))

        (grant,) = other.reserve("other", [Ask(account(1.0), 0.0, 0.0, 0.0)])

        assert (grant.left, grant.spent) == (0.75, 0.25)

    def test_a_namespaces_account_adds_up_that_one_only_and_a_days_that_day_only(self, open_it: Any) -> None:
        memory = open_it()
        memory.write(Batch(spending=(spend(0.25, "a"), spend(0.5, "b"))))

        def left(account: Account) -> float:
            (grant,) = memory.reserve("one", [Ask(account, 0.0, 0.0, 0.0)])
            return float(grant.left)

        assert left(account(1.0)) == 0.25
        assert left(account(1.0, "b", namespace="b")) == 0.5
        tomorrow = Account("tomorrow", None, time.time() + DAY, account(1.0).weigh)
        assert left(tomorrow) == 1.0

    def test_a_conversations_sum_is_kept_under_its_own_name_until_its_namespace_is_deleted(self, open_it: Any) -> None:
        memory, talk = open_it(), account(1.0, "talk", namespace="a", kept=True)
        memory.reserve("one", [Ask(talk, 0.25, 0.25, 0.25)])
        memory.write(Batch(spending=(spend(0.25),), settled=(Settled("talk", "a", "one", 0.25, kept=True),)))

        (before,) = memory.reserve("other", [Ask(talk, 0.0, 0.0, 0.0)])
        memory.delete(namespace="a")
        (after,) = memory.reserve("other", [Ask(talk, 0.0, 0.0, 0.0)])

        assert (before.left, after.left) == (0.75, 1.0)

    def test_what_a_dead_process_reserved_comes_back(self, open_it: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        module = "sqlite_tills" if isinstance(open_it(), SQLiteMemory) else "postgres_tills"
        own = f"rar.memory.{module}._OWN"
        if module == "sqlite_tills":
            monkeypatch.setattr(f"rar.memory.{module}.HELD", -1.0)
            monkeypatch.setattr(f"rar.memory.{module}.LEASE", -tills.GRACE - 1.0)
        else:
            from rar.memory import postgres_tills

            sql = postgres_tills._OWN.replace(f"{tills.HELD}", "-1.0").replace(f"{tills.LEASE + tills.GRACE}", "-1.0")
            monkeypatch.setattr(own, sql)
        memory = open_it()
        memory.reserve("dead", [Ask(account(1.0), 0.4, 0.4, 0.4, (0.6,))])

        (grant,) = memory.reserve("alive", [Ask(account(1.0), 0.0, 0.0, 0.0)])

        assert grant.left == 1.0

    def test_threads_of_many_connections_never_get_more_than_there_is(self, open_it: Any) -> None:
        memories = [open_it() for _ in range(4)]

        def reserve(n: int) -> float:
            (grant,) = memories[n % 4].reserve(f"{n}", [Ask(account(1.0), 0.0, 0.0, 0.0, (0.1,))])
            return float(grant.free)

        with ThreadPoolExecutor(8) as pool:
            granted = sum(pool.map(reserve, range(24)))

        assert granted == pytest.approx(1.0)
