"""``ivn data render scenes``."""

from ivn.corpus.worlds import rendering
from ivn.corpus.worlds.scenes import world
from ivn.corpus.worlds.scenes.options import RenderScenes, ScenesWorld


def render(options: RenderScenes) -> int:
    """Renders scenes into the folder; see :func:`ivn.corpus.worlds.scenes.world.render`."""
    return rendering.run(options, ScenesWorld, world.render)
