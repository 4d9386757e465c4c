"""All files of the folder that IVN_TEST_CLIPS names, and copies of some."""

import csv
import os
from pathlib import Path

import pytest

from ivn.data.manifest.parquet import Row, write_manifest
from tests.command import command
from tests.corpus.mix.copies import encoded_anew

FOLDER = os.environ.get("IVN_TEST_CLIPS", "")
# The same picture, video or beginning of one, in two encodings each.
TRUE_COPIES = {
    "exo_sample_fragmented.mp4": "exo_sample_av1.mp4",
    "tc_h265_10bits.mp4": "tc_h264_10bits.mp4",
    "vhs_bipbop0.flv": "exo_testvid_1022ms.mp4",
}
PLANTED = [
    ("asl_bird.mkv", {"scale": 0.5, "crf": 32}),
    ("asl_eat.mkv", {"start": 0.4, "end": 1.5}),
    ("tv_v_SoccerJuggling_g24_c01.avi", {"scale": 0.35, "crf": 40}),
    ("paddle_example.avi", {"scale": 0.5, "start": 1.0, "end": 4.0}),
    ("t2vz_fox.mp4", {"crf": 36}),
    ("mma_arm_wrestling.mp4", {"scale": 0.6, "start": 0.7, "end": 9.0}),
]


@pytest.mark.soak
@pytest.mark.skipif(not FOLDER, reason="IVN_TEST_CLIPS is not set")
def test_copies_and_nothing_else_are_found_among_real_clips(tmp_path):
    videos = [name for name in sorted(os.listdir(FOLDER)) if name != "MANIFEST.tsv"]
    write_manifest(tmp_path / "all.parquet", [Row(str(Path(FOLDER) / name)) for name in videos])
    for number, (name, how) in enumerate(PLANTED):
        encoded_anew(Path(FOLDER) / name, tmp_path / f"{number}.mp4", **how)
    copies = [Row(f"{number}.mp4") for number in range(len(PLANTED))]
    write_manifest(tmp_path / "copies.parquet", copies)
    inputs = [str(tmp_path / f"{name}.parquet") for name in ("all", "copies")]
    code, _, err = command(
        "data", "mix", *inputs, "-o", str(tmp_path / "mix.parquet"), "--workers", "2"
    )
    assert (code, err) == (0, "")
    with open(tmp_path / "mix.dropped.csv", newline="") as file:
        gone = [row for row in csv.DictReader(file) if row["reason"] != "cannot be read"]
    found = {Path(row["path"]).name: Path(row["for_path"]).name for row in gone}
    planted = {f"{number}.mp4": name for number, (name, _) in enumerate(PLANTED)}
    assert found == TRUE_COPIES | planted
