"""Twenty steps of ``stage1-tiny`` on the bundled clips, as they have always been.

The curve was written by

    ivn pretrain stage1-tiny --data ivn/assets/clips --out RUN --set optim.steps=20 run.log_every=1

from whose log.jsonl it keeps step, loss and terms.
"""

import json
import subprocess
import sys
import time
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
    lines = [
        json.loads(line) for line in log.read_text().splitlines(keepends=True) if line[-1] == "\n"
    ]
    return [{key: line[key] for key in KEPT} for line in lines]


def begun(run: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "ivn", "pretrain", "stage1-tiny", "--data", str(BUNDLED_CLIPS)]
    command += ["--out", str(run), "--set", *SETTINGS]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The curve of a run, in a process of its own."""
    run = tmp_path_factory.mktemp("curve") / "whole"
    with begun(run) as process:
        assert process.wait() == 0
    return curve(run / folder.LOG)


@pytest.mark.slow
def test_two_runs_on_one_machine_agree_bit_for_bit(whole, tmp_path):
    """In their first eight steps, after which the second is ended."""
    log = tmp_path / "again" / folder.LOG
    with begun(log.parent) as process:
        while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 8):
            time.sleep(0.1)
        process.kill()
    again = curve(log)
    assert len(whole) == 20 and len(again) >= 8
    assert again == whole[: len(again)]


@pytest.mark.slow
def test_the_reference_curve_is_met(whole):
    reference = curve(CURVE)
    assert [line["step"] for line in whole] == [line["step"] for line in reference]
    for values in (lambda line: [line["loss"]], lambda line: list(line["terms"].values())):
        ours, theirs = (torch.tensor([values(line) for line in run]) for run in (whole, reference))
        largest = theirs.abs().amax(0)
        assert ((ours - theirs).abs() < 1e-3 * largest).all()
