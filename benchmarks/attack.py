"""What an attack finds: kills, forks, hostile texts, hostile guides, strangers reached. Prints one table.

    RAR_DATA=... python benchmarks/attack.py [--kills 150] [--forks 200]

Each part starts what it needs: real processes, real memory files, real signals. Nothing is timed but the hostile texts,
by the processor time of their own thread.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "shared"), str(ROOT)]

from rar import FunctionModel, Router  # noqa: E402 - the package beside this script
from rar.values import question  # noqa: E402
from tests.security import test_guide_attacks as guides  # noqa: E402
from tests.security.test_hostile_texts import LOOKS, UNITS, hostile  # noqa: E402

Row = tuple[str, str, str]  # what, how much, what was found
MODELS = {"weak": FunctionModel(lambda _: "red", "small"), "strong": FunctionModel(lambda _: "red", "large")}

# A process that learns, and says of each question when it is told that it is stored.
WRITER = """
import sys
sys.path[:0] = [{shared!r}, {root!r}]
from benchmarks.attack import ask, opened, unlike
router = opened(sys.argv[1])
for n in range(1_000_000):
    text = unlike(sys.argv[2], n)
    ask(router, text)
    if router.flush(60):
        print(text, flush=True)
"""


def opened(path: str) -> Router:
    free = {"weak": (0.0, 0.0), "strong": (0.0, 0.0)}
    return Router(memory=path, embedder="hashing", learning_budget=None, policy="paper", prices=free)


def ask(router: Router, text: str) -> None:
    decision = router.decide(question(text), MODELS)
    router.learn(decision, MODELS[decision.model].call(decision.call), MODELS)


def unlike(name: str, n: int) -> str:
    """A question that resembles no other."""
    return " ".join(hashlib.sha256(f"{name} {n} {part}".encode()).hexdigest()[:8] for part in range(8))


def kills(count: int, folder: Path) -> Iterator[Row]:
    """SIGKILL a process that learns, again and again, on one file: what it was told is stored must be there."""
    path, draw = folder / "kills.db", random.Random(0)
    code = WRITER.format(shared=str(ROOT / "shared"), root=str(ROOT))
    stored: set[str] = set()
    broken = 0
    for run in range(count):
        command = [sys.executable, "-W", "ignore", "-c", code, str(path), f"run {run}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - this file
            assert process.stdout is not None
            stored.add(process.stdout.readline().strip())
            time.sleep(draw.uniform(0.0, 0.2))
            process.send_signal(signal.SIGKILL)
            lines = process.stdout.read().split("\n")
        stored |= {line for line in lines[:-1] if line}  # the last may be cut
        with sqlite3.connect(path) as file:
            broken += file.execute("PRAGMA integrity_check").fetchone()[0] != "ok"
    with sqlite3.connect(path) as file:
        kept = {text for (text,) in file.execute("SELECT text FROM experiences")}
    yield "SIGKILL while learning", f"{count} kills, {len(stored)} lessons", (
        f"{len(stored - kept)} lost, {broken} damaged files"
    )  # fmt: skip


def forks(count: int, folder: Path) -> Iterator[Row]:
    """Fork a process whose threads learn: every child must learn too, and the parent go on."""
    router, stop = opened(str(folder / "forks.db")), threading.Event()

    def load(thread: int) -> None:
        for n in range(1_000_000):
            if stop.is_set():
                return
            ask(router, unlike(f"thread {thread}", n))
            router.flush(60)
            time.sleep(0.01)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    failed = 0
    for n in range(count):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                ask(router, unlike("child", n))
                status = 0 if router.flush(60) else 1
            finally:
                os._exit(status)
        failed += os.waitpid(child, 0)[1] != 0
    stop.set()
    for thread in threads:
        thread.join()
    router.flush(60)
    assert router.memory is not None
    texts = {one.text for one in router.memory.experiences(namespace="default", task="answer")}
    lost = sum(unlike("child", n) not in texts for n in range(count))
    router.close()
    yield "forks under load", f"{count} forks", f"{failed} children failed, {lost} of their lessons lost"


def hostile_texts() -> Iterator[Row]:
    """The slowest look at a hostile text, per 10 KB."""
    worst = (0.0, "", "")
    for name, look in LOOKS.items():
        look("Is water wet?")
        for unit in UNITS:
            text = hostile(unit)
            began = time.thread_time()
            look(text)
            worst = max(worst, ((time.thread_time() - began) * 1e3 * 10_000 / len(text), name, unit))
    milliseconds, name, unit = worst
    yield "hostile texts of 100 KB", f"{len(UNITS)} families, {len(LOOKS)} looks", (
        f"at most {milliseconds:.1f} ms for 10 KB ({name}, {unit!r})"
    )  # fmt: skip


def hostile_guides() -> Iterator[Row]:
    """How many guides of the corpus are refused."""
    if not os.environ.get("RAR_DATA"):
        return
    rows = guides.corpus()
    for kind, name in (("poison", "hostile guides"), ("honest", "honest guides")):
        of_kind = [row for row in rows if row["kind"] == kind]
        refused = sum(guides.refused(row) is not None for row in of_kind)
        yield name, f"{len(of_kind)} texts", f"{refused} refused"


def strangers(folder: Path) -> Iterator[Row]:
    """An attacker with 40 messages whose guides a strong model writes as he likes; 60 strangers, each asking twice."""
    attacks = [f"a lamp of kind {number}" for number in range(40)]
    for mode in ("review", None):
        worst = 0
        for number, (step, payload) in enumerate(guides.PAYLOADS.values()):
            models = guides.obedient(set(attacks), step, payload, obeys=lambda _: False)
            path, options = folder / f"{mode}{number}.db", {"embedder": "hashing", "learning": "inline", "seed": 1}
            with Router(memory=path, guides=mode, **options) as router:  # type: ignore[arg-type]
                worst = max(worst, guides.reached(router, models, attacks, payload))
        name = f"an attacker's guides, guides={mode!r}" if mode else "an attacker's guides, by default"
        yield name, f"{len(guides.PAYLOADS)} payloads, 40 messages, 60 strangers", f"at most {worst} reached"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=150)
    parser.add_argument("--forks", type=int, default=200)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("rar").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: list[Callable[[], Iterator[Row]]] = [
            lambda: kills(given.kills, folder), lambda: forks(given.forks, folder), hostile_texts, hostile_guides,
            lambda: strangers(folder),
        ]  # fmt: skip
        print("| attack | how much | found |\n|---|---|---|")
        for part in parts:
            for row in part():
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
