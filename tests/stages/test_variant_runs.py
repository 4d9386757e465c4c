"""Rows of the ablations as runs, through the command line: on real clips, saved, taken up again."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

import ivn
from ivn.config.presets import PRESETS
from ivn.config.run import from_toml, override, read, to_toml
from ivn.data.loader.loader import ClipLoader
from ivn.media.source import BUNDLED_CLIPS
from ivn.model.decoder import DiffusionDecoder
from ivn.model.predictor import PredictorConfig
from ivn.model.vit import ViTLayer
from ivn.train import checkpoint, folder
from tests.small import STAGE1

pytest.importorskip("av")
pytest.importorskip("transformers")
pytest.importorskip("tyro")

from tests import hub
from tests.command import SMALL, assert_one_line, command
from tests.logged import results

from .variants import PIXELS, VISIBLE, VIT, teacher

VJEPA = [*VIT, "model.predictor.depth=2", "stage.start=encoder", "stage.target.kind=momentum"]


def pretrain(preset, out, *changes, init=""):
    arguments = ["--data", BUNDLED_CLIPS, "--out", out, *(["--init", init] if init else [])]
    small = [*SMALL, *STAGE1] if preset.startswith("stage1") else SMALL
    return command("pretrain", preset, *arguments, "--set", *small, *changes)


def state(run):
    return checkpoint.load(checkpoint.latest(run))


@pytest.fixture(scope="module")
def stage1(tmp_path_factory):
    """Two steps of stage one."""
    out = tmp_path_factory.mktemp("stage1") / "run"
    assert pretrain("stage1-tiny", out, "optim.steps=2")[::2] == (0, "")
    return out


def test_pixel_only_without_any_teacher(tmp_path):
    nowhere = ["stage.teacher.weights=pretrained", "stage.teacher.source=/nowhere"]
    changes = ["stage.layers_weight=0", "stage.mask=random", "optim.steps=2"]
    out = tmp_path / "run"
    assert pretrain("stage1-tiny", out, *changes, *nowhere)[::2] == (0, "")
    assert [set(line["terms"]) for line in results(out)] == [{"pixels"}] * 2
    assert ivn.load_model(out).alignment is None


def test_align_only_is_saved_without_predictor_and_a_stage_two_may_start_from_it(tmp_path):
    out = tmp_path / "run"
    two = [*teacher("stage.second_teacher"), "optim.steps=2"]
    assert pretrain("stage1-tiny", out, "stage.pixels_weight=0", *two)[::2] == (0, "")
    model = ivn.load_model(out)
    assert model.predictor is None and model.decoder is None
    assert model.alignment is not None and model.second_alignment is not None
    said = pretrain("stage2-tiny", tmp_path / "no", init=out)
    assert assert_one_line(said, "has no predictor", "stage.start=encoder") == 1
    begin = ["stage.start=encoder", "optim.steps=1"]
    code, said, err = pretrain("stage2-tiny", tmp_path / "run2", *begin, init=out)
    assert (code, err) == (0, "")
    assert f"encoder from {out}; new: predictor, decoder" in said


def test_aligned_tokens_and_pixels_in_stage_two(tmp_path, stage1):
    out = tmp_path / "run"
    changes = [*VISIBLE, *PIXELS, "stage.mask=semantic_topk", "optim.steps=2"]
    code, said, err = pretrain("stage2-tiny", out, *changes, init=stage1)
    assert (code, err) == (0, "")
    new = "decoder, alignment, pixel_decoder"
    assert f"encoder and predictor from {stage1}; new: {new}" in said
    assert [set(line["terms"]) for line in results(out)] == [{"view1", "layers", "pixels"}] * 2
    model = ivn.load_model(out)
    saved = state(out)["stage"]
    assert isinstance(model.pixel_decoder, DiffusionDecoder)
    for name, value in model.pixel_decoder.state_dict().items():
        assert torch.equal(value, saved[f"pixel_decoder.{name}"])


def test_a_predictor_that_starts_anew_may_start_from_a_text_encoder(tmp_path, stage1, text_encoder):
    text, place = text_encoder
    source = ["model.predictor.init=modernbert", f"model.predictor.source={place}"]
    still = ["optim.steps=1", "optim.lr=0", "optim.min_lr=0"]
    for start, same in (("encoder", True), ("encoder_and_predictor", False)):
        out = tmp_path / start
        found = pretrain("stage2-tiny", out, *source, *still, f"stage.start={start}", init=stage1)
        assert found[0] == 0
        ours = ivn.load_model(out).predictor.layers[-1].state_dict()
        theirs = text.layers[-1].state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs) == same


def test_a_text_encoder_is_not_read_where_a_run_brings_the_predictor(tmp_path, stage1):
    source = ["model.predictor.init=modernbert", "model.predictor.source=/nowhere"]
    for preset in ("stage1-tiny", "stage2-tiny"):
        found = pretrain(preset, tmp_path / preset, *source, "optim.steps=1", init=stage1)
        assert found[::2] == (0, ""), found[2]


def test_a_run_may_start_from_whatever_weights_are_read_from(tmp_path, stage1, monkeypatch):
    constants = pytest.importorskip("huggingface_hub").constants
    encoder = ivn.load_encoder(stage1)
    config = {"img_size": 56, "num_frames": 4, "num_heads": 3, "attn_pool_num_heads": 4}
    released, deepspeed, file = tmp_path / "r", tmp_path / "d", tmp_path / "old.pth"
    for place in (released, deepspeed / "step9"):
        place.mkdir(parents=True)
    save_file(encoder.state_dict(), released / "model.safetensors")
    (released / "config.json").write_text(json.dumps({"model_config": config}))
    state = {f"_orig_mod.{key}": value for key, value in encoder.state_dict().items()}
    torch.save({"module": state}, deepspeed / "step9" / "mp_rank_00_model_states.pt")
    (deepspeed / "latest").write_text("step9")
    torch.save(state, file, _use_new_zipfile_serialization=False)
    hub.store(released, "owner/encoder", tmp_path / "hub")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    begin = ["stage.start=encoder", "optim.steps=1", "optim.lr=0", "optim.min_lr=0"]
    for number, init in enumerate((released, deepspeed, file, "owner/encoder")):
        out = tmp_path / f"run{number}"
        code, said, err = pretrain("stage2-tiny", out, *begin, init=str(init))
        assert (code, err) == (0, "") and f"encoder from {init}; new: predictor" in said
        assert json.loads((out / folder.SOURCE).read_text())["init"] == str(init)
        ours, theirs = ivn.load_encoder(out).state_dict(), encoder.state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    for init, words in (
        ("owner/gone", "owner/gone cannot be fetched from the hub"),
        ("stage1-tiny", "is a preset without weights"),
        ("gone.pt", "no encoder 'gone.pt'"),
    ):
        said = pretrain("stage2-tiny", tmp_path / "no", *begin, init=init)
        assert assert_one_line(said, words) == 1 and not (tmp_path / "no").exists()
    config["num_heads"] = 6
    (released / "config.json").write_text(json.dumps({"model_config": config}))
    said = pretrain("stage2-tiny", tmp_path / "no", *begin, init=released)
    assert assert_one_line(said, "num_heads is to be 3, but the config.json") == 1


def test_stage_one_starts_from_an_encoder_alone_with_the_predictor_of_a_run_from_nothing(
    tmp_path, stage1, text_encoder
):
    text, place = text_encoder
    source = ["model.predictor.init=modernbert", f"model.predictor.source={place}"]
    encoder = ivn.load_encoder(stage1).state_dict()
    torch.save(encoder, tmp_path / "encoder.pt")
    still = ["optim.steps=1", "optim.lr=0", "optim.min_lr=0"]
    for init, new in ((tmp_path / "encoder.pt", "predictor, decoder"), (stage1, "decoder")):
        out = tmp_path / new
        code, said, _ = pretrain("stage1-tiny", out, *source, *still, init=init)
        assert code == 0 and f" from {init}; new: {new}, alignment" in said
        model = ivn.load_model(out)
        ours = model.encoder.state_dict()
        assert all(torch.equal(ours[key], encoder[key]) for key in encoder)
        ours, theirs = model.predictor.layers[-1].state_dict(), text.layers[-1].state_dict()
        alike = all(torch.equal(ours[name], theirs[name]) for name in theirs)
        assert alike == ("predictor" in new)


class Killed(BaseException):
    """Ends the run here, as a kill would: nothing catches it."""


def test_a_momentum_target_and_a_vit_predictor_survive_a_kill(tmp_path, stage1, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    code, said, err = pretrain("stage2-tiny", whole, *VJEPA, init=stage1)
    assert (code, err) == (0, "")
    assert f"encoder from {stage1}; new: predictor, decoder" in said
    original = ClipLoader.__next__

    def dying(loader):
        if loader.step == 3:
            raise Killed
        return original(loader)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ClipLoader, "__next__", dying)
        pretrain("stage2-tiny", cut, *VJEPA, init=stage1)
    halfway = state(cut)["stage"]
    assert command("pretrain", "--resume", cut)[::2] == (0, "")
    assert results(cut) == results(whole)
    ours, theirs = state(cut)["stage"], state(whole)["stage"]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    name = "blocks.0.attn.qkv.weight"
    target, encoder = theirs[f"teacher.{name}"], theirs[f"encoder.{name}"]
    assert not torch.equal(target, encoder) and not torch.equal(target, halfway[f"teacher.{name}"])
    assert all(isinstance(layer, ViTLayer) for layer in ivn.load_model(whole).predictor.layers)


def test_what_was_saved_before_there_were_kinds_is_a_modernbert(tmp_path, stage1):
    old = tmp_path / "old"
    shutil.copytree(stage1, old)
    card = checkpoint.latest(old) / checkpoint.CARD
    content = json.loads(card.read_text())
    assert content["config"]["model"]["predictor"].pop("kind") == "modernbert"
    card.write_text(json.dumps(content))
    config = (old / folder.CONFIG).read_text().replace('kind = "modernbert"\n', "")
    (old / folder.CONFIG).write_text(config)
    assert isinstance(read(old / folder.CONFIG).model.predictor, PredictorConfig)
    assert isinstance(ivn.load_model(old).predictor.config, PredictorConfig)
    assert pretrain("stage2-tiny", tmp_path / "run", "optim.steps=1", init=old)[::2] == (0, "")
    assert command("pretrain", "--resume", old)[0] == 0


def test_a_vit_predictor_is_written_and_read_back():
    config = override(PRESETS["stage2-tiny"](), *VJEPA)
    assert from_toml(to_toml(config)) == config
