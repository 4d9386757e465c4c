"""Encoders of timm and transformers, frozen: their features are what their libraries give."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from ivn.errors import EncoderError
from ivn.load import load_frozen
from tests import hub
from tests.frozen.test_teacher import clips, randomised

SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
}
IMAGE = SIZES | {"image_size": 32, "patch_size": 8}
# model type -> what to save, and how much of it stands before the tokens of patches
IMAGES = {
    "vit": ("ViTForImageClassification", "ViTConfig", 1),
    "clip": ("CLIPModel", "CLIPConfig", 1),
    "dinov2": ("Dinov2Model", "Dinov2Config", 1),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", 5),
    "dinov3_vit": ("DINOv3ViTModel", "DINOv3ViTConfig", 5),
    "ijepa": ("IJepaModel", "IJepaConfig", 0),
}
MEANS = {"vit": 0.5, "clip": 0.48145466, "ijepa": 0.485}


def normalised(frozen, video: torch.Tensor) -> torch.Tensor:
    """[B, T, 3, S, S], as the network's library wants it."""
    mean, std = (torch.tensor(x) for x in (frozen.network.mean, frozen.network.std))
    return ((video / 255 - mean) / std).permute(0, 1, 4, 2, 3)


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * theirs.abs().max().item())


def saved_images(kind: str, folder):
    """A small checkpoint; the part of it that looks at images."""
    transformers = pytest.importorskip("transformers")
    model_class, config_class, prefix = IMAGES[kind]
    sizes = IMAGE | ({"num_register_tokens": prefix - 1} if prefix > 1 else {})
    if kind == "clip":
        text = SIZES | {"vocab_size": 50, "max_position_embeddings": 8}
        config = transformers.CLIPConfig(text_config=text, vision_config=sizes)
    else:
        config = getattr(transformers, config_class)(**sizes)
    model = getattr(transformers, model_class)(config)
    randomised(model)
    model.save_pretrained(folder)
    return getattr(model, {"vit": "vit", "clip": "vision_model"}.get(kind, ""), model).eval()


@pytest.mark.parametrize("kind", IMAGES)
def test_image_encoders_of_transformers_look_at_every_frame(tmp_path, kind):
    model, prefix = saved_images(kind, tmp_path), IMAGES[kind][2]
    frozen = load_frozen(f"hf:{tmp_path}", frames=3)
    video = clips(32)
    extra = {} if kind.startswith("dino") else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        hidden = model(normalised(frozen, video).flatten(0, 1), **extra).last_hidden_state
    tokens = hidden[:, prefix:].view(2, 3, 16, 48)
    assert frozen.network.mean[0] == MEANS.get(kind, 0.485)
    assert (frozen.slots, frozen.width, frozen.spec.size) == (3, 48, 32)
    close(frozen.features(video, "none"), tokens)
    close(frozen.features(video, "frames"), tokens.mean(2))
    close(frozen.features(video, "mean"), tokens.mean((1, 2)))
    assert ("cls" in frozen.pools) == (prefix > 0) and "attn" not in frozen.pools
    if prefix:
        close(frozen.features(video, "cls"), hidden[:, 0].view(2, 3, 48))


def test_positions_are_resized_to_the_frames(tmp_path):
    model = saved_images("dinov2", tmp_path)
    frozen = load_frozen(f"hf:{tmp_path}", frames=3, size=48)
    video = clips(48)
    with torch.no_grad():
        hidden = model(normalised(frozen, video).flatten(0, 1)).last_hidden_state
    close(frozen.features(video, "none"), hidden[:, 1:].view(2, 3, 36, 48))


@pytest.mark.parametrize("kind", ["videomae", "vjepa2"])
def test_video_encoders_of_transformers_are_behind_their_last_norm(tmp_path, kind):
    from tests.frozen.test_tubes import saved, theirs

    model = saved(kind, tmp_path).float()
    frozen = load_frozen(f"hf:{tmp_path}", frames=4)
    video = clips(64, T=4)
    _, last = theirs(kind, model, normalised(frozen, video))
    assert (frozen.slots, frozen.pools) == (2, ("none", "frames", "mean"))
    close(frozen.features(video, "none"), last.view(2, 2, 16, 48))
    close(frozen.features(video, "mean"), last.mean(1))
    with pytest.raises(EncoderError, match="clips of 5 frames, expected a multiple of 2"):
        load_frozen(f"hf:{tmp_path}", frames=5)


def test_siglips_pooling_head_is_averaged_over_frames(tmp_path):
    transformers = pytest.importorskip("transformers")
    from tests.frozen.test_teacher import saved_siglip

    tower = saved_siglip(transformers, tmp_path, whole=True).float()
    frozen = load_frozen(f"hf:{tmp_path}", frames=3)
    video = clips(32)
    with torch.no_grad():
        out = tower(normalised(frozen, video).flatten(0, 1))
    close(frozen.features(video, "none"), out.last_hidden_state.view(2, 3, 16, 32))
    close(frozen.features(video, "attn"), out.pooler_output.view(2, 3, 32).mean(1))
    assert frozen.pools == ("none", "frames", "mean", "attn")


@pytest.mark.parametrize(
    ("name", "pool", "changes"),
    [
        ("test_vit.r160_in1k", "cls", {}),
        ("test_vit.r160_in1k", "cls", {"reg_tokens": 4}),
        ("test_vit3.r160_in1k", "attn", {}),
    ],
    ids=["cls token", "registers", "attention pool"],
)
def test_encoders_of_timm_are_behind_their_last_norm(tmp_path, name, pool, changes):
    pytest.importorskip("timm")
    from tests.frozen.test_timm import saved

    model = saved(tmp_path, name, 64, **changes).float()
    frozen = load_frozen(f"timm:{tmp_path}", frames=3, size=64)
    video = clips(64)
    with torch.no_grad():
        hidden = model.forward_features(normalised(frozen, video).flatten(0, 1))
        pooled = model.forward_head(hidden, pre_logits=True)
    D = model.num_features
    close(frozen.features(video, "none"), hidden[:, -16:].view(2, 3, 16, D))
    by_head = hidden[:, 0].view(2, 3, D) if pool == "cls" else pooled.view(2, 3, D).mean(1)
    close(frozen.features(video, pool), by_head)
    assert frozen.pools == ("none", "frames", "mean", pool)


def test_networks_keep_the_promises_of_frozen_encoders():
    pytest.importorskip("timm")
    frozen = load_frozen("timm:test_vit3.r160_in1k@random", frames=2, size=64)
    again = load_frozen("timm:test_vit3.r160_in1k@random", frames=2, size=64)
    other = load_frozen("timm:test_vit3.r160_in1k@random", frames=2, size=96)
    own = load_frozen("timm:test_vit3.r160_in1k@random")
    assert frozen.identity == again.identity != other.identity
    assert (own.spec.frames, own.spec.size) == (16, 160)
    frozen._clips_at_once = 2
    video = clips(64, B=5, T=2)
    for pool in frozen.pools:
        whole = frozen.features(video, pool)
        alone = torch.cat([frozen.features(clip[None], pool) for clip in video])
        assert whole.dtype == torch.float32 and not whole.requires_grad
        torch.testing.assert_close(whole, alone, rtol=1e-5, atol=1e-5)
    half = load_frozen("timm:test_vit3.r160_in1k@random", frames=2, size=64, dtype=torch.bfloat16)
    near = torch.cosine_similarity(half.features(video, "mean"), frozen.features(video, "mean"))
    assert near.min() > 0.99 and half.identity != frozen.identity


def test_heads_that_no_weight_shows_change_the_identity(tmp_path):
    saved_images("dinov2", tmp_path)
    four = load_frozen(f"hf:{tmp_path}", frames=1)
    file = tmp_path / "config.json"
    file.write_text(
        file.read_text().replace('"num_attention_heads": 4', '"num_attention_heads": 2')
    )
    two = load_frozen(f"hf:{tmp_path}", frames=1)
    assert two.network.state_dict().keys() == four.network.state_dict().keys()
    assert two.identity != four.identity


def test_known_names_need_no_files():
    pytest.importorskip("transformers")
    frozen = load_frozen("hf:MCG-NJU/videomae-small-finetuned-ssv2@random", frames=2, size=32)
    assert (frozen.width, frozen.slots) == (384, 1)
    assert frozen.features(clips(32, B=1, T=2), "none").shape == (1, 1, 4, 384)


def test_what_cannot_be_loaded_is_told_in_a_line(tmp_path):
    pytest.importorskip("transformers")
    pytest.importorskip("timm")

    def message(source, **sizes):
        with pytest.raises(EncoderError) as caught:
            load_frozen(source, **sizes)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "expected timm:NAME or hf:ID-or-folder" in message("timm:")
    assert "Unknown model (vit_nope)" in message("timm:vit_nope@random")
    assert "neither a folder" in message(f"hf:{tmp_path}")
    saved_images("vit", tmp_path)
    assert "frames of 30 pixels, expected a multiple of 8" in message(f"hf:{tmp_path}", size=30)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert "is a 'bert' checkpoint, expected one of clip, " in message(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text("{")
    assert "neither a folder" in message(f"hf:{tmp_path}")


def test_pickled_weights_and_code_of_others_are_not_run(tmp_path):
    pytest.importorskip("transformers")
    model = saved_images("dinov2", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"neither a folder .* \(as safetensors\)"):
        load_frozen(f"hf:{tmp_path}")
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\n")
    auto = '{"auto_map": {"AutoConfig": "code.Config"}, "model_type": "custom"}'
    (tmp_path / "config.json").write_text(auto)
    with pytest.raises(EncoderError):
        load_frozen(f"hf:{tmp_path}")
    assert not (tmp_path / "owned").exists()


def test_without_a_network_every_library_says_so_in_a_line(tmp_path):
    pytest.importorskip("transformers")
    pytest.importorskip("timm")
    code = (
        "from ivn.load import EncoderError, load_frozen\n"
        "for source in ('hf:facebook/dinov2-base', 'timm:test_vit.r160_in1k'):\n"
        "    try: load_frozen(source)\n"
        "    except EncoderError as error: print(error)"
    )
    one, other = hub.run(code, tmp_path).splitlines()
    assert "'facebook/dinov2-base' is neither a folder" in one
    assert other.startswith("timm cannot load 'test_vit.r160_in1k'")


@pytest.mark.parametrize("module", ["timm", "transformers"])
def test_a_missing_library_is_a_line_that_names_the_extra(monkeypatch, module):
    import sys

    pytest.importorskip(module)
    monkeypatch.setitem(sys.modules, module, None)
    source = "timm:test_vit" if module == "timm" else "hf:facebook/dinov2-base"
    extra = {"timm": "timm", "transformers": "hf"}[module]
    with pytest.raises(EncoderError, match=rf'pip install "ivn\[{extra}\]"$'):
        load_frozen(source)


def quantised(state):
    return {key: (value * 100).to(torch.int8) for key, value in state.items()}


def with_nan(state):
    key = next(key for key in state if "norm" in key and key.endswith("bias"))
    return state | {key: torch.full_like(state[key], float("nan"))}


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.parametrize("library", ["hf", "timm"])
def test_weights_of_other_libraries_that_are_none_are_refused_in_a_line(tmp_path, library):
    if library == "hf":
        saved_images("vit", tmp_path)
    else:
        timm = pytest.importorskip("timm")
        model = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=1, img_size=32)
        timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    file = tmp_path / "model.safetensors"
    good = load_file(file)
    counted = good | {"extra.position_ids": torch.arange(3)}
    if library == "hf":
        save_file(counted, file, metadata={"format": "pt"})
        assert load_frozen(f"hf:{tmp_path}", frames=2).width == 48
    for change, words in ((quantised, "is int8, expected float32"), (with_nan, "is not finite")):
        save_file(change(good), file, metadata={"format": "pt"})
        with pytest.raises(EncoderError, match=words):
            load_frozen(f"{library}:{tmp_path}", frames=2)
    for content, words in ((POINTER, "Git LFS pointer"), (b"", "damaged"), (b"x" * 99, "damaged")):
        file.write_bytes(content)
        with pytest.raises(EncoderError, match=words) as caught:
            load_frozen(f"{library}:{tmp_path}", frames=2)
        assert str(file) in str(caught.value)
    if library == "timm":
        file.unlink()
        torch.save(quantised(good), tmp_path / "pytorch_model.bin")
        with pytest.raises(EncoderError, match=r"pytorch_model\.bin: .* is int8"):
            load_frozen(f"timm:{tmp_path}", frames=2)
