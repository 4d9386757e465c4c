"""A back end that ivn has not heard of, in one file and one registration, works everywhere."""

import itertools
import json
import sys
import typing
from unittest import mock

import pytest
import torch

from ivn.data.batch import ClipSpec
from ivn.data.config import DataConfig
from ivn.data.loader.loader import ClipLoader
from ivn.doctor import doctor
from ivn.errors import DataError
from ivn.media.decode import BACKENDS, decode, route
from ivn.media.source import Source
from tests.media.decode import made_up
from tests.media.decode.clips import Facts
from tests.media.videos import BUNDLED, broken_files, noise, write_mp4

pytest.importorskip("av")


@pytest.fixture(autouse=True)
def known():
    """The back end is known while a test of this file runs, and to no other."""
    made_up.SIZES.clear()
    with mock.patch.dict(BACKENDS, {made_up.BACKEND.name: made_up.BACKEND}):
        yield


def batches(sources, decoder, count=3):
    config = DataConfig(seed=3, decoder=decoder)
    specs = {"student": ClipSpec(2, 28), "teacher": ClipSpec(2, 56)}
    with ClipLoader(sources, specs, config, batch_size=2, workers=0) as loader:
        return list(itertools.islice(loader, count))


def test_it_decodes():
    assert torch.equal(
        decode(BUNDLED[0], range, backend="made_up"), 255 - decode(BUNDLED[0], range)
    )


def test_files_that_it_claims_are_routed_to_it_where_no_earlier_one_claims_them():
    taken, others = Facts("vp8", width=16, height=16), Facts("mpeg4")
    assert (route(taken), route(others)) == ("made_up", "pyav")
    assert route(Facts("vp8")) == "dali"


def test_whole_batches_come_from_it_with_the_crops_and_replacements_of_others(tmp_path):
    sources = [Source(str(write_mp4(tmp_path / f"{n}.mp4", noise(6)))) for n in range(3)]
    sources.append(Source(str(broken_files(tmp_path)["empty"])))
    expected, found = batches(sources, "pyav"), batches(sources, "made_up")
    assert max(made_up.SIZES) == 2
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.replaced == theirs.replaced
        assert torch.equal(ours.keys, theirs.keys)
        for name, clip in theirs.clips.items():
            # Each of the two passes of resizing rounds.
            assert ((255 - clip.int()) - ours.clips[name].int()).abs().max() <= 2


def test_the_doctor_lists_it_and_its_absence_is_an_error_with_the_remedy(capsys, monkeypatch):
    doctor(json=True)
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["Made Up"]["group"] == "decoders" and checks["Made Up"]["usable"]
    monkeypatch.setitem(sys.modules, made_up.BACKEND.module, None)
    expected = r"^Made Up is not installed: pip install made-up; or set data\.decoder=auto$"
    with pytest.raises(DataError, match=expected):
        batches([Source(str(BUNDLED[0]))] * 2, "made_up")


def test_the_choices_of_the_config_are_the_registered_ones():
    choices = typing.get_args(typing.get_type_hints(DataConfig)["decoder"])
    assert choices == ("auto", *BACKENDS)[:-1]  # all but the one of this file
