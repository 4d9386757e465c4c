"""`ivn data index`, from the command line."""

import os
import shutil

import pytest

from ivn.data.manifest import read_manifest, read_rows
from ivn.data.source import BUNDLED_CLIPS
from tests.command import assert_one_line, command
from tests.data.videos import broken_files, noise, write_mp4

pytest.importorskip("av")
pytest.importorskip("pyarrow")


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
    assert "6 of 8 are bad, more than --max-bad 0.05" in out
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
        (["x.doc", "--max-bad", "2"], "0 to 1", 2),
    ],
)
def test_what_cannot_be_indexed_is_one_line(tmp_path, monkeypatch, arguments, words, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.doc").touch()
    assert assert_one_line(index(*arguments, "-o", "m.parquet", "--no-probe"), words) == code
    assert not (tmp_path / "m.parquet").exists()
