"""Loops over blocks, compiled where they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

REORDER = {"reassoc", "contract", "nsz"}

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """The same function as machine code: made at its first call, kept for later processes, run beside other threads.

    Sums of floats may be taken in any order, which differs from machine to machine: for what an encoder looks for only.
    """
    try:
        return cast(Function, numba.njit(cache=True, nogil=True, fastmath=REORDER)(function))
    except RuntimeError:  # no folder to keep it in
        return cast(Function, numba.njit(nogil=True, fastmath=REORDER)(function))
