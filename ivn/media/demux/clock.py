"""Computes when frames appear, in seconds from the first one that is shown."""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol, TypeVar

from ivn.media.container import TimeWindow

if TYPE_CHECKING:
    from av.video.stream import VideoStream

# Windows that start earlier are read from the first packet: seeking would gain nothing.
_SEEK_FROM_SECONDS = 5.0


class Stamped(Protocol):
    """A frame, or anything else with its time stamp."""

    @property
    def pts(self) -> int | None:
        """Time stamp, in the stream's ticks."""


Frame = TypeVar("Frame", bound=Stamped)


@dataclass(frozen=True)
class Clock:
    """The rule by which a frame's time follows from its time stamp or its number.

    Attributes:
        base: seconds per tick of this clock.
        stamp: seconds per tick of the stream's time stamps.
        rate: average number of frames per second of the stream.
        trusted: whether time stamps are display times; otherwise frames follow at ``rate``.
        origin: time stamp of the first frame that is shown; None where that is the first to come.
    """

    base: Fraction
    stamp: Fraction
    rate: Fraction
    trusted: bool = True
    origin: int | None = None

    @property
    def step(self) -> int:
        """Ticks per frame at the average rate."""
        return max(1, round(1 / (self.rate * self.base)))

    def without_stamps(self) -> "Clock":
        """Returns the clock of a stream whose time stamps are not trusted: one tick per frame."""
        return replace(self, base=1 / self.rate, trusted=False, origin=None)

    def at_rate_of(self, decoded: list[int]) -> "Clock":
        """Returns a clock without time stamps at the rate at which packets are decoded.

        The declared rate stays where it is right to 1%, and where decoding times do not ascend. AVI
        counts empty packets between those with data in its rate. The step after the first packet is
        ignored: encoders that delay frames leave a gap there.

        Args:
            decoded: decoding time of each packet with data, in the stream's ticks.
        """
        decoded = decoded[1:]
        span = (decoded[-1] - decoded[0]) * self.stamp if decoded else Fraction(0)
        if span <= 0 or any(first >= second for first, second in itertools.pairwise(decoded)):
            return self
        rate = (len(decoded) - 1) / span
        return (
            self if abs(rate - self.rate) < rate / 100 else replace(self, rate=rate, base=1 / rate)
        )

    def seconds(self, tick: int) -> float:
        """Returns the time of a tick, in seconds from the first frame."""
        return float(tick * self.base)

    def span(self, window: TimeWindow) -> tuple[float, float]:
        """Returns the first time stamp inside the window and the first after it.

        They are infinite where the window or the origin of the clock sets no bound.
        """
        if window == TimeWindow() or not self.trusted or self.origin is None:
            return -math.inf, math.inf
        start, end = (
            self.origin + (seconds - 1e-3) / float(self.base)
            for seconds in (window.start, window.end)
        )
        return start, end

    def near(self, window: TimeWindow) -> float | None:
        """Returns the time stamp near which reading may begin; None for the first packet."""
        low, _ = self.span(window)
        return low if low > -math.inf and window.start >= _SEEK_FROM_SECONDS else None

    def inside(self, frames: Iterable[Frame], window: TimeWindow) -> Iterator[tuple[Frame, float]]:
        """Yields the frames that appear in the window, with their seconds from the first frame."""
        for frame, tick in self.ticks(frames):
            seconds = self.seconds(tick)
            if window.holds(seconds):
                yield frame, seconds
            elif seconds >= window.end:
                return

    def ticks(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, int]]:
        """Yields the frames, which come in display order, with their ticks from the first frame.

        A frame without a time stamp, or whose time stamp goes back, is one step after the frame
        before it.
        """
        origin, step = self.origin, self.step
        last: int | None = None
        for frame in frames:
            if not self.trusted or frame.pts is None:
                tick = 0 if last is None else last + step
            else:
                origin = frame.pts if origin is None else origin
                tick = frame.pts - origin
            if last is not None and tick <= last:
                tick = last + step
            last = tick
            yield frame, tick


def clock_of_stream(stream: "VideoStream") -> Clock:
    """Returns the clock of a stream whose time stamps are trusted."""
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    base = stream.time_base or Fraction(1, 25)
    return Clock(base, base, Fraction(rate))
