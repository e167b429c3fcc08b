"""A mistake is a named error that says what was found and what to write instead."""

from __future__ import annotations

import inspect
import math
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import rar
from rar import Router, SQLiteMemory
from rar.cli.commands import app
from rar.errors import (
    AddressError,
    ConfigurationError,
    MemoryStoreError,
    OverrideError,
    RequestError,
    UnknownArgumentError,
    UnknownModelError,
)
from rar.learning.judges import LLMJudge
from rar.learning.policy import FloorPolicy, PaperPolicy
from rar.options import CHECKS, DEFAULTS, RouterOptions, RouterSettings
from rar.overrides import NAMES, Overrides, overrides_of, without_overrides
from rar.routers import KNNRouter, TfidfRouter
from rar.strategies import RAR, BestOf, Cascade, Threshold
from rar.values import question


def refused(**options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Router(**{"memory": None, **options})
    return str(caught.value)


class TestAddresses:
    @pytest.mark.parametrize(
        "address",
        [
            "postgresql+psycopg://me:hunter2@db.example/rar",
            "pgsql://me:hunter2@db.example/rar",
            "host=db.example dbname=rar password=hunter2",
        ],
    )
    def test_it_is_told_how_an_address_of_postgresql_is_written(
        self, address: str, tmp_path: Path, monkeypatch: Any
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(AddressError, match=r"Write that of a database as 'postgresql://") as caught:
            Router(memory=address)

        assert "hunter2" not in f"{caught.value} {caught.value!r}"
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "address",
        [
            "mysql://me:hunter2@h/db", "mysql+pymysql://h/db", "redis://:hunter2@h:6379/0", "rediss://h", "mongodb+srv://h/db",
            "http://h/rar.db", "https://h/rar.db", "s3://bucket/rar.db", "gs://bucket/x", "duckdb:///x.db", "chroma://h",
            "unix:///tmp/redis.sock",
        ],
    )  # fmt: skip
    def test_servers_are_refused_by_their_scheme(self, address: str, tmp_path: Path, monkeypatch: Any) -> None:
        monkeypatch.chdir(tmp_path)
        for given in (address, Path(address)):
            with pytest.raises(AddressError, match=r"not available in this version.*local file.*: sqlite://") as caught:
                Router(memory=given)
            assert address.partition(":")[0] in str(caught.value)
            assert "hunter2" not in f"{caught.value} {caught.value!r}"

        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("address", "path"),
        [
            ("sqlite:///x.db", "'x.db'"),
            ("sqlite+aiosqlite:///x.db", "'x.db'"),
            ("file:x.db?mode=ro", "'x.db'"),
            ("file:///var/x.db", "'/var/x.db'"),
            ("sqlite:////var/x.db", "'/var/x.db'"),
            ("sqlite://:memory:", "':memory:'"),
        ],
    )
    def test_the_path_inside_the_address_of_a_file_is_told(self, address: str, path: str) -> None:
        with pytest.raises(AddressError) as caught:
            SQLiteMemory(address)

        assert str(caught.value).endswith(f"Pass the path alone, without what is before it: memory={path}.")

    def test_it_is_caught_as_an_error_of_the_memory_and_of_the_configuration(self) -> None:
        for kind in (MemoryStoreError, ConfigurationError, ValueError):
            with pytest.raises(kind):
                SQLiteMemory("redis://h")

    def test_paths_that_only_look_odd_are_paths(self, tmp_path: Path, monkeypatch: Any) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("a b.db", "postgresql.db", "sub/host.db", "x=1.db", ".db"):
            SQLiteMemory(name).close()
            assert (tmp_path / name).exists()


class TestMemory:
    @pytest.mark.parametrize("given", [3, True, False, object(), b"rar.db", {"path": "rar.db"}, ["rar.db"], len])
    def test_what_is_no_memory_is_refused(self, given: Any) -> None:
        assert "Pass the path of a file, ':memory:', a `rar.Memory`, or None" in refused(memory=given)

    def test_what_it_lacks_is_told(self) -> None:
        assert "<object object> is no memory: it has no `where`" in refused(memory=object())

    @pytest.mark.parametrize("given", ["", "  ", "a\0b"])
    def test_a_text_that_is_no_path_is_refused(self, given: str) -> None:
        assert "is no path" in refused(memory=given)

    def test_a_class_is_refused(self) -> None:
        assert "memory=<class SQLiteMemory> is a class" in refused(memory=SQLiteMemory)


NUMBERS = [
    "quality", "audit_rate", "learning_budget", "learning_usd_per_day", "same", "near", "retry_after", "limit",
]  # fmt: skip


class TestNumbers:
    @pytest.mark.parametrize("name", NUMBERS)
    @pytest.mark.parametrize("given", [True, False, math.nan, math.inf, -math.inf, -2, "often", "", [0.5], 1j])
    def test_what_is_no_number_in_range_is_refused(self, name: str, given: Any) -> None:
        assert refused(**{name: given}).startswith(f"{name}=")

    @pytest.mark.parametrize("name", ["quality", "same", "near", "retry_after", "limit"])
    def test_none_is_refused_where_it_means_nothing(self, name: str) -> None:
        assert f"{name}=None is not a" in refused(**{name: None})

    @pytest.mark.parametrize(
        ("name", "given", "meant"),
        [
            ("quality", "95%", "0.95"), ("quality", "0.95", "0.95"), ("quality", 95, "0.95"),
            ("quality", 99.5, "0.995"), ("quality", " 90 % ", "0.9"),
            ("audit_rate", "5%", "0.05"), ("audit_rate", 5, "0.05"),
            ("learning_budget", "20%", "0.2"), ("retry_after", "60", "60"), ("limit", "8", "8"),
        ],
    )  # fmt: skip
    def test_what_was_meant_is_told(self, name: str, given: Any, meant: str) -> None:
        assert f" Write {name}={meant}." in refused(**{name: given})

    @pytest.mark.parametrize("given", [0, 1.5, "much", -0.1])
    def test_nothing_is_made_up_where_that_is_not_clear(self, given: Any) -> None:
        said = refused(quality=given)

        assert "above 0 to 1" in said
        assert "Write" not in said

    def test_the_same_numbers_are_refused_by_policies_and_strategies(self) -> None:
        for make in (
            lambda: FloorPolicy(quality="95%"),  # type: ignore[arg-type]
            lambda: FloorPolicy(audit_rate=True),
            lambda: PaperPolicy(similarity="0.9"),  # type: ignore[arg-type]
            lambda: Cascade(max, threshold="0.5"),  # type: ignore[arg-type]
            lambda: Threshold(len, threshold=50),
            lambda: TfidfRouter(penalty="3"),  # type: ignore[arg-type]
            lambda: TfidfRouter(penalty=math.nan),
        ):
            with pytest.raises(ConfigurationError, match="is not a (finite )?number"):
                make()

    def test_numbers_of_numpy_are_numbers(self) -> None:
        np = pytest.importorskip("numpy")

        assert Router(memory=None, quality=np.float32(0.5), limit=np.int64(3)).policy == FloorPolicy(0.5)


class TestOtherOptions:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (
                {"learning": "backgroud"},
                "Did you mean 'background'? Use one of ['background', 'inline', 'off', 'queue'].",
            ),
            ({"policy": "flor"}, "Did you mean 'floor'?"),
            ({"judge": "lettre"}, "Did you mean 'letter'?"),
            ({"embedder": "mini-lm"}, "Did you mean 'minilm'?"),
            ({"strategy": "cascade"}, "strategy='cascade' is not known"),
            ({"static_router": "my-router"}, "loaded by `rar.routers.load('my-router')`"),
            ({"static_router": Path("my-router")}, "loaded by `rar.routers.load('my-router')`"),
            ({"static_router": TfidfRouter}, "Pass an object: static_router=TfidfRouter(...)"),
            ({"judge": LLMJudge}, "Pass an object: judge=LLMJudge(...)"),
            ({"policy": FloorPolicy}, "Pass an object: policy=FloorPolicy(...)"),
            ({"policy": 0.9}, "policy=0.9 is no policy"),
            ({"embedder": False}, "embedder=False is no embedder"),
            ({"namespace": ""}, "namespace='' is not a name"),
            ({"namespace": None}, "namespace=None is not a name"),
            ({"weak_id": 3}, "weak_id=3 is not a name"),
            ({"degrade": "no"}, "degrade='no' is not True or False"),
            ({"read_only": 1}, "read_only=1 is not True or False"),
            ({"redact": "emails"}, "redact='emails' is not a function"),
            ({"clock": 0}, "clock=0 is not a function"),
            ({"seed": 1.5}, "seed=1.5 is not a whole number"),
            ({"models": ["coder"]}, "models=['coder'] is not a mapping"),
            ({"prices": [1, 2]}, "prices=[1, 2] is not a mapping"),
            ({"prices": {"weak": "12"}}, "prices['weak']='12'"),
            ({"prices": {"weak": (1, math.inf)}}, "prices['weak']=(1, inf)"),
            ({"weak": Router, "strong": len}, "weak=<class Router> is a class"),
            ({"weak": "gpt-4o-mini", "strong": "gpt-4o"}, "weak='gpt-4o-mini' is no model"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_they_say_what_to_do(self, options: dict[str, Any], said: str) -> None:
        assert said in refused(**options)

    def test_every_argument_of_the_router_is_checked(self) -> None:
        assert set(inspect.signature(Router.__init__).parameters) - {"self"} <= CHECKS.keys()

    def test_type_checkers_and_the_table_know_the_same_options(self) -> None:
        typed = {name: getattr(hint, "__forward_arg__", hint) for name, hint in RouterOptions.__annotations__.items()}

        assert typed == RouterSettings.__annotations__

    def test_all_options_are_documented(self) -> None:
        said = re.findall(r"^    (\w+(?:, \w+)*): ", inspect.cleandoc(RouterOptions.__doc__ or ""), flags=re.MULTILINE)

        assert [name for names in said for name in names.split(", ")] == list(DEFAULTS)
        assert "Share of the strong model's quality to keep" in (Router.__doc__ or "")

    def test_the_routers_defaults_pass(self) -> None:
        for name, default in DEFAULTS.items():
            CHECKS[name](name, default)

    def test_strategies_take_lists_of_names(self) -> None:
        for make in (lambda: Cascade(max, models="weak"), lambda: Cascade(max, models=[1, 2])):  # type: ignore[list-item]
            with pytest.raises(ConfigurationError, match='Pass one, such as \\["weak", "strong"\\]'):
                make()

    def test_a_ranking_router_that_is_a_path_is_to_be_loaded(self) -> None:
        router: Any = "my-router"
        with pytest.raises(ConfigurationError, match=r"rar\.routers\.load\('my-router'\)"):
            BestOf(["weak", "strong"], router)

    @pytest.mark.parametrize("text", [None, "", "  ", 3, ["hello"]])
    def test_a_question_is_a_text(self, text: Any) -> None:
        with pytest.raises(RequestError, match="Pass the user's question, a text"), rar.query(text):
            pass


class TestMisspelt:
    @pytest.mark.parametrize(
        ("make", "wrong", "meant"),
        [
            (Router, "qualty", "quality"),
            (Router, "learning_buget", "learning_budget"),
            (Router, "static-router", "static_router"),
            (Router, "Quality", "quality"),
            (Router, "nearr", "near"),
            (SQLiteMemory, "readonly", "read_only"),
            (BestOf, "model", "models"),
            (Cascade, "treshold", "threshold"),
            (Threshold, "treshold", "threshold"),
            (RAR, "polcy", "policy"),
            (FloorPolicy, "qualty", "quality"),
            (PaperPolicy, "similarty", "similarity"),
            (LLMJudge, "modle", "model"),
            (TfidfRouter, "penalti", "penalty"),
            (KNNRouter, "embeder", "embedder"),
        ],
        ids=lambda value: getattr(value, "__name__", value),
    )
    def test_the_argument_that_was_meant_is_told(self, make: Any, wrong: str, meant: str) -> None:
        with pytest.raises(UnknownArgumentError) as caught:
            make(**{wrong: 1})

        assert str(caught.value) == f"{make.__name__} takes no argument {wrong!r}. Did you mean {meant!r}?"
        assert isinstance(caught.value, (TypeError, ValueError))
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)

    def test_where_nothing_is_near_all_are_told(self) -> None:
        with pytest.raises(UnknownArgumentError, match=r"takes no argument 'xyz'. It takes \['audit_rate', 'clock'"):
            Router(xyz=1)  # type: ignore[call-arg]

    def test_names_of_models_too(self) -> None:
        with pytest.raises(UnknownModelError, match="Did you mean 'strong'"):
            Router(len, max, memory=None).decide(question("hello", force="strnog"))

    def test_constructors_look_as_they_are_written(self) -> None:
        assert inspect.signature(Router.__init__).parameters["quality"].default == 0.95
        assert inspect.signature(Cascade).parameters["threshold"].default == 0.5


class TestOverrides:
    def test_the_first_place_that_has_one_counts(self) -> None:
        assert overrides_of({"rar_force": "weak"}, {"rar_force": "strong", "rar_learn": False}) == Overrides(
            force="weak", learn=False
        )

    def test_none_is_as_if_not_given(self) -> None:
        assert overrides_of(dict.fromkeys(NAMES)) == Overrides()

    @pytest.mark.parametrize(
        ("wrong", "meant"),
        [
            ("rar_forse", "rar_force"), ("rar-force", "rar_force"), ("RAR_FORCE", "rar_force"),
            ("ra_force", "rar_force"), ("rar_querry", "rar_query"),
            ("rarquery", "rar_query"), ("rar_name_space", "rar_namespace"),
            ("rar_lern", "rar_learn"),
        ],
    )  # fmt: skip
    def test_a_misspelt_one_is_told_in_every_place(self, wrong: str, meant: str) -> None:
        for places in ([{wrong: "weak"}], [{}, {wrong: "weak"}]):
            with pytest.raises(OverrideError, match=f"{wrong!r} is no override. Did you mean {meant!r}"):
                overrides_of(*places)

    @pytest.mark.parametrize(
        "name",
        ["force", "query", "namespace", "learn", "temperature", "user", "thread_id", "langgraph_step", "ls_provider",
         "rar_model", "rar_decision_id", "query_str", "session", "rarity", 7],
    )  # fmt: skip
    def test_other_names_are_left_alone(self, name: Any) -> None:
        assert overrides_of({name: 1}) == Overrides()
        assert without_overrides({name: 1, "rar_force": "weak"}) == {name: 1}

    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [
            ("rar_force", True, 'rar_force=True is not the name of a model, such as "weak" or "strong".'),
            ("rar_force", "", "rar_force='' is not the name of a model"),
            ("rar_namespace", 7, "rar_namespace=7 is not a name."),
            ("rar_learn", "false", "rar_learn='false' is not True or False."),
            ("rar_learn", 0, "rar_learn=0 is not True or False."),
        ],
    )
    def test_a_value_of_a_wrong_type_is_refused(self, name: str, value: Any, said: str) -> None:
        with pytest.raises(OverrideError) as caught:
            overrides_of({name: value})

        assert said in str(caught.value)
        assert isinstance(caught.value, RequestError)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "command",
    ["stats", "decisions", "guides list", "export", "delete --namespace a --yes", "eval memory"],
)
def test_commands_say_of_an_address_what_routers_say(command: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*command.split(), "redis://me:hunter2@h/db"])

    assert done.exit_code == 1
    assert "rar: memory='redis://…' is no path. Memories on servers (redis)" in done.stderr
    assert "hunter2" not in done.output
    assert list(tmp_path.iterdir()) == []
