"""What is no file where a path was meant, files that others change, and disks that are full."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from ivn.corpus.check.decoding import check_one
from ivn.data.manifest.parquet import Row, read_rows, write_manifest
from ivn.errors import DecodeError
from ivn.media.decode import decode
from ivn.media.facts import read_facts
from ivn.media.source import Source
from ivn.media.storage import hash_of
from tests.command import SMALL, STAGE1, assert_one_line, command
from tests.media.videos import BUNDLED, noise, write_mp4
from tests.processes import ROOT

pytest.importorskip("av")
pytest.importorskip("pyarrow")
pytest.importorskip("tyro")

COMMANDS = {
    "index": lambda place: ("data", "index", place, "-o", "o.parquet"),
    "check": lambda place: ("data", "check", place, "-o", "o.parquet"),
    "mix": lambda place: ("data", "mix", place, "-o", "o.parquet"),
    "transcode": lambda place: ("data", "transcode", place, "--out", "o"),
    "shard": lambda place: ("data", "shard", place, "--out", "o"),
    "view": lambda place: ("data", "view", place, "-o", "o.html"),
    "pretrain": lambda place: (
        *("pretrain", "stage1-tiny", "--data", place, "--out", "o"),
        *("--set", *SMALL, *STAGE1),
    ),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory, with a good video, a pipe, a socket and a folder named like videos."""
    monkeypatch.chdir(tmp_path)
    write_mp4(tmp_path / "good.mp4", noise(6))
    for suffix in ("mp4", "parquet", "tar", "txt"):
        os.mkfifo(f"pipe.{suffix}")
        os.symlink("/dev/zero", f"zero.{suffix}")
    os.mkdir("folder.mp4")
    with socket.socket(socket.AF_UNIX) as named:
        named.bind("socket.mp4")
    return tmp_path


@pytest.fixture
def server():
    """Address of a server, which nobody must have called in the end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_url_where_a_path_was_meant_is_one_line_and_nobody_is_called(here, server, name):
    before = sorted(os.listdir())
    for url in (f"http://{server}/a.mp4", f"tcp://{server}/M.parquet", "s3://b/x", "file:///etc"):
        said = command(*COMMANDS[name](url))
        assert assert_one_line(said, f"{url}: a URL, expected a path: fetch it first") == 1
    said = command(*COMMANDS[name]("concat:good.mp4|good.mp4"))
    assert assert_one_line(said, "concat:good.mp4|good.mp4: no such file") == 1
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_pipes_sockets_and_devices_are_one_line_and_are_not_waited_for(here, name):
    before = sorted(os.listdir())
    words = {
        name: "expected a manifest (.parquet)" for name in ("check", "mix", "transcode", "shard")
    }
    for place in (
        "/dev/zero",
        "socket.mp4",
        *(p for p in before if p.startswith(("pipe", "zero"))),
    ):
        said = command(*COMMANDS[name](place))
        expected = words.get(name, f"{place}: neither a file nor a folder")
        assert assert_one_line(said, place, expected) == 1
    assert sorted(os.listdir()) == before


def test_an_empty_folder_leaves_nothing_behind_that_another_command_would_meet(here):
    said = command("data", "index", "folder.mp4", "-o", "o.parquet", "--no-probe")
    assert assert_one_line(said, "folder.mp4: nothing to index in it") == 1
    assert not os.path.exists("o.parquet.partial")
    assert command("data", "index", "good.mp4", "-o", "o.parquet", "--hash", "--no-probe")[0] == 0


def test_rows_that_name_no_file_are_named_with_their_reason_and_the_rest_is_used(here, server):
    bad = {
        f"http:/{server}/a.mp4": "no such file",
        "concat:good.mp4|good.mp4": "no such file",
        "/dev/zero": "not a file",
        "pipe.mp4": "not a file",
        "socket.mp4": "not a file",
        "zero.mp4": "not a file",
        "folder.mp4": "not a file",
        "good.mp4/x.mp4": "no such file",
        "n" * 300 + ".mp4": "cannot be read (File name too long)",
    }
    # A URL is named as pathlib leaves it.
    paths = [path.replace("http:/", "http://") for path in bad]
    write_manifest(here / "M.parquet", [Row(path) for path in ("good.mp4", *paths)])
    options = ("--max-bad", "1", "--workers", "1")
    code, out, err = command("data", "check", "M.parquet", "-o", "C.parquet", *options)
    assert (code, err) == (0, "")
    rows = list(read_rows(here / "C.parquet", beside=here / "C.parquet"))
    assert {row.path: row.status for row in rows} == {"good.mp4": "ok", **bad}
    for path, reason in bad.items():
        assert out.count(f"{path}: {reason}\n") == 1
    for what in ("transcode", "shard"):
        code, out, err = command("data", what, "M.parquet", "--out", what, *options)
        assert (code, err) == (0, "")
        for path, reason in bad.items():
            assert out.count(f"{path}: {reason}\n") == 1
        assert len(list(read_rows(here / what / "manifest.parquet"))) == 1
    for path in ("pipe.mp4", "zero.mp4"):
        with pytest.raises(DecodeError, match="not a file"):
            hash_of(Source(path))


# Replaces, cuts, overwrites and removes one file, until it is killed.
CHANGING = """
import itertools, os, sys
file, *others = sys.argv[1:]
contents = [open(other, "rb").read() for other in others]
print("begun", flush=True)
for number in itertools.count():
    content = contents[number % len(contents)]
    match number % 4:
        case 0:
            with open("new", "wb") as new: new.write(content)
            os.replace("new", file)
        case 1: os.truncate(file, len(content) // 2)
        case 2:
            with open(file, "r+b") as old: old.write(content)
        case 3: os.unlink(file)
"""


def test_a_file_that_another_process_changes_gives_frames_or_one_clear_line(tmp_path):
    clips = sorted(BUNDLED, key=lambda file: file.stat().st_size)[:3]
    file = tmp_path / "a.mp4"
    process = subprocess.Popen(
        [sys.executable, "-c", CHANGING, file, *clips], cwd=tmp_path, stdout=subprocess.PIPE
    )
    source, outcomes = Source(str(file)), set()
    try:
        assert process.stdout.readline() == b"begun\n"
        until = time.monotonic() + 4
        while time.monotonic() < until or len(outcomes) < 2:
            for ask in (
                lambda: decode(source, lambda total: [0, total - 1]),
                lambda: read_facts(source),
                lambda: check_one(source, 10.0),
                lambda: hash_of(source),
            ):
                try:
                    ask()
                    outcomes.add("")
                except DecodeError as error:
                    assert str(error).startswith(f"{file}: ") and "\n" not in str(error)
                    outcomes.add(str(error))
                except FileNotFoundError as error:  # what the pool takes for a reason
                    assert error.filename == str(file)
    finally:
        process.kill()
        process.communicate()


# Runs commands on a disk that is full, then read-only, then neither.
SESSION = """
import contextlib, json, os, subprocess, sys
from pathlib import Path
from tests.command import command

disk, clips, manifest = Path(sys.argv[1]), *sys.argv[2:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(disk)], check=True)
commands = {
    "index": ["index", clips, "-o", disk / "index.parquet", "--no-probe"],
    "check": ["check", manifest, "-o", disk / "check.parquet", "--workers", "1"],
    "mix": ["mix", manifest, "-o", disk / "mix.parquet"],
    "view": ["view", manifest, "-o", disk / "view.html", "--preset", "stage1-tiny"],
}

def every():
    said.append({name: command("data", *arguments) for name, arguments in commands.items()})

said = []
with contextlib.suppress(OSError), (disk / "full").open("wb", buffering=0) as file:
    while file.write(bytes(1024)):
        pass
every()
subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
every()
subprocess.run(["mount", "-o", "remount,rw,size=64m", str(disk)], check=True)
(disk / "full").unlink()
left = sorted(os.listdir(disk))
every()
print(json.dumps([*said, left, sorted(os.listdir(disk))]))
"""


def test_a_full_or_read_only_disk_is_one_line_and_the_command_can_be_given_again(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "clips").mkdir()
    for number in range(2):
        write_mp4(tmp_path / "clips" / f"{number}.mp4", noise(10 + number))
    rows = [Row(f"clips/{number}.mp4") for number in range(2)]
    write_manifest(tmp_path / "M.parquet", rows)
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = [*inside, "mount", "-t", "tmpfs", "none", tmp_path / "disk"]
    if not shutil.which("unshare") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this system gives no mount namespaces to its users")
    done = subprocess.run(
        [
            *(*inside, sys.executable, "-c", SESSION),
            *(tmp_path / "disk", tmp_path / "clips", tmp_path / "M.parquet"),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    full, read_only, after, left, there = json.loads(done.stdout.splitlines()[-1])
    for said, reason in ((full, "no space left on device"), (read_only, "read-only file system")):
        for name, (code, _, err) in said.items():
            assert (code, err.count("\n")) == (1, 1) and err.startswith("ivn: "), (name, err)
            assert reason in err.lower(), (name, err)
    # What the next call goes on with.
    assert [name for name in left if not name.endswith(".partial")] == []
    assert {name: said[0] for name, said in after.items()} == dict.fromkeys(after, 0), after
    assert {"index.parquet", "check.parquet", "mix.parquet", "view.html"} <= set(there)
