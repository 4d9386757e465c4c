"""``ivn embed`` on real files, by itself and cut off, against features computed by hand."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ivn.data.crop import centre_clip
from ivn.data.sampling.frames import centre_frame_numbers
from ivn.embed import run
from ivn.embed.options import Embed
from ivn.errors import DataError
from ivn.load import load_encoder, load_frozen
from ivn.media.decode import decode
from tests.command import assert_one_line, command
from tests.media.videos import broken_files, noise, write_video, write_with_a_jump
from tests.processes import ROOT, run_code

pytest.importorskip("av")
ENCODER = "stage1-tiny"  # 8 frames of 112 pixels, random weights
POOLS = {"none": (8, 64, 192), "frames": (8, 192), "mean": (192,), "attn": (768,), "cls": (4, 192)}


@pytest.fixture(scope="module")
def frozen():
    return load_frozen(ENCODER)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """40 frames and 20, at 10 a second."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "a.mkv", noise(40), rate=10)
    write_video(folder / "b.mkv", noise(20)[::-1], rate=10)
    return folder


def embed(*arguments, encoder=ENCODER):
    return command("embed", *arguments, "--encoder", encoder)


def read(file):
    """All that is in a file of any kind, by name; the header as a dictionary."""
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        found["videos"] = found["videos"].tolist()
        return found | {"header": json.loads(str(found["header"]))}
    if file.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(file, "numpy") as opened:
            found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            texts = {name: json.loads(text) for name, text in opened.metadata().items()}
        return found | texts
    import pyarrow.parquet as parquet

    table = parquet.read_table(file)
    texts = {
        name: json.loads(table.schema.metadata[name.encode()]) for name in ("header", "videos")
    }
    columns = {name: table[name].to_numpy() for name in ("video", "start", "end")}
    columns["features"] = np.stack(table["features"].to_numpy())
    assert [texts["videos"][video] for video in columns["video"]] == table["path"].to_pylist()
    return columns | texts


def by_hand(frozen, path, start, window, pool):
    """Features of the window of frames that begins at one."""
    chosen = [start + offset for offset in centre_frame_numbers(window, 8)]
    clip = centre_clip(decode(path, lambda _: chosen), 112)
    return frozen.features(clip[None], pool)[0].numpy()


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "parquet"])
def test_a_file_of_each_kind_holds_features_times_and_where_they_are_from(
    frozen, videos, tmp_path, suffix
):
    file = tmp_path / f"f.{suffix}"
    code, said, err = embed(videos, "-o", file, "--window", 16, "--stride", 8)
    assert (code, err) == (0, "")
    assert f"5 windows of 2 videos, features [5, 192]: {file}" in said
    found = read(file)
    paths = [str(videos / "a.mkv"), str(videos / "b.mkv")]
    assert found["videos"] == paths
    assert found["video"].tolist() == [0, 0, 0, 0, 1]
    np.testing.assert_allclose(found["start"], [0, 0.8, 1.6, 2.4, 0])
    np.testing.assert_allclose(found["end"], [1.6, 2.4, 3.2, 4, 1.6])
    assert found["features"].dtype == np.float32 and found["start"].dtype == np.float64
    expected = [by_hand(frozen, paths[0], start, 16, "mean") for start in (0, 8, 16, 24)]
    expected.append(by_hand(frozen, paths[1], 0, 16, "mean"))
    np.testing.assert_allclose(found["features"], expected, atol=1e-5)
    header = found["header"]
    assert (header["encoder"], header["identity"]) == (ENCODER, frozen.identity)
    assert (header["pool"], header["window"], header["stride"], header["fps"]) == ("mean", 16, 8, 0)
    assert (header["clip_frames"], header["clip_size"], header["skipped"]) == (8, 112, [])
    assert header["shape"] == [192]
    assert os.listdir(tmp_path) == [file.name]


@pytest.mark.parametrize("pool", POOLS)
def test_shapes_are_those_documented_for_each_pool(frozen, videos, tmp_path, pool):
    for suffix in ("npz", "parquet"):
        file = tmp_path / f"f.{suffix}"
        assert embed(videos / "b.mkv", "-o", file, "--pool", pool)[0] == 0
        found = read(file)
        features = found["features"].reshape(2, *found["header"]["shape"])
        assert features.shape[1:] == POOLS[pool]
        expected = by_hand(frozen, videos / "b.mkv", 8, 8, pool)
        np.testing.assert_allclose(features[1], expected, atol=1e-5)


def test_layer_frames_size_and_dtype_are_those_asked_for_and_are_recorded(frozen, videos, tmp_path):
    encoder, file = frozen.encoder, videos / "b.mkv"
    options = ("--frames", 4, "--size", 56, "--layer", 2, "--window", 20)
    chosen = [offset for offset in centre_frame_numbers(20, 4)]
    clip = centre_clip(decode(file, lambda _: chosen), 56)[None]
    (expected,) = encoder(clip, layers=[2])
    found = {}
    for name, more in (
        ("f", ()),
        ("back", ("--layer", 2 - encoder.config.depth)),
        ("half", ("--dtype", "bfloat16")),
    ):
        assert embed(file, "-o", tmp_path / f"{name}.npz", *options, *more)[0] == 0
        found[name] = read(tmp_path / f"{name}.npz")
    np.testing.assert_allclose(found["f"]["features"][0], expected.mean((0, 1)), atol=1e-5)
    header = found["f"]["header"]
    assert (header["layer"], header["dtype"], header["tail"]) == (2, "float32", "drop")
    assert (header["clip_frames"], header["clip_size"]) == (4, 56)
    assert found["back"]["header"] == header
    (narrow,) = load_frozen(ENCODER, dtype=torch.bfloat16).encoder(clip, layers=[2])
    np.testing.assert_allclose(found["half"]["features"][0], narrow.float().mean((0, 1)), atol=1e-5)
    assert (found["half"]["features"] != found["f"]["features"]).any()
    half = found["half"]["header"]
    assert half["dtype"] == "bfloat16" and half["identity"] != header["identity"]
    last = load_frozen(ENCODER, layer=encoder.config.depth - 1)
    assert last.identity == frozen.identity != header["identity"]


def test_short_videos_and_frames_that_no_window_covers_are_told_and_counted(videos, tmp_path):
    options = ("--window", 24, "--stride", 12)
    assert embed(videos, "-o", tmp_path / "f.npz", *options)[0] == 0
    code, said, _ = embed(videos, "-o", tmp_path / "f.parquet", *options)
    assert code == 0
    assert "1 of 2 videos are shorter than a window of 24 frames" in said
    assert "1 of 2 videos end in frames that no window covers, 4 in all: --tail cover" in said
    found = read(tmp_path / "f.npz")
    for header in (found["header"], read(tmp_path / "f.parquet")["header"]):
        assert (header["short_videos"], header["uncovered_videos"]) == (1, 1)
        assert header["uncovered_frames"] == 4
    assert found["video"].tolist() == [0, 0, 1]
    code, said, _ = embed(videos, "-o", tmp_path / "c.npz", *options, "--tail", "cover")
    covered = read(tmp_path / "c.npz")
    assert "no window covers" not in said and covered["header"]["uncovered_frames"] == 0
    assert covered["video"].tolist() == [0, 0, 0, 1] and covered["header"]["tail"] == "cover"
    np.testing.assert_allclose(covered["start"], [0, 1.2, 1.6, 0])
    np.testing.assert_allclose(covered["end"], [2.4, 3.6, 4, 2])
    expected = by_hand(load_frozen(ENCODER), videos / "a.mkv", 16, 24, "mean")
    np.testing.assert_allclose(covered["features"][2], expected, atol=1e-5)
    assert embed(videos, "-o", tmp_path / "w.npz", "--window", 20)[1].count("\n") == 1


def test_features_are_the_same_for_any_batch_size(videos, tmp_path):
    found = []
    for size in (1, 3, 8):
        file = tmp_path / f"{size}.npz"
        options = ("--stride", 3, "--pool", "attn", "--batch-size", size)
        assert embed(videos, "-o", file, *options)[0] == 0
        found.append(read(file)["features"])
    assert len(found[0]) == 11 + 5
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    np.testing.assert_allclose(found[0], found[2], atol=1e-5)


def test_frames_are_taken_at_a_rate_and_short_videos_give_one_window(videos, tmp_path):
    options = ("--fps", 2, "--window", 8, "--stride", 2)
    assert embed(videos, "-o", tmp_path / "f.npz", *options, encoder="raw")[0] == 1 - 1
    found = read(tmp_path / "f.npz")
    assert found["video"].tolist() == [0, 1]
    np.testing.assert_allclose(found["end"], [4, 2])
    assert found["header"]["fps"] == 2


def test_broken_files_are_named_skipped_and_counted(videos, tmp_path):
    names = sorted(broken_files(tmp_path))
    files = [file for file in tmp_path.iterdir() if file.is_file()]
    listed = "\n".join(map(str, [*files, videos / "b.mkv", tmp_path / "missing.mp4"]))
    (tmp_path / "list.txt").write_text(listed)
    out = tmp_path / "out" / "f.npz"
    out.parent.mkdir()
    code, said, err = embed(tmp_path / "list.txt", "-o", out)
    assert (code, err) == (1, "")
    assert f"{len(files) + 1} of {len(files) + 2} videos skipped" in said
    for file in [*files, tmp_path / "missing.mp4"]:
        assert f"  {file}: " in said
    assert set(names) >= {file.stem for file in files}
    found = read(out)
    assert set(found["video"].tolist()) == {len(files)} and found["features"].shape == (2, 192)
    assert {each["video"] for each in found["header"]["skipped"]} == {
        *range(len(files)),
        len(files) + 1,
    }


def test_a_video_that_breaks_in_the_middle_leaves_no_window_behind(videos, tmp_path, monkeypatch):
    write_with_a_jump(tmp_path / "a.mkv", 40)
    given = []
    taken = run.add
    monkeypatch.setattr(
        run, "add", lambda parts, part, *of: given.extend(part.video) or taken(parts, part, *of)
    )
    monkeypatch.setattr(run, "_PART_WINDOWS", 1)
    out = tmp_path / "f.npz"
    options = ("--fps", 10, "--batch-size", 1)
    code, said, _ = embed(tmp_path, videos / "b.mkv", "-o", out, *options)
    found = read(out)
    assert code == 1 and "1 of 2 videos skipped" in said and "damaged time stamps" in said
    assert set(found["video"].tolist()) == {1} and len(found["features"]) == 2
    # The window before the break waits for what comes behind it.
    assert given == [0] * 3 + [1] * 2


@pytest.mark.soak  # the mechanism is killed at any time in tests/test_durable.py
def test_what_was_killed_goes_on_where_it_was_and_gives_the_same(videos, tmp_path):
    arguments = [str(videos), "--stride", "1", "--batch-size", "2", "--encoder", ENCODER, "-o"]
    assert command("embed", *arguments, tmp_path / "whole.npz")[0] == 0
    killed = tmp_path / "killed.npz"
    code = "from ivn.embed import run; run._PART_WINDOWS = 4; from ivn import cli; cli.main()"
    process = subprocess.Popen([sys.executable, "-c", code, "embed", *arguments, str(killed)])
    partial = tmp_path / "killed.npz.partial"
    while len(list(partial.glob("part-*.npz"))) < 2:
        time.sleep(0.01)
        assert process.poll() is None, "too quick to be killed"
    process.kill()
    process.wait()
    parts = {file: file.stat().st_mtime_ns for file in partial.glob("part-*.npz")}
    assert not killed.exists()
    # Other settings do not mix with what is there.
    said = embed(videos, "-o", killed)
    assert assert_one_line(said, "killed.npz.partial", "other settings") == 1
    assert {file: file.stat().st_mtime_ns for file in parts} == parts
    computed = []
    taken = run.sliding_windows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            run,
            "sliding_windows",
            lambda *given, **first: map(lambda w: computed.append(1) or w, taken(*given, **first)),
        )
        assert command("embed", *arguments, killed)[0] == 0
    whole, found = read(tmp_path / "whole.npz"), read(killed)
    assert 0 < len(computed) <= len(whole["video"]) - 8
    assert found["header"] == whole["header"]
    for name in ("video", "start", "end"):
        assert (found[name] == whole[name]).all()
    np.testing.assert_allclose(found["features"], whole["features"], atol=1e-6)
    assert not partial.exists()


@dataclass(frozen=True, kw_only=True)
class Coloured(Embed):
    """A command of tomorrow, with one option more."""

    colour: str = "grey"


def test_an_option_that_is_added_is_recorded_and_begun_work_has_its_value(
    videos, tmp_path, monkeypatch
):
    assert {*run._IN_OTHER_WORDS, *run._HARMLESS} < {each.name for each in fields(Embed)}
    grey = Coloured(videos=(str(videos),), encoder="raw", out=tmp_path / "f.npz")
    monkeypatch.setattr(run, "_table", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run.embed(grey)
    monkeypatch.undo()
    with pytest.raises(DataError, match=r'other settings \("colour": "grey"\)'):
        run.embed(replace(grey, colour="red"))
    assert run.embed(replace(grey, batch_size=3)) == 0
    assert read(grey.out)["header"]["colour"] == "grey"


def test_begun_work_does_not_go_on_with_a_video_that_was_replaced(tmp_path, monkeypatch):
    file, out = tmp_path / "v.mkv", tmp_path / "f.npz"
    write_video(file, noise(16), rate=10)
    monkeypatch.setattr(run, "_table", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    embed(file, "-o", out, encoder="raw")
    monkeypatch.undo()
    assert list((tmp_path / "f.npz.partial").glob("part-*.npz"))
    write_video(file, noise(17), rate=10)
    said = embed(file, "-o", out, encoder="raw")
    assert assert_one_line(said, "other settings", "sizes") == 1
    write_video(file, noise(16), rate=10)
    assert embed(file, "-o", out, encoder="raw")[0] == 0


def test_ten_minutes_are_embedded_in_the_memory_of_one_window(tmp_path):
    """All 6,000 frames in memory would be 55 MB as they are, 230 MB as the encoder sees them."""
    code = f"""
import contextlib, resource, sys, av, numpy as np
from pathlib import Path
from tests.command import command
folder = Path({str(tmp_path)!r})
def video(name, seconds):
    texture = np.add.outer(np.arange(48), np.arange(128))[..., None] * [1, 2, 3] % 256
    texture = texture.astype(np.uint8)
    with av.open(str(folder / name), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(seconds * 10):
            image = np.ascontiguousarray(texture[:, index % 64 : index % 64 + 64])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
def embed(name, window=16):
    options = ["--encoder", {ENCODER!r}, "--window", window, "--stride", 100, "--batch-size", 2]
    file = folder / (name + ("" if window == 16 else str(window)) + ".npz")
    said = command("embed", folder / name, *options, "-o", file)
    assert said[0] == 0, said
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
video("short.mp4", 30)
video("long.mp4", 600)
before = embed("short.mp4")
print(embed("long.mp4") - before)
print(embed("long.mp4", 5950) - before)
"""
    growth, wide = map(float, run_code(code, OMP_NUM_THREADS="1").split())
    assert growth < 25, f"{growth} MB more than for half a minute"
    assert wide < 25, f"{wide} MB more for a window of ten minutes"
    found = read(tmp_path / "long.mp4.npz")
    assert len(found["video"]) == 60
    assert found["start"][-1] == pytest.approx(590) and found["end"][-1] == pytest.approx(591.6)


def test_the_documented_fields_are_those_there_are(videos, tmp_path):
    text = (ROOT / "docs" / "data.md").read_text().partition("\n## Features\n")[2]
    arrays, fields = text.partition("The header holds:")[::2]
    assert embed(videos, "-o", tmp_path / "f.npz", encoder="raw")[0] == 0
    found = read(tmp_path / "f.npz")
    assert re.findall(r"^\| `(\w+)` \|", arrays, re.MULTILINE) == [
        *["features", "video", "start", "end", "videos", "header"]
    ] and set(re.findall(r"^\| `(\w+)` \|", arrays, re.MULTILINE)) == set(found)
    assert re.findall(r"^\| `(\w+)` \|", fields, re.MULTILINE) == list(found["header"])


def test_sizes_of_weights_without_a_config_are_given_on_the_command_line(videos, tmp_path):
    weights = tmp_path / "mp_rank_00_model_states.pt"
    small = {"image_size": (28, 28), "num_frames": 2, "pool_heads": 2}
    torch.save({"module": load_encoder(ENCODER, **small).state_dict()}, weights)
    sizes = ["--image-size", 28, "--num-frames", 2, "--num-heads", 3]
    said = embed(videos, "-o", tmp_path / "f.npz", *sizes, encoder=weights)
    assert assert_one_line(said, "pool_heads cannot be read", "--pool-heads", "config.json") == 1
    said = embed(videos, "-o", tmp_path / "f.npz", *sizes, "--pool-heads", 2, encoder=weights)
    assert said[::2] == (0, "")
    twice = ["--image-size", 28, 28, *sizes[2:], "--pool-heads", 2]
    assert embed(videos, "-o", tmp_path / "g.npz", *twice, encoder=weights)[0] == 0
    found = read(tmp_path / "f.npz")
    assert found["header"]["identity"] == load_frozen(ENCODER, **small).identity
    np.testing.assert_array_equal(found["features"], read(tmp_path / "g.npz")["features"])
    for encoder in ("raw", weights):
        said = embed(videos, "-o", tmp_path / "h.npz", "--num-heads", -1, encoder=encoder)
        assert assert_one_line(said, "num_heads") == 1
    data = ["--data", videos, "--encoder", weights, "--cache", tmp_path / "cache"]
    said = command("evaluate", "retrieve", *data, *sizes)
    assert assert_one_line(said, "pool_heads cannot be read") == 1


def test_the_config_of_the_documents_is_one(videos, tmp_path):
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    (shown,) = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    config = json.loads(shown)
    config["model_config"] |= {"img_size": 28, "num_frames": 2, "num_heads": 3}
    small = {"image_size": 28, "num_frames": 2}
    encoder = load_encoder(ENCODER, **small, pool_heads=16)
    save_file(encoder.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_encoder(tmp_path).config == replace(encoder.config, drop_path=0.0)


@pytest.mark.parametrize("value", [float("nan"), 1e30])
def test_weights_or_features_that_are_not_finite_leave_no_file(videos, tmp_path, value):
    """1e30 is a weight that can be loaded; what it is multiplied with overflows."""
    bad = tmp_path / "bad"
    bad.mkdir()
    state = load_encoder(ENCODER).state_dict()
    state["blocks.0.mlp.fc1.weight"].fill_(value)
    state["blocks.0.ls2.gamma"].fill_(min(value, 1e30))
    state["blocks.0.mlp.fc2.weight"].fill_(1.0)
    save_file(state, bad / "model.safetensors")
    sizes = {"img_size": 112, "num_frames": 8, "num_heads": 3, "attn_pool_num_heads": 4}
    (bad / "config.json").write_text(json.dumps({"model_config": sizes}))
    said = embed(videos, "-o", tmp_path / "f.npz", encoder=bad)
    words = ["a.mkv are not finite"] if value == 1e30 else ["fc1.weight is not finite"]
    assert assert_one_line(said, str(bad), *words) == 1
    assert os.listdir(tmp_path) == ["bad"]


def test_requests_that_make_no_sense_are_one_line_each(videos, tmp_path):
    (tmp_path / "there.npz").write_bytes(b"mine")
    broken_files(tmp_path)
    new = tmp_path / "new.npz"
    cases = [
        ((videos, "-o", tmp_path / "there.npz"), 1, ["is there already"]),
        ((videos, "-o", tmp_path / "new.mat"), 2, [".npz, .safetensors, .parquet"]),
        ((tmp_path / "nowhere", "-o", new), 1, ["no such file or folder"]),
        ((videos, "-o", new, "--window", -1), 2, ["window -1", "expected at least 1"]),
        ((videos, "-o", new, "--fps", -1), 2, ["-1.0 frames a second"]),
        ((videos, "-o", new, "--batch-size", 0), 2, ["--batch-size 0"]),
        ((tmp_path / "empty.mp4", "-o", new), 1, ["none of 1 videos can be used", "0 bytes"]),
        (("-o", new), 2, ["at least one VIDEO"]),
    ]
    for arguments, code, words in cases:
        assert assert_one_line(embed(*arguments), *words) == code
    for options, encoder, words in [
        (("--layer", 12), ENCODER, "layer 12, expected a block of its 6: 0 to 5, or -6 to -1"),
        (("--layer", 2), "raw", "raw: layer 2, expected -1"),
        (("--dtype", "bfloat16"), "raw", "it computes in fp64"),
        (("--size", 60), ENCODER, "a multiple of its patch size 14"),
    ]:
        said = embed(videos, "-o", new, *options, encoder=encoder)
        assert assert_one_line(said, words) == 1
    said = embed(videos, "-o", new, "--layer", 2, "--pool", "attn")
    assert assert_one_line(said, "--pool attn", "gives none, frames, mean, cls") == 2
    said = embed(videos, "-o", new, "--pool", "cls", encoder="raw")
    assert assert_one_line(said, "--pool cls", "raw gives none, frames, mean") == 2
    assert assert_one_line(embed(videos, "-o", new, encoder="gone"), "no encoder 'gone'") == 1
    assert (tmp_path / "there.npz").read_bytes() == b"mine"
    assert not new.exists() and not list(tmp_path.glob("*.partial"))
