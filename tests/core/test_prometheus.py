"""Prometheus: what is counted, what is read at a scrape, and that dashboard and alerts name what there is."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prometheus_client")

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from rar import Ceiling, Router, SQLiteMemory
from rar.errors import ConfigurationError
from rar.integrations.prometheus import ALERTS, COUNTERS, DASHBOARD, HISTOGRAMS, Prometheus
from rar.integrations.snapshot import COUNTERS as READ_COUNTERS
from rar.integrations.snapshot import GAUGES
from rar.strategies import Cascade
from rar.turn import Turn
from tests.core.world import easy, harbour, pair, serve, teach_harbours

MakeRouter = Callable[..., Router]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Scraped:
    """What a scrape of a registry gives."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def text(self) -> str:
        return generate_latest(self.registry).decode()

    def samples(self) -> Samples:
        found: Samples = {}
        for family in text_string_to_metric_families(self.text()):
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                assert key not in found, f"{key} is there twice"
                found[key] = sample.value
        return found

    def sum(self, name: str, **labels: str) -> float:
        found = [(dict(given), value) for (one, given), value in self.samples().items() if one == name]
        return sum(value for given, value in found if labels.items() <= given.items())

    def labels(self, name: str, label: str) -> set[str]:
        return {dict(given)[label] for one, given in self.samples() if one == name}


@pytest.fixture
def scraped() -> Scraped:
    return Scraped()


@pytest.fixture
def metrics(scraped: Scraped) -> Prometheus:
    return Prometheus(scraped.registry, namespaces=3)


@pytest.fixture
def router(tmp_path: Path, metrics: Prometheus) -> Iterator[MakeRouter]:
    made: list[Router] = []

    def make(**options: Any) -> Router:
        usual: dict[str, Any] = {
            "memory": tmp_path / "rar.db", "embedder": "hashing", "learning": "inline", "learning_budget": None,
            "seed": 1, "near": 0.3, "prices": {"weak": (1.0, 1.0), "strong": (10.0, 10.0)}, "observers": [metrics],
        }  # fmt: skip
        made.append(Router(**{**usual, **options}))
        return made[-1]

    yield make
    for one in made:
        one.close()


# --- what is exported ----------------------------------------------------------------------------------------------


def test_decisions_are_counted_by_arm_and_reason(router: MakeRouter, scraped: Scraped) -> None:
    asked = router()
    teach_harbours(asked, pair())  # type: ignore[arg-type]
    total = sum(spend.calls for spend in asked.stats().spending if spend.purpose == "serve")

    assert scraped.sum("rar_decisions_total") == total == scraped.sum("rar_decision_seconds_count")
    assert scraped.sum("rar_decisions_total", model="strong", reason="no_evidence") >= 1
    assert scraped.sum("rar_calls_total", purpose="serve", outcome="answered") == total
    assert scraped.sum("rar_lessons_total") == scraped.sum("rar_lessons_total", outcome="learned") > 0
    assert scraped.sum("rar_trials_total", guided="yes", agreed="yes") > 0
    assert scraped.sum("rar_guides_written_total") >= 1
    assert scraped.sum("rar_memory_write_seconds_count") > 0


def test_a_scrape_has_counted_what_was_told_and_nothing_is_dropped(
    router: MakeRouter, scraped: Scraped, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rar.integrations.aside._MOST", 5)
    monkeypatch.setattr("rar.integrations.aside._PAUSE", 60.0)  # the thread comes to nothing in this test
    asked = router(learning="off")
    for number in range(20):
        serve(asked, pair(), easy(number))  # type: ignore[arg-type]

    assert scraped.sum("rar_decisions_total") == 20 == scraped.sum("rar_calls_total", purpose="serve")


def test_money_is_that_of_stats(router: MakeRouter, scraped: Scraped) -> None:
    asked = router()
    teach_harbours(asked, pair())  # type: ignore[arg-type]
    stats = asked.stats()

    for part in ("net", "always_strong", "spent", "learning"):
        name = "rar_net_saving_usd" if part == "net" else f"rar_{part}_usd"
        assert scraped.sum(name, namespace="default") == pytest.approx(getattr(stats.savings, f"{part}_usd"))
    assert scraped.sum("rar_lost_cache_usd", namespace="default") == stats.savings.cache_usd == 0.0
    assert scraped.sum("rar_spend_usd_total") == pytest.approx(stats.savings.spent_usd)
    assert scraped.sum("rar_spend_calls_total", purpose="serve") == stats.savings.served
    tokens = sum(spend.input_tokens for spend in stats.spending)
    assert scraped.sum("rar_spend_tokens_total", direction="input") == tokens


def test_what_a_memory_holds_is_read(router: MakeRouter, scraped: Scraped) -> None:
    asked = router()
    teach_harbours(asked, pair())  # type: ignore[arg-type]
    held = asked.stats().memory
    assert held is not None and asked.memory is not None

    place = {"memory": asked.memory.where}
    for kind in ("experiences", "trials", "decisions"):
        assert scraped.sum("rar_memory_records", kind=kind, **place) == getattr(held, kind) > 0
    assert scraped.sum("rar_memory_bytes", **place) > 10_000
    assert scraped.sum("rar_guides", state="active") == held.guides["active"] > 0
    helped = sum(guide.helpful for guide in asked.memory.guides())
    assert scraped.sum("rar_guide_trials_total", outcome="helped") == helped > 0
    assert scraped.sum("rar_memory_writable", **place) == scraped.sum("rar_snapshot_up", **place) == 1.0
    assert scraped.sum("rar_memory_lag_seconds") == scraped.sum("rar_lessons_waiting") == 0.0


def test_quality_has_an_interval_and_a_floor(router: MakeRouter, scraped: Scraped) -> None:
    asked = router(audit_rate=1.0, quality=0.9)
    for _ in range(6):
        serve(asked, pair(), easy(3))  # type: ignore[arg-type]
    (held,) = asked.stats().quality["default"].values()

    assert scraped.sum("rar_quality_ratio", kind="again") == pytest.approx(held.quality)
    assert scraped.sum("rar_quality_low_ratio") <= held.quality <= scraped.sum("rar_quality_high_ratio")
    assert scraped.sum("rar_quality_audits") == held.audits == scraped.sum("rar_audits_total", agreed="yes")
    assert scraped.sum("rar_quality_floor_ratio", namespace="default") == 0.9
    assert scraped.labels("rar_drift_ratio", "model_id") == {"small-1"}


def test_budgets_and_ceilings_that_are_left(router: MakeRouter, scraped: Scraped) -> None:
    asked = router(learning_budget=0.05, spend=[Ceiling(1.0), Ceiling(0.5, per="namespace")])
    for number in range(6):
        serve(asked, pair(), harbour(number))  # type: ignore[arg-type]

    assert 0.0 <= scraped.sum("rar_budget_left_ratio", budget="learning") < 0.5
    assert scraped.sum("rar_lessons_total", outcome="budget") > 0
    assert scraped.sum("rar_alarms_total", kind="budget") >= 1
    assert 0.9 < scraped.sum("rar_ceiling_left_usd", ceiling="1 USD per day") < 1.0
    assert scraped.labels("rar_ceiling_left_usd", "namespace") == {"", "default"}


def test_failures_and_who_answers_then(router: MakeRouter, scraped: Scraped) -> None:
    asked = router(memory=None, strategy=lambda _: "weak")
    turn = Turn(asked, asked.decide(easy(3), pair()))
    for attempt in turn:
        with attempt:
            if attempt.decision.model == "weak":
                raise TimeoutError
            reply = pair()["strong"].call(attempt.decision.call)
    asked.learn(turn.decision, reply, pair())

    assert scraped.sum("rar_failovers_total", chosen="weak", answered="strong") == 1
    assert scraped.sum("rar_calls_total", model="weak", outcome="failed") == 1


def test_an_accepted_draft_is_no_failover(router: MakeRouter, scraped: Scraped, metrics: Prometheus) -> None:
    asked = router(memory=None, strategy=Cascade(lambda *_: True))
    asked.decide(easy(3), pair())

    assert scraped.sum("rar_failovers_total") == 0
    assert scraped.sum("rar_calls_total", purpose="serve", model="weak") == 1
    assert not metrics._chosen


def test_reasons_of_strategies_of_the_users_own_are_bounded(router: MakeRouter, scraped: Scraped) -> None:
    from rar.values import Route

    numbers = iter(range(80))
    asked = router(memory=None, strategy=lambda _: Route("weak", reason=f"case {next(numbers)}"))
    for _ in range(80):
        asked.decide(easy(3), pair())

    assert len(scraped.labels("rar_decisions_total", "reason")) == 51
    assert scraped.sum("rar_decisions_total", reason="_other") == 30


def test_namespaces_beyond_the_limit_share_a_label(router: MakeRouter, scraped: Scraped) -> None:
    asked = router(learning="off")
    for number in range(6):
        serve(asked, pair(), replace(easy(number), namespace=f"tenant {number}"))  # type: ignore[arg-type]
    asked.flush()

    named = {"tenant 0", "tenant 1", "tenant 2", "_other"}
    for name in ("rar_decisions_total", "rar_spend_calls_total", "rar_net_saving_usd"):
        assert scraped.labels(name, "namespace") == named
    assert scraped.sum("rar_decisions_total", namespace="_other") == 3
    assert scraped.sum("rar_spend_calls_total", namespace="_other") == 3
    assert "_other" not in scraped.labels("rar_quality_floor_ratio", "namespace")


def test_routers_over_one_memory_are_one_and_others_are_told_apart(
    router: MakeRouter, scraped: Scraped, tmp_path: Path
) -> None:
    shared = SQLiteMemory(tmp_path / "shared.db")
    routers = [router(memory=shared), router(memory=shared), router(memory=None), router(memory=":memory:")]
    routers.append(router(memory=":memory:"))
    for one in routers:
        serve(one, pair(), easy(3))  # type: ignore[arg-type]

    places = scraped.labels("rar_spend_calls_total", "memory")
    served = {place: scraped.sum("rar_spend_calls_total", purpose="serve", memory=place) for place in places}
    assert served == {str(tmp_path / "shared.db"): 2, "": 1, ":memory:": 1, ":memory:2": 1}
    for one in routers[:2]:
        one.close()
    shared.close()


def test_a_router_that_is_closed_or_gone_is_not_read(router: MakeRouter, scraped: Scraped) -> None:
    asked = router()
    serve(asked, pair(), easy(3))  # type: ignore[arg-type]
    asked.close()

    assert scraped.sum("rar_decisions_total") == 1
    assert scraped.labels("rar_snapshot_up", "memory") == set()


def test_a_memory_that_cannot_be_read_costs_no_scrape(
    router: MakeRouter, scraped: Scraped, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = router()
    serve(asked, pair(), easy(3))  # type: ignore[arg-type]
    monkeypatch.setattr(asked.memory, "stats", lambda: 1 / 0)

    assert scraped.sum("rar_decisions_total") == 1
    assert scraped.labels("rar_snapshot_up", "memory") == {asked.memory.where}  # type: ignore[union-attr]
    assert scraped.sum("rar_snapshot_up") == 0.0
    assert "could not be read for its metrics" in caplog.text


def test_no_text_is_exported(router: MakeRouter, scraped: Scraped) -> None:
    teach_harbours(router(), pair())  # type: ignore[arg-type]

    assert "harbour" not in scraped.text()


def test_two_objects_on_one_registry_are_refused(metrics: Prometheus, scraped: Scraped) -> None:
    with pytest.raises(ConfigurationError, match="Give all routers the same Prometheus object"):
        Prometheus(scraped.registry)
    with pytest.raises(ConfigurationError, match="no number of labels"):
        Prometheus(CollectorRegistry(), namespaces=-1)


def test_it_is_shared_by_copies_and_one_in_a_process(metrics: Prometheus) -> None:
    assert copy.deepcopy(metrics) is metrics
    own = pickle.loads(pickle.dumps(metrics))
    try:
        assert pickle.loads(pickle.dumps(metrics)) is own
        assert own._registry is REGISTRY
    finally:
        REGISTRY.unregister(own.snapshot)
        for counter in own._counters.values():
            REGISTRY.unregister(counter)
        from rar.integrations import prometheus

        prometheus._of_process.clear()


def test_it_is_scraped_over_http_while_calls_go_on(router: MakeRouter, scraped: Scraped) -> None:
    asked = router()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server, thread = start_http_server(port, "127.0.0.1", scraped.registry)
    asking = threading.Thread(target=lambda: teach_harbours(asked, pair()))  # type: ignore[arg-type]
    asking.start()
    try:
        for _ in range(5):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                found = {family.name for family in text_string_to_metric_families(answer.read().decode())}
    finally:
        asking.join()
        server.shutdown()
        server.server_close()
        thread.join()

    assert {"rar_decisions", "rar_net_saving_usd", "rar_decision_seconds"} <= found
    assert asked.stats().savings.served == scraped.sum("rar_decisions_total")


# --- several processes ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_workers_of_a_server_are_added_up(tmp_path: Path) -> None:
    """As prometheus_client's multi-process mode has it, with what is read of the memory beside it."""
    script = """
        import os, sys
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector
        from rar import Router
        from rar.integrations.prometheus import Prometheus
        from tests.core.world import easy, pair, serve

        metrics = Prometheus()
        for worker in range(2):
            if os.fork() == 0:
                router = Router(memory=sys.argv[1], embedder="hashing", learning="off", observers=[metrics])
                for number in range(3):
                    serve(router, pair(), easy(number))
                router.close()
                os._exit(0)
        for worker in range(2):
            os.wait()
        router = Router(memory=sys.argv[1], embedder="hashing", learning="off", observers=[metrics])
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        registry.register(metrics.snapshot)
        print(generate_latest(registry).decode())
    """
    if not hasattr(os, "fork"):
        pytest.skip("This system cannot fork.")
    (tmp_path / "counts").mkdir()
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "counts")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "rar.db")],
        env=environment, cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    found = {
        (sample.name, sample.labels.get("purpose", "")): sample.value
        for family in text_string_to_metric_families(done.stdout)
        for sample in family.samples
    }
    assert found["rar_decisions_total", ""] == 6
    assert found["rar_spend_calls_total", "serve"] == 6
    assert found["rar_decision_seconds_count", ""] == 6


# --- dashboard and alerts ------------------------------------------------------------------------------------------


def exported() -> dict[str, set[str]]:
    """Every metric that is exported, with its labels."""
    names = {f"rar_{name}_total": set(labels) for name, (_, labels) in {**COUNTERS, **READ_COUNTERS}.items()}
    names |= {f"rar_{name}": set(labels) for name, (_, labels) in GAUGES.items()}
    for name in HISTOGRAMS:
        names |= {f"rar_{name}_{part}": {"le"} if part == "bucket" else set() for part in ("bucket", "sum", "count")}
    return names


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    rules = re.findall(r"expr: (?:>\n)?((?:.|\n)*?)\n        (?:for|labels):", ALERTS.read_text("utf-8"))
    return found + rules


def test_every_metric_of_the_dashboard_and_of_the_alerts_is_exported() -> None:
    used = {name for expression in expressions() for name in re.findall(r"\brar_\w+", expression)}

    assert len(expressions()) > 40
    assert used <= exported().keys()
    for topic in ("net_saving", "quality_low", "floor", "drift", "guides", "wait_seconds", "budget_left", "failovers",
                  "decision_seconds", "memory_records", "lag"):  # fmt: skip
        assert any(topic in name for name in used), topic


def test_every_label_that_they_name_is_one_of_the_metrics() -> None:
    for expression in expressions():
        for name, selector in re.findall(r"\b(rar_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)=", selector)) <= exported()[name], expression


def test_what_is_scraped_is_what_is_listed(router: MakeRouter, scraped: Scraped) -> None:
    asked = router(spend=[Ceiling(1.0)], audit_rate=1.0)
    teach_harbours(asked, pair())  # type: ignore[arg-type]
    names = {name for name, _ in scraped.samples() if not name.endswith("_created")}

    assert names <= exported().keys()
    for name, labels in scraped.samples():
        if name in names:
            assert dict(labels).keys() == exported()[name], name


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    panels = dashboard["panels"]

    assert dashboard["schemaVersion"] >= 36 and dashboard["title"] == "RAR" and dashboard["uid"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        columns, rows = (range(place[at], place[at] + place[size]) for at, size in (("x", "w"), ("y", "h")))
        cells = {(x, y) for x in columns for y in rows}
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or (panel["targets"] and panel["description"])
    assert [one["name"] for one in dashboard["templating"]["list"]] == ["datasource", "namespace"]


def promtool(*args: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool, of Debian's package prometheus, is not installed.")
    return subprocess.run([found, *args], check=False, capture_output=True, text=True, timeout=60)


def test_promtool_takes_the_alerts() -> None:
    done = promtool("check", "rules", str(ALERTS))

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_alerts_ring_when_they_should(tmp_path: Path) -> None:
    cases = (Path(__file__).parent / "prometheus_alerts.yml").read_text("utf-8").replace("ALERTS", str(ALERTS))
    (tmp_path / "cases.yml").write_text(cases, "utf-8")
    done = promtool("test", "rules", str(tmp_path / "cases.yml"))

    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    plain = [expression.replace("$__rate_interval", "5m").replace("$namespace", ".*") for expression in found]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(plain)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")
    done = promtool("check", "rules", str(tmp_path / "rules.yml"))

    assert done.returncode == 0, done.stdout + done.stderr
