"""The quality that meets a size or a PSNR, on segments whose size and PSNR rise as told."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codec.encoding.predictive.choices import TRIES, search_quality


@dataclass(frozen=True)
class Made:
    """What is looked at of a `Try`."""

    quality: float
    size: int
    psnr: float


def clip(low: float, growth: float, bend: float) -> Callable[[float], Any]:
    """Size and PSNR that rise with the quality, faster or slower towards its end."""

    def attempt(quality: float) -> Made:
        assert 0 <= quality <= 63
        at = quality + bend * math.sin(quality / 10)
        return Made(quality, round(low * math.exp(growth * at)), 25 + 0.3 * at)

    return attempt


def unwarned(message: str) -> None:
    pytest.fail(message)


clips = st.builds(clip, st.floats(500, 50_000), st.floats(0.04, 0.12), st.floats(-6, 6))


@given(clips, st.floats(3, 60), st.floats(0, 63))
@example(clip(500, 0.046875, -6), 19, 0)  # a line through the nearest two crept
def test_a_size_is_met_within_5_percent_and_never_passed(
    attempt: Callable[[float], Made], at: float, start: float
) -> None:
    size = attempt(at).size
    tries: list[float] = []

    def counted(quality: float) -> Any:
        tries.append(quality)
        return attempt(quality)

    found = search_quality(counted, start, size, None, unwarned)
    assert 0.95 <= found.size / size <= 1
    assert len(tries) <= TRIES


@given(clips, st.floats(3, 60), st.floats(0, 63))
def test_a_psnr_is_met_from_above(attempt: Callable[[float], Made], at: float, start: float) -> None:
    wanted = attempt(at).psnr
    found = search_quality(attempt, start, None, wanted, unwarned)  # type: ignore[arg-type]
    assert wanted <= found.psnr <= wanted + 0.1


def test_a_quality_is_taken_as_it_is() -> None:
    assert search_quality(clip(1000, 0.08, 0), 31.5, None, None, unwarned).quality == 31.5


def test_what_cannot_be_met_is_said() -> None:
    attempt = clip(1000, 0.08, 0)
    warnings: list[str] = []
    assert search_quality(attempt, 40, 900, None, warnings.append).quality == 0
    assert warnings.pop() == "1,000 bytes are the fewest that this can be coded in, 900 were asked for"
    assert search_quality(attempt, 40, None, 50, warnings.append).quality == 63
    assert warnings.pop() == "43.90 dB are the most that this can be coded at, 50 were asked for"
    assert search_quality(attempt, 40, 10**7, None, warnings.append).quality == 63
    assert warnings == [], "it is as good as it can be; the file says how large it is"
