"""A run goes on with the same clips wherever they are, and with no others."""

import json
import shutil

import pytest

from ivn import run
from ivn.data.loader.loader import ClipLoader
from ivn.data.manifest.listing import list_clips
from ivn.data.manifest.parquet import Row, write_manifest
from ivn.data.sampling.pools import drawn_fingerprint
from ivn.train import folder
from tests.command import assert_one_line, command
from tests.media.videos import noise, write_video
from tests.small import small_config

pytest.importorskip("av")
COUNT = 6


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A folder of videos, with a manifest of them that draws some more often."""
    place = tmp_path_factory.mktemp("data") / "clips"
    (place / "deep").mkdir(parents=True)
    names = [f"{'deep/' * (number % 2)}{number}.mkv" for number in range(COUNT)]
    for number, name in enumerate(names):
        write_video(place / name, noise(6 + number)[number:])
    rows = [Row(name, weight=1.0 + number % 3) for number, name in enumerate(names)]
    write_manifest(place / "weighted.parquet", rows)
    return place


class Killed(BaseException):
    """Ends the run here, as a kill would: nothing catches it."""


def cut(config, data, out):
    """Starts a run and ends it behind its third step; it was saved behind the second."""
    original = ClipLoader.__next__

    def dying(loader):
        if loader.step == 3:
            raise Killed
        return original(loader)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ClipLoader, "__next__", dying)
        run.start(config, data=data, out=out, show_config=False)


def losses(out):
    read = [json.loads(text) for text in (out / folder.LOG).read_text().splitlines()]
    return [(line["step"], line["loss"], line["terms"], line["grad_norm"]) for line in read]


@pytest.fixture(scope="module")
def config():
    return small_config(
        "stage1-tiny",
        "optim.steps=4",
        "run.save_every=2",
        "run.log_every=1",
        "efficiency.workers=0",
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory, clips, config):
    """By form of the data, the losses of a run that was not cut."""
    found = {}
    for form in ("", "weighted.parquet"):
        out = tmp_path_factory.mktemp("whole") / "run"
        assert run.start(config, data=clips / form, out=out, show_config=False) == 0
        found[form] = losses(out)
    assert found[""] != found["weighted.parquet"]
    return found


def record(out):
    return json.loads((out / folder.SOURCE).read_text())


@pytest.mark.parametrize("form", ["", "weighted.parquet"])
def test_a_run_whose_clips_were_moved_goes_on_bit_for_bit(
    clips, config, whole, tmp_path, monkeypatch, form
):
    mine, moved, out = tmp_path / "mine", tmp_path / "other" / "place", tmp_path / "run"
    shutil.copytree(clips, mine)
    cut(config, mine / form, out)
    moved.parent.mkdir()
    shutil.move(mine, moved)
    said = command("pretrain", "--resume", out)
    assert assert_one_line(said, str(mine / form), f"--resume {out} --data FOLDER|LIST") == 1
    monkeypatch.chdir(moved.parent)
    code, said, err = command("pretrain", "--resume", out, "--data", f"place/{form}")
    assert (code, err) == (0, "") and "going on after step 2 of 4" in said
    assert losses(out) == whole[form]
    assert record(out)["data"] == str(moved / form)
    monkeypatch.chdir(tmp_path)
    assert command("pretrain", "--resume", out)[::2] == (0, "")


def test_other_clips_of_as_many_are_refused_and_leave_the_run_as_it_was(clips, config, tmp_path):
    other, out = tmp_path / "other", tmp_path / "run"
    cut(config, clips, out)
    shutil.copytree(clips, other)
    (other / "2.mkv").rename(other / "9.mkv")
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    said = command("pretrain", "--resume", out, "--data", other)
    first = "clip 2 is 4.mkv now, 2.mkv then"
    assert assert_one_line(said, str(other), f"({COUNT} now, {COUNT} then; {first})") == 1
    weighted = command("pretrain", "--resume", out, "--data", clips / "weighted.parquet")
    assert assert_one_line(weighted, "clip 2 is deep/1.mkv now, 2.mkv then") == 1
    gone = command("pretrain", "--resume", out, "--data", tmp_path / "gone")
    assert assert_one_line(gone, f"{tmp_path / 'gone'}: no such file or folder") == 1
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    (out / folder.CLIPS).write_bytes(b"nothing")
    said = command("pretrain", "--resume", out, "--data", other)
    assert assert_one_line(said, folder.CLIPS, "not as it was written") == 1


@pytest.mark.parametrize("form", ["", "weighted.parquet"])
def test_a_record_of_whole_paths_is_taken_and_renewed(clips, config, whole, tmp_path, form):
    mine, moved, out = tmp_path / "mine", tmp_path / "moved", tmp_path / "run"
    shutil.copytree(clips, mine)
    cut(config, mine / form, out)
    newer = record(out)
    older = {name: value for name, value in newer.items() if name != "format"}
    older["fingerprint"] = drawn_fingerprint(list_clips(mine / form))
    assert older["fingerprint"] != newer["fingerprint"]
    (out / folder.SOURCE).write_text(json.dumps(older))
    (out / folder.CLIPS).unlink()
    shutil.move(mine, moved)
    (moved / "0.mkv").rename(moved / "zero.mkv")
    if not form:
        said = command("pretrain", "--resume", out, "--data", moved)
        assert assert_one_line(said, f"({COUNT} now, {COUNT} then)") == 1
    (moved / "zero.mkv").rename(moved / "0.mkv")
    assert command("pretrain", "--resume", out, "--data", moved / form)[::2] == (0, "")
    assert losses(out) == whole[form]
    assert record(out) == newer | {"data": str(moved / form)}
    assert (out / folder.CLIPS).exists()
