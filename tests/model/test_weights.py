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


PREFIXES = [
    *("", "model.", "module.", "_orig_mod.", "module._orig_mod.", "_fsdp_wrapped_module."),
    *("backbone.", "encoder.", "model.encoder.", "module.backbone._fsdp_wrapped_module."),
    "_orig_mod.model._checkpoint_wrapped_module.encoder.module.",
]


@pytest.mark.parametrize("prefix", PREFIXES)
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


def test_a_hub_id_is_fetched_whole_or_in_shards_of_either_format(encoder, tmp_path):
    released = {f"model.{k}": v for k, v in encoder.state_dict().items()}
    shard, index = "pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"
    for name in ("whole", "bin", "shards-2.0"):
        folder = carded(encoder, tmp_path / name)
        if name != "whole":
            (folder / "model.safetensors").unlink()
            torch.save(released, folder / (shard if "shards" in name else "pytorch_model.bin"))
        if "shards" in name:
            (folder / index).write_text(json.dumps({"weight_map": dict.fromkeys(released, shard)}))
        hub.store(folder, f"owner/{name}", tmp_path / "hub")
    hub.store(carded(encoder, tmp_path / "sizes"), "owner/none", tmp_path / "hub")
    next((tmp_path / "hub").glob("*none/snapshots/*/model.safetensors")).unlink()
    code = """
import ivn
for name in ('whole', 'bin', 'shards-2.0', 'none', 'other'):
    try: print(ivn.load_encoder(f'owner/{name}').config)
    except OSError as error: print(error)
"""
    *read, none, other = hub.run(code, tmp_path / "hub").splitlines()
    assert read == [repr(CONFIG)] * 3
    assert "owner/none cannot be fetched from the hub" in none and "pytorch_model.bin" in none
    assert "owner/other cannot be fetched from the hub" in other


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


INSIDE = ["_fsdp_wrapped_module", "_orig_mod", "_checkpoint_wrapped_module", "module"]


@pytest.mark.parametrize("place", ["blocks.0", "blocks.1.attn", "blocks", "blocks.0.mlp.fc1"])
@pytest.mark.parametrize("wrapper", [*INSIDE, "_fsdp_wrapped_module._checkpoint_wrapped_module"])
def test_what_wraps_parts_of_a_module_is_dropped_wherever_it_stands(
    encoder, tmp_path, place, wrapper
):
    state = {
        key.replace(f"{place}.", f"{place}.{wrapper}."): value
        for key, value in encoder.state_dict().items()
    }
    save_file(state, tmp_path / "w.safetensors")
    assert same(ivn.load_encoder(tmp_path / "w.safetensors", **SIZES), encoder)


@pytest.mark.parametrize("wrapper", [*INSIDE, "backbone", "encoder"])
def test_two_keys_that_become_one_are_an_error_that_names_the_file(encoder, tmp_path, wrapper):
    twice = {f"{wrapper}.cls_token": torch.ones(1, 4, 64)}
    path = broken(encoder, tmp_path, lambda s: s.update(twice))
    with pytest.raises(ValueError, match=r"e\.safetensors has cls_token under more than one name"):
        ivn.load_encoder(path, **SIZES)


def test_a_prefix_that_nobody_knows_is_named(encoder, tmp_path):
    state = {f"student.net.{key}": value for key, value in encoder.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"missing cls_token; all of its keys begin with 'student"):
        ivn.load_encoder(tmp_path / "w.safetensors", **SIZES)


@pytest.mark.parametrize("keys", [[], ["bert_mask_token"], ["net.0.weight", "net.0.bias"]])
def test_weights_without_an_encoder_are_told(tmp_path, keys):
    torch.save({key: torch.ones(1) for key in keys}, tmp_path / "w.pt")
    for load in (ivn.load_encoder, ivn.load_model):
        with pytest.raises(ValueError, match=r"w\.pt: missing cls_token$"):
            load(tmp_path / "w.pt")


def test_the_file_of_the_part_that_does_not_fit_is_named(encoder, tmp_path):
    save_file(encoder.state_dict(), tmp_path / "encoder.safetensors")
    for name in ("predictor", "decoder", "alignment", "pixel_decoder", "second_alignment"):
        file = tmp_path / f"{name}.safetensors"
        save_file({"odd": torch.ones(1)}, file)
        with pytest.raises(ValueError, match=rf"{name}\.safetensors: .*missing"):
            ivn.load_model(tmp_path, **SIZES)
        file.unlink()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool", "float8_e4m3fn", "complex64"])
@pytest.mark.parametrize("whole", [True, False])
def test_numbers_that_are_no_weights_are_refused_by_file_key_and_dtype(
    encoder, tmp_path, dtype, whole
):
    def change(state):
        for key in list(state) if whole else ["blocks.1.mlp.fc1.weight"]:
            state[key] = (state[key].abs() * 100).to(getattr(torch, dtype))

    path = broken(encoder, tmp_path, change)
    key = "cls_token" if whole else "blocks.1.mlp.fc1.weight"
    with pytest.raises(ValueError, match=rf"e\.safetensors: {key} is {dtype}, expected float32"):
        ivn.load_encoder(path, **SIZES)


def test_a_number_that_no_file_has_blocks_for_is_refused_before_any_is_built(encoder, tmp_path):
    def change(state):
        state["blocks.9999999999999.norm1.weight"] = state["blocks.0.norm1.weight"].clone()

    path = broken(encoder, tmp_path, change)
    with pytest.raises(ValueError, match=r"blocks\.9999999999999 is numbered beyond all of its"):
        ivn.load_encoder(path, **SIZES)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_that_are_not_finite_are_refused_by_file_and_key(encoder, tmp_path, value, dtype):
    def change(state):
        state |= {key: weight.to(dtype) for key, weight in state.items()}
        state["blocks.1.mlp.fc2.bias"][3] = value

    path = broken(encoder, tmp_path, change)
    with pytest.raises(
        ValueError, match=r"e\.safetensors: blocks\.1\.mlp\.fc2\.bias is not finite"
    ):
        ivn.load_encoder(path, **SIZES)
    with pytest.raises(ValueError, match="is not finite"):
        ivn.load_model(path, **SIZES)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_other_floats_are_read(encoder, tmp_path, dtype):
    path = broken(encoder, tmp_path, lambda s: s.update({k: v.to(dtype) for k, v in s.items()}))
    loaded = ivn.load_encoder(path, **SIZES).state_dict()
    for key, value in encoder.state_dict().items():
        assert torch.equal(loaded[key], value.to(dtype).float())


def carded(encoder, folder, **changes):
    """The encoder in a folder with the release's config.json."""
    folder.mkdir(exist_ok=True)
    save_file(encoder.state_dict(), folder / "model.safetensors")
    sizes = {"img_size": [56, 28], "num_frames": 2, "num_heads": 4, "attn_pool_num_heads": 4}
    (folder / "config.json").write_text(json.dumps({"model_config": sizes | changes}))
    return folder


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("img_size", value) for value in ([56, 28, 3], [56], [], "56", 0, [56, 0], 56.0, True)],
        *[("num_frames", value) for value in ("2", 0, -1, 2.0, [2], True)],
        *[(name, value) for name in ("num_heads", "attn_pool_num_heads") for value in (4.0, 0)],
        ("depth", "2"),
    ],
)
def test_a_size_that_makes_no_sense_is_told_by_config_and_field(encoder, tmp_path, name, value):
    place = carded(encoder, tmp_path, **{name: value})
    with pytest.raises(ValueError, match=rf"config\.json: {name} is .*, expected ") as caught:
        ivn.load_encoder(place)
    assert repr(value) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"model_config": [1]}, "model_config is [1], expected a table"),
        ({"model_config": None}, "model_config is None, expected a table"),
        ({"config": {"model": {"encoder": 3}}}, "config.model.encoder is 3, expected a table"),
        ({"config": [1]}, "describes no model"),
        (
            {"config": {"model": {"encoder": {"image_height": "5", "image_width": 5}}}},
            "image_height, image_width is ['5', 5], expected pixels",
        ),
        ({"config": {"model": {"encoder": {"heads": 0}}}}, "config.json: heads is 0, expected"),
    ],
)
def test_a_card_of_another_form_is_told_in_a_line(encoder, tmp_path, card, words):
    (carded(encoder, tmp_path) / "config.json").write_text(json.dumps(card))
    with pytest.raises(ValueError) as caught:
        ivn.load_encoder(tmp_path)
    assert words in str(caught.value) and "config.json" in str(caught.value)


def test_heads_that_do_not_divide_the_width_are_told_by_name(encoder, tmp_path):
    place = carded(encoder, tmp_path, attn_pool_num_heads=5)
    with pytest.raises(ValueError, match=r"pool_heads is 5, but width 64 .*config\.json"):
        ivn.load_encoder(place)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("image_size", 28), ("image_size", (28, 56)), ("num_frames", 1)],
        *[("num_heads", 8), ("pool_heads", 2)],
    ],
)
def test_sizes_that_contradict_the_config_are_refused(encoder, tmp_path, name, value):
    place = carded(encoder, tmp_path)
    with pytest.raises(ValueError, match=rf"{name} is to be .*config\.json beside it says"):
        ivn.load_encoder(place, **{name: value})
    assert same(ivn.load_encoder(place, **SIZES), encoder)


def test_a_square_is_one_number_or_two(tmp_path):
    square = EncoderConfig(**{**vars(CONFIG), "image_width": 56})
    encoder = build_encoder(square, seed=0)
    place = carded(encoder, tmp_path, img_size=56)
    for size in (56, (56, 56)):
        assert ivn.load_encoder(place, image_size=size).config == square


def test_folders_of_shards_and_of_torch_are_read(encoder, tmp_path):
    released = {f"model.{key}": value for key, value in encoder.state_dict().items()}
    place = carded(encoder, tmp_path)
    (place / "model.safetensors").unlink()
    torch.save(released, place / "pytorch_model.bin")
    assert same(ivn.load_encoder(place), encoder)
    shards = {key: f"model-{1 + (key > 'model.c'):05}-of-00002.safetensors" for key in released}
    for name in set(shards.values()):
        save_file({k: v for k, v in released.items() if shards[k] == name}, place / name)
    index = place / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    assert same(ivn.load_encoder(place), encoder)
    assert same(ivn.load_model(index).encoder, encoder)


def test_deepspeeds_folder_is_read_with_the_config_beside_latest(encoder, tmp_path):
    place = carded(encoder, tmp_path)
    (place / "model.safetensors").unlink()
    for tag, seed in (("global_step1", 1), ("global_step2", 0)):
        (place / tag).mkdir()
        state = build_encoder(CONFIG, seed=seed).state_dict()
        torch.save({"module": state}, place / tag / "mp_rank_00_model_states.pt")
    (place / "latest").write_text("global_step2")
    assert same(ivn.load_encoder(place), encoder)
    assert not same(ivn.load_encoder(place / "global_step1"), encoder)
