"""Contents of clips: a hash of the bytes, a perceptual hash of frames, comparisons of two clips.

Each is done in processes that may hang or crash, and kept among the answers. What cannot be read
has a reason instead.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

from ivn.corpus.limits import Limits
from ivn.corpus.mix.answers import Answers
from ivn.corpus.mix.phash import frame_hashes, hashed_frame_numbers, to_text
from ivn.corpus.pool import in_processes
from ivn.media.decode import decode
from ivn.media.source import Source


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
    limits: Limits,
    tell: Callable[[], None],
) -> list[tuple[Any, str]]:
    """Returns an answer and a reason for each item, in their order, and asks only what is new.

    The answer is what ``function`` gives, or None with the reason why there is none.

    Args:
        function: one of :func:`ivn.media.storage.hash_of`, :func:`perceptual_hash` or
            :func:`ivn.corpus.mix.compare.same_content`.
        items: sources, or pairs of them.
        answers: known answers, to which new ones are added; a file that was changed since is
            asked about again.
        limits: number of processes, and time limit per item.
        tell: called for each item that is done.
    """
    items = list(items)
    keys = [f"{function.__name__} {_key(item)}" for item in items]
    # Nothing twice: many rows may be parts of one file.
    unanswered = {key: item for key, item in zip(keys, items, strict=True) if key not in answers}
    for _ in range(len(items) - len(unanswered)):
        tell()
    outcomes = in_processes(
        function, unanswered.values(), workers=limits.processes, seconds=limits.seconds
    )
    if unanswered:
        for key, outcome in zip(unanswered, outcomes, strict=True):
            answers[key] = [outcome.value, outcome.reason]
            tell()
    return [tuple(answers[key]) for key in keys]


def _key(item: Source | tuple[Source, Source]) -> str:
    if isinstance(item, tuple):
        return " and ".join(map(_key, item))
    try:
        state = os.stat(item.path)
        seen = f"{state.st_size} {state.st_mtime_ns}"
    except OSError:
        seen = "missing"
    return f"{item.path!r} {item.member!r} {item.start} {item.end} {seen}"
