"""VideoMAE and V-JEPA 2 as teachers: what they give is what transformers gives."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from ivn.data.batch import IMAGENET_MEAN, IMAGENET_STD
from ivn.frozen import TeacherConfig, build_teacher
from ivn.load import load_frozen
from ivn.model.positions import resize_table
from ivn.stages.stage1 import Stage1
from tests.frozen.test_teacher import clips, randomised

transformers = pytest.importorskip("transformers")

VIDEOMAE = TeacherConfig("videomae", "tiny", 64, (0, 1, 4), weights="random")
VJEPA2 = replace(VIDEOMAE, kind="vjepa2")
BOTH = pytest.mark.parametrize("config", [VIDEOMAE, VJEPA2], ids=lambda config: config.kind)
SIZES = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}


def saved(kind: str, folder, **changes):
    """A small checkpoint with every part that released ones have; its encoder, in fp64."""
    if kind == "videomae":
        sizes = SIZES | {"intermediate_size": 80, "image_size": 64, "num_frames": 4}
        decoder = {"decoder_hidden_size": 24, "decoder_num_hidden_layers": 1}
        config = transformers.VideoMAEConfig(
            **sizes
            | decoder
            | {"decoder_num_attention_heads": 2, "use_mean_pooling": False}
            | changes
        )
        model = transformers.VideoMAEForPreTraining(config)
        inner = model.videomae
    else:
        predictor = {"pred_hidden_size": 24, "pred_num_hidden_layers": 1}
        config = transformers.VJEPA2Config(
            **SIZES | predictor | {"pred_num_attention_heads": 2, "mlp_ratio": 2.0},
            **{"crop_size": 64, "frames_per_clip": 4, "num_labels": 3} | changes,
        )
        model = transformers.VJEPA2ForVideoClassification(config)
        inner = model.vjepa2
    randomised(model)
    model.save_pretrained(folder)
    return inner.double().eval()


def normalised(video: torch.Tensor, mean=IMAGENET_MEAN, std=IMAGENET_STD) -> torch.Tensor:
    pixels = (video.double() / 255 - torch.tensor(mean).double()) / torch.tensor(std).double()
    return pixels.permute(0, 1, 4, 2, 3)


def theirs(kind: str, model, pixels: torch.Tensor):
    """hidden_states and last_hidden_state."""
    extra = {"skip_predictor": True} if kind == "vjepa2" else {}
    with torch.no_grad():
        out = model(pixels, output_hidden_states=True, **extra)
    return out.hidden_states, out.last_hidden_state


@pytest.mark.parametrize("kind", ["videomae", "vjepa2"])
def test_a_teacher_equals_transformers(tmp_path, kind):
    model = saved(kind, tmp_path)
    teacher = build_teacher(TeacherConfig(kind, str(tmp_path), 64, (0, 2, 3))).double()
    video = clips(64, T=4)
    hidden, last = theirs(kind, model, normalised(video))
    targets = teacher(video)
    assert teacher.network.frames_per_slot == 2 and teacher.network.grid == 4
    layers = torch.stack([hidden[tap] for tap in (0, 2, 3)])
    lengths = hidden[3].norm(dim=-1).view(2, 2, 16)
    whole = (layers, last.mean(1, keepdim=True), lengths)
    for ours, expected in zip(targets, whole, strict=True):
        atol = 1e-6 * expected.abs().max().item()
        torch.testing.assert_close(ours, expected, rtol=0, atol=atol)
    assert layers.var(2).min() > 1e-6 and not torch.allclose(layers[2], last)


def test_positions_of_other_grids_are_those_of_the_model_built_for_them(tmp_path):
    """V-JEPA 2 turns by place, so a model of another crop is the same network."""
    model = saved("vjepa2", tmp_path)
    teacher = build_teacher(TeacherConfig("vjepa2", str(tmp_path), 96, (3,))).double()
    for layer in model.encoder.layer:
        layer.attention.grid_size = 6
    video = clips(96, T=8)
    hidden, _ = theirs("vjepa2", model, normalised(video))
    torch.testing.assert_close(teacher(video).layers[0], hidden[3], rtol=0, atol=1e-6)


def test_positions_of_videomae_are_interpolated(tmp_path):
    model = saved("videomae", tmp_path)
    teacher = build_teacher(TeacherConfig("videomae", str(tmp_path), 96, (0,))).double()
    video = clips(96, T=8)
    table = model.embeddings.position_embeddings.double()
    tubes = model.embeddings.patch_embeddings.projection(normalised(video).transpose(1, 2))
    expected = tubes.flatten(2).mT + resize_table(table, (2, 4, 4), (4, 6, 6))
    torch.testing.assert_close(teacher(video).layers[0], expected, rtol=0, atol=1e-6)


def test_a_checkpoint_without_a_last_norm_is_pooled_without_one(tmp_path):
    model = saved("videomae", tmp_path, use_mean_pooling=True)
    teacher = build_teacher(TeacherConfig("videomae", str(tmp_path), 64, (3,))).double()
    video = clips(64, T=4)
    _, last = theirs("videomae", model, normalised(video))
    torch.testing.assert_close(teacher(video).pooled[:, 0], last.mean(1), rtol=0, atol=1e-6)


@BOTH
def test_the_processors_pixels_are_the_teachers(tmp_path, config):
    saved(config.kind, tmp_path)
    name = "preprocessor" if config.kind == "videomae" else "video_preprocessor"
    stated = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (tmp_path / f"{name}_config.json").write_text(json.dumps(stated))
    network = build_teacher(
        replace(config, source=str(tmp_path), weights="pretrained", taps=(3,))
    ).network
    assert (network.mean, network.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


@BOTH
def test_what_tubes_do_not_take_is_refused_and_bfloat16_is_near(config):
    teacher = build_teacher(config)
    video = clips(64, B=3, T=4)
    whole = teacher(video)
    assert [tuple(x.shape) for x in whole] == [(3, 3, 32, 48), (3, 1, 48), (3, 2, 16)]
    with pytest.raises(ValueError, match="3 frames, expected a multiple of 2"):
        teacher(clips(64, T=3))
    with pytest.raises(ValueError, match=r'set stage\.teacher_input = "decoded"'):
        teacher(torch.randn(1, 3, 4, 64, 64))
    rough = build_teacher(replace(config, dtype="bfloat16"))(video)
    near = torch.cosine_similarity(rough.layers.float(), whole.layers, dim=-1)
    assert rough.layers.dtype == torch.bfloat16 and near.min() > 0.99


@BOTH
def test_the_clips_of_a_stage_have_twice_the_students_frames(config):
    from tests.small import random_batch, small_config, small_stage

    taps = "stage.teacher.taps=[4]"
    settings = small_config("stage1-tiny", f"stage.teacher.kind={config.kind}", taps)
    stage = small_stage(settings)
    assert stage.clip_specs["teacher"].frames == 2 * stage.clip_specs["student"].frames == 8
    assert isinstance(stage, Stage1)
    terms = stage.loss(random_batch(stage))
    assert terms["layers"].total.isfinite()


@pytest.mark.parametrize(
    ("kind", "source", "width", "blocks"),
    [
        ("videomae", "MCG-NJU/videomae-small-finetuned-ssv2", 384, 12),
        ("vjepa2", "facebook/vjepa2-vitl-fpc64-256", 1024, 24),
        ("vjepa2", "facebook/vjepa2-vitg-fpc64-384-ssv2", 1408, 40),
    ],
)
def test_every_size_is_known_by_its_name(monkeypatch, kind, source, width, blocks):
    def on_meta(model_class, config):
        with torch.device("meta"):
            return model_class(config)

    monkeypatch.setattr("ivn.frozen.hf.random_model", on_meta)
    teacher = build_teacher(TeacherConfig(kind, source, 256, (blocks,), weights="random"))
    assert (teacher.width, teacher.grid, len(teacher.network.blocks)) == (width, 16, blocks)


@BOTH
def test_what_does_not_fit_is_told_in_a_line(tmp_path, config):
    def message(**changes):
        with pytest.raises(ValueError) as caught:
            build_teacher(replace(config, **changes))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no source: give stage.teacher.source" in message(source="")
    assert "multiple of the teacher's patch size 16: 256 for 16 x 16" in message(image_size=100)
    assert "in [0, 4]" in message(taps=(2, 5))
    folder = {"source": str(tmp_path), "weights": "pretrained"}
    assert "neither a folder" in message(**folder)
    other = "vjepa2" if config.kind == "videomae" else "videomae"
    saved(other, tmp_path)
    assert f"is a '{other}' checkpoint, expected '{config.kind}'" in message(**folder)
    saved(config.kind, tmp_path, tubelet_size=4)
    assert "tokens of 4 frames, not 2" in message(**folder, taps=(3,))


@BOTH
def test_pickled_weights_are_not_read(tmp_path, config):
    model = saved(config.kind, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"neither a folder .* \(as safetensors\)"):
        build_teacher(replace(config, source=str(tmp_path), weights="pretrained", taps=(3,)))


def test_a_videomae_spelt_as_published_keeps_its_biases(tmp_path):
    """Keys have no bias there; queries and values have theirs beside the layers."""
    sizes = SIZES | {"intermediate_size": 96, "image_size": 64, "num_frames": 4}
    model = transformers.VideoMAEModel(transformers.VideoMAEConfig(**sizes)).eval()
    randomised(model)
    published = {}
    for key, value in model.state_dict().items():
        spelt = key.replace("query.bias", "q_bias").replace("value.bias", "v_bias")
        if key.endswith("key.bias"):
            value.zero_()
        else:
            published[f"videomae.{spelt}"] = value.clone()
    assert sum(key.endswith(("q_bias", "v_bias")) for key in published) == 6
    save_file(published, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_dict()))
    video = clips(64, T=4)
    with torch.no_grad():
        expected = model(normalised(video).float()).last_hidden_state
    found = load_frozen(f"hf:{tmp_path}", frames=4).features(video, "none").flatten(1, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    del published["videomae.encoder.layer.1.attention.attention.q_bias"]
    save_file(published, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 of .* transformers \d.*5\.18 or newer"):
        load_frozen(f"hf:{tmp_path}", frames=4)
