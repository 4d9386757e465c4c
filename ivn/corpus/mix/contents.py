"""Contents of clips: a hash of the bytes, a perceptual hash of frames, comparisons of two clips.

Each is done in processes that may hang or crash, and kept among the answers. What cannot be read
has a reason instead.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ivn.corpus.mix.answers import Answers
from ivn.corpus.mix.phash import frame_hashes, hashed_frame_numbers, to_text
from ivn.corpus.pool import in_processes
from ivn.media.decode import decode
from ivn.media.source import Source


@dataclass(frozen=True)
class Finding:
    """An answer, or the reason why there is none.

    Attributes:
        value: the answer; None where there is a reason.
        reason: "", or why there is no answer, in a few words.
    """

    value: Any = None
    reason: str = ""


def perceptual_hash(source: Source) -> str:
    """Returns the perceptual hash of a clip, as in the column ``phash``.

    Raises:
        DecodeError: the clip cannot be decoded.
    """
    frames = decode(source, hashed_frame_numbers)
    return to_text(frame_hashes(frames))


def find_out(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    answers: Answers,
    *,
    workers: int,
    seconds: float,
    tell: Callable[[], None],
) -> list[Finding]:
    """Returns what ``function`` gives for each item, in their order, and asks only what is new.

    Args:
        function: one of :func:`ivn.media.storage.hash_of`, :func:`perceptual_hash` or
            :func:`ivn.corpus.mix.compare.same_content`.
        items: sources, or pairs of them.
        answers: known answers, to which new ones are added; a file that was changed since is
            asked about again.
        workers: number of processes.
        seconds: time limit per item.
        tell: called for each item that is done.
    """
    items = list(items)
    keys = [f"{function.__name__} {_key(item)}" for item in items]
    # Nothing twice: many rows may be parts of one file.
    open_items = {key: item for key, item in zip(keys, items, strict=True) if key not in answers}
    for _ in range(len(items) - len(open_items)):
        tell()
    outcomes = in_processes(function, open_items.values(), workers=workers, seconds=seconds)
    if open_items:
        for key, outcome in zip(open_items, outcomes, strict=True):
            answers[key] = [outcome.value, outcome.reason]
            tell()
    return [Finding(*answers[key]) for key in keys]


def _key(item: Source | tuple[Source, Source]) -> str:
    if isinstance(item, tuple):
        return " and ".join(map(_key, item))
    try:
        state = os.stat(item.path)
        seen = f"{state.st_size} {state.st_mtime_ns}"
    except OSError:
        seen = "missing"
    return f"{item.path!r} {item.member!r} {item.start} {item.end} {seen}"
