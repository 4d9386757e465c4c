"""Chooses the back end that fits a file, from its facts, when it is indexed.

The manifest keeps the choice, which decoding on a GPU (``data.decoder = "dali"``) follows: DALI
decodes the files with ``dali``, PyAV all others. With ``"auto"`` PyAV decodes every file, so that
no pixel depends on what is installed.
"""

from ivn.media.decode import dali, pyav
from ivn.media.facts import Facts


def route(facts: Facts) -> str:
    """Returns ``"dali"`` where a GPU can and should decode such a file, otherwise ``"pyav"``."""
    return pyav.name if dali.claims(facts) else dali.name
