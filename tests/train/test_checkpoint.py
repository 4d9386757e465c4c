import hashlib
import json
import os
import resource
import shutil

import pytest
import torch
from safetensors.torch import load_file

from ivn.errors import CheckpointError
from ivn.train import checkpoint, folder
from tests.test_fuzz import damaged

from .toy import ToyStage


class Crash(BaseException):
    """Ends the program here, as a kill would: nothing catches it."""


def save(run, step, *, keep_last=2):
    stage = ToyStage()
    with torch.no_grad():
        stage.encoder.bias.fill_(step)
    state = {"step": step, "stage": stage.state_dict(), "replaced": {"a.mp4: empty": 2}}
    return checkpoint.save(
        run,
        step,
        state,
        parts=stage.parts,
        config={"name": "toy", "optim": {"betas": [0.9, 0.98]}},
        keep_last=keep_last,
    )


def names(run):
    return sorted(path.name for path in (run / folder.CHECKPOINTS).iterdir())


def test_what_was_saved_is_loaded(tmp_path):
    path = save(tmp_path, 12)
    assert checkpoint.latest(tmp_path) == path == tmp_path / "checkpoints" / "step-00000012"
    state = checkpoint.load(path)
    assert (state["step"], state["replaced"]) == (12, {"a.mp4: empty": 2})
    assert (state["stage"]["encoder.bias"] == 12).all()


def test_parts_lie_beside_with_a_card(tmp_path):
    path = save(tmp_path, 3)
    assert {file.name for file in path.iterdir()} == {
        "state.pt",
        "encoder.safetensors",
        "decoder.safetensors",
        "config.json",
    }
    assert (load_file(path / "encoder.safetensors")["bias"] == 3).all()
    card = json.loads((path / "config.json").read_text())
    assert card["step"] == 3
    assert card["config"]["optim"]["betas"] == [0.9, 0.98]
    assert card["shapes"]["decoder"] == {"weight": [96, 16], "bias": [96]}
    assert {"ivn", "git_commit"} <= card.keys()
    assert card["versions"]["torch"] == torch.__version__ and card["machine"]["processor"]
    modes = {file.stat().st_mode for file in path.iterdir()}
    assert len(modes) == 1


def test_a_file_in_place_of_a_checkpoint_is_told_and_not_taken_for_one(tmp_path):
    (tmp_path / folder.CHECKPOINTS).mkdir()
    (tmp_path / folder.CHECKPOINTS / "step-00000001").touch()
    with pytest.raises(CheckpointError, match=r"step-00000001 could not be written"):
        save(tmp_path, 1)


def test_only_the_last_are_kept(tmp_path):
    for step in (9, 10, 100, 1000):
        save(tmp_path, step)
    assert names(tmp_path) == ["step-00000100", "step-00001000"]


@pytest.mark.parametrize(
    "place",
    [
        "json.dumps",
        "ivn.train.checkpoint.save_file",
        "torch.save",
        "ivn.durable.files._sync",
        "os.replace",
        "ivn.train.checkpoint.remove_folder",
        "shutil.rmtree",
    ],
)
@pytest.mark.parametrize("after", [False, True])
def test_a_crash_anywhere_leaves_a_checkpoint(tmp_path, monkeypatch, place, after):
    save(tmp_path, 1, keep_last=1)
    module, _, name = place.rpartition(".")
    owner = {"json": json, "os": os, "torch": torch, "shutil": shutil}.get(module)
    original = getattr(owner, name) if owner else None

    def crash(*args, **kwargs):
        if after and original:
            original(*args, **kwargs)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(place, crash)
        with pytest.raises(Crash):
            save(tmp_path, 2, keep_last=1)
    latest = checkpoint.latest(tmp_path)
    assert checkpoint.load(latest)["step"] == int(latest.name[-1])
    folder.remove_temporaries(tmp_path)
    assert all(name.startswith("step-") for name in names(tmp_path))
    save(tmp_path, 3, keep_last=1)
    assert names(tmp_path) == ["step-00000003"]


def test_a_removal_cut_off_leaves_no_checkpoint_with_holes(tmp_path, monkeypatch):
    def cut_off(path):
        (path / "state.pt").unlink()
        raise Crash

    save(tmp_path, 1, keep_last=1)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(shutil, "rmtree", cut_off)
        save(tmp_path, 2, keep_last=1)
    folder.remove_temporaries(tmp_path)
    assert names(tmp_path) == ["step-00000002"]


@pytest.mark.parametrize("limit", [100, 3000, 9000])
def test_a_full_disk_loses_nothing(tmp_path, limit):
    kept = save(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(CheckpointError, match=r"could not be written .* is kept") as caught:
            save(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == [kept.name]


@pytest.mark.parametrize("name", [checkpoint.STATE, checkpoint.CARD])
def test_a_file_cut_off_is_named(tmp_path, name):
    path = save(tmp_path, 1) / name
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path.parent)
    advice = f"remove {path.parent} to go on from the checkpoint before it"
    assert str(caught.value) == f"{path} cannot be read (it is damaged); {advice}"


def test_a_file_that_is_gone_is_named(tmp_path):
    path = save(tmp_path, 1) / checkpoint.STATE
    path.unlink()
    with pytest.raises(CheckpointError, match=r"state\.pt cannot be read \(No such file"):
        checkpoint.load(path.parent)


def test_no_damaged_state_is_taken_for_a_good_one(tmp_path):
    """PyTorch's reader gives most of these, with other numbers, and fails variously on the rest."""
    path = save(tmp_path, 1) / checkpoint.STATE
    good = path.read_bytes()
    for seed in range(50):
        path.write_bytes(damaged(good, seed))
        with pytest.raises(CheckpointError, match="it is damaged") as caught:
            checkpoint.load(path.parent)
        assert "\n" not in str(caught.value)


def rewrite_card(path, **changes):
    card = json.loads((path / checkpoint.CARD).read_text())
    (path / checkpoint.CARD).write_text(json.dumps(card | changes))


def test_a_stranger_s_code_is_not_run(tmp_path):
    class Stranger:
        def __reduce__(self):
            return (print, ("this must not run",))

    path = save(tmp_path, 1)
    torch.save({"stage": Stranger()}, path / checkpoint.STATE)
    digest = hashlib.sha256((path / checkpoint.STATE).read_bytes()).hexdigest()
    rewrite_card(path, state_sha256=digest)
    with pytest.raises(CheckpointError, match="more than plain data") as caught:
        checkpoint.load(path)
    assert "weights_only" not in str(caught.value)  # PyTorch's advice: to run it


def test_another_format_is_refused(tmp_path):
    path = save(tmp_path, 1)
    rewrite_card(path, format=99)
    with pytest.raises(CheckpointError, match="format 99, expected 2") as caught:
        checkpoint.load(path)
    assert f"start from its weights with --init {path}" in str(caught.value)
