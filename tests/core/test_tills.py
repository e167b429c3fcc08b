"""Ceilings and budgets of processes that share a memory: what one reserves, no other spends."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from rar import Ceiling, Router, open_memory
from rar.errors import BudgetExceededError, MemoryStoreError
from rar.memory import SQLiteMemory, tills
from rar.memory.base import Batch, Spend
from rar.memory.tills import Account, Ask, Settled
from rar.notices import Notices
from rar.purses import Purse
from rar.values import Usage, question
from tests.core.test_limits import PRICES, Costly
from tests.core.world import Scripted, serve
from tests.docs.blocks import ROOT
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

    def test_what_is_spent_of_what_was_reserved_beforehand_is_not_counted_twice(self, open_it: Any) -> None:
        one, other = open_it(), open_it()
        one.reserve("one", [Ask(account(1.0), 0.0, 0.0, 0.0, (0.6,))])
        one.write(Batch(spending=(spend(0.5),), settled=(Settled("day", None, "one", 0.5),)))

        (grant,) = other.reserve("other", [Ask(account(1.0), 0.0, 0.0, 0.0)])

        assert grant.left == pytest.approx(0.4)

    def test_a_process_owes_nothing_after_it_gave_back_what_it_did_not_spend(self, open_it: Any) -> None:
        one, other, day = open_it(), open_it(), account(1.0)
        purse = Purse(one, Notices())
        purse.fill({day: (0.6,)})
        purse.paid([day], 0.5)
        settled = purse.drain()
        one.write(Batch(spending=(spend(0.5),), settled=settled))
        purse.stored(settled)
        purse.close()
        purse.fill({day: (0.25,)})  # as the next call would, had it not ended
        purse.hold("call", [day], 0.25)
        purse.close()

        (grant,) = other.reserve("other", [Ask(day, 0.0, 0.0, 0.0)])

        assert grant.left == pytest.approx(0.25)

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


@pytest.fixture
def make(address: str, own_cache: Any) -> Iterator[Callable[..., Router]]:
    """Makes routers of one memory, as the processes that share it do. All goes to the strong model."""
    with ExitStack() as stack:

        def make(**options: Any) -> Router:
            usual: dict[str, Any] = {
                "memory": address, "embedder": "hashing", "learning": "off", "prices": PRICES, "over_limit": "error",
                "strategy": lambda _: "strong",
            }  # fmt: skip
            router = stack.enter_context(Router(**{**usual, **options}))
            for _ in range(200):
                router.ledger.add("elsewhere", "serve", "strong", "strong", Usage(1, 1_000), usd=0.0)
            return router

        yield make


MODELS: Any = {name: Costly(name) for name in ("weak", "mid", "strong")}


def ask(router: Router, **fields: Any) -> bool:
    """Whether a request is answered, at the price of a strong answer."""
    try:
        serve(router, MODELS, question("Why?", **fields))
    except BudgetExceededError:
        return False
    return True


def asked(router: Router) -> list[int]:
    """How many accounts the memory was asked about, each time."""
    assert router.memory is not None
    counts: list[int] = []
    reserve = router.memory.reserve  # type: ignore[attr-defined]

    def seen(owner: str, asks: Any) -> Any:
        counts.append(len(asks))
        return reserve(owner, asks)

    router.memory.reserve = seen  # type: ignore[attr-defined]
    return counts


class TestRouters:
    def test_processes_at_a_ceiling_do_not_exceed_it_together(self, make: Any) -> None:
        routers = [make(spend=Ceiling(1.05)) for _ in range(4)]

        with ThreadPoolExecutor(8) as pool:
            answered = list(pool.map(lambda n: ask(routers[n % 4]), range(40)))

        assert sum(answered) == 10  # at a tenth of a USD each

    def test_each_has_its_own_part_of_a_namespaces_and_a_conversations_ceiling(self, make: Any) -> None:
        spend = [Ceiling(0.35, per="thread"), Ceiling(0.55, per="namespace")]
        one, other = make(spend=spend), make(spend=spend)

        talk = [ask(router, thread="a") for router in (one, other, one, other, one)]
        rest = [ask(router) for router in (one, other, one, other)]

        assert (sum(talk), sum(rest)) == (3, 2)
        assert ask(other, namespace="elsewhere", thread="a")

    def test_a_conversations_id_is_not_stored(self, make: Any, address: str) -> None:
        router = make(spend=Ceiling(1.0, per="thread"))
        ask(router, thread="secret-session")
        router.flush()

        assert router.memory is not None
        if isinstance(router.memory, SQLiteMemory):
            stored = Path(address).read_bytes() + Path(f"{address}-wal").read_bytes()
            assert b"secret-session" not in stored
        else:
            assert "secret-session" not in str(router.memory.all("SELECT * FROM @reserved", []))  # type: ignore[attr-defined]

    def test_far_from_a_ceiling_a_decision_asks_for_nothing_nearly_always(self, make: Any) -> None:
        router = make(spend=Ceiling(1_000.0))
        counts = asked(router)

        assert all(ask(router) for _ in range(100))
        assert len(counts) <= 2

    def test_without_a_ceiling_nobody_is_asked(self, make: Any) -> None:
        router = make()
        counts = asked(router)

        assert all(ask(router) for _ in range(3))
        assert counts == []

    def test_what_a_process_does_not_need_is_given_back_when_it_ends(self, make: Any) -> None:
        one = make(spend=Ceiling(3.25))
        assert ask(one)
        one.close()
        other = make(spend=Ceiling(3.25))

        assert sum(ask(other) for _ in range(40)) == 31

    def test_while_the_memory_is_away_each_goes_by_what_it_knows(
        self, make: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        router = make(spend=Ceiling(0.45))
        assert ask(router)
        assert router.memory is not None

        def away(*_: Any) -> None:
            raise MemoryStoreError("there", "it is away")

        monkeypatch.setattr(router.memory, "reserve", away)

        assert [ask(router) for _ in range(5)] == [True, True, True, False, False]

    async def test_with_an_event_loop_too(self, make: Any) -> None:
        routers = [make(spend=Ceiling(0.35)) for _ in range(2)]
        answered = 0
        for n in range(8):
            with suppress(BudgetExceededError):
                decision = await routers[n % 2].adecide(question("Why?"), MODELS)
                routers[n % 2].learn(decision, await MODELS["strong"].acall(decision.call), MODELS)
                answered += 1

        assert answered == 3


def learners(make: Any, **options: Any) -> tuple[Router, ...]:
    """Two processes that learn what they serve, at once."""
    usual: dict[str, Any] = {
        "learning": "inline", "strategy": "rar", "over_limit": "cheaper", "judge": "exact", "judge_budget": None,
        "guides": False, "seed": 0, "prices": {"weak": (0.0, 1_000.0), "strong": (0.0, 1_000.0)},
    }  # fmt: skip
    return make(**{**usual, **options}), make(**{**usual, **options})


def learned_usd(router: Router) -> float:
    assert router.memory is not None
    return sum(spend.usd for spend in router.memory.spending() if spend.purpose == "shadow")


@pytest.mark.parametrize(
    ("options", "most"),
    [({"learning_usd_per_day": 0.1, "learning_budget": None}, 0.1), ({"learning_budget": 0.1}, None)],
)
def test_processes_share_the_learning_budget_and_that_of_a_day(make: Any, options: Any, most: float | None) -> None:
    routers = learners(make, **options)
    models: Any = {"weak": Scripted("small-1", lambda _: "1"), "strong": Scripted("big-1", lambda _: "2")}
    for n in range(40):
        serve(routers[n % 2], models, question(f"What is number {n}?"))
    for router in routers:
        router.flush()

    each = 0.02  # an answer's
    served = sum(spend.usd for spend in routers[0].memory.spending() if spend.purpose == "serve")  # type: ignore[union-attr]
    room = 0.1 * served if most is None else most
    assert room - 3 * each <= learned_usd(routers[0]) <= room + each


def start(address: str, names: list[str], ceiling: float) -> list[dict[str, float]]:
    """Have these processes spend at the same time; what each of them paid."""
    command = [sys.executable, "-m", "tests.core.spender", address]
    processes = [
        subprocess.Popen(
            [*command, name, str(ceiling)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in names
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(names)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["even", "odd"])
def test_sixteen_processes_at_a_ceiling(address: str, own_cache: Any, kind: str) -> None:
    with open_memory(address) as memory:  # type: ignore[attr-defined]
        found = start(address, [f"{kind}{n}" for n in range(16)], 20.0)

        paid = sum(one["paid"] for one in found)
        # Costs that are as expected overshoot nothing. Those that are not: by what one call of each costs more.
        assert paid <= 20.0 + 1e-9 if kind == "even" else paid <= 20.0 + 16 * 0.05
        assert paid >= 20.0 - 2 * 0.15
        assert memory.spending()[0].usd == pytest.approx(paid)
        assert memory.policy_state("default").audits == sum(one["steps"] for one in found)
