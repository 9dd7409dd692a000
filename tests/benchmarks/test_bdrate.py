import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bdrate import Point, delta, front

CURVE: list[Point] = [(0.02, 30.0), (0.04, 32.5), (0.08, 34.6), (0.16, 36.1)]

# Worked examples of JCTVC-E137 (2011), "On Bjontegaard metric": kbit/s and dB of anchor and test, and the BD-rate
# by piecewise cubic interpolation. Also the reference figures of libvmaf's BD-rate calculator.
E137 = [
    (
        [(108048.8736, 43.6471), (61279.976, 40.3953), (33905.6656, 37.247), (18883.6928, 34.2911)],
        [(108061.2784, 43.6768), (61299.9936, 40.4232), (33928.7472, 37.2761), (18910.912, 34.3147)],
        -0.465215420752807,
    ),
    (
        [(40433.8848, 37.5761), (7622.7456, 35.3756), (2394.488, 33.8977), (1017.6184, 32.0603)],
        [(40370.12, 37.5982), (7587.0024, 35.4025), (2390.0944, 33.9194), (1017.0984, 32.0822)],
        -1.8779823450567612,
    ),
]


@pytest.mark.parametrize(("anchor", "test", "published"), E137)
def test_equals_the_published_example(anchor: list[Point], test: list[Point], published: float) -> None:
    assert delta(anchor, test).rate == pytest.approx(published, abs=0.01)


def test_a_codec_against_itself_is_zero() -> None:
    found = delta(CURVE, CURVE)
    assert found.rate == pytest.approx(0, abs=1e-9)
    assert found.quality == pytest.approx(0, abs=1e-9)
    assert found.shared == (30.0, 36.1)
    assert found.note == ""


def test_half_the_bytes_at_the_same_quality_is_minus_fifty_percent() -> None:
    assert delta(CURVE, [(bpp / 2, psnr) for bpp, psnr in CURVE]).rate == pytest.approx(-50)


@given(st.floats(0.05, 20), st.lists(st.tuples(st.floats(0.001, 1), st.floats(20, 50)), min_size=2, max_size=9))
def test_a_factor_in_rate_is_that_many_percent(factor: float, points: list[Point]) -> None:
    rising = front(points)
    steps = [b - a for one, other in itertools.pairwise(rising) for a, b in zip(one, other, strict=True)]
    if len(rising) < 2 or min(steps) < 1e-3:
        return
    assert delta(points, [(bpp * factor, psnr) for bpp, psnr in points]).rate == pytest.approx(100 * (factor - 1))


def test_a_decibel_more_at_the_same_rate_is_a_bd_psnr_of_one() -> None:
    assert delta(CURVE, [(bpp, psnr + 1) for bpp, psnr in CURVE]).quality == pytest.approx(1)


def test_curves_without_common_quality_are_said_to_have_none() -> None:
    found = delta(CURVE, [(bpp, psnr - 10) for bpp, psnr in CURVE])
    assert found.rate is None
    assert found.shared is None
    assert found.quality == pytest.approx(-10)
    assert "no common quality: 20.00 to 26.10 against 30.00 to 36.10" in found.note


def test_curves_without_common_rate_have_no_bd_psnr() -> None:
    found = delta(CURVE, [(bpp * 100, psnr) for bpp, psnr in CURVE])
    assert found.quality is None
    assert found.rate == pytest.approx(9900)
    assert "no common rate" in found.note


def test_one_point_is_no_curve() -> None:
    found = delta(CURVE, CURVE[:1])
    assert found.rate is None
    assert "needs 2 points" in found.note


def test_a_point_beaten_at_fewer_bits_is_left_out_and_said_so() -> None:
    assert front([(0.04, 32.0), (0.02, 30.0), (0.05, 31.0), (0.04, 31.5)]) == [(0.02, 30.0), (0.04, 32.0)]
    found = delta(CURVE, [*CURVE, (0.2, 31.0)])
    assert found.rate == pytest.approx(0, abs=1e-9)
    assert "points left out" in found.note
