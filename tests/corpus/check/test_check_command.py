"""`ivn data check`, from the command line and as functions."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from ivn.corpus.check.command import check, checked
from ivn.corpus.check.decoding import check_one
from ivn.corpus.check.options import Check
from ivn.corpus.cluster import runner
from ivn.corpus.limits import ClusterLimits
from ivn.data.manifest.parquet import Row, read_manifest, read_rows, write_manifest
from ivn.media.source import BUNDLED_CLIPS
from tests.command import assert_one_line, command
from tests.media.videos import broken_files, noise, write_mp4

pytest.importorskip("av")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None and os.environ.get("IVN_REQUIRE_RAY") != "1",
    reason='Ray is not installed: pip install "ivn[ray]"',
)


def half_zeros(file):
    """The file with zeros for the second half: its header tells nothing of it."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    file.write_bytes(data)


@pytest.fixture
def manifest(tmp_path):
    """Rows of a good file and of parts of it, all kinds of broken files, one refused before."""
    broken = broken_files(tmp_path)
    good = write_mp4(tmp_path / "good 'n\" x.mp4", noise(30))
    shutil.copy(BUNDLED_CLIPS / "nasa.mp4", tmp_path / "half.mp4")
    half_zeros(tmp_path / "half.mp4")
    rows = [Row(good.name, labels={"label": "3"}), Row(good.name, start=1.0, end=2.0)]
    rows += [Row(file.name) for file in broken.values()]
    rows += [Row("half.mp4"), Row(good.name, start=50.0, end=60.0), Row(good.name, status="dull")]
    write_manifest(tmp_path / "m.parquet", rows)
    return tmp_path / "m.parquet"


REASONS = {
    "missing.mp4": "no such file",
    "empty.mp4": "the file is empty (0 bytes)",
    "text.mp4": "cannot be decoded (Invalid data found when processing input)",
    "truncated.mp4": "truncated, 5 of 20 frames are there",
    "header.mp4": "no video stream, only data",
    "sound.mp4": "no video stream, only audio",
    "cover.mp4": "no video stream, only audio",
    "folder.mp4": "not a file",
    "half.mp4": "cannot be decoded (Invalid data found when processing input)",
}


def test_each_row_has_ok_or_the_reason_and_the_bad_are_listed(manifest, tmp_path):
    place = tmp_path / "c.parquet"
    code, out, err = command("data", "check", manifest, "-o", place, "--workers", 1)
    assert (code, err) == (1, "")
    rows = list(read_rows(place, beside=place))
    before = list(read_rows(manifest, beside=place))
    assert [replace(row, status="") for row in rows] == [replace(row, status="") for row in before]
    assert [row.status for row in rows[:2]] == ["ok", "ok"]
    assert {row.path: row.status for row in rows[2:-2]} == REASONS
    assert rows[-2].status == "no video frames from 50.0 s to 60.0 s"
    assert rows[-1].status == "dull"
    listed = (tmp_path / "c.bad.txt").read_text().splitlines()
    assert listed == [f"{tmp_path / row.path}\t{row.status}" for row in rows[2:]]
    for row in rows[2:]:
        assert out.count(f"{row.path}: {row.status}\n") == 1
    assert "11 of 13 are unusable, more than --max-bad 0.05" in out
    assert len(read_manifest(place)) == 2
    again = command("data", "check", place, "-o", tmp_path / "d.parquet", "--max-bad", "0.9")
    assert again[0] == 0
    assert list(read_rows(tmp_path / "d.parquet")) == list(read_rows(place))


@pytest.mark.parametrize("name", ["nowhere.parquet", "text.mp4"])
def test_what_is_no_manifest_is_one_line(manifest, tmp_path, name):
    said = command("data", "check", tmp_path / name, "-o", tmp_path / "c.parquet")
    assert assert_one_line(said, name) == 1
    assert not list(tmp_path.glob("c.parquet*"))


def test_a_manifest_without_rows_is_named_and_leaves_nothing(tmp_path):
    pq.write_table(pa.table({"path": pa.array([], pa.string())}), tmp_path / "m.parquet")
    said = command("data", "check", tmp_path / "m.parquet", "-o", tmp_path / "c.parquet")
    assert assert_one_line(said, "m.parquet: a manifest without rows") == 1
    assert os.listdir(tmp_path) == ["m.parquet"]


@needs_ray
def test_an_address_where_nobody_listens_is_told_at_once(manifest, tmp_path):
    for address in ("127.0.0.1:9", "ray://127.0.0.1:9"):
        said = command("data", "check", manifest, "-o", tmp_path / "c.parquet", "--ray", address)
        assert assert_one_line(said, f"--ray {address}: no cluster there", "refused") == 1


def test_nothing_is_overwritten_and_nothing_of_others_is_taken(manifest, tmp_path):
    for there in ("c.parquet", "c.bad.txt"):
        (tmp_path / there).write_text("mine")
        said = command("data", "check", manifest, "-o", tmp_path / "c.parquet")
        assert assert_one_line(said, there, "is there already") == 1
        assert (tmp_path / there).read_text() == "mine"
        (tmp_path / there).unlink()
    (tmp_path / "c.parquet.partial").mkdir()
    (tmp_path / "c.parquet.partial" / "mine").touch()
    said = command("data", "check", manifest, "-o", tmp_path / "c.parquet")
    assert assert_one_line(said, "expected a new folder") == 1


def test_cut_off_between_list_and_manifest_it_goes_on(manifest, tmp_path, monkeypatch):
    place, rename = tmp_path / "c.parquet", os.replace

    def until_the_end(source, target):
        if Path(target) == place:
            raise KeyboardInterrupt
        rename(source, target)

    request = Check(manifest=str(manifest), out=str(place), seconds=30.0, workers=1, max_bad=1.0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", until_the_end)
        check(request)
    listed = (tmp_path / "c.bad.txt").read_text()
    assert len(listed.splitlines()) == 11 and not place.exists()
    assert check(request) == 0
    assert (tmp_path / "c.bad.txt").read_text() == listed
    assert len(read_manifest(place)) == 2


def crash_or_hang(source):
    """A decoder that some files end or hold up."""
    name = os.path.basename(source.path)
    if name == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "hang":
        time.sleep(1000)
    return "odd" if name == "odd" else ""


EXPECTED = {
    "a": "ok",
    "crash": "its process ended (SIGSEGV)",
    "hang": "took longer than 1 s",
    "odd": "odd",
    "z": "ok",
}


def test_files_that_crash_or_hang_the_decoder_are_told_so_and_the_others_are_checked(tmp_path):
    how = runner(ClusterLimits(workers=2, seconds=1))
    rows = checked((Row(name) for name in EXPECTED), tmp_path, crash_or_hang, how)
    assert {row.path: row.status for row in rows} == EXPECTED


@needs_ray
@pytest.mark.slow
def test_ray_tasks_say_the_same(tmp_path):
    good = [str(write_mp4(tmp_path / f"{n}.mp4", noise(5))) for n in range(40)]
    how = runner(ClusterLimits(workers=2, seconds=5, ray="local"))
    rows = checked((Row(name) for name in good), tmp_path, partial(check_one, seconds=5), how)
    assert [(row.path, row.status) for row in rows] == [(name, "ok") for name in good]


def test_without_ray_the_option_says_what_to_install(manifest, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    said = command("data", "check", manifest, "-o", tmp_path / "c.parquet", "--ray", "auto")
    assert assert_one_line(said, 'pip install "ivn[ray]"') == 1


SCRIPT = """
import sys
from ivn import cli
from ivn.corpus import resumable
resumable._PART_ROWS = 2
if __name__ == "__main__":
    sys.exit(cli.main())
"""


@pytest.mark.soak  # the mechanism is killed at any time in tests/test_durable.py
def test_killed_it_goes_on_and_the_result_is_that_of_one_go(tmp_path):
    clips = [replace(Row(str(file)), status="") for file in sorted(BUNDLED_CLIPS.glob("*.mp4"))]
    write_manifest(tmp_path / "m.parquet", clips[:9])
    (tmp_path / "s.py").write_text(SCRIPT)
    command_line = [sys.executable, "-P", "s.py", "data", "check", "m.parquet", "-o", "c.parquet"]
    options = {"cwd": tmp_path, "text": True, "stdout": subprocess.PIPE}
    partial = tmp_path / "c.parquet.partial"
    with subprocess.Popen([*command_line, "--workers", "1"], **options) as process:
        deadline = time.monotonic() + 60
        while not list(partial.glob("part-*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    done = len(list(partial.glob("part-*")))
    assert 0 < done < 5 and not (tmp_path / "c.parquet").exists()
    end = subprocess.run([*command_line, "--workers", "1"], **options, timeout=120)
    assert end.returncode == 0
    assert f"9 rows checked, {2 * done} from before" in end.stdout
    assert not partial.exists() and Path(tmp_path / "c.bad.txt").read_text() == ""
    statuses = [replace(row, status="ok") for row in clips[:9]]
    assert list(read_rows(tmp_path / "c.parquet")) == statuses
    assert sorted(os.listdir(tmp_path)) == ["c.bad.txt", "c.parquet", "m.parquet", "s.py"]
