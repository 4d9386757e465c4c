"""Every file of the folder that IVN_TEST_CLIPS names, against its MANIFEST.tsv."""

import csv
import os
import random
from pathlib import Path

import pytest

from ivn.errors import DecodeError
from ivn.media.decode import count_frames, decode

pytest.importorskip("av")
FOLDER = os.environ.get("IVN_TEST_CLIPS", "")

# No video in them, or none of it whole.
UNDECODABLE = {
    "exo_full_blocks.mkv": "no video stream, only subtitle",
    "exo_sample_opus_fragmented.mp4": "no video stream, only audio",
    "vhs_webmVideo.webm": "cannot be decoded",
    "decord_corrupted.mp4": "cannot be decoded",
}
# The size of the stream that is taken, where the list tells of another one of the same file.
TAKEN = {"tc_nasa_13013.mp4": "480x270"}
# What plain decoding gives where the container's count is wrong: edit lists that hide frames,
# AVI headers that count empty chunks; or where the list tells of another stream.
TRUE_COUNTS = {
    "cot_pillow.mp4": 147,
    "cot_teddy.mp4": 141,
    "cv_tree.avi": 68,
    "exo_dolbyVision-hdr.MOV": 4,
    "exo_sample.avi": 96,
    "exo_sample_fragmented.mp4": 30,
    "hf_test_video_66x50.mov": 82,
    "tc_nasa_13013.mp4": 390,
    "tv_hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi": 83,
    "vhs_bipbop0.flv": 150,
}


def rows():
    if not FOLDER:
        return []
    with open(Path(FOLDER) / "MANIFEST.tsv") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def frames_by_the_manifest(row):
    if row["file"] in TRUE_COUNTS:
        return TRUE_COUNTS[row["file"]]
    return int(row["frames"]) if row["frames"] else None


@pytest.mark.skipif(not FOLDER, reason="IVN_TEST_CLIPS is not set")
def test_the_manifest_lists_the_folder():
    listed = {row["file"] for row in rows()}
    assert listed
    assert listed == {file.name for file in Path(FOLDER).iterdir()} - {"MANIFEST.tsv"}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["file"])
def test_a_clip_decodes_as_the_manifest_says_or_says_why_not(row):
    file = Path(FOLDER) / row["file"]
    assert file.exists()
    if file.name in UNDECODABLE:
        with pytest.raises(DecodeError, match=UNDECODABLE[file.name]):
            decode(file, lambda total: [0, total - 1])
        return
    width, height = map(int, TAKEN.get(file.name, row["resolution"]).split("x"))
    if row["rotation"] in {"90", "-90"}:
        width, height = height, width
    frames = decode(file, lambda total: [0, total // 2, total - 1])
    assert frames.shape == (3, height, width, 3)
    assert frames.float().std() > 1
    expected = frames_by_the_manifest(row)
    if expected is not None:
        assert count_frames(file) == expected


@pytest.mark.skipif(not FOLDER, reason="IVN_TEST_CLIPS is not set")
@pytest.mark.parametrize("name", ["vhs_bipbop0.flv", "tc_h265_10bits.mp4", "exo_sample_av1.mp4"])
def test_damaged_headers_give_frames_or_the_one_error(tmp_path, name):
    whole = (Path(FOLDER) / name).read_bytes()
    damaged = tmp_path / name
    generator = random.Random(2)
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(100):
            data[generator.randrange(6000)] = generator.randrange(256)
        damaged.write_bytes(data)
        try:
            decode(damaged, lambda _: [0])
        except DecodeError as error:
            assert str(error).startswith(str(damaged))
