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

from ivn.media.source import BUNDLED_CLIPS
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


def first_steps(run: Path, count: int) -> list[dict]:
    """The first steps of a run, in a process of its own that is ended when it has written them."""
    log = run / folder.LOG
    with begun(run) as process:
        while process.poll() is None and not (
            log.exists() and log.read_text().count("\n") >= count
        ):
            time.sleep(0.1)
        process.kill()
    found = curve(log)
    assert len(found) >= count
    return found[:count]


def is_met(found: list[dict], reference: list[dict]) -> None:
    """Assert that losses and terms are the reference's, to a thousandth of the largest."""
    assert [line["step"] for line in found] == [line["step"] for line in reference]
    for values in (lambda line: [line["loss"]], lambda line: list(line["terms"].values())):
        ours, theirs = (torch.tensor([values(line) for line in run]) for run in (found, reference))
        largest = theirs.abs().amax(0)
        assert ((ours - theirs).abs() < 1e-3 * largest).all()


@pytest.mark.slow
def test_the_reference_curve_is_met(tmp_path):
    is_met(first_steps(tmp_path / "run", 5), curve(CURVE)[:5])


@pytest.mark.soak
def test_two_runs_on_one_machine_agree_bit_for_bit_and_meet_the_whole_curve(tmp_path):
    with begun(tmp_path / "whole") as process:
        assert process.wait() == 0
    whole = curve(tmp_path / "whole" / folder.LOG)
    is_met(whole, curve(CURVE))
    assert first_steps(tmp_path / "again", 12) == whole[:12]
