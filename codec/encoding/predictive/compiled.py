"""Loops over blocks, compiled where they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

import numba
from numba.core.event import Event, Listener, install_listener

FAST = {"reassoc", "contract", "nsz", "nnan"}

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """The same function as machine code: made at its first call, kept for later processes, run beside other threads.

    Sums of floats may be taken in any order, which differs from machine to machine, and none may be of what is not a
    number: for what an encoder looks for only.
    """
    try:
        return cast(Function, numba.njit(cache=True, nogil=True, fastmath=FAST)(function))
    except RuntimeError:  # no folder to keep it in
        return cast(Function, numba.njit(nogil=True, fastmath=FAST)(function))


@contextmanager
def compiling(say: Callable[[], object]) -> Iterator[None]:
    """Call `say` once if anything is compiled meanwhile, when that begins, and not if all is kept from before."""
    with install_listener("numba:compile", _First(say)):
        yield


class _First(Listener):
    """Passes on the first of some events, from whatever thread."""

    def __init__(self, say: Callable[[], object]) -> None:
        self._say: Callable[[], object] | None = say

    def on_start(self, event: Event) -> None:
        say, self._say = self._say, None
        if say:
            say()

    def on_end(self, event: Event) -> None:
        pass
