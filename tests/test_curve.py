"""Twenty steps of ``stage1-tiny`` on the bundled clips, as they have always been.

The curve was written by

    ivn pretrain stage1-tiny --data ivn/assets/clips --out RUN --set optim.steps=20 run.log_every=1

from whose log.jsonl it keeps step, loss and terms.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ivn.data.source import BUNDLED_CLIPS
from ivn.train import folder

pytest.importorskip("efficientnet_lite_pytorch")
CURVE = Path(__file__).parent / "curves" / "stage1-tiny.jsonl"
KEPT = ("step", "loss", "terms")
SETTINGS = ("optim.steps=20", "run.log_every=1", "efficiency.device=cpu")


def curve(log: Path) -> list[dict]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [{key: line[key] for key in KEPT} for line in lines]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs, each in a process of its own."""
    place = tmp_path_factory.mktemp("curve")
    found = []
    for name in ("first", "second"):
        command = [sys.executable, "-m", "ivn", "pretrain", "stage1-tiny"]
        command += ["--data", str(BUNDLED_CLIPS), "--out", str(place / name), "--set", *SETTINGS]
        subprocess.run(command, check=True, capture_output=True)
        found.append(curve(place / name / folder.LOG))
    return found


@pytest.mark.slow
def test_two_runs_on_one_machine_agree_bit_for_bit(runs):
    assert len(runs[0]) == 20
    assert runs[0] == runs[1]


@pytest.mark.slow
def test_the_reference_curve_is_met(runs):
    reference = curve(CURVE)
    assert [line["step"] for line in runs[0]] == [line["step"] for line in reference]
    for values in (lambda line: [line["loss"]], lambda line: list(line["terms"].values())):
        ours, theirs = (
            torch.tensor([values(line) for line in run]) for run in (runs[0], reference)
        )
        largest = theirs.abs().amax(0)
        assert ((ours - theirs).abs() < 1e-3 * largest).all()
