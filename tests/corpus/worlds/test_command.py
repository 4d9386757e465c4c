"""How many clips are rendered at a time."""

import os

from ivn.corpus.worlds import command
from ivn.corpus.worlds.options import Render
from ivn.corpus.worlds.world import Rendered


def workers(monkeypatch, tmp_path):
    asked = []
    done = Rendered(tmp_path / "list", 1, 0, 0)
    monkeypatch.setattr(command, "render", lambda *_, workers, **__: asked.append(workers) or done)
    command.render_world(Render(world="vizdoom", clips=1, out=str(tmp_path), maps=("MAP01",)))
    return asked


def test_systems_without_affinity_have_cores(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert workers(monkeypatch, tmp_path) == [3]
    monkeypatch.setattr(os, "process_cpu_count", lambda: 2, raising=False)
    assert workers(monkeypatch, tmp_path) == [2]
