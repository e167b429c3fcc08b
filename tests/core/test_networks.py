"""What networks share: loaded once in each process, fed with batches that need little padding, and silent."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rar import Router
from rar.embedding import MiniLMEmbedder
from rar.networks import Once, by_length, padded, readable, shared


def test_many_threads_make_it_once() -> None:
    made: list[object] = []
    start = threading.Barrier(8)

    def make() -> object:
        made.append(object())
        return made[-1]

    once = Once(make)

    def use(_: int) -> object:
        start.wait()
        return once()

    with ThreadPoolExecutor(8) as pool:
        found = set(map(id, pool.map(use, range(8))))

    assert found == {id(made[0])}


def test_what_could_not_be_made_is_tried_again() -> None:
    files = iter([OSError("not there yet"), "there"])

    def make() -> str:
        if isinstance(found := next(files), OSError):
            raise found
        return found

    once = Once(make)
    with pytest.raises(OSError, match="not there yet"):
        once()

    assert once() == "there"


def test_a_copy_makes_its_own() -> None:
    once = Once(threading.Lock)  # which can be neither pickled nor copied, as a session
    lock = once()

    for copied in (copy.deepcopy(once), pickle.loads(pickle.dumps(once))):
        assert copied() is copied()
        assert copied() is not lock
    assert once() is lock


def test_what_is_shared_is_made_once_and_let_go_with_its_last_user() -> None:
    made: list[tuple[int, ...]] = []

    def make(*arguments: int) -> threading.Lock:
        made.append(arguments)
        return threading.Lock()

    first = shared(make, 1)
    others = shared(make, 1), copy.deepcopy(first)
    assert {id(once()) for once in (first, *others)} == {id(first())}
    assert shared(make, 2)() is not first()
    assert made == [(1,), (2,)]

    del first, others
    shared(make, 1)()
    assert made == [(1,), (2,), (1,)]


def test_any_number_of_routers_have_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    sessions: list[object] = []
    make = onnxruntime.InferenceSession

    def counted(*arguments: object, **options: object) -> object:
        sessions.append(make(*arguments, **options))
        return sessions[-1]

    monkeypatch.setattr(onnxruntime, "InferenceSession", counted)
    gc.collect()
    before = MiniLMEmbedder(threads=2)  # another number of threads than the other tests have
    before.embed(["warm"])

    routers = [Router(memory=":memory:", embedder=MiniLMEmbedder(threads=2), learning="off") for _ in range(200)]
    for length, router in enumerate(routers[:8], start=8):
        MiniLMEmbedder(threads=2, max_tokens=length).embed(["as long as may be"])
        assert router.embedder is not None
        router.embedder.embed([f"question {length}"])
    pickle.loads(pickle.dumps(before)).embed(["copied"])

    assert len(sessions) == 1
    for router in routers:
        router.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.slow
def test_a_forked_child_makes_its_own_even_if_the_parent_was_making_one() -> None:
    code = """
import os, threading
from rar.networks import Once
inside, leave = threading.Event(), threading.Event()
def make():
    if threading.current_thread() is not threading.main_thread():
        inside.set()
        leave.wait()
    return os.getpid()
once = Once(make)
other = threading.Thread(target=once)
other.start()
inside.wait()
child = os.fork()
if child == 0:
    os._exit(0 if once() == os.getpid() else 3)
status = os.waitpid(child, 0)[1]
leave.set()
other.join()
print(status, once() == os.getpid())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.split() == ["0", "True"]


def test_the_runtime_is_told_to_send_nothing_before_it_is_imported() -> None:
    code = """
import os, sys
os.environ.pop("ORT_DISABLE_TELEMETRY", None)
class Look:
    def find_spec(self, name, *_):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Look())
from rar.networks import onnx_session
try:
    onnx_session(b"no network", 1)
except Exception:
    print("tried")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.split() == ["1", "tried"]


def test_batches_hold_each_row_once_by_length() -> None:
    lengths = np.array([5, 1, 3, 1, 9])
    batches = [batch.tolist() for batch in by_length(lengths, np.array([4, 3, 2, 1]), 3)]

    assert batches == [[3, 1, 2], [4]]


def test_tokens_are_filled_up_and_masked() -> None:
    ids, mask = padded([[7, 8, 9], [5]])

    assert ids.tolist() == [[7, 8, 9], [5, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_a_text_is_made_fit_for_a_tokenizer() -> None:
    assert readable("  tax law \n", 8) == "tax law"
    assert readable("a\ud800é", 8) == "a?é"
    assert len(readable("x" * 1_000_000, 8)) < 1_000
