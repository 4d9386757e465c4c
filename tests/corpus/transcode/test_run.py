"""Whole manifests made anew: named safely, gone on with, and nothing bad passed over in silence."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from ivn.corpus.transcode.clip import clip_name
from ivn.corpus.transcode.run import same_clip
from ivn.data.manifest.parquet import Row, read_manifest, read_rows, write_manifest
from ivn.media.decode import decode
from ivn.media.source import BUNDLED_CLIPS
from tests.command import assert_one_line, command
from tests.media.videos import broken_files, noise, write_mp4
from tests.processes import ROOT

pytest.importorskip("av")
pytest.importorskip("tyro")

FAST = ("--workers", 1, "--short", 32)
HOSTILE = [
    "a b'\"$(touch hacked);.mp4",
    "-rf.mp4",
    "..mp4",
    "new\nline.mp4",
    "concat:a|b.mp4",
    "%03d.mp4",
    "日本 مرحبا.mp4",
    "\u202egpj.mp4",
    "x" * 240 + ".mp4",
    "noend",
]


def transcode(folder, *options, manifest="M.parquet", out="out"):
    return command("data", "transcode", folder / manifest, "--out", folder / out, *options)


def contents(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A manifest of good files with hostile names, and one of them in another folder, too."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "other").mkdir()
    names = [*HOSTILE, "other/..mp4"]
    for number, name in enumerate(names):
        write_mp4(folder / f"{number}.mp4", noise(4 + number)).rename(folder / name)
    (folder / "depth.npz").touch()
    row = Row(
        HOSTILE[0],
        labels={"label": "wave", "verb": "take"},
        captions=("one", "two"),
        targets={"depth": "depth.npz"},
        audio="depth.npz",
        source="ssv2",
        phash="0f",
        flip=False,
        weight=2.0,
        extra={"note": "kept"},
        width=9999,
    )
    rows = [row, *(Row(name) for name in names[1:])]
    write_manifest(folder / "M.parquet", rows)
    assert transcode(folder, *FAST)[0] == 0
    return folder


def test_every_row_has_a_clip_of_its_own_with_a_safe_name(videos):
    rows = list(read_rows(videos / "out" / "manifest.parquet", beside=videos / "out" / "x"))
    assert len({row.path for row in rows}) == len(HOSTILE) + 1
    for number, row in enumerate(rows):
        assert re.fullmatch(r"clips/[0-9a-f]{2}/([A-Za-z0-9_-]{1,40}-)?[0-9a-f]{16}\.mp4", row.path)
        assert row.frames == 4 + number
        assert row.hash.startswith("sha256:") and row.status == "ok"
        assert row.bytes == (videos / "out" / row.path).stat().st_size
    assert not list(videos.rglob("hacked"))
    sources = read_manifest(videos / "out" / "manifest.parquet")
    assert decode(sources[0], lambda total: [total - 1]).shape == (1, 32, 42, 3)


def test_other_columns_are_kept_and_facts_are_those_of_the_copy(videos):
    row = next(read_rows(videos / "out" / "manifest.parquet", beside=videos / "out" / "x"))
    assert (row.width, row.height, row.codec, row.pixel_format) == (42, 32, "h264", "yuv420p")
    assert row.duration == pytest.approx(0.4) and row.fps == pytest.approx(10)
    assert row.labels == {"label": "wave", "verb": "take"} and row.captions == ("one", "two")
    assert (row.source, row.flip, row.phash, row.weight) == ("ssv2", False, "0f", 2.0)
    # Side files stay where they are.
    (source,) = read_manifest(videos / "out" / "manifest.parquet")[:1]
    assert os.path.samefile(source.targets["depth"], videos / "depth.npz")
    assert row.extra == {"note": "kept", "original": HOSTILE[0]}
    assert row.group == HOSTILE[0]


def test_names_are_those_of_the_video_and_the_window():
    told = [Row("a.mp4"), Row("b/a.mp4"), Row("a.mp4", end=2.0), Row("a.mp4", member="x.mp4")]
    assert len({clip_name(row) for row in told}) == len(told)
    assert clip_name(Row("a.mp4", labels={"x": "y"})) == clip_name(Row("a.mp4"))
    # Members of one name, as in a tar that was added to.
    members = [Row("a.tar", member="x.mp4", offset=offset) for offset in (512, 9216)]
    assert len({clip_name(row) for row in members}) == len(list(same_clip(members))) == 2
    assert clip_name(Row("x/../../etc/passwd.mp4")).endswith(".mp4")
    assert ".." not in clip_name(Row("x/../../etc/passwd.mp4", member="../../y"))


def test_windows_of_one_video_are_clips_of_one_group(tmp_path):
    write_mp4(tmp_path / "film.mp4", noise(30))
    rows = [Row("film.mp4", start=s, end=s + 1, phash="0f") for s in (0.0, 1.0, 1.0)]
    rows.append(Row("film.mp4", start=2.0, group="mine"))
    write_manifest(tmp_path / "M.parquet", rows)
    code, out, err = transcode(tmp_path, *FAST)
    assert (code, err) == (0, "") and out.startswith("4 clips made")
    made = list(read_rows(tmp_path / "out" / "manifest.parquet"))
    assert [row.frames for row in made] == [10, 10, 10, 10]
    assert [(row.start, row.end, row.phash) for row in made] == [(0.0, -1.0, "")] * 4
    assert [row.group for row in made] == ["film.mp4"] * 3 + ["mine"]
    assert made[1].path == made[2].path != made[0].path
    assert made[1].extra["original_start"] == "1.0" and made[1].extra["original_end"] == "2.0"


def test_bad_videos_are_named_once_with_their_reason_and_counted(tmp_path):
    broken = broken_files(tmp_path)
    write_mp4(tmp_path / "good.mp4", noise(5))
    rows = [Row("good.mp4"), *(Row(file.name) for file in broken.values())]
    rows.append(Row("good.mp4", end=0.2, status="no such thing"))
    write_manifest(tmp_path / "M.parquet", rows)
    code, out, err = transcode(tmp_path, *FAST)
    assert code == 1
    (line,) = err.splitlines()
    assert f"{len(broken)} of {len(broken) + 1} rows have a video that cannot be used" in line
    assert "--max-bad 0.1" in line
    told = [line for line in out.splitlines() if line.startswith("unusable: ")]
    for file in broken.values():
        (line,) = (line for line in told if str(file) in line)
        assert line.count(str(file)) == 1 and len(line) > len(f"unusable: {file}: ")
    assert not (tmp_path / "out" / "manifest.parquet").exists()
    # What was made is kept.
    code, out, err = transcode(tmp_path, *FAST, "--max-bad", 0.95)
    assert (code, err) == (0, "")
    assert f"0 clips made, 0.0/s; 1 from before; {len(broken)} unusable; 1 left out" in out
    assert len(read_manifest(tmp_path / "out" / "manifest.parquet")) == 1


def test_a_folder_of_other_settings_or_with_all_of_it_is_refused(videos, tmp_path):
    before = contents(videos / "out")
    assert assert_one_line(transcode(videos, *FAST), "is there already") == 1
    write_mp4(tmp_path / "a.mp4", noise(5))
    write_manifest(tmp_path / "M.parquet", [Row("a.mp4"), Row("no.mp4")])
    transcode(tmp_path, *FAST)
    said = transcode(tmp_path, *FAST, "--gop", 7)
    assert assert_one_line(said, "other settings", '"gop": 30') == 1
    said = command("data", "transcode", tmp_path / "M.parquet", "--out", tmp_path, *FAST)
    assert assert_one_line(said, "expected a new folder") == 1
    assert contents(videos / "out") == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--short", 9), "short side 9"),
        (("--gop", 0), "0 frames from key frame"),
        (("--crf", 70), "crf 70: expected 0 .the best. to 51 for h264"),
        (("--max-bad", 2), "--max-bad 2: expected a share from 0 to 1"),
        (("--seconds", 0), "--seconds 0: expected more than 0"),
        (("--workers", -1), "--workers -1: expected 1 or more, or 0 for one per core$"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(tmp_path, options, said):
    write_manifest(tmp_path / "M.parquet", [Row("a.mp4")])
    result = transcode(tmp_path, *options)
    assert assert_one_line(result) == 2 and re.search(said, result[2])
    assert not (tmp_path / "out").exists()


def test_what_is_no_manifest_is_refused(tmp_path):
    write_mp4(tmp_path / "a.mp4", noise(3))
    assert assert_one_line(transcode(tmp_path, manifest="a.mp4"), "ivn data index") == 1
    assert assert_one_line(transcode(tmp_path, manifest="no.parquet"), "no.parquet") == 1
    (tmp_path / "bad.parquet").write_text("no")
    assert assert_one_line(transcode(tmp_path, manifest="bad.parquet"), "bad.parquet") == 1


def test_a_clip_may_not_take_for_ever(tmp_path):
    write_mp4(tmp_path / "a.mp4", noise(40, 480, 640))
    write_manifest(tmp_path / "M.parquet", [Row("a.mp4")])
    code, out, _ = transcode(tmp_path, "--workers", 1, "--short", 0, "--seconds", 0.05)
    assert code == 1 and "took longer than 0.05 s" in out


def copies(folder, count, frames):
    """A manifest of so many files of the same frames."""
    names = [f"{number}.mp4" for number in range(count)]
    write_mp4(folder / names[0], frames)
    for name in names[1:]:
        shutil.copy(folder / names[0], folder / name)
    write_manifest(folder / "M.parquet", [Row(name) for name in names])


def killed_until_done(folder, what, options, made, step):
    """Kill ``ivn data WHAT`` each time that ``step`` more files are there; gives how often.

    Each kill is a little later than the one before, so that they fall into all that is done for a
    file.
    """
    out = folder / "killed"
    place = [folder / "M.parquet", "--out", out, "--workers", "1"]
    line = [sys.executable, "-m", "ivn", "data", what, *place, *options]
    kills = 0
    while True:
        process = subprocess.Popen(
            line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        seen = len(list(out.glob(made)))
        while process.poll() is None and len(list(out.glob(made))) < seen + step:
            time.sleep(0.002)
        if process.poll() is None:
            time.sleep(0.007 * kills)
            process.send_signal(signal.SIGKILL)
        told, err = process.communicate()
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 0, told + err
            return kills
        kills += 1
        if (out / "manifest.parquet").exists():  # killed as it ended, with all done
            return kills


@pytest.mark.soak  # the mechanism is killed at any time in tests/test_durable.py
def test_killed_at_any_time_the_same_command_goes_on_to_the_same_files(tmp_path):
    copies(tmp_path, 18, noise(12))
    options = ("--short", "32")
    code, _, err = transcode(tmp_path, "--workers", 1, *options, out="whole")
    assert (code, err) == (0, "")
    assert killed_until_done(tmp_path, "transcode", options, "clips/*/*.mp4", 4) >= 3
    one, other = contents(tmp_path / "whole"), contents(tmp_path / "killed")
    one.pop("manifest.parquet"), other.pop("manifest.parquet")
    assert one == other and len(one) == 18 + 1
    assert json.loads(one["transcode.json"])["short"] == 32
    whole, rows = (
        list(read_rows(tmp_path / name / "manifest.parquet", beside=tmp_path / name / "x"))
        for name in ("whole", "killed")
    )
    assert rows == whole


@pytest.fixture
def many(tmp_path):
    """A manifest of real clips, more than a small disk holds."""
    clips = sorted(file for file in BUNDLED_CLIPS.iterdir() if file.suffix == ".mp4")[:4]
    write_manifest(tmp_path / "M.parquet", [Row(str(clip)) for clip in clips])
    return tmp_path


# Fills a disk of some MB, then makes it read-only; see tests/train/test_limits.py.
SESSION = """
import json, subprocess, sys
from pathlib import Path
from tests.command import command

disk, manifest, what = Path(sys.argv[1]), *sys.argv[2:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "none", str(disk)], check=True)
arguments = ["data", what, manifest, "--workers", "1", "--out"]
said = [command(*arguments, disk / "out")]
left = [str(file.relative_to(disk)) for file in disk.rglob("*") if file.is_file()]
subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
said += [command(*arguments, disk / "out"), command(*arguments, disk / "new")]
subprocess.run(["mount", "-o", "remount,rw,size=64m", str(disk)], check=True)
said.append(command(*arguments, disk / "out"))
print(json.dumps([said, left]))
"""


@pytest.mark.soak  # the other commands over data meet such a disk in tests/test_bad_places.py
@pytest.mark.parametrize("what", ["transcode", "shard"])
def test_a_full_or_read_only_disk_is_told_in_a_line_and_the_command_goes_on_later(many, what):
    (many / "disk").mkdir()
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        subprocess.run(
            [*inside, "mount", "-t", "tmpfs", "none", many / "disk"],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this system gives no mount namespaces to its users: {error}")
    done = subprocess.run(
        [*inside, sys.executable, "-c", SESSION, many / "disk", many / "M.parquet", what],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    (full, again, new, resumed), left = json.loads(done.stdout.splitlines()[-1])
    for code, out, err in (full, again, new):
        assert code == 1 and err.count("\n") == 1 and err.startswith("ivn: "), err
        assert "unusable" not in out
    assert "cannot be written (no space left on device;" in full[2]
    assert "read-only file system" in again[2] and "read-only file system" in new[2]
    assert not [name for name in left if "/.tmp-" in f"/{name}"]
    assert resumed[0] == 0, resumed
