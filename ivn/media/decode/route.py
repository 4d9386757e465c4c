"""Which back end fits a file, from what its headers and packets tell; decided when it is indexed.

The answer goes into the manifest. It matters to those who decode on a GPU (``data.decoder =
"dali"``): files named ``dali`` go there, all others to PyAV. ``"auto"`` is PyAV for every file, so
that no pixel depends on what is installed.
"""

from ivn.media.decode import dali, pyav
from ivn.media.facts import Facts


def route(facts: Facts) -> str:
    """``"dali"`` where a GPU can and should decode such a file, else ``"pyav"``."""
    return pyav.name if dali.claims(facts) else dali.name
