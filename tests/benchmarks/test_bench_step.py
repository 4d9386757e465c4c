"""The step's benchmark finds equal losses, and the embedding inside its limits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bench_step.py"


def run(file: Path, *options: str) -> dict:
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--quick", "--json", str(file)]
    # Benchmarks import from their own folder, which safe paths leave out.
    outside = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    done = subprocess.run([*command, *options], env=outside, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text())


def test_embedding_costs_what_it_may(tmp_path):
    found = run(tmp_path / "found.json", "--part", "embedding", "--check")
    for what, limit in found["limits"].items():
        assert 0 < found["ratio"][what] <= limit


@pytest.mark.parametrize("preset", ["stage1-tiny", "stage2-tiny-official"])
def test_parts_of_a_step_add_up(preset, tmp_path):
    found = run(tmp_path / "found.json", "--preset", preset, "--batch", "1")
    for times in found["milliseconds"].values():
        # medians over rounds: near the step's own, not equal to it
        assert sum(times.values()) == pytest.approx(2 * times["step"], rel=0.5)
    terms = {"stage1-tiny": {"layers", "pixels"}, "stage2-tiny-official": {"view1", "view2"}}
    assert found["losses"]["float32"].keys() == terms[preset]
