"""Every file of the folder that IVN_TEST_CLIPS names, made anew and packed; see
tests/media/test_real_clips.py."""

import csv
import os
import statistics
import time
from pathlib import Path

import pytest
import torch

from ivn.data.manifest.parquet import Row, read_manifest, read_rows, write_manifest
from ivn.data.sampling.frames import frame_numbers
from ivn.keys import make_keys
from ivn.media.decode import decode
from ivn.media.source import Source
from tests.command import command
from tests.media.test_real_clips import UNDECODABLE

pytest.importorskip("av")
pytest.importorskip("tyro")
FOLDER = os.environ.get("IVN_TEST_CLIPS", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="IVN_TEST_CLIPS is not set")

# Wrong counts and times, hidden frames, odd sizes, 10 bits, full range, palettes, turned, damaged.
NASTY = (
    *("cot_teddy.mp4", "mma_part0.mp4", "exo_dolbyVision-hdr.MOV", "decord_video_90.mov"),
    *("tv_hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi", "vhs_bipbop0.flv"),
    *("bn20_test_video.mp4", "exo_sample_av1.mp4", "hf_test_video_66x50.mov", "exo_video_1.mp4"),
    *("mpy_pigs_in_a_polka.gif", "tc_h265_10bits.mp4", "mmtrack_demo.mp4", *UNDECODABLE),
)
KINDS = {
    "transcode": ("transcode", "--short", 96),
    "lossless": ("transcode", "--short", 96, "--crf", 0),
    "vp9": ("transcode", "--short", 64, "--codec", "vp9"),
    "packed": ("shard", "--size", 8),
    "some frames": ("shard", "--frames", 12, "--short", 96),
    "mjpeg": ("shard", "--frames", 12, "--short", 96, "--codec", "mjpeg"),
}


def every_clip():
    with open(Path(FOLDER) / "MANIFEST.tsv") as file:
        return [row["file"] for row in csv.DictReader(file, delimiter="\t", quoting=3)]


def made(folder, names, kind):
    """Check what is made of these files; gives the rows."""
    write_manifest(folder / "M.parquet", [Row(str(Path(FOLDER) / name)) for name in names])
    what, *options = KINDS[kind]
    if "--crf" in options or what == "transcode" or "--frames" in options:
        options += ["--workers", 1]
    out = folder / kind.replace(" ", "-")
    arguments = ("data", what, folder / "M.parquet", "--out", out, "--max-bad", 0.5, *options)
    code, said, err = command(*arguments)
    assert (code, err) == (0, "")
    rows = list(read_rows(out / "manifest.parquet"))
    # Files are packed without being decoded.
    bad = () if kind == "packed" else UNDECODABLE
    for name in names:
        told = [
            line for line in said.splitlines() if line.startswith("unusable: ") and name in line
        ]
        assert len(told) == (name in bad), told
    originals = [Path(row.extra["original"]).name for row in rows]
    assert originals == [name for name in names if name not in bad]
    for row, source in zip(rows, read_manifest(out / "manifest.parquet"), strict=True):
        if Path(row.extra["original"]).name in UNDECODABLE:
            continue
        first, last = decode(source, lambda total: [0, total - 1])
        assert first.shape == last.shape
        theirs = decode(row.extra["original"], lambda total: [0])[0].float()
        # The same picture, whatever the size: upright, with its colours.
        small = [_small(one) for one in (first.float(), theirs)]
        assert (small[0] - small[1]).abs().mean() < 8, row.extra["original"]
    return rows


def _small(image):
    return torch.nn.functional.interpolate(
        image.permute(2, 0, 1)[None], size=(6, 8), mode="bilinear", antialias=True
    )


@pytest.mark.parametrize("kind", ["transcode", "some frames"])
def test_the_nastiest_clips(tmp_path, kind):
    made(tmp_path, NASTY, kind)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_every_clip(tmp_path, kind):
    rows = made(tmp_path, every_clip(), kind)
    for row in rows:
        if kind != "packed":
            assert row.status == "ok" and row.decoder and row.frames and row.duration > 0
            assert row.width % 2 == row.height % 2 == 0
            assert row.frames <= 12 or "12" not in map(str, KINDS[kind])


@pytest.mark.slow
def test_some_frames_of_a_clip_are_read_at_least_four_times_as_fast(tmp_path):
    names = ["tv_WUzgd7C1pWA.mp4", "mma_arm_wrestling.mp4"]
    originals = [Source(str(Path(FOLDER) / name)) for name in names]
    write_manifest(tmp_path / "M.parquet", [Row(source.path) for source in originals])
    out = tmp_path / "out"
    arguments = ("--out", out, "--frames", 64, "--workers", 1)
    assert command("data", "shard", tmp_path / "M.parquet", *arguments)[0] == 0
    shards = read_manifest(out / "manifest.parquet")
    times: dict[str, list[float]] = {"originals": [], "shards": []}
    for round_ in range(7):
        for name, sources in (("originals", originals), ("shards", shards)):
            start = time.process_time()
            for number, source in enumerate(sources):
                key = make_keys(round_, 0, [number])
                decode(source, lambda total, key=key: frame_numbers(total, 16, key))
            times[name].append(time.process_time() - start)
    assert statistics.median(times["originals"]) > 4 * statistics.median(times["shards"])
