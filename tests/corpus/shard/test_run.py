"""Tars that anybody reads, the same however they came about, and an index that is right."""

import gc
import hashlib
import io
import json
import tarfile

import pytest
import torch

from ivn.corpus.shard.tar import PackedClip, ShardFile, verify
from ivn.data.manifest.parquet import Row, read_manifest, read_rows, write_manifest
from ivn.errors import DataError
from ivn.media.decode import decode
from ivn.media.source import BUNDLED_CLIPS
from tests.command import assert_one_line, command
from tests.corpus.transcode.test_run import HOSTILE, contents, copies, killed_until_done
from tests.media.videos import CASES, broken_files, noise, write_mp4

pytest.importorskip("av")
pytest.importorskip("tyro")


def shard(folder, *options, out="out"):
    return command("data", "shard", folder / "M.parquet", "--out", folder / out, *options)


def index(folder, out="out"):
    return list(read_rows(folder / out / "manifest.parquet", beside=folder / out / "x"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Files with hostile names and incompressible content, packed into several tars of 1 MB."""
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(HOSTILE):
        write_mp4(folder / f"{number}.mp4", noise(40 + number, 144, 192)).rename(folder / name)
    (folder / "depth.npz").touch()
    row = Row(
        HOSTILE[0],
        start=0.2,
        end=0.9,
        labels={"label": "wave", "verb": "take"},
        captions=("one", "two"),
        targets={"depth": "depth.npz"},
        source="ssv2",
        phash="0f",
        flip=False,
        extra={"note": "kept"},
    )
    again = Row(HOSTILE[0], start=0.2, end=0.9, labels={"label": "other"}, group="mine")
    rows = [row, again, *(Row(name) for name in HOSTILE[1:])]
    write_manifest(folder / "M.parquet", rows)
    code, out, err = shard(folder, "--size", 1)
    assert (code, err) == (0, ""), err
    assert out.startswith("11 clips packed")
    return folder


def test_the_index_says_where_every_byte_of_each_clip_is(videos):
    rows = index(videos)
    assert len({row.path for row in rows}) >= 3
    for row, name in zip(rows, [HOSTILE[0], *HOSTILE], strict=True):
        packed = (videos / "out" / row.path).read_bytes()[row.offset : row.offset + row.bytes]
        assert packed == (videos / name).read_bytes()
        assert row.hash == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    sources = read_manifest(videos / "out" / "manifest.parquet")
    for source, row in zip(sources, read_manifest(videos / "M.parquet"), strict=True):
        assert torch.equal(decode(source, range), decode(row, range))


def test_mirrored_files_are_packed_with_the_word_that_they_are(tmp_path):
    paths = [str(CASES / name) for name in ("mirrored.mp4", "mirrored.jpg")]
    write_manifest(tmp_path / "M.parquet", [Row(path, mirrored=True) for path in paths])
    assert shard(tmp_path)[0] == 0
    assert [row.mirrored for row in index(tmp_path)] == [True, True]
    sources = read_manifest(tmp_path / "out" / "manifest.parquet")
    for source, path in zip(sources, paths, strict=True):
        assert torch.equal(decode(source, range), decode(path, range))


def test_tars_are_as_large_as_asked_for_but_the_last(videos):
    sizes = [tar.stat().st_size for tar in sorted((videos / "out").glob("*.tar"))]
    assert min(sizes[:-1]) >= 10**6 and max(sizes) < 3 * 10**6


def test_rows_keep_what_was_known(videos):
    first, again, *_ = index(videos)
    assert (first.start, first.end, first.phash, first.source) == (0.2, 0.9, "0f", "ssv2")
    assert first.labels == {"label": "wave", "verb": "take"} and first.captions == ("one", "two")
    assert first.extra == {"note": "kept", "original": HOSTILE[0]} and not first.flip
    assert (first.group, again.group) == (HOSTILE[0], "mine")
    # Rows of one clip share its bytes.
    assert (first.path, first.member, first.offset) == (again.path, again.member, again.offset)
    assert again.labels == {"label": "other"}


def test_members_have_plain_names_and_nothing_that_changes(videos):
    keys = []
    for tar in sorted((videos / "out").glob("*.tar")):
        with tarfile.open(tar) as opened:
            for clip, about in _pairs(opened):
                key = clip.name.partition(".")[0]
                assert about.name == f"{key}.json" and key.isdigit() and len(key) == 9
                keys.append(key)
                for member in (clip, about):
                    assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
                    assert member.isreg() and not member.pax_headers
    assert keys == sorted(keys) and len(keys) == len(HOSTILE)


def _pairs(tar):
    members = tar.getmembers()
    return zip(members[::2], members[1::2], strict=True)


def test_the_json_of_a_sample_tells_of_all_its_rows(videos):
    with tarfile.open(videos / "out" / "shard-000000.tar") as tar:
        told = json.load(tar.extractfile("000000000.json"))
    assert told["labels"] == {"label": "wave", "verb": "take"} and told["flip"] is False
    assert [row["labels"]["label"] for row in told["rows"]] == ["wave", "other"]
    assert not {"path", "member", "offset"} & told.keys()


# It leaves files to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_webdataset_reads_them(videos):
    webdataset = pytest.importorskip("webdataset")
    tars = [str(tar) for tar in sorted((videos / "out").glob("*.tar"))]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    gc.collect()
    assert [sample["__key__"] for sample in samples] == [f"{i:09}" for i in range(len(HOSTILE))]
    for sample, name in zip(samples, HOSTILE, strict=True):
        assert sample["mp4"] == (videos / name).read_bytes()
        assert json.loads(sample["json"])["extra"]["original"] == name


def test_the_same_command_elsewhere_gives_the_same_bytes(videos):
    assert shard(videos, "--size", 1, out="again")[0] == 0
    one, other = contents(videos / "out"), contents(videos / "again")
    assert one == other


def test_tars_that_are_missing_are_written_and_the_others_kept(videos):
    assert shard(videos, "--size", 1, out="cut")[0] == 0
    whole = contents(videos / "cut")
    (videos / "cut" / "manifest.parquet").unlink()
    (videos / "cut" / "shard-000002.tar").unlink()
    (videos / "cut" / ".tmp-77-shard-000002.tar").write_bytes(b"half")
    (videos / "cut" / ".tmp-77-manifest.parquet").write_bytes(b"half")
    before = (videos / "cut" / "shard-000001.tar").stat().st_mtime_ns
    code, out, _ = shard(videos, "--size", 1, out="cut")
    assert code == 0 and " from before" in out
    assert contents(videos / "cut") == whole
    assert (videos / "cut" / "shard-000001.tar").stat().st_mtime_ns == before


def test_a_manifest_that_was_moved_is_gone_on_with_and_another_is_refused(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_mp4(old / name, noise(8))
    write_manifest(old / "M.parquet", [Row("a.mp4"), Row("b.mp4")])
    assert shard(old, "--size", 1)[0] == 0
    whole = contents(old / "out")
    (old / "out" / "manifest.parquet").unlink()
    old.rename(new)
    code, said, _ = shard(new, "--size", 1)
    assert code == 0 and "2 from before" in said
    assert contents(new / "out") == whole
    (new / "out" / "manifest.parquet").unlink()
    (new / "M.parquet").unlink()
    write_manifest(new / "M.parquet", [Row("b.mp4"), Row("a.mp4")])
    said = shard(new, "--size", 1)
    assert assert_one_line(said, "other settings", "sha256:") == 1


def test_bad_files_are_left_out_by_name_also_when_the_command_goes_on(tmp_path):
    files = broken_files(tmp_path)
    broken = {name: files[name] for name in ("missing", "empty", "folder")}
    names = ["a.mp4", *(file.name for file in broken.values()), "b.mp4"]
    for name in ("a.mp4", "b.mp4"):
        write_mp4(tmp_path / name, noise(60, 144, 192))
    write_manifest(tmp_path / "M.parquet", [Row(name) for name in names])
    code, out, err = shard(tmp_path, "--size", 1)
    assert code == 1 and "3 of 5 rows have a video that cannot be used" in err
    for file in broken.values():
        assert out.count(str(file)) == 1
    assert not (tmp_path / "out" / "manifest.parquet").exists()
    code, out, err = shard(tmp_path, "--size", 1, "--max-bad", 0.6)
    assert (code, err) == (0, "") and "0 clips packed, 0.0/s; 2 from before; 3 unusable" in out
    assert [row.member for row in index(tmp_path)] == ["000000000.mp4", "000000004.mp4"]


def test_other_settings_in_the_same_folder_are_refused(videos):
    assert assert_one_line(shard(videos, "--size", 1), "is there already") == 1
    (videos / "begun").mkdir()
    (videos / "begun" / "shard.json").write_text((videos / "out" / "shard.json").read_text())
    said = shard(videos, "--size", 2, out="begun")
    assert assert_one_line(said, "other settings", '"size": 1') == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--size", 0), "tars of 0 MB"),
        (("--frames", -1), "-1 frames"),
        (("--short", 9), "short side 9"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(videos, options, said):
    assert assert_one_line(shard(videos, *options, out="no"), said) == 2
    assert not (videos / "no").exists()


def test_members_of_hostile_tars_stay_inside(tmp_path):
    """Names that lead out of the folder are read by their place, and packed under a number."""
    video = write_mp4(tmp_path / "a.mp4", noise(8)).read_bytes()
    inside = tmp_path / "deep" / "deeper"
    inside.mkdir(parents=True)
    names = ["../../escaped.mp4", "/escaped.mp4", "a\nb.mp4", "../" * 40 + "x.mp4"]
    with tarfile.open(inside / "in.tar", "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(video)
            tar.addfile(info, io.BytesIO(video))
        link = tarfile.TarInfo("link.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    rows = [Row("in.tar", member=name) for name in [*names, "link.mp4"]]
    write_manifest(inside / "M.parquet", rows)
    before = {file for file in tmp_path.rglob("*") if inside / "out" not in file.parents}
    for what, options in (("shard", ()), ("transcode", ("--workers", 1))):
        out = inside / f"out-{what}"
        code, told, err = command(
            "data", what, inside / "M.parquet", "--out", out, "--max-bad", 0.5, *options
        )
        assert (code, err) == (0, ""), err
        assert told.count("link.mp4") == 1 and "1 unusable" in told
        assert len(read_manifest(out / "manifest.parquet")) == len(names)
    after = {
        file for file in tmp_path.rglob("*") if not {"out-shard", "out-transcode"} & {*file.parts}
    }
    assert after == before


def test_clips_of_some_frames_are_read_by_our_reader(tmp_path):
    clips = [BUNDLED_CLIPS / f"{name}.mp4" for name in ("asl-again", "asl-bird")]
    write_manifest(tmp_path / "M.parquet", [Row(str(clip)) for clip in clips])
    code, _, err = shard(tmp_path, "--frames", 16, "--short", 64, "--crf", 0, "--workers", 1)
    assert (code, err) == (0, ""), err
    for row, source in zip(
        index(tmp_path), read_manifest(tmp_path / "out" / "manifest.parquet"), strict=True
    ):
        assert (row.frames, row.height, row.start, row.end) == (16, 64, 0.0, -1.0)
        assert row.keyframe_seconds == pytest.approx(row.duration / 16, rel=0.1)
        assert row.status == "ok" and row.codec == "h264" and row.decoder
        assert len(decode(source, range)) == 16
    assert not (tmp_path / "out" / "work").exists()


def test_a_tar_that_is_not_as_it_was_written_is_found(tmp_path):
    with (tmp_path / "a.tar").open("wb") as file:
        tar = ShardFile(file)
        packed = [tar.add("1", ".mp4", b"x" * 700, [Row("a")])]
        tar.close()
    verify(tmp_path / "a.tar", packed)
    (one,) = packed
    other = {
        "2 members, expected 4": [one, PackedClip("2.mp4", 0, 1, "")],
        "1.mp4 is at 512": [PackedClip(one.member, 1024, one.bytes, one.hash)],
        "1.mp4 has other bytes": [PackedClip(one.member, one.offset, one.bytes, "sha256:0")],
    }
    for said, expected in other.items():
        with pytest.raises(DataError, match=said):
            verify(tmp_path / "a.tar", expected)


@pytest.mark.soak  # the mechanism is killed at any time in tests/test_durable.py
@pytest.mark.parametrize(
    ("options", "kills"), [((), 1), (("--frames", "8", "--short", "0", "--crf", "0"), 2)]
)
def test_killed_at_any_time_the_same_command_goes_on_to_the_same_tars(tmp_path, options, kills):
    """Tars are of files as they are, or of clips made anew: the same samples in their order."""
    copies(tmp_path, 40, noise(24, 96, 128))
    code, _, err = shard(tmp_path, "--size", 1, "--workers", 1, *options, out="whole")
    assert (code, err) == (0, "")
    assert killed_until_done(tmp_path, "shard", ("--size", "1", *options), "*.tar", 2) >= kills
    one, other = contents(tmp_path / "whole"), contents(tmp_path / "killed")
    assert one == other and len(one) >= 4 + 2
