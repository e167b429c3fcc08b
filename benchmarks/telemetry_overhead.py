"""What the observers for OpenTelemetry and Prometheus add to a call: to its decision, and to what follows its answer.

A router over a full memory is asked new questions. Each observer's methods are timed where they are called, between the
parts of a real decision, so that nothing of theirs is in the processor's cache. Making the event is timed with them.
Times are those of the caller's thread: what others on the machine do is no part of them. Questions are embedded by the
default embedder, and searched for by vectors that cluster like sentences do. Spans go to the SDK's batch processor, and
from there to nowhere. At last the same events are told again and again, so that all is in the processor's cache.

    pip install 'rar-llm[otel,prometheus]' opentelemetry-sdk
    python benchmarks/telemetry_overhead.py [--records 10000] [--calls 4000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from decision_latency import CLUSTERS, DIM, MODELS, Table, clustered, filled
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry, generate_latest

from rar import Router
from rar.embedding import as_embedder
from rar.integrations.otel import OpenTelemetry
from rar.integrations.prometheus import Prometheus
from rar.values import Reply, Usage, Vector, question


class Dropped(SpanExporter):
    """Exports to nowhere."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Embedding(Table):
    """Takes the time of the default embedder, and gives the vectors of a table."""

    def __init__(self, vectors: dict[str, Vector]) -> None:
        super().__init__(vectors)
        self.minilm = as_embedder("minilm")

    def embed(self, texts: Sequence[str]) -> Vector:
        self.minilm.embed(texts)
        return super().embed(texts)


class Timed:
    """An observer, and what its methods take on the caller's path."""

    def __init__(self, observer: Any) -> None:
        self.observer, self.spent, self.aside = observer, 0.0, 0.0
        self.flush, observer._aside.flush = observer._aside.flush, self._flushed
        self.told: list[tuple[Callable[[Any], object], Any]] = []
        self.attached = observer.attached

    def decided(self, event: Any) -> None:
        self._timed(self.observer.decided, event)

    def called(self, event: Any) -> None:
        self._timed(self.observer.called, event)

    def _flushed(self) -> None:
        start = time.thread_time()
        self.flush()
        self.aside += time.thread_time() - start

    def _timed(self, method: Callable[[Any], object], event: Any) -> None:
        start = time.thread_time()
        method(event)
        self.spent += time.thread_time() - start
        self.told = [*self.told[-99:], (method, event)]

    def again(self) -> float:
        """Microseconds of a call, of those that were told last, with all in the cache."""
        spent = 0.0
        for _ in range(100):
            start = time.thread_time()
            for method, event in self.told:
                method(event)
            spent += time.thread_time() - start
            self.observer.flush()
        return spent * 1e6 / 100 / len(self.told) * 2  # a decision and an answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=4_000)
    args = parser.parse_args()
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(CLUSTERS, DIM)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    texts = [f"Stored question number {n} about topic {n % CLUSTERS}?" for n in range(args.records)]
    asked = [f"New question number {n} about topic {n % CLUSTERS}?" for n in range(args.calls)]
    table = Embedding(dict(zip(asked, clustered(chance, centres, args.calls), strict=True)))
    provider, registry = TracerProvider(), CollectorRegistry()
    provider.add_span_processor(BatchSpanProcessor(Dropped()))
    telemetry = OpenTelemetry(tracer_provider=provider, span=trace.get_current_span)
    observers = {"OpenTelemetry": Timed(telemetry), "Prometheus": Timed(Prometheus(registry))}
    with tempfile.TemporaryDirectory() as folder:
        memory = filled(Path(folder) / "rar.db", texts, clustered(chance, centres, args.records))
        options: dict[str, Any] = {"memory": memory, "embedder": table, "learning": "off", "read_only": True}
        options |= {"prices": {"weak": (0.1, 0.4), "strong": (2.0, 8.0)}, "observers": list(observers.values())}
        with Router(**options) as router:
            calls = [list(row) for row in timings(router, asked, provider.get_tracer("application"), observers)]
            aside = [observer.aside / args.calls * 1e6 for observer in observers.values()]
            start = time.perf_counter()
            generate_latest(registry)
            scrape = time.perf_counter() - start
            with provider.get_tracer("application").start_as_current_span("call"):
                warm = [observer.again() for observer in observers.values()]
        memory.close()
    report(np.array(calls) * 1e6, list(observers), warm, args)
    each = ", ".join(f"{name} {one:.0f}" for name, one in zip(observers, aside, strict=True))
    print(f"microseconds of a call on the observers' own threads: {each}")
    print(f"a scrape: {scrape * 1e3:.1f} ms, on the scraper's thread")


def timings(
    router: Router, asked: list[str], tracer: trace.Tracer, observers: dict[str, Timed]
) -> list[tuple[float, ...]]:
    """Seconds of each call without its observers, and of each observer."""
    router.decide(question(asked[0]), MODELS)
    router.memory.settle()  # type: ignore[union-attr]
    found = []
    for text in asked:
        request = question(text)
        for observer in observers.values():
            observer.spent = 0.0
        with tracer.start_as_current_span("call"):
            start = time.thread_time()
            decision = router.decide(request, MODELS)
            router.learn(decision, Reply(decision.model, "4", usage=Usage(30, 1), model_id="small"), MODELS)
            whole = time.thread_time() - start
        spent = [observer.spent for observer in observers.values()]
        found.append((whole - sum(spent), *spent))
    return found


def report(times: Any, names: list[str], warm: list[float], args: argparse.Namespace) -> None:
    print(f"{args.calls} new questions, {args.records} records; microseconds of the caller's thread")
    print("                 median      p95   of a call   in the cache")
    plain = float(np.median(times[:, 0]))
    rows = {"without": times[:, 0], **dict(zip(names, times[:, 1:].T, strict=True)), "both": times[:, 1:].sum(axis=1)}
    cached = {"without": "", **{name: f"{one:.1f}" for name, one in zip(names, warm, strict=True)}}
    cached["both"] = f"{sum(warm):.1f}"
    for name, each in rows.items():
        middle = float(np.median(each))
        share = f"{middle / plain:.1%}"
        print(f"{name:<13}  {middle:>8.1f}  {np.percentile(each, 95):>7.1f}  {share:>9}  {cached[name]:>13}")


if __name__ == "__main__":
    main()
