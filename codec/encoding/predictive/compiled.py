"""Loops over blocks, compiled where they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numba
from numba.core.event import Event, Listener, install_listener

# Blocks are cut out of arrays in inner loops: there, counting references to these and handing arrays from function to
# function take several times as long as the work
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"reassoc", "contract", "nsz", "nnan"},
    "forceinline": True,
    "_nrt": False,
}

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """The same function as machine code: made at its first call, kept for later processes, run beside other threads.

    It makes no arrays, and returns none. Sums of floats may be taken in any order, which differs from machine to
    machine, and none may be of what is not a number: for what an encoder looks for only.
    """
    try:
        return cast(Function, numba.njit(cache=True, **OPTIONS)(function))
    except RuntimeError:  # no folder to keep it in
        return cast(Function, numba.njit(**OPTIONS)(function))


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
