"""The benchmark of the loop's own time runs, and the loop takes no more than it may."""

import json
import subprocess
import sys

import pytest

from tests.processes import ROOT

pytest.importorskip("av")
pytest.importorskip("efficientnet_lite_pytorch")


def test_the_loop_takes_what_it_may(tmp_path):
    file = tmp_path / "found.json"
    script = ROOT / "benchmarks" / "steps" / "bench_loop.py"
    command = [sys.executable, script, "--check", "--json", file]
    options = ["--batch", "1", "--rounds", "3"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    assert 0 < found["share"] <= found["limit"] == 0.03
    times = found["milliseconds"]
    assert times["loop"] < min(times["model"], times["optimizer"])
    assert all(times[name] > 0 for name in ("model", "optimizer", "wait", "health", "checkpoint"))
    assert found["share"] == pytest.approx(
        times["loop"] / (times["loop"] + times["model"] + times["optimizer"]), rel=0.5
    )
