"""InternVideo2: released files in every spelling, and features as its description has them."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import ivn
from ivn.data.batch import IMAGENET_MEAN, IMAGENET_STD
from ivn.errors import EncoderError
from ivn.frozen import TeacherConfig, build_teacher
from ivn.frozen.internvideo2 import named_sizes
from ivn.load import load_frozen
from ivn.model.encoder import EncoderConfig, build_encoder
from ivn.model.positions import resize_table
from tests.frozen.test_teacher import clips

# 32 features a token, 2 frames of 4 x 4 tokens; heads as B14 has them are not to be guessed.
C, DEPTH, HEADS, HIDDEN, POOL = 32, 3, 4, 48, 24
CONFIG = TeacherConfig("internvideo2", "tiny", 56, (1, 4), weights="random")
SIZES = {"image_size": 56, "num_frames": 2, "num_heads": HEADS, "pool_heads": 4}
CARD = {"img_size": 56, "num_frames": 2, "num_heads": HEADS, "attn_pool_num_heads": 4}


def released(frames: int = 2, side: int = 4) -> dict[str, torch.Tensor]:
    """Keys and shapes of a released file, values away from zero."""
    shapes = {
        "cls_token": (1, 1, C),
        "pos_embed": (1, frames * side**2 + 1, C),
        "patch_embed.proj.weight": (C, 3, 1, 14, 14),
        "patch_embed.proj.bias": (C,),
    }
    for i in range(DEPTH):
        block = {
            "norm1.weight": (C,),
            "attn.qkv.weight": (3 * C, C),
            "attn.q_norm.weight": (C,),
            "attn.k_norm.weight": (C,),
            "attn.proj.weight": (C, C),
            "attn.proj.bias": (C,),
            "ls1.gamma": (C,),
            "norm2.weight": (C,),
            "mlp.fc1.weight": (HIDDEN, C),
            "mlp.fc1.bias": (HIDDEN,),
            "mlp.fc2.weight": (C, HIDDEN),
            "mlp.fc2.bias": (C,),
            "ls2.gamma": (C,),
        }
        shapes |= {f"blocks.{i}.{key}": shape for key, shape in block.items()}
    for name in "qkv":
        shapes[f"clip_projector.norm1_{name}.weight"] = (C,)
        shapes[f"clip_projector.norm1_{name}.bias"] = (C,)
        shapes[f"clip_projector.cross_attn.{name}.weight"] = (C, C)
        shapes[f"clip_projector.cross_attn.{name}_bias"] = (C,)
    shapes["clip_projector.cross_attn.proj.weight"] = (POOL, C)
    shapes["clip_projector.cross_attn.proj.bias"] = (POOL,)
    return {key: 0.3 * torch.randn(shape) + (shape == (C,)) for key, shape in shapes.items()}


def reference(state, video, heads=HEADS, pool_heads=4):
    """The description's forward, in fp64: the stream after each block, pooled, its attention."""
    w = {key: value.double() for key, value in state.items()}

    def rms(x, key):
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w[key]

    def split(x, count):
        return x.view(*x.shape[:2], count, -1).transpose(1, 2)

    mean, std = (torch.tensor(x).double() for x in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = ((video.double() / 255 - mean) / std).permute(0, 4, 1, 2, 3)
    x = F.conv3d(
        pixels, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=(1, 14, 14)
    )
    x = x.flatten(2).mT
    x = torch.cat([w["cls_token"].expand(len(x), -1, -1), x], 1) + w["pos_embed"]
    stream = []
    for i in range(DEPTH):
        b = f"blocks.{i}."
        q, k, v = F.linear(rms(x, b + "norm1.weight"), w[b + "attn.qkv.weight"]).chunk(3, -1)
        q, k = rms(q, b + "attn.q_norm.weight"), rms(k, b + "attn.k_norm.weight")
        q, k, v = (split(y, heads) for y in (q, k, v))
        mixed = ((q @ k.mT) * q.shape[-1] ** -0.5).softmax(-1) @ v
        mixed = mixed.transpose(1, 2).flatten(2)
        x = x + w[b + "ls1.gamma"] * F.linear(
            mixed, w[b + "attn.proj.weight"], w[b + "attn.proj.bias"]
        )
        y = F.linear(rms(x, b + "norm2.weight"), w[b + "mlp.fc1.weight"], w[b + "mlp.fc1.bias"])
        y = F.gelu(y, approximate="tanh")
        x = x + w[b + "ls2.gamma"] * F.linear(y, w[b + "mlp.fc2.weight"], w[b + "mlp.fc2.bias"])
        stream.append(x)
    p = "clip_projector."

    def projected(name, y):
        y = F.layer_norm(y, (C,), w[f"{p}norm1_{name}.weight"], w[f"{p}norm1_{name}.bias"], 1e-5)
        y = F.linear(y, w[f"{p}cross_attn.{name}.weight"], w[f"{p}cross_attn.{name}_bias"])
        return split(y, pool_heads)

    q, k, v = projected("q", x.mean(1, keepdim=True)), projected("k", x), projected("v", x)
    attention = ((q @ k.mT) * q.shape[-1] ** -0.5).softmax(-1)
    pooled = (attention @ v).transpose(1, 2).flatten(2)
    pooled = F.linear(pooled, w[p + "cross_attn.proj.weight"], w[p + "cross_attn.proj.bias"])
    return stream, pooled[:, 0], attention.mean(1)[:, 0]


@pytest.fixture
def folder(tmp_path):
    """A released encoder in a folder, with the sizes that its shapes do not tell."""
    state = released()
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_config": CARD}))
    return state, tmp_path


def test_a_teacher_equals_the_description(folder):
    state, place = folder
    config = replace(CONFIG, source=str(place), weights="pretrained", taps=(1, 3))
    teacher = build_teacher(config).double()
    video = clips(56, T=2)
    stream, pooled, attention = reference(state, video)
    targets = teacher(video)
    expected = (
        torch.stack([stream[0][:, 1:], stream[2][:, 1:]]),
        pooled[:, None],
        attention[:, 1:].view(2, 2, 16),
    )
    for ours, theirs in zip(targets, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * theirs.abs().max().item())
    assert (teacher.width, teacher.pooled_width, teacher.grid) == (C, POOL, 4)
    assert teacher.network.frames_per_slot == 1
    for asked in targets._fields:
        some = teacher(video, **{name: name == asked for name in targets._fields})._asdict()
        torch.testing.assert_close(some.pop(asked), getattr(targets, asked))
        assert all(target.numel() == 0 for target in some.values())


def test_blocks_after_the_last_tap_do_not_run_unless_the_head_is_asked_for():
    teacher = build_teacher(replace(CONFIG, taps=(2,)))
    run = []
    for number, block in enumerate(teacher.network.encoder.blocks):
        block.register_forward_hook(lambda *_, number=number: run.append(number))
    teacher(clips(56, T=2), pooled=False, attention=False)
    assert run == [0, 1]


def test_as_an_encoder_its_bytes_floats_kept_tokens_and_pools_are_the_descriptions(folder):
    state, place = folder
    encoder = ivn.load_encoder(place).double()
    video = clips(56, T=2)
    stream, pooled, _ = reference(state, video)
    mean, std = (torch.tensor(x).double() for x in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = ((video.double() / 255 - mean) / std).permute(0, 4, 1, 2, 3)
    keep = torch.arange(0, 32)[None].expand(2, -1)
    with torch.no_grad():
        tokens, cls = encoder(video, cls=True)
        close = {"rtol": 0, "atol": 1e-5 * stream[-1].abs().max().item()}
        torch.testing.assert_close(tokens, stream[-1][:, 1:], **close)
        torch.testing.assert_close(cls, stream[-1][:, :1], **close)
        torch.testing.assert_close(encoder(pixels, keep), stream[-1][:, 1:], **close)
        torch.testing.assert_close(encoder.pool(video), pooled, rtol=0, atol=1e-5)
        few = encoder(video, keep[:, ::2])
        torch.testing.assert_close(encoder(pixels, keep[:, ::2]), few, rtol=0, atol=1e-5)
    assert few.shape == (2, 16, C) and encoder.config.family == "internvideo2"


def test_frozen_it_gives_every_pool(folder):
    state, place = folder
    frozen, video = load_frozen(str(place)), clips(56, T=2)
    stream, pooled, _ = reference(state, video)
    assert frozen.features(video, "cls").shape == (2, 1, C)
    expected = stream[-1][:, 1:].mean(1).float()
    torch.testing.assert_close(frozen.features(video, "mean"), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(frozen.features(video, "attn"), pooled.float(), rtol=1e-4, atol=1e-4)


def test_clips_of_other_lengths_get_interpolated_positions(folder):
    state, place = folder
    video = clips(84, T=4)
    table = resize_table(state["pos_embed"].double(), (2, 4, 4), (4, 6, 6))[None]
    stream, _, _ = reference(state | {"pos_embed": table}, video)
    config = replace(CONFIG, source=str(place), weights="pretrained", image_size=84, taps=(3,))
    targets = build_teacher(config).double()(video)
    torch.testing.assert_close(targets.layers[0], stream[2][:, 1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [4, 6])
@pytest.mark.parametrize("own", [False, True])
def test_a_frame_by_itself_gets_the_mean_over_time_or_the_table_of_images(tmp_path, own, side):
    state = released(frames=4)
    table = torch.cat(
        [state["pos_embed"][:, :1], state["pos_embed"][:, 1:].view(4, 16, C).mean(0)[None]], 1
    )
    if own:
        table = state["img_pos_embed"] = torch.randn(1, 17, C)
    torch.save({"module": state}, tmp_path / "weights.pt")
    encoder = ivn.load_encoder(tmp_path / "weights.pt", **SIZES | {"num_frames": 4})
    assert encoder.config.image_table == own
    table = resize_table(table.double(), (1, 4, 4), (1, side, side))[None]
    video = clips(14 * side, T=1)
    stream, pooled, _ = reference(state | {"pos_embed": table}, video)
    with torch.no_grad():
        torch.testing.assert_close(encoder.double()(video), stream[-1][:, 1:], rtol=0, atol=1e-4)
        torch.testing.assert_close(encoder.pool(video), pooled, rtol=0, atol=1e-4)
        # Clips of more frames are served by the table of videos.
        longer = resize_table(state["pos_embed"].double(), (4, 4, 4), (2, side, side))
        torch.testing.assert_close(encoder._table((2, side, side)), longer, rtol=1e-5, atol=1e-5)


HEADS_BESIDE = {
    "stage 1": [
        *("clip_pos_embed", "mae_pos_embed", "clip_decoder.5.head.weight"),
        *("mae_decoder.0.head.2.bias", "final_clip_decoder.norm.weight"),
    ],
    "fine-tuned": ["fc_norm.weight", "head.bias", "extra_mlp.1.fc1.weight", "down.0.weight"],
    "images too": ["clip_img_pos_embed"],
    "nothing": [],
}


@pytest.mark.parametrize("beside", HEADS_BESIDE)
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "encoder.", "model.encoder."])
@pytest.mark.parametrize("wrapper", ["", "module", "model"])
def test_every_spelling_of_a_released_file_is_read(tmp_path, beside, prefix, wrapper):
    state = released()
    extra = {key: torch.ones(1) for key in HEADS_BESIDE[beside]}
    spelt = {prefix + key: value for key, value in (state | extra).items()}
    file = tmp_path / "pretrain.pth"
    torch.save({wrapper: spelt} if wrapper else spelt, file)
    loaded = ivn.load_encoder(file, **SIZES).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize("scale", ["lr_scale", "weight"])
def test_layer_scales_of_ports_are_read(tmp_path, scale):
    state = released()
    spelt = {f"model.{key.replace('gamma', scale)}": value for key, value in state.items()}
    save_file(spelt, tmp_path / "model.safetensors")
    assert ivn.load_encoder(tmp_path, **SIZES).state_dict().keys() == state.keys()


def test_the_video_encoder_of_a_model_of_several_modalities_is_read(tmp_path):
    state = released()
    others = {"text_encoder.bert.x": torch.ones(1), "temp": torch.ones(1)}
    spelt = {f"vision_encoder.{key}": value for key, value in state.items()} | others
    torch.save({"module": spelt}, tmp_path / "weights.pt")
    loaded = ivn.load_encoder(tmp_path / "weights.pt", **SIZES).state_dict()
    assert loaded.keys() == state.keys()


def test_a_tower_over_images_becomes_one_over_frames(tmp_path):
    state = released(frames=1)
    flat = state | {"patch_embed.proj.weight": state["patch_embed.proj.weight"][:, :, 0]}
    torch.save(flat, tmp_path / "weights.pt")
    encoder = ivn.load_encoder(tmp_path / "weights.pt", **SIZES | {"num_frames": 1})
    assert torch.equal(encoder.patch_embed.proj.weight, state["patch_embed.proj.weight"])


@pytest.mark.parametrize("frames", [4, 8, 1])
def test_what_released_sizes_imply_need_not_be_given(tmp_path, frames):
    """Of the width of S14, with one block: heads, images, and frames of the table."""
    config = EncoderConfig(384, 1, 6, 64, num_frames=frames, family="internvideo2")
    encoder = build_encoder(config, seed=0)
    torch.save({"module": encoder.state_dict()}, tmp_path / "pytorch_model.bin")
    loaded = ivn.load_encoder(tmp_path / "pytorch_model.bin")
    assert loaded.config == config
    assert load_frozen(str(tmp_path / "pytorch_model.bin")).spec.frames == frames
    given = ivn.load_encoder(tmp_path / "pytorch_model.bin", image_size=112, num_frames=4 * frames)
    assert (given.config.num_frames, given.config.grid[1]) == (4 * frames, 8)


def test_what_does_not_fit_is_told_in_a_line(tmp_path, folder):
    state, place = folder

    def message(**changes):
        with pytest.raises(ValueError) as caught:
            build_teacher(replace(CONFIG, **changes))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    at = {"source": str(place), "weights": "pretrained", "taps": (3,)}
    assert "a multiple of the teacher's patch size 14: 224 for 16" in message(image_size=100)
    assert "in [1, 4]" in message(taps=(0, 2)) and "in [1, 4]" in message(taps=(5,))
    assert "has no source: give stage.teacher.source" in message(source="")
    assert "nothing at 'B15'" in message(source="B15")
    (place / "config.json").unlink()
    assert "num_heads cannot be read off the weights" in message(**at)
    save_file(state | {"blocks.0.attn.bias": torch.ones(1)}, place / "model.safetensors")
    (place / "config.json").write_text(json.dumps({"model_config": CARD}))
    assert "unexpected blocks.0.attn.bias" in message(**at)
    encoder = build_encoder(EncoderConfig(48, 1, 4, 64, num_frames=1, pool_heads=4), seed=0)
    save_file(encoder.state_dict(), place / "model.safetensors")
    card = {"img_size": 224, "num_frames": 1, "num_heads": 4, "attn_pool_num_heads": 4}
    (place / "config.json").write_text(json.dumps({"model_config": card}))
    assert "an encoder of InternVideo-Next, expected InternVideo2's" in message(**at)


def test_nothing_is_unpickled(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"module": released() | {"args": Payload()}}, tmp_path / "pretrain.pth")
    with pytest.raises(EncoderError, match="cannot be read as plain weights"):
        load_frozen(str(tmp_path / "pretrain.pth"))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("name", "millions"), [("S14", 23.0), ("B14", 89.4), ("L14", 308.9), ("1B", 1020.7)]
)
def test_released_sizes_have_the_described_numbers_of_parameters(name, millions):
    from ivn.model.encoder import Encoder

    with torch.device("meta"):
        encoder = Encoder(named_sizes(name))
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_a_stage_learns_from_it():
    from ivn.errors import ConfigError
    from tests.small import random_batch, small_config, small_stage

    settings = small_config(
        "stage1-tiny",
        "stage.teacher.kind=internvideo2",
        "stage.teacher.image_size=56",
        "stage.align_pooled=true",
    )
    stage = small_stage(settings)
    assert stage.clip_specs["teacher"].frames == 4
    terms = stage.loss(random_batch(stage))
    assert terms["layers"].total.isfinite() and terms["pooled"].total.isfinite()
    with pytest.raises(ConfigError, match=r"encoder\.family is 'internvideo2', expected"):
        small_config("stage1-tiny", "model.encoder.family=internvideo2")
