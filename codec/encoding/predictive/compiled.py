"""Loops over blocks, compiled where they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

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
