"""`ivn evaluate motion` is the demo's measurement, for any encoder."""

import json
from itertools import islice

import numpy as np
import pytest

from ivn.data.batch import ClipSpec
from ivn.errors import DataError
from ivn.evaluate.motion.features import collect, collect_frozen
from ivn.evaluate.motion.scenes import procedural_pictures, real_pictures
from ivn.evaluate.motion.summary import probe
from ivn.evaluate.motion.task import Frames, probe_motion
from ivn.frozen.encoders import Frozen, FrozenEncoder
from ivn.load import load_encoder
from ivn.media.source import BUNDLED_CLIPS, Source
from tests.command import assert_one_line, command

from .test_summary import Colours, flow

pytest.importorskip("sklearn")
pytest.importorskip("av")


class Flow(Frozen):
    """How the camera moved since the frame before."""

    def __init__(self, frames=8, size=112):
        super().__init__(
            "flow",
            ClipSpec(frames, size),
            slots=frames,
            width=3,
            pools=("frames",),
            clips_at_once=8,
        )

    def _features(self, clips, pool):
        return flow(clips)

    def _sizes(self):
        return {}

    def _state(self):
        return {}


def test_features_are_the_demos():
    encoder = load_encoder("stage1-tiny")
    pictures = [*islice(real_pictures(1, seed=0), 2)]
    ours = collect(pictures, {"e": encoder}, Colours(), frames=8, size=112)
    frozen = FrozenEncoder("e", encoder, ClipSpec(8, 112))
    theirs = collect_frozen(pictures, [frozen, Flow(4, 56)])
    mine = theirs.features[frozen.identity]
    assert np.allclose(ours.features["e"], mine, rtol=0, atol=1e-5)
    assert theirs.features[Flow(4, 56).identity].shape == (20, 4 * 3)
    for name in ("labels", "scenes", "kinds"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))


def test_numbers_are_the_demos():
    pictures = [*islice(real_pictures(1, seed=0), 4), *procedural_pictures(2, seed=0)]
    found = probe_motion([Flow()], pictures, seed=0)
    samples = collect_frozen(pictures, [Flow()])
    outcome = probe(samples, seed=0)
    expected = outcome.accuracy(Flow().identity)
    (row,) = found.rows
    assert vars(row.scores["top1"]) == vars(expected) and expected.value > 0.7
    assert row.extra["by_kind"] == outcome.accuracy_by_kind(Flow().identity)
    plain = found.json()
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["task"], plain["n"], plain["groups"]) == ("motion", 60, 6)
    table = np.array(plain["confusion"])
    assert np.trace(table) / table.sum() == pytest.approx(expected.value)


def test_frames_of_videos_are_pictures_too(tmp_path):
    clips = sorted(str(path) for path in BUNDLED_CLIPS.glob("*.mp4"))[:3]
    (tmp_path / "broken.mp4").write_text("no video")
    sources = [Source(clips[0]), Source(clips[0], start=1.0), Source(clips[1], group="x")]
    sources += [Source(clips[2], group="x"), Source(str(tmp_path / "broken.mp4"))]
    frames = Frames(sources, 0, [Flow()])
    pictures = [*frames]
    assert [picture.scene for picture in pictures] == ["group 0", "group 0", "group 1", "group 1"]
    assert [one.path for one in frames.skipped] == [str(tmp_path / "broken.mp4")]
    (note,) = frames.notes()
    assert note.startswith("3 of 5 videos have no group")
    again = [*Frames(sources, 0, [Flow()])]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(pictures, again, strict=True))
    # Too small for this encoder's clips.
    large = Frames(sources[:1], 0, [Flow(8, 224)])
    assert [*large] == [] and "expected at least" in large.skipped[0].reason


def test_too_few_scenes_and_no_scikit_learn_are_one_line(tmp_path, monkeypatch):
    names = sorted(path.name for path in BUNDLED_CLIPS.glob("asl-*.mp4"))[:3]
    (tmp_path / "list.csv").write_text("".join(f"{BUNDLED_CLIPS / name}\n" for name in names))
    say = ["evaluate", "motion", "--encoder", "raw", "--frames", "4", "--size", "32"]
    said = command(*say, "--data", tmp_path / "list.csv")
    assert assert_one_line(said, "3 scenes that serve, expected at least 5") == 1

    def missing():
        raise ImportError('pip install "ivn[demo]"')

    monkeypatch.setattr("ivn.evaluate.motion.task.check_installed", missing)
    with pytest.raises(DataError, match=r"ivn\[demo\]"):
        probe_motion([Flow()], [], seed=0)
