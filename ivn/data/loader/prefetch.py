"""How many batches are made ahead, found from how long training waits for them."""

# Waiting, or idleness, that is worth memory: the rest is noise.
_SHARE = 0.02

# Batches between two looks, and those ahead after which more would not help.
_BATCHES = 20
_MOST = 32


class Prefetch:
    """The number of batches ahead; it only grows.

    More of them help where training waits although the workers have been idle for want of room:
    files take unequal time. Where the workers are never idle there are too few of them, and where
    training never waits there is enough.

    Args:
        batch_bytes: of a batch.
        limit_bytes: of all of them.
        least: batches that there always are, two or more.
    """

    def __init__(self, batch_bytes: int, limit_bytes: int, least: int = 2) -> None:
        self.depth = least
        self.most = max(least, min(_MOST, limit_bytes // max(1, batch_bytes)))
        self._batches, self._waited, self._seconds, self._idle = 0, 0.0, 0.0, 0.0

    def wants_more(self, waited: float, seconds: float, idle: float) -> bool:
        """Whether another batch ahead is to be had; after a yes, :meth:`grow` or :meth:`stay`.

        Args:
            waited: seconds that training waited for the last batch.
            seconds: since the batch before.
            idle: seconds that workers had nothing to do meanwhile, averaged over the workers.
        """
        self._batches += 1
        self._waited += waited
        self._seconds += seconds
        self._idle += idle
        if self._batches < _BATCHES:
            return False
        least = _SHARE * self._seconds
        wanted = self._waited > least and self._idle > least and self.depth < self.most
        self._batches, self._waited, self._seconds, self._idle = 0, 0.0, 0.0, 0.0
        return wanted

    def grow(self) -> None:
        """One more."""
        self.depth += 1

    def stay(self) -> None:
        """No more, ever: there is no memory."""
        self.most = self.depth
