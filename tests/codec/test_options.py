"""Kinds of value of a setting: what text stands for, and what stands for nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.options import Bytes, Wholes

LIST = Wholes(0, 10**6, "LIST", "5_3_2")


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=8), st.sampled_from([" ", ",", "_", "x", ", ", "  "]))
def test_lists_with_any_of_the_familys_separators(numbers: list[int], separator: str) -> None:
    assert LIST.parse(separator.join(map(str, numbers))) == tuple(numbers)


@pytest.mark.parametrize("text", ["a", "5_b", "1.5", "5;3", "0x1g", "", "-1_2"])
def test_what_is_no_list_of_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="not a list of whole numbers such as 5_3_2"):
        LIST.parse(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("2000", 2000), ("300k", 300_000), ("300K", 300_000), ("1.5M", 1_500_000), ("2 MB", 2_000_000), ("1g", 10**9)],
)
def test_sizes(text: str, size: int) -> None:
    assert Bytes(1, 2**40).parse(text) == size


@pytest.mark.parametrize("text", ["", "k", "-3k", "1.k", "3 t", "1e3"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="not a size such as 300k"):
        Bytes(1, 2**40).parse(text)


def test_so_many_numbers_or_one_alone() -> None:
    pair = Wholes(1, 99, "H_W", "9_16", 2, 2, unset="auto", alone=True)
    assert pair.parse("3_4") == (3, 4)
    assert pair.parse("7") == 7
    assert pair.parse("auto") == ()
    with pytest.raises(ValueError, match="'1_2_3' is not 2 whole numbers such as 9_16"):
        pair.parse("1_2_3")
