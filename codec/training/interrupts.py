"""Interrupts that wait for a good moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """Hold back SIGINT, SIGTERM and SIGHUP inside the block; the value tells whether one came. A second is not held.

    An interrupt in the middle of an optimiser step would leave a state that no uninterrupted training passes through.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set  # signals go to the main thread, whoever that is
        return

    def note(number: int, frame: Any) -> None:
        if came.is_set():
            raise KeyboardInterrupt
        came.set()

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heard = (s for s in signals if signal.getsignal(s) is not signal.SIG_IGN)  # not under nohup
    before = {s: signal.signal(s, note) for s in heard}
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
