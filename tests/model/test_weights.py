"""Checkpoints as people have them: every spelling, and one clear line for what does not fit."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import ivn
from ivn.model.decoder import PixelHeadConfig, build_decoder
from ivn.model.encoder import EncoderConfig, build_encoder
from ivn.model.layers import materialise, part_generator
from ivn.model.predictor import PredictorConfig
from tests import hub

CONFIG = EncoderConfig(
    64, 2, 4, 128, image_height=56, image_width=28, num_frames=2, pool_heads=4, pool_width=48
)
SIZES = {"image_size": (56, 28), "num_frames": 2, "num_heads": 4, "pool_heads": 4}


@pytest.fixture
def encoder():
    return build_encoder(CONFIG, seed=0).eval()


def same(loaded, encoder) -> bool:
    theirs, ours = loaded.state_dict(), encoder.state_dict()
    return theirs.keys() == ours.keys() and all(torch.equal(theirs[k], ours[k]) for k in ours)


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("scale", ["gamma", "lr_scale", "weight"])
def test_every_spelling_loads(encoder, tmp_path, prefix, scale):
    state = {prefix + k.replace("gamma", scale): v for k, v in encoder.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    assert same(ivn.load_encoder(tmp_path / "model.safetensors", **SIZES), encoder)
    assert same(ivn.load_encoder(tmp_path, **SIZES), encoder)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"module": s}, lambda s: {"model": s}])
def test_torch_files_load_with_their_wrappers(encoder, tmp_path, wrap):
    torch.save(wrap(encoder.state_dict()), tmp_path / "weights.pt")
    assert same(ivn.load_encoder(tmp_path / "weights.pt", **SIZES), encoder)


def test_the_releases_config_gives_the_sizes(encoder, tmp_path):
    halves = {f"model.{k}": v.half() for k, v in encoder.state_dict().items()}
    save_file(halves, tmp_path / "model.safetensors")
    released = {"img_size": [56, 28], "num_frames": 2, "num_heads": 4, "attn_pool_num_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps({"model_config": released}))
    loaded = ivn.load_encoder(tmp_path)
    assert loaded.config == CONFIG and loaded.pos_embed.dtype == torch.float32
    assert ivn.load_encoder(tmp_path, dtype=torch.bfloat16).pos_embed.dtype == torch.bfloat16


def broken(encoder, tmp_path, change):
    state = dict(encoder.state_dict())
    change(state)
    save_file(state, tmp_path / "e.safetensors")
    return tmp_path / "e.safetensors"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("blocks.1.norm2.weight"), "missing blocks.1.norm2.weight"),
        (lambda s: s.update(head=torch.ones(1)), "unexpected head"),
        (lambda s: s.pop("cls_token"), "missing cls_token"),
        (
            lambda s: s.update({"blocks.0.norm1.weight": torch.ones(3)}),
            r"blocks.0.norm1.weight is \[3\], expected \[64\]",
        ),
        (
            lambda s: s.update({"module.cls_token": torch.ones(1, 4, 64)}),
            "cls_token under more than one name",
        ),
    ],
)
def test_keys_that_do_not_fit_are_named(encoder, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        ivn.load_encoder(broken(encoder, tmp_path, change), **SIZES)


def test_sizes_are_never_guessed(encoder, tmp_path):
    path = broken(encoder, tmp_path, lambda s: None)
    with pytest.raises(ValueError, match="num_heads, pool_heads cannot be read off the weights"):
        ivn.load_encoder(path, image_size=(56, 28), num_frames=2)
    with pytest.raises(ValueError, match=r"pos_embed has 20 rows, but 3 frames of 56 x 28"):
        ivn.load_encoder(path, **{**SIZES, "num_frames": 3})
    with pytest.raises(ValueError, match="width 64 does not divide into 5 heads"):
        ivn.load_encoder(path, **{**SIZES, "num_heads": 5})


def test_nothing_is_unpickled(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"module": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="cannot be read as plain weights"):
        ivn.load_encoder(tmp_path / "evil.pt", **SIZES)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["nothing.safetensors", "stage1-tinny", "./a/b"])
def test_an_unknown_source_says_what_was_expected(name):
    with pytest.raises(FileNotFoundError, match="expected a run folder, a weights file, a hub id"):
        ivn.load_encoder(name)


def test_a_text_file_is_no_checkpoint(tmp_path):
    (tmp_path / "a.safetensors").write_text("hello")
    (tmp_path / "a.pt").write_text("hello")
    for name in ("a.safetensors", "a.pt"):
        with pytest.raises(ValueError, match="cannot be read as plain weights"):
            ivn.load_encoder(tmp_path / name, **SIZES)


def test_a_hub_id_is_fetched(encoder, tmp_path):
    folder = tmp_path / "release"
    folder.mkdir()
    save_file(
        {f"model.{k}": v for k, v in encoder.state_dict().items()}, folder / "model.safetensors"
    )
    sizes = {"img_size": [56, 28], "num_frames": 2, "num_heads": 4, "attn_pool_num_heads": 4}
    (folder / "config.json").write_text(json.dumps({"model_config": sizes}))
    hub.store(folder, "owner/encoder", tmp_path / "hub")
    printed = hub.run(
        "import ivn; print(ivn.load_encoder('owner/encoder').config)", tmp_path / "hub"
    )
    assert printed.strip() == repr(CONFIG)
    missing = "import ivn\ntry: ivn.load_encoder('owner/other')\nexcept OSError as e: print(e)"
    assert "owner/other cannot be fetched from the hub" in hub.run(missing, tmp_path / "hub")


@pytest.mark.parametrize("depth", [1, 2, 6, 12])
def test_a_pixel_head_of_any_depth_is_read_back(encoder, tmp_path, depth):
    with torch.device("meta"):
        head = build_decoder(PixelHeadConfig(depth=depth, width=20), condition=24, target=12)
    materialise(head, part_generator(0, "decoder"))
    save_file(encoder.state_dict(), tmp_path / "encoder.safetensors")
    save_file(head.state_dict(), tmp_path / "decoder.safetensors")
    assert same(ivn.load_model(tmp_path, **SIZES).decoder, head)


def test_the_predictors_sizes_are_never_guessed():
    golden = Path(__file__).parents[1] / "golden" / "stage1_small.weights.safetensors"
    sizes = {"image_size": 84, "num_frames": 8, "num_heads": 4, "pool_heads": 4}
    with pytest.raises(ValueError, match=r"predictor is 64 wide, not 1024.*pass predictor="):
        ivn.load_model(golden, **sizes)


def test_a_deepspeed_checkpoint_gives_every_part(tmp_path):
    golden = Path(__file__).parents[1] / "golden" / "stage1_small.weights.safetensors"
    sizes = {"image_size": 84, "num_frames": 8, "num_heads": 4, "pool_heads": 4}
    predictor = PredictorConfig(64, 4, 112)
    state = load_file(golden)
    dead = {"bert_decoder.embeddings.norm.weight": torch.ones(64)}
    folder = tmp_path / "checkpoint-latest"
    folder.mkdir()
    torch.save({"module": state | dead}, folder / "mp_rank_00_model_states.pt")
    wrapped = ivn.load_model(folder, predictor=predictor, **sizes)
    plain = ivn.load_model(golden, predictor=predictor, **sizes)
    parts = (wrapped.predictor, wrapped.decoder, wrapped.alignment)
    assert all(part is not None for part in parts) and same(wrapped, plain)
    assert same(ivn.load_encoder(folder, **sizes), plain.encoder)


def test_a_lost_block_is_noticed_where_the_config_tells_the_depth(encoder, tmp_path):
    kept = {k: v for k, v in encoder.state_dict().items() if not k.startswith("blocks.1.")}
    save_file(kept, tmp_path / "model.safetensors")
    sizes = {"img_size": [56, 28], "num_frames": 2, "num_heads": 4, "attn_pool_num_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps({"model_config": sizes | {"depth": 2}}))
    with pytest.raises(ValueError, match=r"has 1 blocks, the config\.json beside it says 2"):
        ivn.load_encoder(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("blocks.x.foo", torch.ones(1), r"unexpected blocks\.x\.foo"),
        ("cls_token", torch.ones(4, 64), r"cls_token is \[4, 64\], expected 3 dimensions"),
        ("bert_decoder.embeddings.zzz", torch.ones(1), r"unexpected bert_decoder\.embeddings\.zzz"),
    ],
)
def test_malformed_keys_and_shapes_are_named(encoder, tmp_path, key, value, message):
    with pytest.raises(ValueError, match=message):
        ivn.load_encoder(broken(encoder, tmp_path, lambda s: s.update({key: value})), **SIZES)
