"""How many clips are rendered at a time."""

import os

from ivn.corpus.worlds import rendering
from ivn.corpus.worlds.options import Rendering, World
from ivn.corpus.worlds.rendering import Rendered
from ivn.corpus.worlds.scenes.options import RenderScenes


def workers(tmp_path):
    asked = []

    def render(world, out, *, workers, report):
        asked.append(workers)
        return Rendered(tmp_path / "list", world.clips, 0, 0)

    options: Rendering = RenderScenes(clips=1, out=str(tmp_path))
    assert rendering.run(options, World, render) == 0
    return asked


def test_systems_without_affinity_have_cores(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert workers(tmp_path) == [3]
    monkeypatch.setattr(os, "process_cpu_count", lambda: 2, raising=False)
    assert workers(tmp_path) == [2]
