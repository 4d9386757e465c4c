"""Worlds whose ground truth is known, rendered as clips with a manifest.

A world is a room ``worlds/NAME`` with its ``options.py`` and ``command.py``, and one entry of this
table, from which ``ivn data render`` and its help follow.
"""

from ivn.options import Command

from .scenes.options import RenderScenes
from .vizdoom.options import RenderVizdoom

WORLDS = {
    "scenes": Command(RenderScenes, "ivn.corpus.worlds.scenes.command:render"),
    "vizdoom": Command(RenderVizdoom, "ivn.corpus.worlds.vizdoom.command:render"),
}
