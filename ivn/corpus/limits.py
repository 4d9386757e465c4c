"""Limits that several commands on a corpus share."""

from ivn.errors import UsageError


def check_limits(seconds: float, workers: int, max_bad: float) -> None:
    """Sees that the limits make sense.

    Args:
        seconds: time limit per item, in seconds.
        workers: number of processes; 0 means one per core.
        max_bad: largest share of unusable items with which a command succeeds.

    Raises:
        UsageError: one of them is out of its range.
    """
    if not seconds > 0 or workers < 0 or not 0 <= max_bad <= 1:
        raise UsageError(
            f"--seconds {seconds:g}, --workers {workers}, --max-bad {max_bad:g}: expected more "
            "than 0, 0 or more, and 0 to 1"
        )
