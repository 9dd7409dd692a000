"""When and how frames are shown: rate, timestamps, pixel shape, colour."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from bitstream.header import Color

_FINEST_RATE = 1_000_000  # largest denominator of a computed rate: containers hold rates as pairs of 32-bit numbers


@dataclass(frozen=True)
class Presentation:
    """What a player needs besides the frames.

    n frames last n / fps seconds.
    """

    fps: Fraction  # frames per second, the average where the rate varies
    time_base: Fraction  # seconds per tick; 1 / fps where the rate is constant
    timestamps: tuple[int, ...] | None  # in ticks, the first 0, increasing; None where the rate is constant
    sar: Fraction  # sample aspect ratio: width / height of one pixel
    color: Color  # as codec.video.color understands it

    def seconds(self, frame: int) -> Fraction:
        """When a frame is shown."""
        return (self.timestamps[frame] if self.timestamps else frame) * self.time_base

    def cut(self, start: int, stop: int) -> "Presentation":
        """The presentation of the frames start..stop-1 alone, the first at time 0; stop > start."""
        if self.timestamps is None:
            return self
        count = len(self.timestamps)
        end = count / (self.fps * self.time_base) if stop >= count else self.timestamps[stop]  # in ticks
        kept = self.timestamps[start:stop]
        fps = len(kept) / ((end - kept[0]) * self.time_base)
        return replace(self, fps=fps.limit_denominator(_FINEST_RATE), timestamps=_from_zero(kept))


def constant(fps: Fraction, sar: Fraction, color: Color) -> Presentation:
    """The presentation of frames at a constant rate."""
    return Presentation(fps, 1 / fps, None, sar, color)


def timed(
    pts: Sequence[int], time_base: Fraction, last: Fraction, declared: Sequence[Fraction], sar: Fraction, color: Color
) -> Presentation:
    """The presentation of frames with increasing timestamps `pts`, in ticks of `time_base` seconds.

    last: how long the last frame is shown, in seconds, 0 where unknown; declared: rates that the container states.
    """
    rate = constant_rate(pts, time_base, declared)
    if rate is not None:
        return constant(rate, sar, color)
    span = (pts[-1] - pts[0]) * time_base
    fps = len(pts) / (span + (last or span / (len(pts) - 1)))
    return Presentation(fps.limit_denominator(_FINEST_RATE), time_base, _from_zero(pts), sar, color)


def constant_rate(pts: Sequence[int], time_base: Fraction, declared: Sequence[Fraction]) -> Fraction | None:
    """The frame rate at which all of `pts` lie but for their rounding, or None if there is none.

    Rounding is to whole ticks, or to the milliseconds of a Matroska file that the frames once went through. Tried are
    the `declared` rates, then the timestamps' own average: as a whole number, over 1.001, and as it is.
    """
    rates = list(declared)
    if len(pts) > 1:
        average = (len(pts) - 1) / ((pts[-1] - pts[0]) * time_base)
        whole = Fraction(round(average))
        ntsc = Fraction(round(average * 1001 / 1000) * 1000, 1001)
        rates += [whole, ntsc, average.limit_denominator(1001), average.limit_denominator(_FINEST_RATE)]
    return next((rate for rate in rates if rate > 0 and _fits(pts, time_base, rate)), None)


def _fits(pts: Sequence[int], time_base: Fraction, rate: Fraction) -> bool:
    step = 1 / (rate * time_base)  # ticks per frame
    # Whole numbers: a Fraction per frame would take seconds on a long video.
    late = [tick * step.denominator - index * step.numerator for index, tick in enumerate(pts)]
    spread = (max(late) - min(late)) * time_base / step.denominator  # seconds between the most early and the most late
    # With ticks nearly as long as a frame, as in .avi, one tick off is a frame left out.
    return spread <= Fraction(1, 1000) or (spread < time_base and step >= 8)


def _from_zero(pts: Sequence[int]) -> tuple[int, ...]:
    return tuple(tick - pts[0] for tick in pts)
