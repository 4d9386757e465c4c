"""A full disk, a read-only folder and a run in use, met by real processes.

The disk is a memory file system of a few MB, mounted where no other process sees it: in user and
mount namespaces of the process's own.
"""

import json
import shutil
import subprocess
import sys

import pytest

from ivn.config.presets import PRESETS
from ivn.config.run import read, to_toml
from ivn.durable import TEMPORARY
from ivn.run import start
from ivn.train import checkpoint, folder
from tests.logged import results
from tests.processes import ROOT

pytest.importorskip("tyro")
pytest.importorskip("av")

# Runs the ivn command, again and again in one process, on a disk of 7 MB.
SESSION = """
import contextlib, io, json, subprocess, sys
from pathlib import Path
from ivn import cli
from tests.test_cli import SMALL, STAGE1

disk, clips, kept = Path(sys.argv[1]), *sys.argv[2:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=7m", "none", str(disk)], check=True)
said = {}

def mount(options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)

def ivn(name, *arguments):
    sys.argv = ["ivn", "pretrain", *map(str, arguments)]
    with contextlib.redirect_stdout(io.StringIO()) as out, \\
         contextlib.redirect_stderr(io.StringIO()) as err:
        code = cli.main()
    said[name] = code, out.getvalue(), err.getvalue()

def fill():
    with contextlib.suppress(OSError), (disk / "full").open("wb", buffering=0) as file:
        while file.write(bytes(1024)):
            pass

settings = ["--set", *SMALL, *STAGE1, "optim.steps=8", "run.keep_last=9"]
start = ["stage1-tiny", "--data", clips, *settings]
run, other = disk / "run", disk / "other"
ivn("checkpoint", *start, "--out", run)
fill()
ivn("log", "--resume", run, "--set", "run.save_every=100")
ivn("start", *start, "--out", other)
mount("ro")
ivn("read-only", *start, "--out", disk / "new")
ivn("read-only run", "--resume", run)
mount("rw,size=64m")
(disk / "full").unlink()
ivn("resumed", "--resume", run)
ivn("started", *start, "optim.steps=1", "--out", other)
print(json.dumps(said))
subprocess.run(["cp", "-r", str(run), kept], check=True)
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    place = tmp_path_factory.mktemp("clips")
    for name in ("asl-again", "asl-bird", "asl-book", "asl-eat"):
        shutil.copy(ROOT / "ivn/assets/clips" / f"{name}.mp4", place)
    return place


@pytest.fixture(scope="module")
def session(tmp_path_factory, clips):
    """What each command of ``SESSION`` said, and where the disk and a copy of its run lie."""
    place = tmp_path_factory.mktemp("limits")
    disk, kept = place / "disk", place / "kept"
    disk.mkdir()
    kept.mkdir()
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        subprocess.run(
            [*inside, "mount", "-t", "tmpfs", "none", disk], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this system gives no mount namespaces to its users: {error}")
    # The disk goes with the process, so it keeps copies.
    done = subprocess.run(
        [*inside, sys.executable, "-c", SESSION, disk, clips, kept],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout.splitlines()[-1]), disk, kept


def refusal(session, name):
    """The one line of a command that failed."""
    code, _, err = session[0][name]
    assert code == 1
    assert err.count("\n") == 1, err
    assert err.startswith("ivn: ")
    return err


def test_a_full_disk_at_a_checkpoint_is_told_with_what_is_kept(session):
    line, checkpoints = refusal(session, "checkpoint"), session[1] / "run" / folder.CHECKPOINTS
    assert f"checkpoint {checkpoints / 'step-00000004'} could not be written (" in line
    assert f"; 0 MB free on its disk); {checkpoints / 'step-00000002'} is kept" in line


def test_a_full_disk_at_the_log_is_told(session):
    line = refusal(session, "log")
    assert f"{session[1] / 'run' / folder.LOG} could not be written (no space left on de" in line
    assert "--resume" in line


def test_a_full_disk_at_the_start_is_told(session):
    line = refusal(session, "start")
    assert f"{session[1] / 'other'} could not be written (no space left on device; 0 MB" in line


def test_a_read_only_folder_is_told(session):
    disk = session[1]
    assert f"{disk / 'new'} cannot be written: {disk} is read-only" in refusal(session, "read-only")
    line = refusal(session, "read-only run")
    assert f"{disk / 'run' / folder.LOG} could not be written (read-only file system" in line


def test_nothing_is_lost_by_a_full_disk(session, tmp_path, clips):
    (code, out, err), run = session[0]["resumed"], session[2] / "run"
    assert (code, err) == (0, "")
    assert "going on after step 2 of 8" in out
    assert not list(run.rglob(f"{TEMPORARY}*"))
    assert checkpoint.load(checkpoint.latest(run))["step"] == 8
    undisturbed = tmp_path / "run"
    assert start(read(run / folder.CONFIG), data=clips, out=undisturbed) == 0
    assert results(run) == results(undisturbed)


def test_a_start_that_found_no_room_can_be_made_again(session):
    code, out, err = session[0]["started"]
    assert (code, err) == (0, "")
    assert "finished 1 steps" in out


def test_a_run_in_use_is_refused_to_another_process(tmp_path):
    run = tmp_path / "run"
    source = {"data": "clips", "init": "", "clips": 1, "fingerprint": ""}
    folder.create(run, config=to_toml(PRESETS["stage1-tiny"]()), source=source, clips=b"")
    command = [sys.executable, "-m", "ivn", "pretrain", "--resume", run]
    with folder.locked(run):
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    advice = "wait for it or choose another folder"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"ivn: {run} is in use by another process; {advice}\n"
