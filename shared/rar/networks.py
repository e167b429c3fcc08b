"""What small networks need on ONNX Runtime or PyTorch: a session, texts that tokenizers take, batches of tokens."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from rar.forking import LOADING, Lock, in_forked_child

T = TypeVar("T")

_CHARS_PER_TOKEN: Final = 64  # far more than text has, so that what is cut would not be read


def onnx_session(model: Path | bytes, threads: int) -> Any:
    """ONNX Runtime's session of a network, on the CPU, with so many threads for one run."""
    # Its telemetry starts with the import, sends to its maker, and makes every forked child hang at exit.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # noqa: PLC0415 - slow, and only where it is used

    onnxruntime.disable_telemetry_events()  # for a process that had imported it before
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    content = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class Once(Generic[T]):
    """What `make` returns, made at the first call from any thread, and made again in a forked child and in a copy."""

    def __init__(self, make: Callable[[], T]) -> None:
        self.__setstate__(make)

    def __getstate__(self) -> Callable[[], T]:
        return self._make  # sessions can be neither pickled nor copied

    def __setstate__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: T | None = None
        self._lock = threading.Lock()
        in_forked_child(self._forget)

    def __call__(self) -> T:
        made = self._made
        if made is None:
            with LOADING, self._lock:
                made = self._made = self._make() if self._made is None else self._made
        return made

    def _forget(self) -> None:
        if self._made is not None:
            # Freeing it would wait for threads that only the parent has, so it is never freed, not even at exit.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._made))
        self._made, self._lock = None, threading.Lock()


class _Shared(Once[T]):
    def __init__(self, make: Callable[..., T], *arguments: Hashable) -> None:
        super().__init__(partial(make, *arguments))
        self._key = (make, *arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return shared, self._key


_known: WeakValueDictionary[Hashable, _Shared[Any]] = WeakValueDictionary()
_finding = Lock()


def shared(make: Callable[..., T], *arguments: Hashable) -> Once[T]:
    """The process's only `Once` of `make(*arguments)` for as long as somebody has it, since networks are large."""
    key = (make, *arguments)
    with _finding:
        once = _known.get(key)
        if once is None:
            once = _known[key] = _Shared(make, *arguments)
        return once


def readable(text: str, max_tokens: int) -> str:
    """What a tokenizer takes, and no more of it than it may need: cutting a long text by tokens reads all of it."""
    text = text.strip()[: _CHARS_PER_TOKEN * max_tokens]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()  # without lone surrogates


def by_length(lengths: npt.NDArray[np.intp], rows: npt.NDArray[np.intp], size: int) -> list[npt.NDArray[np.intp]]:
    """`rows` in batches of alike lengths, which need little padding."""
    order = rows[np.argsort(lengths[rows], kind="stable")]
    return [order[start : start + size] for start in range(0, len(order), size)]


def padded(tokens: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Token numbers and their mask, shape `(n, longest)`, filled up with 0 on the right."""
    ids = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
    mask = np.zeros_like(ids)
    for row, its_ids in enumerate(tokens):
        ids[row, : len(its_ids)] = its_ids
        mask[row, : len(its_ids)] = 1
    return ids, mask
