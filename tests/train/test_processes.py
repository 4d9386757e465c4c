"""Real processes, killed and interrupted. IVN_SOAK sets how many kills (default 5)."""

import multiprocessing
import os
import random
import signal
import sys
import time

import pytest
import torch

from ivn.durable import TEMPORARY
from ivn.train import checkpoint, folder
from ivn.train.optimizer import OptimConfig
from ivn.train.settings import RunConfig
from tests.logged import results

from .toy import BATCH, train

KILLS = int(os.environ.get("IVN_SOAK", "5"))
STEPS = 8 * max(5, KILLS)


def toy_process(run, output):
    """The body of a process: trains the toy in ``run`` and writes what it says to ``output``."""
    with open(output, "w", buffering=1) as sys.stdout:
        torch.set_num_threads(1)
        optim = OptimConfig(BATCH, steps=STEPS, lr=1e-2, lr_scaling="none")
        sys.exit(train(run, optim=optim, run=RunConfig(log_every=3, save_every=2)))


@pytest.fixture(scope="module")
def start():
    """Starts a process in a run folder; each is forked off one that has PyTorch loaded."""
    context = multiprocessing.get_context("forkserver")
    # The first optimiser step imports the compiler, which takes longer than all steps together.
    context.set_forkserver_preload(["tests.train.toy", "torch._dynamo"])

    def start(run):
        process = context.Process(target=toy_process, args=(run, run.with_suffix(".out")))
        process.start()
        return process

    return start


def finish(process):
    process.join(60 + STEPS / 4)
    assert process.exitcode is not None, "still running"
    return process.exitcode


def wait_for_log(run, process, more):
    """Returns once the log has grown by ``more`` bytes, or the process has ended."""
    log = run / folder.LOG
    size = log.stat().st_size if log.exists() else 0
    while process.is_alive() and not (log.exists() and log.stat().st_size > size + more):
        time.sleep(0.001)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, start):
    run = tmp_path_factory.mktemp("processes") / "whole"
    assert finish(start(run)) == 0
    assert len(results(run)) == STEPS
    return run


@pytest.mark.longer
def test_kills_at_any_moment_change_nothing(whole, tmp_path, start):
    run = tmp_path / "run"
    draw = random.Random(20)
    print(f"{KILLS} kills; make soak does 200")
    killed = 0
    for _ in range(KILLS):
        process = start(run)
        wait_for_log(run, process, draw.randrange(0, 2000))
        time.sleep(draw.random() * 0.03)
        process.kill()
        killed += finish(process) == -signal.SIGKILL
        newest = checkpoint.latest(run)
        assert newest is None or checkpoint.load(newest)["step"] == int(newest.name[-8:])
    assert killed >= KILLS / 2
    assert finish(start(run)) == 0
    assert results(run) == results(whole)
    assert not list(run.rglob(f"{TEMPORARY}*"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_saves_and_goes_on(whole, tmp_path, start, number, code):
    run = tmp_path / "run"
    process = start(run)
    wait_for_log(run, process, 500)
    os.kill(process.pid, number)
    assert finish(process) == code
    step = checkpoint.load(checkpoint.latest(run))["step"]
    assert 0 < step < STEPS
    assert results(run) == results(whole)[:step]
    said = run.with_suffix(".out").read_text()
    assert f"stopped after step {step} of {STEPS}; go on with: ivn pretrain --resume" in said
    assert finish(start(run)) == 0
    assert f"going on after step {step}" in run.with_suffix(".out").read_text()
    assert results(run) == results(whole)
