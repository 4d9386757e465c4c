"""When frames appear, in seconds from the first one that is shown."""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol, TypeVar

from ivn.media.container import Window

if TYPE_CHECKING:
    from av.video.stream import VideoStream

# Nearer to the start than this, a seek gains nothing.
_SEEK_FROM_SECONDS = 5.0


class Stamped(Protocol):
    """A frame, or what is left of it."""

    @property
    def pts(self) -> int | None:
        """Time stamp, in the stream's ticks."""


Frame = TypeVar("Frame", bound=Stamped)


@dataclass(frozen=True)
class Clock:
    """How it is told when a frame appears.

    Attributes:
        base: seconds a tick.
        stamp: seconds a tick of the stream's time stamps.
        rate: the stream's frames a second, on average.
        believed: whether time stamps are display times; else frames follow one another at ``rate``.
        origin: time stamp of the first frame that is shown; None: the first that comes is it.
    """

    base: Fraction
    stamp: Fraction
    rate: Fraction
    believed: bool = True
    origin: int | None = None

    @property
    def step(self) -> int:
        """Ticks of a frame at the average rate."""
        return max(1, round(1 / (self.rate * self.base)))

    def without_stamps(self) -> "Clock":
        """The clock of a stream whose time stamps are not believed: a tick is a frame."""
        return replace(self, base=1 / self.rate, believed=False, origin=None)

    def at_rate_of(self, decoded: list[int]) -> "Clock":
        """A clock without time stamps, at the rate at which packets are decoded.

        The stream's own word stands where it is right to a hundredth, and where decoding times do
        not ascend. AVI has empty packets between those with data, which its own rate counts. The
        step behind the first packet plays no part: encoders that hold frames back leave it empty.

        Args:
            decoded: decoding times of all packets with data, in the stream's ticks.
        """
        decoded = decoded[1:]
        span = (decoded[-1] - decoded[0]) * self.stamp if decoded else Fraction(0)
        if span <= 0 or any(one >= other for one, other in itertools.pairwise(decoded)):
            return self
        rate = (len(decoded) - 1) / span
        return (
            self if abs(rate - self.rate) < rate / 100 else replace(self, rate=rate, base=1 / rate)
        )

    def seconds(self, tick: int) -> float:
        """From the first frame on."""
        return float(tick * self.base)

    def span(self, window: Window) -> tuple[float, float]:
        """First time stamp inside the window and first one after, as far as they are known."""
        if window == Window() or not self.believed or self.origin is None:
            return -math.inf, math.inf
        start, end = (
            self.origin + (seconds - 1e-3) / float(self.base)
            for seconds in (window.start, window.end)
        )
        return start, end

    def near(self, window: Window) -> float | None:
        """The time stamp near which reading may begin; None where that is at the first packet."""
        low, _ = self.span(window)
        return low if low > -math.inf and window.start >= _SEEK_FROM_SECONDS else None

    def inside(self, frames: Iterable[Frame], window: Window) -> Iterator[tuple[Frame, float]]:
        """The frames that appear in the window, each with its seconds from the first frame on."""
        for frame, tick in self.ticks(frames):
            seconds = self.seconds(tick)
            if window.holds(seconds):
                yield frame, seconds
            elif seconds >= window.end:
                return

    def ticks(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, int]]:
        """The frames in the order of display, each with its tick from the first frame on.

        A frame without a time stamp follows the one before, and so does one whose time stamp goes
        back.
        """
        origin, step = self.origin, self.step
        last: int | None = None
        for frame in frames:
            if not self.believed or frame.pts is None:
                tick = 0 if last is None else last + step
            else:
                origin = frame.pts if origin is None else origin
                tick = frame.pts - origin
            if last is not None and tick <= last:
                tick = last + step
            last = tick
            yield frame, tick


def clock_of_stream(stream: "VideoStream") -> Clock:
    """The clock of a stream whose time stamps are believed."""
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    base = stream.time_base or Fraction(1, 25)
    return Clock(base, base, Fraction(rate))
