"""Features are computed once, whatever happens in between."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from ivn.errors import DataError
from ivn.evaluate.features import extract as module
from ivn.evaluate.features.cache import Store, StoredFeatures, compact, entry
from ivn.evaluate.features.extract import extract
from ivn.evaluate.features.views import grid
from ivn.frozen.encoders import FrozenPixels
from ivn.media.source import Source
from tests.evaluate.planted import Brightness
from tests.media.videos import noise, write_mp4
from tests.processes import ROOT

pytest.importorskip("av")


@pytest.fixture
def clips(tmp_path):
    """Five videos of their own brightness."""
    files = []
    for number in range(5):
        frames = (noise(8, 32, 48) // 8 + 40 * number).astype("uint8")
        files.append(write_mp4(tmp_path / f"{number}.mp4", frames))
    return [Source(str(file)) for file in files]


@pytest.fixture
def decoded(monkeypatch):
    """Paths of files that were read."""
    paths = []
    read = module.read_views

    def counted(source, *rest):
        paths.append(source.path)
        return read(source, *rest)

    monkeypatch.setattr(module, "read_views", counted)
    return paths


def run(encoders, sources, cache, *, views=None, pools=("mean",), **options):
    wanted = [(encoder, pools) for encoder in encoders]
    return extract(wanted, sources, views or grid(1, 1), cache=cache, workers=2, **options)


def everything(features, n, views=1):
    pairs = torch.cartesian_prod(torch.arange(n), torch.arange(views))
    return features.take(pairs[:, 0], pairs[:, 1]).unflatten(0, (n, views))


def test_a_second_call_decodes_and_computes_nothing(clips, decoded, tmp_path):
    first = run([Brightness()], clips, tmp_path / "c", views=grid(2, 3), pools=("mean", "none"))
    assert first.decoded == 5 and len(decoded) == 5
    again = Brightness()
    second = run([again], clips, tmp_path / "c", views=grid(2, 3), pools=("none", "mean"))
    assert (second.decoded, len(decoded), again.seen) == (0, 5, 0)
    for pool in ("mean", "none"):
        one, other = (everything(r.features[0][pool], 5, 6) for r in (first, second))
        assert torch.equal(one, other)
    tokens, mean = (everything(first.features[0][pool], 5, 6) for pool in ("none", "mean"))
    assert tokens.shape == (5, 6, 2, 4, 3) and tokens.dtype == torch.float16
    torch.testing.assert_close(tokens.float().mean((2, 3)), mean, rtol=0, atol=1e-3)
    assert mean[:, :, 0].diff(dim=0).min() > 0.1


def test_several_encoders_share_one_decode(clips, decoded, tmp_path):
    small, large = Brightness("small", frames=2, size=16), Brightness("large", frames=4, size=32)
    found = run([small, large], clips, tmp_path / "c")
    assert sorted(decoded) == sorted(source.path for source in clips)
    alone = run([Brightness("large", frames=4, size=32)], clips, tmp_path / "other")
    one, other = (everything(r.features[-1]["mean"], 5) for r in (found, alone))
    assert torch.equal(one, other)


def test_what_is_new_alone_is_computed(clips, decoded, tmp_path):
    run([Brightness()], clips[:3], tmp_path / "c")
    run([Brightness()], clips, tmp_path / "c")
    assert decoded[3:] == [source.path for source in clips[3:]]
    run([Brightness()], clips, tmp_path / "c", views=grid(1, 3))
    assert len(decoded) == 10
    run([Brightness(bias=1.0)], clips, tmp_path / "c")
    assert len(decoded) == 15


def test_a_file_that_was_changed_is_computed_again(clips, decoded, tmp_path):
    run([Brightness()], clips, tmp_path / "c")
    write_mp4(clips[2].path, noise(9, 32, 48))
    run([Brightness()], clips, tmp_path / "c")
    assert decoded[5:] == [clips[2].path]
    keys = {
        entry(source, view)
        for source in (clips[0], clips[1], Source(clips[0].path, start=0.1))
        for view in grid(1, 2)
    }
    assert len(keys) == 6


def test_features_of_other_code_are_computed_again(clips, decoded, tmp_path, monkeypatch):
    from ivn.evaluate.features import cache

    run([Brightness()], clips, tmp_path / "c")
    monkeypatch.setattr(cache, "_VERSION", cache._VERSION + 1)
    run([Brightness()], clips, tmp_path / "c")
    assert len(decoded) == 10


def test_broken_files_are_named_and_left_out(clips, tmp_path):
    (tmp_path / "broken.mp4").write_text("no video")
    sources = [clips[0], Source(str(tmp_path / "broken.mp4")), *clips[1:]]
    found = run([Brightness()], sources, tmp_path / "c")
    assert found.kept == [0, 2, 3, 4, 5]
    ((skipped),) = found.skipped
    assert skipped.path.endswith("broken.mp4") and "broken.mp4" in skipped.reason
    brightness = everything(found.features[0]["mean"], 5)[:, 0, 0]
    assert brightness.diff().min() > 0.1
    with pytest.raises(DataError, match=r"none of 1 videos can be used: .*broken\.mp4"):
        run([Brightness()], sources[1:2], tmp_path / "c")


def test_features_that_are_not_finite_are_told(clips, tmp_path):
    with pytest.raises(DataError, match=r"bad: its features of .*\.mp4 are not finite"):
        run([Brightness("bad", bias=float("nan"))], clips, tmp_path / "c")
    with pytest.raises(DataError, match="brightness has no features 'attn', expected one of none"):
        run([Brightness()], clips, tmp_path / "c", pools=("attn",))


def test_damaged_shards_are_computed_again(clips, decoded, tmp_path):
    run([Brightness()], clips, tmp_path / "c")
    (shard,) = (tmp_path / "c").rglob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-4])
    found = run([Brightness()], clips, tmp_path / "c")
    assert found.damaged == [shard] and len(decoded) == 10
    assert run([Brightness()], clips, tmp_path / "c").damaged == []


def test_features_beyond_memory_are_read_from_disk(clips, tmp_path, monkeypatch):
    from ivn.evaluate.features import cache

    held = run([Brightness()], clips, tmp_path / "c", views=grid(2, 1))
    monkeypatch.setattr(cache, "_RESIDENT_BYTES", 0)
    read = run([Brightness()], clips, tmp_path / "c", views=grid(2, 1))
    assert read.features[0]["mean"]._all is None
    one, other = (everything(r.features[0]["mean"], 5, 2) for r in (held, read))
    assert torch.equal(one, other)


def test_only_needed_views_are_computed(clips, tmp_path):
    import numpy as np

    needed = np.ones((5, 6), bool)
    needed[:3, 1:] = False
    encoder = Brightness()
    found = run([encoder], clips, tmp_path / "c", views=grid(2, 3), needed=needed)
    assert encoder.seen == 3 + 2 * 6
    whole = run([Brightness()], clips, tmp_path / "d", views=grid(2, 3)).features[0]["mean"]
    some = (torch.tensor([4, 0, 3]), torch.tensor([5, 0, 2]))
    assert torch.equal(found.features[0]["mean"].take(*some), whole.take(*some))
    with pytest.raises(AssertionError):
        found.features[0]["mean"].take(torch.tensor([0]), torch.tensor([1]))


def test_half_precision_is_for_tokens_that_it_holds():
    assert compact(torch.ones(3), "mean").dtype == torch.float32
    assert compact(torch.ones(3), "none").dtype == torch.float16
    assert compact(torch.tensor([1e5]), "none").dtype == torch.float32


def test_mixed_precision_is_one_tensor(tmp_path):
    store = Store(tmp_path, Brightness(), "none")
    store.put("a", torch.ones(2))
    store.put("b", torch.full((2,), 1e5))
    store.flush()
    found = StoredFeatures(store, [["a"], ["b"]]).take(torch.tensor([0, 1]), torch.tensor([0, 0]))
    assert found.tolist() == [[1, 1], [1e5, 1e5]]


def test_a_cache_that_cannot_be_written_is_told(clips, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"features could not be written .*--cache"):
        run([Brightness()], clips, tmp_path / "file")


def test_what_a_killed_process_has_computed_is_found_again(clips, decoded, tmp_path):
    code = f"""
from pathlib import Path
import time
from ivn.evaluate.features import cache, extract
from ivn.frozen.encoders import FrozenPixels
from ivn.data.batch import ClipSpec
from ivn.media.source import Source
from ivn.evaluate.features.views import grid
cache._SHARD_BYTES, extract._CLIPS_AT_ONCE = 0, 1
read = extract.read_views
def slow(source, *rest):
    if source.path.endswith(("3.mp4", "4.mp4")):
        time.sleep(60)
    return read(source, *rest)
extract.read_views = slow
sources = [Source(path) for path in {[source.path for source in clips]!r}]
encoder = FrozenPixels("raw", ClipSpec(2, 16))
extract.extract([(encoder, ["mean"])], sources, grid(1, 1), cache=Path({str(tmp_path)!r}, "c"),
                workers=1)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=os.environ) as process:
        until = time.monotonic() + 60
        while len(list((tmp_path / "c").rglob("[!.]*.safetensors"))) < 1:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    before = len(list((tmp_path / "c").rglob("[!.]*.safetensors")))
    from ivn.data.batch import ClipSpec

    found = run([FrozenPixels("raw", ClipSpec(2, 16))], clips, tmp_path / "c")
    assert 1 <= before <= 3 and len(decoded) == 5 - before
    assert everything(found.features[0]["mean"], 5)[:, 0, 0].diff().min() > 0.1
