"""Answers about videos, which a mix that is killed need not find out again."""

import json
import time
from typing import Any

from ivn.durable import Parts, digest
from ivn.errors import DataError

# A part is closed after this many answers or seconds, whichever is first.
_PART_ANSWERS = 4096
_PART_SECONDS = 5.0


class Answers:
    """Answers by question, which a second start finds again; see :class:`ivn.durable.Parts`.

    Args:
        parts: the parts of the mix, of which each holds some questions with their answers as JSON.
    """

    def __init__(self, parts: Parts) -> None:
        """Raises DataError where a part is damaged."""
        self._parts = parts
        self._known: dict[str, Any] = {}
        self._new: dict[str, Any] = {}
        self._since = time.monotonic()
        for index, path in enumerate(list(parts.paths)):
            try:
                some = dict(json.loads(path.read_bytes()))
            except (OSError, ValueError, TypeError) as error:
                raise DataError(f"{path}: damaged; remove it and start again") from error
            if not parts.keep(index, digest(some)):
                break
            self._known |= some

    def __contains__(self, question: str) -> bool:
        return question in self._known

    def __getitem__(self, question: str) -> Any:
        return self._known[question]

    def __setitem__(self, question: str, answer: Any) -> None:
        """Raises WriteError where a part cannot be written, as when the disk is full."""
        self._known[question] = self._new[question] = answer
        late = time.monotonic() - self._since > _PART_SECONDS
        if late or len(self._new) >= _PART_ANSWERS:
            self.flush()

    def flush(self) -> None:
        """Writes the answers that are not on disk yet.

        Raises:
            WriteError: the disk is full, or not to be written to.
        """
        new, self._new, self._since = self._new, {}, time.monotonic()
        if new:
            with self._parts.add(digest(new), ".json") as path:
                path.write_text(json.dumps(list(new.items())))
