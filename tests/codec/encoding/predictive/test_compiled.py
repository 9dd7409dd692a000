"""What is compiled is told of, and only then."""

from __future__ import annotations

from collections.abc import Callable

import numba

from codec.encoding.predictive.compiled import compiling


def said(work: Callable[[], object]) -> int:
    """How often it is said that something is compiled."""
    times: list[None] = []
    with compiling(lambda: times.append(None)):
        work()
    return len(times)


def test_compiling_is_said_once_and_not_where_it_was_done_before() -> None:
    double = numba.njit(lambda x: 2 * x)
    assert said(lambda: (double(1), double(1.0))) == 1, "for two kinds of numbers it is compiled twice"
    assert said(lambda: (double(1), double(1.0))) == 0
    double(2j)  # nobody listens any more
