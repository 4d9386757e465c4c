"""Every back end gives PyAV's frames for the same request: the same bits, or within a bound."""

import os
import sys
from pathlib import Path

import pytest
import torch

from ivn.errors import DataError, DecodeError
from ivn.media.decode import BACKENDS, dali, decode, torchcodec, usable
from ivn.media.source import Source
from tests.media.decode.clips import KINDS, bundled, facts_of, needs, write_kind
from tests.media.test_real_clips import UNDECODABLE
from tests.media.videos import (
    BUNDLED,
    broken_files,
    noise,
    turn_on_display,
    write_mp4,
    write_video,
)

pytest.importorskip("av")
FOLDER = os.environ.get("IVN_TEST_CLIPS", "")
REAL = sorted(Path(FOLDER).glob("*.*")) if FOLDER else []
CLIPS = [*BUNDLED, *(file for file in REAL if file.name not in {*UNDECODABLE, "MANIFEST.tsv"})]

needs_torchcodec, needs_dali = needs(torchcodec), needs(dali)


def some(total):
    return sorted({0, total // 5, total // 2, total - 1})


def alone(monkeypatch, module):
    """Have nothing else decode in its place."""

    def refused(source, choose):
        raise AssertionError(f"{module.__name__} left {source.path} to PyAV")

    monkeypatch.setattr(module.pyav, "decode", refused)


def close(frames, expected):
    """DALI's bound: its conversion of colours rounds and spreads chroma by rules of its own."""
    apart = (frames.int() - expected.int()).abs().float()
    assert frames.shape == expected.shape
    assert apart.mean((1, 2, 3)).max() < 2
    assert apart.flatten().kthvalue(int(0.999 * apart.numel())).values <= 16


@needs_torchcodec
@pytest.mark.parametrize("file", CLIPS, ids=lambda file: file.name)
def test_torchcodec_gives_the_same_bits_wherever_it_says_so(file, monkeypatch):
    facts, expected = facts_of(file), decode(file, some)
    kind = facts.codec, facts.pixel_format, facts.width, facts.height
    if why := torchcodec.unfit(*kind) or facts.mirrored:
        assert torch.equal(decode(file, some, backend="torchcodec"), expected), why
        return
    # By edit lists, packets that show nothing, or for want of an index, numbers are PyAV's alone.
    others = ("cot_pillow.mp4", "cot_teddy.mp4", "hf_test_video_66x50.mov", "vhs_bipbop0.flv")
    if file.name not in others:
        alone(monkeypatch, torchcodec)
    assert torch.equal(decode(file, some, backend="torchcodec"), expected)


@needs_torchcodec
@pytest.mark.parametrize("kind", KINDS)
def test_torchcodec_gives_the_same_bits_of_any_coding_and_window(tmp_path, kind):
    for suffix in (".mkv",) if kind == "vp8" else (".mp4", ".mkv"):
        file = write_kind(tmp_path / f"a{suffix}", kind)
        for window in ({}, {"start": 1.1, "end": 3.0}, {"start": 2.0}):
            expected = decode(file, range, **window)
            assert torch.equal(decode(file, range, backend="torchcodec", **window), expected)


def turned(path):
    file = write_mp4(path, noise(12))
    turn_on_display(file)
    return file


def resized(path):
    options = {"codec": "mpeg2video", "pix_fmt": "yuv420p", "rate": 25}
    parts = [
        write_video(path.with_suffix(f".{n}.ts"), noise(9, 64 // n, 96 // n), **options)
        for n in (1, 2)
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("backend", ["torchcodec", "dali"])
@pytest.mark.parametrize(("make", "name"), [(turned, "a.mp4"), (resized, "a.ts")])
def test_odd_files_give_the_same_frames(tmp_path, make, name, backend):
    if missing := BACKENDS[backend].available():
        pytest.skip(missing)
    file = make(tmp_path / name)
    assert torch.equal(decode(file, range, backend=backend), decode(file, range))


@pytest.mark.parametrize("backend", ["torchcodec", "dali"])
def test_a_broken_file_has_the_reason_that_pyav_gives(tmp_path, backend):
    if missing := BACKENDS[backend].available():
        pytest.skip(missing)
    for file in broken_files(tmp_path).values():
        with pytest.raises(DecodeError) as expected:
            decode(file, some)
        with pytest.raises(DecodeError) as found:
            decode(file, some, backend=backend)
        assert str(found.value) == str(expected.value)
    with pytest.raises(ValueError, match="frame 10000 was chosen"):
        decode(BUNDLED[0], lambda total: [10000], backend=backend)


@needs_dali
@pytest.mark.parametrize("file", CLIPS, ids=lambda file: file.name)
def test_dali_gives_the_same_frames_of_what_its_cpu_decoder_knows(file, monkeypatch):
    facts, expected = facts_of(file), decode(file, some)
    with dali.Decoder(device=torch.device("cpu"), batch_size=1, threads=1) as decoder:
        if facts.codec not in ("vp8", "vp9"):
            (frames,) = decoder.decode([dali.ClipRequest(Source(str(file)), some)])
            assert torch.equal(frames, expected)
            return
        alone(monkeypatch, dali)
        (frames,) = decoder.decode([dali.ClipRequest(Source(str(file)), some)])
    close(frames, expected)


@pytest.mark.gpu
@needs_dali
@pytest.mark.parametrize("file", CLIPS, ids=lambda file: file.name)
def test_dali_gives_the_same_frames_of_what_a_gpu_decodes(file, monkeypatch):
    facts, expected = facts_of(file), decode(file, some)
    if why := dali.claims(facts):
        pytest.skip(why)
    with dali.Decoder(device=torch.device("cuda"), batch_size=1, threads=2) as decoder:
        (frames,) = decoder.decode([dali.ClipRequest(Source(str(file)), some)])
        assert frames.is_cuda
        assert decoder.substituted == 0
    close(frames.cpu(), expected)


@needs_dali
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_one_batch_is_decoded_by_whoever_can_and_a_bad_file_is_told(tmp_path, device, caplog):
    webm, mp4 = bundled(".webm"), bundled(".mp4")
    lying = tmp_path / "lying.webm"
    data = bytearray(webm.read_bytes())
    data[len(data) // 3 : -1000] = bytes(len(data) - 1000 - len(data) // 3)
    lying.write_bytes(data)
    missing = tmp_path / "missing.mp4"
    files = [webm, mp4, missing, lying, webm]
    expected = [decode(file, some) for file in (webm, mp4)]
    with dali.Decoder(device=torch.device(device), batch_size=5, threads=2) as decoder:
        for _ in range(2):
            found = decoder.decode([dali.ClipRequest(Source(str(file)), some) for file in files])
            assert isinstance(found[2], DecodeError) and str(missing) in str(found[2])
            for frames in (found[0], found[4]):
                close(frames.cpu(), expected[0])
            close(found[1].cpu(), expected[1])
        with pytest.raises(ValueError, match="6 requests in a batch of 5"):
            decoder.decode([dali.ClipRequest(Source(str(webm)), some)] * 6)


@needs_dali
def test_a_pipeline_that_failed_is_built_anew_and_the_culprit_goes_to_pyav(monkeypatch, caplog):
    webm = bundled(".webm")
    expected = decode(webm, some)
    mp4 = bundled(".mp4")
    # H.264 on the CPU decoder: DALI fails the whole batch.
    monkeypatch.setattr(dali, "_ON_CPU", ("vp8", "vp9", "h264"))
    requests = [dali.ClipRequest(Source(str(file)), some) for file in (webm, mp4, webm)]
    built, build = [], dali.Decoder._build
    monkeypatch.setattr(dali.Decoder, "_build", lambda self: built.append(0) or build(self))
    with dali.Decoder(device=torch.device("cpu"), batch_size=3, threads=1) as decoder:
        for _ in range(2):
            first, second, third = decoder.decode(requests)
            close(first, expected)
            close(third, expected)
            assert torch.equal(second, decode(mp4, some))
        # The second time it is known, and disturbs nobody.
        assert decoder.substituted == 1
    assert len(built) == 3  # to begin with, after the batch, after the file alone
    assert [record.message for record in caplog.records] == [
        f"{mp4}: DALI cannot decode it, PyAV does"
    ]


@needs_dali
def test_a_window_and_the_manifests_word_are_followed(monkeypatch):
    webm = bundled(".webm")
    window = Source(str(webm), start=1.0, end=2.5)
    close(decode(window, range, backend="dali"), decode(window, range))
    alone(monkeypatch, dali)
    decode(window, range, backend="dali")
    with pytest.raises(AssertionError, match="left"):
        decode(Source(str(webm), decoder="pyav"), some, backend="dali")


@pytest.mark.parametrize("backend", ["torchcodec", "dali"])
def test_a_back_end_that_is_missing_is_one_line_that_says_what_to_do(backend, monkeypatch):
    monkeypatch.setitem(sys.modules, BACKENDS[backend].module, None)
    with pytest.raises(
        DataError, match=rf'pip install "ivn\[{backend}\]".*; or set data.decoder=auto$'
    ) as caught:
        decode(BUNDLED[0], some, backend=backend)
    assert not isinstance(caught.value, DecodeError)
    assert usable("auto").name == usable("pyav").name == "pyav"
