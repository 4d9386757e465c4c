"""`ivn data index`, from the command line."""

import errno
import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from ivn.corpus import resumable
from ivn.corpus.index import command as index_command
from ivn.corpus.resumable import pass_through
from ivn.data.manifest.listing import list_clips
from ivn.data.manifest.parquet import Row, read_manifest, read_rows
from ivn.data.sampling.pools import are_images
from ivn.media.source import BUNDLED_CLIPS
from tests.command import assert_one_line, command
from tests.media.videos import broken_files, noise, write_mp4

pytest.importorskip("av")
pytest.importorskip("pyarrow")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def folder(tmp_path):
    """A good video, one in a folder, all kinds of broken ones, and a link in a circle."""
    place = tmp_path / "videos"
    (place / "deep er").mkdir(parents=True)
    write_mp4(place / "good.mp4", noise(12))
    shutil.copy(BUNDLED_CLIPS / "nasa.mp4", place / "deep er" / 'it\'s "n".mp4')
    (place / "deep er" / "up").symlink_to(place)
    return place


def index(*arguments):
    return command("data", "index", *arguments)


def test_a_folder_becomes_a_manifest_with_facts(folder, tmp_path):
    code, out, err = index(folder, "-o", tmp_path / "m.parquet", "--hash", "--workers", 1)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == str(tmp_path / "m.parquet")
    nasa, good = read_rows(tmp_path / "m.parquet")
    assert nasa.path.endswith('deep er/it\'s "n".mp4')
    assert (nasa.width, nasa.height, nasa.codec) == (456, 256, "h264")
    assert (good.width, good.height, good.frames, good.fps) == (64, 48, 12, 10.0)
    assert good.hash.startswith("sha256:") and good.status == ""
    # Relative to the manifest: both can be moved together.
    (tmp_path / "there").mkdir()
    for name in ("videos", "m.parquet"):
        (tmp_path / name).rename(tmp_path / "there" / name)
    assert all(os.path.exists(s.path) for s in read_manifest(tmp_path / "there" / "m.parquet"))


def test_broken_files_are_named_once_with_their_reason_and_the_rest_is_indexed(folder, tmp_path):
    broken = broken_files(folder)
    code, out, err = index(folder, "-o", tmp_path / "m.parquet", "--workers", 1)
    assert (code, err) == (1, "")
    expected = {
        "empty": "the file is empty (0 bytes)",
        "text": "cannot be decoded",
        "truncated": "truncated, 5 of 20 frames are there",
        "header": "no video stream, only data",
        "sound": "no video stream, only audio",
        "cover": "no video stream, only audio",
    }
    lines = out.splitlines()
    statuses = {row.path: row.status for row in read_rows(tmp_path / "m.parquet")}
    for name, reason in expected.items():
        (line,) = [line for line in lines if line.startswith(f"videos/{broken[name].name}: ")]
        assert reason in line
        assert statuses[str(broken[name])] in line
    assert "6 of 8 are unusable, more than --max-bad 0.05" in out
    assert len(read_manifest(tmp_path / "m.parquet")) == 2
    code, *_ = index(folder, "-o", tmp_path / "n.parquet", "--workers", 1, "--max-bad", "0.8")
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        ([], "give at least one SOURCE", 2),
        (["https://example.org/a.mp4"], "a URL, expected a path", 1),
        (["nowhere"], "no such file or folder", 1),
        (["empty"], "nothing to index in it", 1),
        (["x.doc"], "expected a folder, a video", 1),
        (["x.doc", "--format", "ava"], "belong together", 2),
        (["x.doc", "--max-bad", "2"], "ivn: --max-bad 2: expected a share from 0 to 1\n", 2),
        (["x.doc", "--seconds", "0"], "ivn: --seconds 0: expected more than 0\n", 2),
        (["x.doc", "--workers", "-1"], "ivn: --workers -1: expected 1 or more, or 0 for one", 2),
        (["x.doc", "--format", "nope", "--videos", "."], "expected auto or one of activitynet", 2),
    ],
)
def test_what_cannot_be_indexed_is_one_line(tmp_path, monkeypatch, arguments, words, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.doc").touch()
    assert assert_one_line(index(*arguments, "-o", "m.parquet", "--no-probe"), words) == code
    assert not (tmp_path / "m.parquet").exists()


def test_a_list_keeps_all_that_it_says_and_its_wrong_lines_are_named(folder, tmp_path):
    lines = "path,label,start,end,group,verb\n"
    lines += "videos/good.mp4,3,0.5,1,film,open\nvideos/good.mp4,4,2,1,,\n\nftp://x/y.mp4,5,,,,\n"
    lines += "gone.mp4,6,,,,\n/abs/a.mp4,7,,,,\n,8,,,,\n"
    (tmp_path / "l.csv").write_text(lines)
    (tmp_path / "out").mkdir()
    code, out, err = index(tmp_path / "l.csv", "-o", tmp_path / "out" / "m.parquet", "--no-probe")
    assert (code, err) == (1, "")
    rows = list(read_rows(tmp_path / "out" / "m.parquet"))
    assert rows[0] == Row(
        str(folder / "good.mp4"),
        start=0.5,
        end=1.0,
        labels={"label": "3", "verb": "open"},
        group="film",
    )
    assert [row.path for row in rows[1:]] == [str(tmp_path / "gone.mp4"), "/abs/a.mp4"]
    for line, reason in ((3, "starts at 2.0 s and ends at 1.0 s"), (5, "is a URL"), (8, "no path")):
        (said,) = [text for text in out.splitlines() if f"l.csv, line {line}: " in text]
        assert reason in said
    assert "3 of 6 are unusable" in out


def test_the_releases_line_keeps_its_data_set_and_a_windows_file_is_read_once(folder, tmp_path):
    lines = [f"ssv2 videos/good.mp4 1.2 0.{n} 1.0 {n}" for n in range(1, 4)]
    lines += ["k400 videos/none.mp4 9 1 2 7", "k400 videos/none.mp4 9 2 3 7"]
    (tmp_path / "l.txt").write_text("\n".join(lines))
    options = ("--workers", 1, "--max-bad", "0.5")
    code, out, _ = index(tmp_path / "l.txt", "-o", tmp_path / "m.parquet", *options)
    assert (code, out.count("videos/none.mp4: no such file\n")) == (0, 1)
    rows = list(read_rows(tmp_path / "m.parquet", beside=tmp_path / "m.parquet"))
    assert [row.status for row in rows] == [""] * 3 + ["no such file"] * 2
    del rows[3:]
    assert [(row.source, row.flip, row.start, row.frames) for row in rows] == [
        ("ssv2", False, n / 10, 12) for n in range(1, 4)
    ]
    assert {row.path for row in rows} == {"videos/good.mp4"}


def test_tars_and_manifests_are_sources_too_and_members_are_probed(folder, tmp_path):
    video = (folder / "good.mp4").read_bytes()
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, data in (("1.mp4", video), ("1.cls", b"7"), ("2.mp4", video[:300])):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    shutil.copy(tmp_path / "s.tar", folder / "t.tar")
    (folder / "u.tar.gz").touch()
    options = ("--workers", 1, "--max-bad", 1, "--hash")
    code, out, _ = index(tmp_path / "s.tar", "-o", tmp_path / "m.parquet", *options)
    one, two = read_rows(tmp_path / "m.parquet", beside=tmp_path / "m.parquet")
    assert (code, one.path, one.member, one.frames, one.bytes) == (
        0,
        "s.tar",
        "1.mp4",
        12,
        len(video),
    )
    assert one.labels == {"label": "7"} and (tmp_path / "s.tar").read_bytes().count(video) == 1
    assert one.hash == f"sha256:{hashlib.sha256(video).hexdigest()}"
    assert two.status == "no video stream, only data" and "s.tar, member 2.mp4: no video" in out
    code, out, _ = index(tmp_path / "m.parquet", folder, "-o", tmp_path / "n.parquet", "--no-probe")
    rows = list(read_rows(tmp_path / "n.parquet", beside=tmp_path / "n.parquet"))
    assert rows[:2] == [one, two]
    assert [(row.path, row.member) for row in rows[2:]] == [
        *[('videos/deep er/it\'s "n".mp4', ""), ("videos/good.mp4", "")],
        *[("videos/t.tar", "1.mp4"), ("videos/t.tar", "2.mp4")],
    ]
    assert "u.tar.gz: a compressed tar" in out


def test_labels_of_no_video_are_told_in_a_line_and_are_not_bad(folder, tmp_path):
    video = (folder / "good.mp4").read_bytes()
    files = {"1.mp4": video, "odd\nname.cls": b"7", "3.json": b"{}"}
    for name, given in (("s.tar", files), ("t.tar", {"odd.cls": b"7"})):
        with tarfile.open(tmp_path / name, "w") as tar:
            for member, data in given.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    code, out, err = index(tmp_path / "s.tar", "-o", tmp_path / "m.parquet", "--workers", 1)
    assert (code, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith(f"{tmp_path}/s.tar: ")]
    assert r"labels of no video in it: 2 ('odd\nname.cls', ...)" in line
    assert "1 rows" in out and "0 unusable items without a row" in out
    code, out, err = index(tmp_path / "t.tar", "-o", tmp_path / "n.parquet", "--no-probe")
    assert (
        code == 1
        and "nothing to index in it" in err
        and "labels of no video in it: 1 (odd.cls)" in out
    )


def test_names_are_bytes_that_survive_or_are_refused_in_one_line(tmp_path):
    place = tmp_path / "v"
    place.mkdir()
    good = ["new\nline.mp4", "tab\t.mp4", "'\"$(x);.mp4", " leading.mp4", "concat:a.mp4", "-o.mp4"]
    good += ["%03d.mp4", "ü😀.mp4", "http:/x.mp4", "n" * 200 + ".mp4"]
    for name in good:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).touch()
    (place / os.fsdecode(b"caf\xe9.mp4")).touch()
    code, out, err = index(place, "-o", tmp_path / "m.parquet", "--no-probe", "--max-bad", "0.5")
    assert (code, err) == (0, "")
    found = [
        os.path.relpath(source.path, place) for source in read_manifest(tmp_path / "m.parquet")
    ]
    assert sorted(found) == sorted(good)
    (line,) = [line for line in out.splitlines() if "not UTF-8" in line]
    assert "caf\\udce9.mp4" in line


@pytest.mark.soak  # the mechanism is killed at any time in tests/test_durable.py
def test_killed_it_goes_on_and_looks_at_no_file_again(folder, tmp_path):
    for number in range(12):
        shutil.copy(folder / "good.mp4", folder / f"{number:02}.mp4")
    (tmp_path / "s.py").write_text(
        "import sys\n"
        "from ivn import cli\n"
        "from ivn.corpus import resumable\n"
        "resumable._PART_ROWS = 3\n"
        "if __name__ == '__main__': sys.exit(cli.main())\n"
    )
    line = [sys.executable, "-P", "s.py", "data", "index", "videos", "-o", "m.parquet"]
    line += ["--workers", "1"]
    partial = tmp_path / "m.parquet.partial"
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not list(partial.glob("part-*")) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.kill()
    done = len(list(partial.glob("part-*.parquet")))
    assert done > 0 and not (tmp_path / "m.parquet").exists()
    # What was finished is not looked at again, and a file that has come since is.
    with (folder / "00.mp4").open("w"):
        pass
    shutil.copy(folder / "good.mp4", folder / "new.mp4")
    end = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (end.returncode, end.stderr) == (0, "")
    assert f"15 rows, {3 * done} from before" in end.stdout
    rows = list(read_rows(tmp_path / "m.parquet"))
    assert [row.frames for row in rows if row.path.endswith("00.mp4")] == [12]
    assert all(row.status == "" and row.frames for row in rows)
    assert sorted(os.listdir(tmp_path)) == ["m.parquet", "s.py", "videos"]


def test_other_rows_than_before_are_looked_at_anew(tmp_path):
    def passed(rows, worked):
        def work(given):
            for row in given:
                worked.append(row.path)
                if len(worked) == 5:
                    raise KeyboardInterrupt
                yield replace(row, codec="x")

        return pass_through(tmp_path / "m.parquet", rows, work, settings={}, report=lambda *_: None)

    rows = [Row(f"{number}.mp4") for number in range(8)]
    with pytest.raises(KeyboardInterrupt):
        passed(rows, [])
    worked = []
    rows[2] = Row("other.mp4")
    with pytest.raises(KeyboardInterrupt):
        passed(rows, worked)
    assert worked == [row.path for row in rows[:5]]
    worked = [""] * 10
    assert passed(rows, worked).earlier == 4
    assert worked[10:] == [row.path for row in rows[4:]]
    found = list(read_rows(tmp_path / "m.parquet", beside=tmp_path / "m.parquet"))
    assert found == [replace(row, codec="x") for row in rows]
    assert os.listdir(tmp_path) == ["m.parquet"]


def test_what_was_begun_with_other_settings_or_is_in_use_is_refused(folder, tmp_path):
    partial = tmp_path / "m.parquet.partial"
    partial.mkdir()
    (partial / "settings.json").write_text("{}")
    said = index(folder, "-o", tmp_path / "m.parquet", "--no-probe")
    assert assert_one_line(said, "begun with other settings") == 1
    descriptor = os.open(partial, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    said = index(folder, "-o", tmp_path / "m.parquet", "--no-probe")
    assert assert_one_line(said, "another process works on it") == 1
    os.close(descriptor)


def test_a_call_with_another_limit_of_time_does_not_take_over_its_results(
    folder, tmp_path, monkeypatch
):
    def stopped(rows, *_):
        yield next(rows)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(index_command, "probed", stopped)
        assert index(folder, "-o", tmp_path / "m.parquet")[0] == 130
    said = index(folder, "-o", tmp_path / "m.parquet", "--seconds", 1)
    assert assert_one_line(said, "begun with other settings", '"seconds": 30.0') == 1
    assert index(folder, "-o", tmp_path / "m.parquet", "--workers", 1)[0] == 0


def test_of_a_folder_images_are_taken_where_the_trainer_would_take_them(tmp_path):
    place = tmp_path / "p"
    (place / "deep").mkdir(parents=True)
    for name in ("b.JPG", "deep/c.png", ".hidden.png", "notes.doc"):
        (place / name).touch()
    for number, names in enumerate((["b.JPG", "c.png"], ["a.mp4"])):
        (place / names[0]).touch()
        out = tmp_path / f"{number}.parquet"
        assert index(place, "-o", out, "--no-probe")[0] == 0
        found = [source.path for source in read_manifest(out)]
        assert found == [source.path for source in list_clips(place)]
        assert [os.path.basename(path) for path in found] == names


def test_images_have_facts_and_are_images_to_the_trainer(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "one.png")
    code, _, err = index(tmp_path / "one.png", "-o", tmp_path / "m.parquet", "--workers", 1)
    assert (code, err) == (0, "")
    (row,) = read_rows(tmp_path / "m.parquet")
    assert (row.width, row.height, row.frames, row.codec) == (64, 48, 1, "png")
    assert are_images(read_manifest(tmp_path / "m.parquet")).tolist() == [True]


def test_the_bar_knows_its_end_where_all_sources_can_be_counted(folder, tmp_path, monkeypatch):
    seen = []

    @contextmanager
    def watching(_, *, total):
        counts = []
        yield lambda passed, row: counts.append((passed.rows, passed.unusable))
        seen.append((total, counts[-1]))

    monkeypatch.setattr(index_command, "watching", watching)
    (tmp_path / "l.csv").write_text(
        "# two\npath,label\nvideos/good.mp4,1\n\nvideos/good.mp4,\n,3\n"
    )
    video, a_list, a_manifest = folder / "good.mp4", tmp_path / "l.csv", tmp_path / "0.parquet"
    for number, places in enumerate([(video, a_list), (a_manifest, a_list), (folder, a_list)]):
        index(*places, "-o", tmp_path / f"{number}.parquet", "--no-probe")
    assert seen == [(4, (4, 1)), (6, (6, 1)), (None, (5, 1))]


def test_a_place_that_cannot_be_written_is_one_line(folder, tmp_path, monkeypatch):
    said = index(folder, "-o", tmp_path / "no" / "m.parquet")
    assert assert_one_line(said, "no: no such folder") == 1
    assert assert_one_line(index(folder, "-o", "/proc/m.parquet"), "/proc/m.parquet") == 1
    (tmp_path / "m.parquet").write_text("mine")
    assert assert_one_line(index(folder, "-o", tmp_path / "m.parquet"), "is there already") == 1
    assert (tmp_path / "m.parquet").read_text() == "mine"

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "n.parquet"))

    monkeypatch.setattr(resumable, "write_manifest", full)
    said = index(folder, "-o", tmp_path / "n.parquet", "--no-probe")
    assert assert_one_line(said, "no space left on device") == 1
    assert not (tmp_path / "n.parquet").exists()


def test_members_of_one_name_have_facts_of_their_own(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for count in (5, 9):
            tar.add(write_mp4(tmp_path / f"{count}.mp4", noise(count)), "a.mp4")
    assert index(tmp_path / "a.tar", "-o", tmp_path / "m.parquet", "--workers", 1)[0] == 0
    assert [row.frames for row in read_rows(tmp_path / "m.parquet")] == [5, 9]
