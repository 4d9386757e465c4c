"""Copies of videos as they go round: encoded anew, made smaller, cut, renamed."""

from fractions import Fraction

import av


def encoded_anew(source, target, *, scale=1.0, crf=30, codec="libx264", start=0.0, end=1e9):
    """``source`` from ``start`` to ``end`` seconds in another encoding, at its own times."""
    with av.open(str(source), metadata_errors="ignore") as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        tick, out, first = Fraction(1, 1000), None, None
        for frame in old.decode(stream):
            if not start <= frame.time < end:
                continue
            if out is None:
                out = new.add_stream(codec, rate=stream.average_rate, options={"crf": str(crf)})
                out.width, out.height = (
                    max(16, int(side * scale) // 2 * 2) for side in (frame.width, frame.height)
                )
                out.pix_fmt, out.time_base, out.codec_context.time_base = "yuv420p", tick, tick
                first = frame.time
            small = frame.reformat(out.width, out.height, "yuv420p")
            small.pts, small.time_base = round((frame.time - first) / tick), tick
            new.mux(out.encode(small))
        new.mux(out.encode(None))
    return target
