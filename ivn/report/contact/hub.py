"""Uses the hub of networks without waiting for it where it is out of reach."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS = 3.0


@contextmanager
def hub_or_cache() -> Iterator[str]:
    """Networks come from the hub, or from earlier downloads alone where it does not answer at once.

    Its library would try each file again for half a minute. Yields "", or the reason why the hub is
    not asked.
    """
    try:
        from huggingface_hub import constants
    except ImportError:
        yield ""
        return
    before = constants.HF_HUB_OFFLINE
    away = "HF_HUB_OFFLINE is set" if before else _away(constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = bool(away)
    try:
        yield away
    finally:
        constants.HF_HUB_OFFLINE = before


def _away(endpoint: str) -> str:
    """Returns the reason why the hub does not answer; "" for any answer."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(endpoint, method="HEAD"), timeout=_SECONDS
        ):
            return ""
    except urllib.error.HTTPError:
        return ""
    except OSError as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return f"{endpoint} does not answer: {getattr(reason, 'strerror', '') or reason}"
