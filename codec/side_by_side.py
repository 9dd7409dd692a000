"""Work on several parts at once, a thread each: frames, each from those that it refers to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch


class Referring(Protocol):
    """Something that is made from others."""

    @property
    def references(self) -> tuple[int, ...]:
        """The numbers of these."""


Item = TypeVar("Item", bound=Referring)
Reference = TypeVar("Reference")
Result = TypeVar("Result")


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Operators of torch share their work among so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def as_they_can(
    items: Sequence[Item],
    make: Callable[[Item, dict[int, Reference]], Result],
    kept: Mapping[int, Reference],
) -> Iterator[tuple[Item, Result]]:
    """Make items, each as soon as all that it refers to are in `kept`, as many at once as operators of torch may use
    threads; in the order they are done. Raises ValueError where some refer to what is neither kept nor made.

    Each is made on one thread, operators and all: what comes of it depends on its references alone, and on no number of
    threads, as sums that several threads share do.
    """
    waiting = list(items)
    running: dict[Future[Result], Item] = {}
    workers = torch.get_num_threads()
    one_each = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    with torch_threads(workers), one_each as pool:  # as what a thread sets for itself holds in all that begin later
        try:
            while waiting or running:
                while len(running) < workers:
                    ready = next((i for i in waiting if all(r in kept for r in i.references)), None)
                    if ready is None:
                        break
                    waiting.remove(ready)
                    running[pool.submit(make, ready, {r: kept[r] for r in ready.references})] = ready
                if not running:
                    lacking = sorted({r for item in waiting for r in item.references if r not in kept})
                    raise ValueError(f"what some parts refer to is not there: {lacking}")
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()
