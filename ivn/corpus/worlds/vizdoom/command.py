"""``ivn data render vizdoom``."""

from ivn.corpus.worlds import rendering
from ivn.corpus.worlds.vizdoom import world
from ivn.corpus.worlds.vizdoom.options import RenderVizdoom, VizdoomWorld


def render(options: RenderVizdoom) -> int:
    """Renders walks into the folder; see :func:`ivn.corpus.worlds.vizdoom.world.render`."""
    return rendering.run(options, VizdoomWorld, world.render)
