"""The step's benchmarks find equal losses, parts that add up, and the embedding in its limits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ivn.benchmarks.steps.reference_ops import replaced
from tests.processes import ROOT


def run(name: str, file: Path, *options: str) -> dict:
    script = str(ROOT / "benchmarks" / "steps" / f"{name}.py")
    command = [sys.executable, script, "--device", "cpu", "--quick", "--json", str(file)]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text())


def test_embedding_costs_what_it_may(tmp_path):
    found = run("bench_embedding", tmp_path / "found.json", "--check")
    for what, limit in found["limits"].items():
        assert 0 < found["ratio"][what] <= limit


@pytest.mark.parametrize(
    "preset", ["stage1-tiny", pytest.param("stage2-tiny-official", marks=pytest.mark.soak)]
)
def test_parts_of_a_step_add_up(preset, tmp_path):
    """And all sides find the same losses."""
    options = ["--preset", preset, "--batch", "1", "--kernels", "--plain", "--reference"]
    found = run("bench_step", tmp_path / "found.json", *options)
    sided = [found["plain"]["milliseconds"], *found["reference"]["milliseconds"].values()]
    for times in (found["profile"]["milliseconds"], *(t for side in sided for t in side.values())):
        # medians over rounds: near the step's own, not equal to it
        assert sum(times.values()) == pytest.approx(2 * times["step"], rel=0.5)
    assert sum(found["profile"]["share"].values()) == pytest.approx(1, rel=0.5)
    assert sum(row["share"] for row in found["kernels"]) == pytest.approx(1)
    assert {"ivn::add_norm", "aten::addmm"} <= {row["name"] for row in found["kernels"]}
    terms = {"stage1-tiny": {"layers", "pixels"}, "stage2-tiny-official": {"view1", "view2"}}
    assert found["plain"]["losses"]["float32"].keys() == terms[preset]
    assert found["reference"]["losses"].keys() == terms[preset]
    for what, sides in found["reference"]["milliseconds"].items():
        steps = {side: times["step"] for side, times in sides.items()}
        fast = steps["reference"] / steps["ours"]
        assert found["reference"]["times_as_fast"][what] == pytest.approx(fast)
    without = found["reference"]["milliseconds"]["without teacher"]["ours"]
    assert without["teacher"] < 0.1 * found["profile"]["milliseconds"]["teacher"]


def test_a_goal_is_checked_of_what_is_measured_alone():
    command = [sys.executable, "-m", "ivn.benchmarks.steps.bench_step", "--preset", "stage2-tiny"]
    done = subprocess.run([*command, "--check"], capture_output=True, text=True)
    assert done.returncode == 2 and "give --reference, too" in done.stderr


def test_every_operation_of_a_step_has_a_reference_to_stand_in():
    names = {name for _, name in replaced()}
    ops = ["gather_tokens", "gather_patches", "sample_tokens", "add_norm", "qk_norm", "normal"]
    assert names >= {f"_{name}" for name in [*ops, "other_tokens", "cosine_distance"]}


def test_a_wrong_reference_shows(tmp_path):
    code = """
import sys
from ivn.ops import norm
right = norm.qk_norm_reference
norm.qk_norm_reference = lambda qkv, weights, eps: right(qkv, 2 * weights, eps)
from ivn.benchmarks.steps.bench_step import main
sys.argv = "bench_step --preset stage2-tiny --batch 1 --device cpu --quick --reference".split()
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "view1 in torch.float32: ours" in done.stderr and "further apart than" in done.stderr
