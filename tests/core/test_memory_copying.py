"""Copies of a memory are the same memory, whatever keeps them."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rar.cli.commands import app
from rar.errors import CopyError, SecretError
from rar.memory import Memory, SQLiteMemory, copying, open_memory
from rar.memory.base import Batch
from rar.memory.copying import Copied, copy
from tests.contract.memory import DIM, MemoryContract, decision, experience, found, guide, trial
from tests.postgres_server import PostgresServer

COUNTS = {"experience": 24, "guide": 2, "policy": 2, "spend": 1, "decision": 1, "label": 1, "judged": 1}


@pytest.fixture(params=["sqlite to sqlite", "sqlite to postgres", "postgres to sqlite"])
def both(request: Any, tmp_path: Path) -> tuple[str, str]:
    """The addresses of a memory that is filled, and of none yet."""
    request.getfixturevalue("own_cache")
    addresses = []
    for n, kind in enumerate(request.param.split(" to ")):
        server: PostgresServer | None = request.getfixturevalue("postgres") if kind == "postgres" else None
        addresses.append(str(tmp_path / f"{n}.db") if server is None else server.fresh())
    source, target = addresses
    with closing(open_memory(source)) as memory:
        memory.bind("test-1", DIM)
        MemoryContract.fill(memory, "default")
        memory.write(Batch(tuple(experience(f"{n}", text=f"¿{n}? \0") for n in range(22))))
        memory.write(Batch(guides=(guide("kept", state="active"),), trials=(trial("3", guide_id="kept"),)))
        memory.set_guide_state("kept", "retired")
    return source, target


def opened(stack: ExitStack, both: tuple[str, str]) -> list[Memory]:
    return [stack.enter_context(closing(open_memory(address))) for address in both]


def test_a_copy_holds_all_under_the_same_ids(both: tuple[str, str]) -> None:
    with ExitStack() as stack:
        source, target = opened(stack, both)
        assert copy(source, target) == Copied(COUNTS, sum(COUNTS.values()))
        assert target.secret == source.secret
        assert found(target, limit=30) == found(source, limit=30)
        assert target.experience("3") == source.experience("3")
        assert target.guides() == source.guides()
        assert target.policy_state("default") == source.policy_state("default")
    with closing(open_memory(both[1])) as again:
        assert again.stats().experiences == 24


def test_a_copy_that_was_stopped_goes_on_and_one_that_is_whole_writes_nothing(
    both: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_AT_ONCE", 10)
    with ExitStack() as stack:
        source, target = opened(stack, both)
        restore, parts = type(target).restore, []  # type: ignore[attr-defined]

        def stopping(self: Memory, records: Any, key: bytes) -> int:
            if len(parts) == 2:
                raise KeyboardInterrupt
            parts.append(restore(self, records, key))
            return parts[-1]

        with monkeypatch.context() as patch:
            patch.setattr(type(target), "restore", stopping)
            with pytest.raises(KeyboardInterrupt):
                copy(source, target)

        assert copy(source, target).written == sum(COUNTS.values()) - 20
        assert copy(source, target).written == 0


def test_another_memory_is_not_overwritten(both: tuple[str, str]) -> None:
    with ExitStack() as stack:
        source, target = opened(stack, both)
        target.write(Batch(decisions=(decision("mine"),)))
        key = target.secret
        with pytest.raises(SecretError, match="not empty"):
            copy(source, target)
        assert (target.secret, [one.id for one in target.decisions()]) == (key, ["mine"])


def test_a_copy_that_is_none_is_noticed(both: tuple[str, str]) -> None:
    with ExitStack() as stack:
        source, target = opened(stack, both)
        copy(source, target)
        target.write(Batch((experience("more"),)))
        with pytest.raises(CopyError, match="0 records are not as in .* 1 are not of it"):
            copy(source, target)


def test_the_command_says_what_was_copied(both: tuple[str, str]) -> None:
    done = CliRunner().invoke(app, ["copy", *both])

    assert done.exit_code == 0, done.output
    assert "is a copy: 24 experience, 2 guide" in done.output


def test_a_copy_takes_the_key_under_its_own_secret(tmp_path: Path) -> None:
    with SQLiteMemory(tmp_path / "a.db") as source, SQLiteMemory(tmp_path / "b.db", secret="far") as target:
        source.write(Batch((experience("a"),)))
        copy(source, target)
        key = source.secret
    with pytest.raises(SecretError):
        SQLiteMemory(tmp_path / "b.db")
    with SQLiteMemory(tmp_path / "b.db", secret="far") as target:
        assert target.secret == key
