"""Vision transformers of timm as teachers: what they give is what timm gives."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from ivn.frozen import TeacherConfig, build_teacher
from tests.frozen.test_teacher import clips, randomised

timm = pytest.importorskip("timm")

# 6 blocks, 64 wide, a cls token; 9 blocks, 96 wide, an attention pool; 8 blocks, a mean.
CLS = TeacherConfig("timm", "test_vit.r160_in1k", 64, (1, 4, 6), weights="random")
MAP = replace(CLS, source="test_vit3.r160_in1k", taps=(2, 9))
MEAN = replace(CLS, source="test_vit2.r160_in1k", taps=(8,))
LARGE = [
    # name, its side, tokens a side, prefix, kind of attention
    ("vit_base_patch16_siglip_256.webli", 256, 16, 0, "pool"),
    ("vit_base_patch14_dinov2.lvd142m", 224, 16, 1, "cls"),
    ("vit_large_patch14_reg4_dinov2.lvd142m", 224, 16, 5, "cls"),
    ("vit_base_patch16_clip_224.openai", 256, 16, 1, "cls"),
    ("vit_base_patch16_dinov3.lvd1689m", 256, 16, 5, "cls"),
    ("beit_base_patch16_224", 256, 16, 1, "cls"),
]


def saved(folder: Path, name: str, size: int, **changes) -> nn.Module:
    """A model of random weights, saved as timm saves models in a folder."""
    model = timm.create_model(name, num_classes=0, img_size=size, **changes).eval()
    randomised(model)
    timm.models.save_for_hf(model, folder, safe_serialization=True)
    return model.double()


def expected(model: nn.Module, images: torch.Tensor, taps) -> tuple[torch.Tensor, ...]:
    """Tapped layers, what the classifier reads, and the attention, told by its own hooks."""
    seen, last = [], model.blocks[-1]
    handles = [
        model.blocks[tap - 1].register_forward_hook(lambda _m, _i, out: seen.append(out))
        for tap in taps
    ]
    normed = []
    handles.append(last.norm1.register_forward_hook(lambda _m, _i, out: normed.append(out)))
    with torch.no_grad():
        hidden = model.forward_features(images)
        pooled = model.forward_head(hidden, pre_logits=True)
    for handle in handles:
        handle.remove()
    p, H = model.num_prefix_tokens, last.attn.num_heads
    if model.attn_pool is not None:
        pool, x = model.attn_pool, hidden
        q = pool.q(pool.latent).view(1, pool.num_heads, -1)
        k = pool.kv(x)[..., : x.shape[-1]].unflatten(-1, (pool.num_heads, -1))
        scores = torch.einsum("ihd,inhd->ihn", q, k) * k.shape[-1] ** -0.5
        attention = scores.softmax(-1).mean(1)[:, p:]  # this one's pool sees its cls token too
    elif model.global_pool == "token":
        q, k, _ = last.attn.qkv(normed[0]).chunk(3, -1)
        q, k = (x.unflatten(-1, (H, -1)) for x in (q[:, :1], k))
        scores = torch.einsum("iqhd,inhd->ihqn", q, k) * q.shape[-1] ** -0.5
        attention = scores.softmax(-1)[:, :, 0, p:].mean(1)
    else:
        attention = seen[-1][:, p:].norm(dim=-1)
    return torch.stack([x[:, p:] for x in seen]), pooled, attention


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (CLS, {}),
        (CLS, {"reg_tokens": 4}),
        (MAP, {}),
        (MEAN, {"class_token": False, "global_pool": "avg"}),
    ],
    ids=["cls token", "registers", "attention pool", "mean"],
)
def test_a_teacher_equals_timm(tmp_path, config, changes, size):
    saved(tmp_path, config.source, 64, **changes)
    model = timm.create_model(
        f"local-dir:{tmp_path}", pretrained=True, num_classes=0, img_size=size
    )
    config = replace(config, source=str(tmp_path), weights="pretrained", image_size=size)
    teacher = build_teacher(config).double()
    video = clips(size)
    mean, std = (torch.tensor(model.pretrained_cfg[k]).double() for k in ("mean", "std"))
    images = ((video.double() / 255 - mean) / std).flatten(0, 1).permute(0, 3, 1, 2)
    layers, pooled, attention = expected(model.double().eval(), images, config.taps)
    targets, n, D = teacher(video), (size // 16) ** 2, model.num_features
    assert (teacher.grid, teacher.width, teacher.network.frames_per_slot) == (size // 16, D, 1)
    whole = (layers.reshape(-1, 2, 3 * n, D), pooled.view(2, 3, D), attention.view(2, 3, n))
    for ours, theirs in zip(targets, whole, strict=True):
        # Constants of the pixels are rounded to fp32 once, when the teacher is built.
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6 * theirs.abs().max().item())
    assert attention.std() > 1e-6
    # Asked alone, attention and layers are the same, and the fused attention is as it was.
    for asked in ("layers", "pooled", "attention"):
        flags = {name: name == asked for name in targets._fields}
        torch.testing.assert_close(getattr(teacher(video, **flags), asked), getattr(targets, asked))
    assert teacher.network.model.blocks[-1].attn.fused_attn == model.blocks[0].attn.fused_attn


@pytest.mark.parametrize(("name", "size", "grid", "prefix", "attends"), LARGE)
def test_known_teachers_fit_a_student_of_16_by_16_tokens(name, size, grid, prefix, attends):
    from ivn.frozen.timm_vit import TimmNetwork

    with torch.device("meta"):
        model = timm.create_model(name, num_classes=0, img_size=size).eval()
        network = TimmNetwork(model, taps=(12,))
        images = torch.empty(1, 3, size, size)
        taken = []
        with torch.no_grad():
            pooled, weights = network.features(
                images, lambda k, tokens: taken.append(tokens.shape), pooled=True, attention=True
            )
    assert (network.grid, network.prefix, network.has_head) == (grid, prefix, attends == "pool")
    assert taken == [(1, grid**2, network.width)]
    assert pooled.shape == (1, network.width) and weights.shape == (1, grid**2)
    assert network.cls_tokens == (attends == "cls")


def test_names_that_fit_nothing_are_told_in_a_line(tmp_path):
    def message(**changes):
        with pytest.raises(ValueError) as caught:
            build_teacher(replace(CLS, **changes))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "timm cannot load 'vit_nope': Unknown model (vit_nope)" in message(source="vit_nope")
    assert "'resnet18' for frames of 64 pixels, expected a vision" in message(source="resnet18")
    assert "Hiera is no vision transformer with" in message(source="hiera_tiny_224", image_size=224)
    assert "no source: give stage.teacher.source" in message(source="")
    assert "in [1, 6]" in message(taps=(0, 2)) and "in [1, 6]" in message(taps=(7,))
    assert "a multiple of the teacher's patch size 16: 256 for 16 x 16" in message(image_size=70)
    assert "hf-hub:owner/name" in message(source="owner/name")
    saved(tmp_path, CLS.source, 64)
    file, folder = tmp_path / "model.safetensors", str(tmp_path)
    damaged = file.read_bytes()[:2000]
    file.write_bytes(damaged)
    assert "damaged" in message(source=folder, weights="pretrained")
    file.unlink()
    assert "No suitable checkpoints" in message(source=folder, weights="pretrained")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architecture": "resnet18"}))
    assert "expected a vision transformer: ResNet" in message(source=folder)


def test_weights_of_another_model_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    saved(tmp_path, CLS.source, 64)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    del state["blocks.5.mlp.fc2.weight"]
    save_file(state, file)
    with pytest.raises(ValueError, match=r"cannot load .*Missing key.*blocks\.5\.mlp\.fc2"):
        build_teacher(replace(CLS, source=str(tmp_path), weights="pretrained"))


def test_nothing_of_a_pickled_file_runs(tmp_path):
    saved(tmp_path, CLS.source, 64)
    (tmp_path / "model.safetensors").unlink()

    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"state_dict": Payload()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="weights_only=True blocked"):
        build_teacher(replace(CLS, source=str(tmp_path), weights="pretrained"))
    assert not (tmp_path / "owned").exists()
