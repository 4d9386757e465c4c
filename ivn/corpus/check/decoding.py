"""Decoding of a whole video, to see whether every frame can be read."""

import time

from ivn.errors import DecodeError
from ivn.media.decode import frames_in_order
from ivn.media.source import Source
from ivn.media.storage import name_of


def check_one(source: Source, seconds: float) -> str:
    """Decodes every frame that a clip of the source could ask for.

    Args:
        source: the file and its window.
        seconds: time limit.

    Returns:
        "", or the reason why a frame cannot be read.
    """
    began, name = time.monotonic(), name_of(source)
    try:
        for number, shown in enumerate(frames_in_order(source)):
            if number == 0:
                shown.image()
            if time.monotonic() - began > seconds:
                return f"not decoded in {seconds:g} s"
    except DecodeError as error:
        return str(error).removeprefix(f"{name}: ")
    return ""
