"""Decides how many batches are made ahead, from how long training waits for them."""

# Shares of waiting and of idleness that are worth more memory; smaller ones are noise.
_SIGNIFICANT_SHARE = 0.02

_BATCHES_PER_DECISION = 20
_MAX_DEPTH = 32


class Prefetch:
    """The number of batches that are made ahead; it only grows.

    More batches help where training waits although workers were idle because all batches were full:
    then files take unequal time. Where workers are never idle there are too few of them, and where
    training never waits there are enough batches.

    Args:
        batch_bytes: size of a batch in memory.
        limit_bytes: limit of the memory of all batches.
        least: number of batches at the start, two or more.
    """

    def __init__(self, batch_bytes: int, limit_bytes: int, least: int = 2) -> None:
        self.depth = least
        self.most = max(least, min(_MAX_DEPTH, limit_bytes // max(1, batch_bytes)))
        self._batches, self._waited, self._seconds, self._idle = 0, 0.0, 0.0, 0.0

    def wants_more(self, waited: float, seconds: float, idle: float) -> bool:
        """Returns whether one more batch would help; then call :meth:`grow` or :meth:`stay`.

        Args:
            waited: time that training waited for the last batch, in seconds.
            seconds: time since the batch before.
            idle: time without work since then, in seconds, averaged over the workers.
        """
        self._batches += 1
        self._waited += waited
        self._seconds += seconds
        self._idle += idle
        if self._batches < _BATCHES_PER_DECISION:
            return False
        least = _SIGNIFICANT_SHARE * self._seconds
        wanted = self._waited > least and self._idle > least and self.depth < self.most
        self._batches, self._waited, self._seconds, self._idle = 0, 0.0, 0.0, 0.0
        return wanted

    def grow(self) -> None:
        """Adds one batch."""
        self.depth += 1

    def stay(self) -> None:
        """Ends the growth: there is no memory for more."""
        self.most = self.depth
