"""Facts from packets are those of the frames that decoding gives."""

import csv
import hashlib
import io
import os
import tarfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ivn.corpus.check.decoding import check_one
from ivn.corpus.index.probing import FactsReader
from ivn.data.manifest.parquet import Row
from ivn.errors import DecodeError
from ivn.media.decode import decode
from ivn.media.facts import read_facts
from ivn.media.source import BUNDLED_CLIPS, Source
from ivn.media.storage import hash_of
from tests.media.test_real_clips import TAKEN
from tests.media.videos import (
    broken_files,
    noise,
    numbered_frames,
    turn_on_display,
    write_mp4,
    write_video,
)

av = pytest.importorskip("av")
CLIPS = os.environ.get("IVN_TEST_CLIPS", "")


def test_facts_of_a_plain_file(tmp_path):
    frames = numbered_frames(24, 48, 64, step=0)
    file = write_video(tmp_path / "v.mkv", frames, rate=8, gop=6, codec="mpeg4", pix_fmt="yuv420p")
    facts = read_facts(Source(str(file), start=1.0, end=2.0))
    assert asdict(facts) == {
        "width": 64,
        "height": 48,
        "fps": pytest.approx(8),
        "frames": 24,
        "duration": pytest.approx(3),
        "codec": "mpeg4",
        "pixel_format": "yuv420p",
        "rotation": 0,
        "mirrored": False,
        "stream": 0,
        "streams": 1,
        "restarts": 0,
        "variable_rate": False,
        "keyframe_seconds": pytest.approx(0.75),
        "bytes": file.stat().st_size,
    }


def test_every_fact_is_a_column():
    columns = {field.name: field.default for field in Row.__dataclass_fields__.values()}
    facts = asdict(read_facts(Source(str(BUNDLED_CLIPS / "nasa.mp4"))))
    assert {name: type(value) for name, value in facts.items()} == {
        name: type(columns[name]) for name in facts
    }


def test_a_turned_video_has_the_size_that_is_shown(tmp_path):
    file = write_mp4(tmp_path / "v.mp4", noise(3, 32, 48))
    turn_on_display(file)
    facts = read_facts(Source(str(file)))
    assert (facts.width, facts.height, facts.rotation) == (32, 48, 270)
    assert decode(file, lambda _: [0]).shape == (1, 48, 32, 3)


@pytest.mark.parametrize(("gaps", "varies"), [([33, 34, 33], False), ([40, 40, 80], True)])
def test_a_rate_varies_where_rounding_does_not_explain_it(tmp_path, gaps, varies):
    with av.open(str(tmp_path / "v.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=1000)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        time = 0
        for image, gap in zip(noise(12), gaps * 4, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, time = time, time + gap
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    facts = read_facts(Source(str(tmp_path / "v.mkv")))
    assert facts.variable_rate == varies
    assert facts.fps == pytest.approx(11 / (time - gaps[2]) * 1000, rel=0.01)


def test_a_member_has_the_facts_and_the_hash_of_the_file(tmp_path):
    data = (BUNDLED_CLIPS / "nasa.mp4").read_bytes()
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        info = tarfile.TarInfo("k/nasa.mp4")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    member = Source(str(tmp_path / "s.tar"), member="k/nasa.mp4", offset=512, size=len(data))
    file = Source(str(BUNDLED_CLIPS / "nasa.mp4"))
    assert read_facts(member) == read_facts(file)
    assert read_facts(replace(member, offset=0, size=0)) == replace(read_facts(file), bytes=0)
    assert hash_of(member) == hash_of(file) == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert FactsReader(facts=False, hashed=True)(member) == {"hash": hash_of(file)}
    with pytest.raises(DecodeError, match="index it anew"):
        read_facts(replace(member, size=len(data) - 1))


def test_what_cannot_be_used_says_why_before_and_after(tmp_path):
    for name, file in broken_files(tmp_path).items():
        with pytest.raises(DecodeError) as caught:
            read_facts(Source(str(file)))
        reason = str(caught.value).removeprefix(f"{file}: ")
        assert check_one(Source(str(file)), 60) == reason != str(caught.value), name


def test_all_frames_are_decoded_and_no_longer_than_allowed(tmp_path):
    file = write_mp4(tmp_path / "v.mp4", noise(40))
    assert check_one(Source(str(file)), 60) == ""
    assert check_one(Source(str(file)), 0) == "not decoded in 0 s"
    assert "no video frames" in check_one(Source(str(file), start=9.0), 60)


def rows():
    if not CLIPS:
        return []
    with open(Path(CLIPS) / "MANIFEST.tsv") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


# What the containers of these say is not so: edit lists, times that jump, frames that are missing.
ODD = {
    *("cv_tree.avi", "exo_sample.avi", "exo_sample_fragmented.mp4", "exo_video_1.mp4"),
    *("tc_nasa_13013.mp4", "mma_part0.mp4", "asl_brother.mkv", "vhs_bipbop0.flv"),
}


@pytest.mark.skipif(not CLIPS, reason="IVN_TEST_CLIPS is not set")
def test_real_clips_are_what_their_list_says():
    unusable = set()
    for row in rows():
        try:
            facts = read_facts(Source(str(Path(CLIPS) / row["file"])))
        except DecodeError:
            unusable.add(row["file"])
            continue
        assert (facts.codec, facts.pixel_format) == (row["codec"], row["pix_fmt"]), row["file"]
        assert facts.bytes == int(row["bytes"])
        shown = sorted((facts.width, facts.height))
        listed = TAKEN.get(row["file"], row["resolution"]).split("x")
        assert shown == sorted(map(int, listed)), row["file"]
        assert facts.rotation == int(row["rotation"] or 0) % 360, row["file"]
        assert 0 < facts.keyframe_seconds <= facts.duration
        if row["file"] in ODD:
            continue
        above, below = map(int, row["fps"].split("/"))
        assert facts.fps == pytest.approx(above / below, rel=0.01), row["file"]
        if row["duration_s"]:
            assert facts.duration == pytest.approx(float(row["duration_s"]), abs=0.1), row["file"]
    assert unusable == {
        *("decord_corrupted.mp4", "exo_full_blocks.mkv", "exo_sample_opus_fragmented.mp4"),
        "vhs_webmVideo.webm",
    }
