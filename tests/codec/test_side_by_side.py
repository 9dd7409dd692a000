"""Frames are made several at once, none before what it refers to."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from codec.encoding.predictive.gop import GopSettings, Planned, order
from codec.side_by_side import as_they_can, torch_threads

ITEMS = [item for group in order(60, GopSettings(8, 40), [50]) for item in group]


@pytest.mark.parametrize("threads", [1, 3])
def test_every_frame_follows_its_references(threads: int) -> None:
    kept: dict[int, Any] = {}
    begun: list[int] = []

    def encode(item: Planned, references: dict[int, Any]) -> int:
        begun.append(item.number)
        assert torch.get_num_threads() == 1
        assert references == {r: f"frame {r}" for r in item.references}
        return 2 * item.number

    with torch_threads(threads):
        for item, result in as_they_can(ITEMS, encode, kept):
            assert result == 2 * item.number
            assert item.number not in kept
            kept[item.number] = f"frame {item.number}"
        assert torch.get_num_threads() == threads
    assert sorted(kept) == list(range(60))
    if threads == 1:
        assert begun == [item.number for item in ITEMS], "one after the other, in coding order"


def test_frames_that_do_not_wait_for_each_other_are_encoded_together() -> None:
    together = threading.Barrier(2, timeout=20)
    pair = [Planned(0, (), 0), Planned(1, (), 0)]
    with torch_threads(2):
        found = as_they_can(pair, lambda item, _: (together.wait(), item.number)[1], {})
        assert sorted(number for _, number in found) == [0, 1]


def test_an_error_in_a_frame_is_raised() -> None:
    def encode(item: Planned, references: dict[int, Any]) -> int:
        raise ValueError(f"frame {item.number}")

    with torch_threads(2), pytest.raises(ValueError, match="frame 0"):
        list(as_they_can(ITEMS, encode, {}))


def test_references_that_are_missing_are_an_error() -> None:
    """And not waited for for ever, nor made up."""
    kept: dict[int, Any] = {}
    with torch_threads(2), pytest.raises(ValueError, match=r"not there: \[7\]"):
        for item, result in as_they_can([Planned(0, (), 0), Planned(1, (0, 7), 0)], lambda item, _: item.number, kept):
            kept[item.number] = result
