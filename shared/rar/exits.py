"""The ways in which a process ends: all of them are to store what was decided.

- The interpreter ends: `atexit`.
- A child of `multiprocessing` ends by `os._exit`, after its own finalizers.
- SIGTERM, where nobody handles it, ends Python at once: it is handled by storing, then ending by it as before. Servers
  such as gunicorn and uvicorn handle it themselves, and end in one of the other ways.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import parent_process, util
from types import FrameType

SECONDS = 5.0  # that the end of a process waits, for all that is to be stored together
_FIRST = 100  # before the finalizers of `multiprocessing` itself, which end queues and pools

End = Callable[[float], None]
_ends: list[End] = []
_deadlines: list[float] = []  # of the process's end, once it has begun


def at_end(end: End) -> None:
    """Have `end` called when the process ends, with the seconds that are left to it. The last to come is called first.

    It must hold nothing alive, and do nothing once there is nothing to do any more.
    """
    _ends.append(end)
    atexit.register(_run, end)
    if parent_process() is not None and len(_ends) == 1:
        _in_child()
    _handle_sigterm()


def forget(end: End) -> None:
    """Take back `at_end`."""
    if end in _ends:
        _ends.remove(end)
    atexit.unregister(end)


def _run(end: End) -> None:
    if end in _ends:
        if not _deadlines:
            _deadlines.append(time.monotonic() + SECONDS)
        end(max(_deadlines[0] - time.monotonic(), 0.0))


def _run_all() -> None:
    for end in reversed(_ends):
        _run(end)


def _in_child(_: object = None) -> None:
    util.Finalize(None, _run_all, exitpriority=_FIRST)


def _handle_sigterm() -> None:
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(number: int, _: FrameType | None) -> None:
    # In a thread: the main one may have been stopped while it held a lock that storing needs.
    storing = threading.Thread(target=_run_all, daemon=True)
    storing.start()
    storing.join(SECONDS)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), number)


util.register_after_fork(_run_all, _in_child)  # called in each child that `multiprocessing` forks
