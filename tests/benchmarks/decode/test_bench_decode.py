"""`ivn bench decode`: the same frames first, then times, advice and what they belong to."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from ivn.benchmarks.decode import bench_decode, decoders
from ivn.benchmarks.decode.bench_decode import bench
from ivn.benchmarks.decode.options import BenchDecode
from ivn.data.manifest.parquet import Row, write_manifest
from ivn.errors import BenchError
from ivn.media.decode import BACKENDS
from tests.command import command
from tests.media.decode.clips import bundled
from tests.media.videos import BUNDLED

pytest.importorskip("av")


@pytest.fixture
def few(tmp_path):
    """Three files that everything decodes, and one that nothing does."""
    for number, file in enumerate([file for file in BUNDLED if file.suffix == ".mp4"][:3]):
        (tmp_path / f"{number}.mp4").write_bytes(file.read_bytes())
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    return tmp_path


def test_a_run_tells_rates_ratios_advice_and_what_they_belong_to(few, tmp_path, capsys):
    options = BenchDecode(
        data=str(few),
        frames=4,
        size=32,
        processes=(1,),
        rounds=1,
        clips_per_second=1e6,
        out=str(tmp_path / "out"),
    )
    assert bench(options) == 0
    found = json.loads((tmp_path / "out" / "decode.json").read_text())
    assert found["hardware"] and found["av"] and int(found["cores"]) >= 1
    assert [file[-5:] for file in found["files"]] == ["0.mp4", "1.mp4", "2.mp4"]
    rows = {row["way"]: row for row in found["rows"]}
    assert {"ours", "PyAV", "our loader"} <= set(rows)
    for row in rows.values():
        assert row["frames_per_second"] == pytest.approx(4 * row["clips_per_second"])
        ours = row["clips_per_second"] / rows["ours"]["clips_per_second"]
        assert row["times_ours"] == pytest.approx(ours)
        assert len(row["seconds"]) == 1
    each = found["advice"]["clips_per_second_and_core"]
    assert found["advice"]["cores"] == pytest.approx(1e6 / each, abs=1)
    said = capsys.readouterr().out
    assert "--set efficiency.workers=1; 1e+06 clips/s need" in said
    assert "our loader" in said and "3 files, 4 frames of each" in said


def test_the_loader_reads_the_same_clips_from_shards(few, tmp_path, capsys):
    files = sorted(few.glob("?.mp4"))
    write_manifest(tmp_path / "M.parquet", [Row(str(file)) for file in files])
    code, _, err = command(
        "data", "shard", tmp_path / "M.parquet", "--out", tmp_path / "shards", "--frames", 8
    )
    assert code == 0, err
    options = BenchDecode(
        data=str(tmp_path / "M.parquet"), frames=4, size=32, processes=(1,), rounds=1,
        shards=str(tmp_path / "shards" / "manifest.parquet"), out=str(tmp_path / "out"),
    )  # fmt: skip
    bench(options)
    rows = json.loads((tmp_path / "out" / "decode.json").read_text())["rows"]
    assert {"our loader", "our loader, from shards"} <= {row["way"] for row in rows}
    with pytest.raises(BenchError, match=r"has 3 clips, .*0\.mp4 has 1: pack that very data"):
        bench(replace(options, data=str(files[0])))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda frames: frames[::-1], "frames that differ by"),
        (lambda frames: frames[:, :-2], r"instead of \(4, "),
        (lambda frames: frames, "an error"),
    ],
)
def test_what_gives_other_frames_is_named_and_not_timed(few, monkeypatch, spoil, why):
    def wrong(path, numbers):
        frames = decoders._pyav(path, numbers)
        if why == "an error":
            raise ValueError("no")
        return np.ascontiguousarray(spoil(frames))

    plain = {decoders.OURS: decoders.ways()[0][decoders.OURS], "other": wrong}
    monkeypatch.setattr(bench_decode, "ways", lambda: (dict(plain), {}))
    jobs, names, notes = bench_decode._compared(BenchDecode(data=str(few), frames=4))
    assert (len(jobs), names) == (3, ["ours"])
    assert list(notes) == ["other"]
    assert re.search(why, notes["other"])


def test_a_file_that_one_library_cannot_decode_is_left_out_for_all(few, monkeypatch):
    def wrong(path, numbers):
        if path.endswith("1.mp4"):
            raise RuntimeError("not this one\nat all")
        return decoders._pyav(path, numbers)

    plain = {decoders.OURS: decoders.ways()[0][decoders.OURS], "other": wrong}
    monkeypatch.setattr(bench_decode, "ways", lambda: (dict(plain), {}))
    jobs, names, notes = bench_decode._compared(BenchDecode(data=str(few), frames=4))
    assert ([path[-5:] for path, _ in jobs], names) == (["0.mp4", "2.mp4"], ["ours", "other"])
    assert notes == {str(few / "1.mp4"): "skipped: other gives an error (not this one)"}


def test_dali_is_timed_in_batches_of_the_same_jobs(monkeypatch):
    if missing := BACKENDS["dali"].available():
        pytest.skip(missing)
    jobs = [(str(bundled(suffix)), [0, 5]) for suffix in (".webm", ".mp4", ".webm")]
    monkeypatch.setattr(decoders, "BATCH", 2)
    gpu = decoders.Dali(torch.device("cpu"), 1)
    sizes, run = [], gpu._decoder.decode
    monkeypatch.setattr(
        gpu._decoder, "decode", lambda asked: sizes.append(len(asked)) or run(asked)
    )
    assert gpu.seconds(jobs) > 0
    assert sizes == [2, 1]
    gpu.close()


def test_every_library_here_gives_the_same_frames():
    found, _ = decoders.ways()
    frames = {name: way(str(bundled(".mp4")), [0, 5, 9]) for name, way in found.items()}
    assert decoders.same(frames) == {}


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        (["--clips", "0"], "clips is 0, expected at least 1", 2),
        (["--processes", "1,x"], "--processes is '1,x', expected whole numbers", 2),
        (["--processes", "0"], "processes is 0, expected at least 1", 2),
        (["--clips-per-second", "-1"], "clips per second is -1.0, expected 0 or more", 2),
        (["--out", "/proc/no"], "cannot write to /proc/no", 1),
    ],
)
def test_what_cannot_be_measured_is_one_line(few, options, message, code):
    found, out, err = command("bench", "decode", str(few), *options)
    assert (found, err.count("\n")) == (code, 1) and message in err and out == ""


def test_data_without_a_video_is_one_line(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(BenchError, match="not one whole file that can be decoded"):
        bench(BenchDecode(data=str(tmp_path)))
