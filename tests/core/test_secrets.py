"""No API key in sight: whatever a user passes, and whatever it says of itself, messages name it by its type."""

from __future__ import annotations

import functools
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rar
from rar import Answer, Router, errors
from rar.embedding import CachedEmbedder, as_embedder
from rar.errors import RarError
from rar.learning.judges import AutoJudge, EmbeddingJudge, LLMJudge, as_judge
from rar.naming import cause, shown, without_keys
from rar.routers import as_static_router
from rar.strategies import RAR, BestOf, Cascade, Threshold
from rar.values import Call, Decision, Failure, Reply, Route, question
from tests.core.world import Scripted, easy, pair, serve

KEY = "sk-proj-abcDEF0123456789"


@pytest.fixture(autouse=True)
def nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a key that is given for a path becomes a file


class Hostile:
    """Says its key wherever it is asked what it is."""

    def __init__(self, key: str = KEY) -> None:
        self.api_key = key

    def __repr__(self) -> str:
        return f"Hostile(api_key={self.api_key!r})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)


class HostileCall(Hostile):
    def __call__(self, *args: Any) -> Any:
        raise RuntimeError(f"401: incorrect API key provided: {self.api_key}")


def said_by(error: BaseException) -> str:
    """All that a log or a console may show of an error, its causes and its pickle included."""
    shown = "".join(traceback.format_exception(error, limit=0))
    again = pickle.loads(pickle.dumps(error)) if isinstance(error, RarError) else error
    return f"{shown} {error!r} {error.args!r} {vars(error)!r} {again!r} {again}"


ARGUMENTS = [
    "weak", "strong", "memory", "quality", "policy", "strategy", "static_router", "judge", "embedder", "learning",
    "namespace", "audit_rate", "prices", "seed", "weak_id", "strong_id", "degrade", "learning_budget",
    "learning_usd_per_day", "guides", "guide_model", "guide_style", "store_text", "redact",
    "read_only", "same", "near", "retry_after", "limit",
    "clock", "models",
]  # fmt: skip


@pytest.mark.parametrize("wrapped", [lambda it: it, lambda it: [it], lambda it: {"weak": it}, lambda it: (it, KEY)])
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_a_router_that_refuses_an_argument_does_not_print_it(argument: str, wrapped: Callable[[Any], Any]) -> None:
    usual = {"weak": abs, "strong": max, "memory": None}
    with pytest.raises(RarError) as caught:
        Router(**{**usual, argument: wrapped(Hostile())}).decide(question("hello"))

    assert argument.partition("_")[0] in str(caught.value)
    assert KEY not in said_by(caught.value)


@pytest.mark.parametrize("argument", sorted(set(ARGUMENTS) - {"models"}))
def test_a_key_given_as_a_text_is_not_printed_either(argument: str) -> None:
    usual = {"weak": abs, "strong": max, "memory": None}
    try:
        router = Router(**{**usual, argument: KEY})
        said = repr(router)
        router.close()
    except RarError as error:
        said = said_by(error)

    assert KEY not in said


@pytest.mark.parametrize(
    "make",
    [
        lambda it: BestOf(["weak", "strong"], it),
        lambda it: BestOf(it, it),
        lambda it: BestOf([it], it),
        Cascade,
        lambda it: Cascade(max, models=it),
        lambda it: Cascade(max, threshold=it),
        Threshold,
        lambda it: Threshold(len, threshold=it),
        RAR,
        LLMJudge,
        lambda it: EmbeddingJudge(HostileCall(), agree=it),
        as_judge,
        as_embedder,
        as_static_router,
        lambda it: rar.query(it).__enter__(),
        lambda it: rar.SQLiteMemory(":memory:", cap=it),
        rar.SQLiteMemory,
        lambda it: rar.Router(memory=None).decide(question("hello"), {"weak": it, "strong": it, it: it}),
    ],
)
def test_what_else_refuses_an_object_does_not_print_it(make: Callable[[Any], Any]) -> None:
    with pytest.raises(Exception, match=r".") as caught:
        make(Hostile())

    assert KEY not in said_by(caught.value)


class HostileEmbedder(Hostile):
    id, dim = "hostile", 4

    def embed(self, texts: list[str]) -> Any:
        return np.eye(4, dtype=np.float32)[[0] * len(texts)]


class HostileJudge(Hostile):
    name = "hostile"

    def steps(self, *replies: Any) -> Iterator[Any]:
        raise RuntimeError(self.api_key)
        yield


class HostileRouter(Hostile):
    def score(self, texts: list[str]) -> Any:
        raise RuntimeError(self.api_key)


class HostileStrategy(Hostile):
    def steps(self, request: Any) -> Iterator[Any]:
        raise RuntimeError(self.api_key)
        yield


class HostilePolicy(Hostile):
    start = 0.5

    def choose(self, evidence: Any) -> Any:
        raise RuntimeError(self.api_key)

    def steps(self, *args: Any) -> list[Any]:
        return []


@pytest.mark.parametrize(
    "value",
    [
        Cascade(HostileCall()),
        Threshold(HostileCall()),
        Threshold(HostileRouter()),
        as_judge(HostileCall()),
        as_judge(functools.partial(max, api_key=KEY)),
        AutoJudge(HostileEmbedder(), HostileJudge()),
        EmbeddingJudge(HostileEmbedder()),
        CachedEmbedder(HostileEmbedder()),
        RAR(HostilePolicy()),
        Router(HostileCall(), functools.partial(max, api_key=KEY), memory=None, strategy=HostileCall()),
        Failure("weak", RuntimeError(KEY)),
        Decision("1", question("hello"), Route("strong"), 0.0, failed=(Failure("weak", RuntimeError(KEY)),)),
        Decision("1", question("hello", options={"api_key": KEY}), Answer(Reply("weak", "", native=Hostile())), 0.0),
        Call("weak", question("hello", options={"api_key": KEY})),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_made_of_an_object_does_not_show_it(value: Any) -> None:
    assert KEY not in repr(value)
    assert KEY not in str(value)


@pytest.mark.parametrize(
    "options",
    [
        {"judge": HostileJudge()},
        {"judge": HostileCall()},
        {"static_router": HostileRouter()},
        {"strategy": HostileStrategy()},
        {"strategy": HostileCall()},
        {"policy": HostilePolicy()},
        {"redact": HostileCall()},
        {"clock": lambda: 1.0, "embedder": HostileEmbedder()},
    ],
    ids=lambda options: next(iter(options)),
)
def test_nothing_that_is_logged_or_stored_quotes_what_an_object_raised(
    options: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    usual = {"embedder": "hashing", "learning": "inline", "memory": tmp_path / "rar.db"}
    with Router(**{**usual, **options}) as router, caplog.at_level(logging.DEBUG, "rar"):
        for _ in range(2):
            decision, _ = serve(router, pair(), easy(1))
            assert KEY not in f"{decision!r} {decision.as_dict()} {router!r}"
        told = f"{router.explain(decision.id)} {router.decisions()} {router.stats()} {router.stats().as_dict()}"

    assert KEY not in told
    assert KEY not in caplog.text
    assert KEY.encode() not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize("role", ["weak", "strong"])
def test_what_a_model_raises_in_learning_is_kept_by_type_and_code(
    role: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class AuthenticationError(Exception):
        status_code = 401

    def refuse(call: Call) -> str:
        raise AuthenticationError(f"Incorrect API key provided: {KEY}")

    models = pair()
    broken = {**models, role: Scripted("broken", refuse)}
    made = Router(memory=tmp_path / "rar.db", embedder="hashing", learning="inline", learning_budget=None)
    with made as router, caplog.at_level(logging.DEBUG, "rar"):
        decision = router.decide(easy(1), broken)
        router.learn(decision, models["strong"].call(decision.call), broken)
        told = str(router.explain(decision.id))

    assert ("AuthenticationError (401) at " in told) == (role == "weak")
    assert KEY not in told
    assert KEY not in caplog.text
    assert KEY.encode() not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


class TestShown:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (None, "None"),
            (0.5, "0.5"),
            ("floor", "'floor'"),
            ("anthropic.claude-3-5-sonnet-20241022-v2:0", "'anthropic.claude-3-5-sonnet-20241022-v2:0'"),
            ("accounts/fireworks/models/llama-v3p1-70b", "'accounts/fireworks/models/llama-v3p1-70b'"),
            ("my_own_fine_tuned_qwen2_model_v3", "'my_own_fine_tuned_qwen2_model_v3'"),
            ("sketching-with-ghosts-v2", "'sketching-with-ghosts-v2'"),
            ("0123456789abcdef0123456789abcdef", "'…'"),
            ("postgresql://me:pw@host/db", "'postgresql://…@host/db'"),
            (f"key {KEY}.", "'key ….'"),
            ("AKIAIOSFODNN7EXAMPLE", "'…'"),
            ("x" * 100, f"'{'x' * 59}…'"),
            (Hostile(), "<Hostile object>"),
            (Hostile, "<class Hostile>"),
            (len, "<builtin_function_or_method object>"),
            (functools.partial(max, Hostile()), "<partial object>"),
            ((1, Hostile()), "(1, <Hostile object>)"),
            ([KEY], "['…']"),
            ({"key": KEY}, "<dict object>"),
            (Path("rar.db"), "'rar.db'"),
        ],
    )
    def test_plain_values_are_shown_and_objects_named(self, value: object, expected: str) -> None:
        assert shown(value) == expected

    def test_a_text_or_number_with_a_repr_of_its_own_is_named_by_its_type(self) -> None:
        class Secret(str):
            __slots__ = ()

            def __repr__(self) -> str:
                return KEY

        assert shown(Secret("abc")) == "<Secret object>"

    def test_a_name_is_shown_as_it_is(self) -> None:
        assert shown(shown(Hostile())) == "<Hostile object>"

    @pytest.mark.parametrize(
        "prefix", ["sk-", "sk-ant-api03-", "hf_", "gsk_", "ghp_", "xoxb-", "AIza", "glpat-", "pk-lf-"]
    )
    def test_keys_of_providers_are_known_by_how_they_begin(self, prefix: str) -> None:
        assert "Q2w4" not in without_keys(f"use {prefix}Q2w4E6r8T0y2U4i6 here")


class TestCause:
    def test_an_error_is_told_by_type_code_and_place(self) -> None:
        class RateLimitError(Exception):
            code = "rate_limit_exceeded"

        try:
            raise RateLimitError(KEY)
        except RateLimitError as error:
            said = cause(error)

        assert said.startswith("RateLimitError (rate_limit_exceeded) at test_secrets.py:")

    def test_a_code_that_is_none_is_left_out(self) -> None:
        class OddError(Exception):
            code = KEY

        assert cause(OddError("x")) == "OddError"

    def test_errors_of_this_package_and_of_files_are_told_in_full(self) -> None:
        assert cause(errors.ClosedError("router")) == "ClosedError: This router is closed. Make a new one."
        assert cause(PermissionError(13, "Permission denied")) == "PermissionError: Permission denied"
