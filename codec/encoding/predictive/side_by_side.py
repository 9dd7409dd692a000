"""Frames encoded several at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

from codec.encoding.predictive.frame import Reference
from codec.encoding.predictive.gop import Planned

Result = TypeVar("Result")


def as_they_can(
    items: Sequence[Planned],
    encode: Callable[[Planned, dict[int, Reference]], Result],
    kept: Mapping[int, Reference],
) -> Iterator[tuple[Planned, Result]]:
    """Encode frames, each as soon as all that it refers to are in `kept`, several at once; in the order they are done.

    What becomes of a frame depends on its references alone, and so on no number of threads.
    """
    waiting = list(items)
    running: dict[Future[Result], Planned] = {}
    workers = torch.get_num_threads()
    with ThreadPoolExecutor(workers) as pool:
        try:
            while waiting or running:
                while len(running) < workers:
                    ready = next((i for i in waiting if all(r in kept for r in i.references)), None)
                    if ready is None:
                        break
                    waiting.remove(ready)
                    running[pool.submit(encode, ready, {r: kept[r] for r in ready.references})] = ready
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()
