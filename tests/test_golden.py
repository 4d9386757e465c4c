"""Our networks give what the official ones gave, on every instance in the folder IVN_GOLDEN.

An instance is ``<kind>_<name>.json`` with the sizes, ``.weights.safetensors`` under the official
keys and ``.io.safetensors`` with inputs, outputs and gradients. Tolerances are relative to the
reference's largest magnitude.
"""

import json
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import ivn
from ivn.config.presets import PRESETS
from ivn.model.diffusion import cosine_schedule, training_steps
from ivn.model.predictor import Predictor, PredictorConfig
from ivn.ops import gather_tokens
from ivn.ops.diffusion import add_noise
from ivn.stages.semantic import AlignmentTargets
from ivn.stages.stage1 import Stage1
from ivn.stages.stage2 import Stage2

FOLDER = Path(os.environ.get("IVN_GOLDEN", Path(__file__).parent / "golden"))
OUTPUT, GRADIENT = 1e-5, 1e-4
TERM = 1e-4  # of the diffusion loss, whose first steps amplify rounding


def instances(kind: str) -> list[Path]:
    found = sorted(FOLDER.glob(f"{kind}_*.json"))
    assert found, f"no {kind}_*.json in {FOLDER}"
    return found


def each(kind: str):
    return pytest.mark.parametrize("sizes_file", instances(kind), ids=lambda file: file.stem)


def assert_near(actual, expected, tolerance, what=""):
    assert actual.shape == expected.shape, what
    error = (actual.detach() - expected).abs().max() / expected.abs().max()
    assert error <= tolerance, f"{what}: {error:.2e} exceeds {tolerance:.0e}"


def read(sizes_file: Path):
    name = sizes_file.stem
    weights = sizes_file.with_name(f"{name}.weights.safetensors")
    io = load_file(sizes_file.with_name(f"{name}.io.safetensors"))
    return json.loads(sizes_file.read_text()), weights, io


def encoder_sizes(sizes: dict) -> dict:
    return {
        "image_size": sizes["img_size"],
        "num_frames": sizes["num_frames"],
        "num_heads": sizes["num_heads"],
        "pool_heads": sizes["attn_pool_num_heads"],
    }


@each("encoder")
@torch.no_grad()
def test_encoder(sizes_file):
    sizes, weights, io = read(sizes_file)
    encoder = ivn.load_encoder(weights, **encoder_sizes(sizes))
    assert_near(encoder(io["video"]), io["tokens"], OUTPUT, "tokens")
    assert_near(encoder.pool(io["video"]), io["pooled"], OUTPUT, "pooled")
    tokens, cls = encoder(io["video"], keep=io["keep"], cls=True)
    assert_near(tokens, io["visible_tokens"], OUTPUT, "visible tokens")
    assert_near(cls, io["visible_cls"], OUTPUT, "visible cls")
    pooled = encoder.pool(io["video"], keep=io["keep"])
    assert_near(pooled, io["visible_pooled"], OUTPUT, "visible pooled")


@each("predictor")
@torch.no_grad()
def test_predictor_layer_by_layer(sizes_file):
    sizes, weights, io = read(sizes_file)
    state = load_file(weights)
    ids = sorted({int(key.split(".")[1]) for key in state})
    config = PredictorConfig(
        width=sizes["hidden_size"],
        heads=sizes["num_attention_heads"],
        hidden=sizes["intermediate_size"],
        layers=len(ids),
        total_layers=sizes["num_hidden_layers"],
        global_every=sizes["global_attn_every_n_layers"],
        local_window=sizes["local_attention"] // 2,
        global_theta=sizes["rope_parameters"]["full_attention"]["rope_theta"],
        local_theta=sizes["rope_parameters"]["sliding_attention"]["rope_theta"],
    )
    assert list(config.layer_ids) == ids
    predictor = Predictor(config, encoder_width=16, grid=(1, 1, 1))
    x = io["hidden"]
    for layer, number in zip(predictor.layers, ids, strict=True):
        prefix = f"layers.{number}."
        layer.load_state_dict(
            {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        )
        x = layer(x)
        assert_near(x, io[f"layer{number}"], OUTPUT, f"layer {number}")


@each("diffusion")
def test_diffusion_decoder(sizes_file):
    sizes, weights, io = read(sizes_file)
    schedule = cosine_schedule()
    for table in ("alphas_cumprod", "betas", "posterior_log_variance_clipped"):
        assert_near(getattr(schedule, table), io[table], 1e-12, table)

    decoder = ivn.load_diffusion_decoder(weights)
    assert len(decoder.net.res_blocks) == sizes["depth"]
    z = io["z"].requires_grad_()
    x_t = add_noise(io["target"], io["noise"], io["t"], training_steps(z.device, z.dtype))
    assert_near(x_t, io["x_t"], OUTPUT, "x_t")
    output = decoder.net(x_t, decoder.net.time_embed(io["t"], torch.float32), z)
    assert_near(output, io["net_out"], OUTPUT, "output")

    mse, variational = decoder.loss_terms(io["target"], z, io["t"], io["noise"])
    assert_near(mse, io["mse"], TERM, "mse")
    assert_near(variational, io["vb"], TERM, "variational")
    loss = mse + variational
    assert_near(loss, io["loss"], TERM, "loss")
    loss.mean().backward()
    net = decoder.net
    assert_near(z.grad, io["grad_z"], GRADIENT, "z")
    modulation = net.res_blocks[0].adaLN_modulation[1].weight
    assert_near(modulation.grad, io["grad_block0_ada_w"], GRADIENT, "adaLN")
    assert_near(net.final_layer.linear.weight.grad, io["grad_final_w"], GRADIENT, "final")


def load(sizes: dict, weights: Path):
    p = sizes["predictor"]
    predictor = PredictorConfig(
        width=p["width"],
        heads=p["heads"],
        hidden=p["intermediate"],
        layers=len(p["layer_ids"]),
        total_layers=p["layer_ids"][-1] + 1,
        global_every=p["global_every"],
        local_window=p["local_attention"] // 2,
        global_theta=p["global_theta"],
        local_theta=p["local_theta"],
    )
    model = ivn.load_model(weights, predictor=predictor, **encoder_sizes(sizes["encoder"]))
    assert list(model.predictor.config.layer_ids) == p["layer_ids"]
    return model


def assert_gradients(io, **parameters):
    checked = {name.removeprefix("grad_") for name in io if name.startswith("grad_")}
    assert checked == set(parameters), "a gradient of the file is not compared"
    for name, parameter in parameters.items():
        assert_near(parameter.grad, io[f"grad_{name}"], GRADIENT, name)


@each("stage1")
def test_stage1(sizes_file):
    sizes, weights, io = read(sizes_file)
    model = load(sizes, weights)
    stage = Stage1(PRESETS["stage1-base-official"]().stage, model, {})
    targets = AlignmentTargets(io["teacher_layers"], io["teacher_pooled"])
    seen = stage.student(io["video"], io["visible_index"], io["masked_index"])
    heads = stage.alignment.layers
    for layer, (head, ours, official) in enumerate(
        zip(heads, seen.tapped_layers, io["aligned_layers"], strict=True)
    ):
        # the official heads end in a normalisation that is part of our distance
        assert_near(F.normalize(head(ours), dim=-1), official, OUTPUT, f"aligned layer {layer}")
    assert_near(F.normalize(seen.aligned_pooled, dim=-1), io["aligned_pooled"], OUTPUT, "pooled")

    terms = stage.semantic.terms(seen.tapped_layers, seen.aligned_pooled, targets)
    target = stage.pixel_target(io["video"], io["masked_index"])
    rows = stage.decoder.loss_terms(
        target.flatten(0, 1), seen.predicted.flatten(0, 1), io["timestep"], io["noise"]
    )
    losses = {name: term.total / term.count for name, term in terms.items()}
    losses["diffusion"] = (rows.mse + rows.variational).mean()
    for name, loss in losses.items():
        assert_near(loss, io[f"loss_{name}"], OUTPUT, name)
    sum(losses.values()).backward()
    encoder, predictor = stage.encoder, stage.predictor
    assert_gradients(
        io,
        block0_qkv=encoder.blocks[0].attn.qkv.weight,
        patch_embed=encoder.patch_embed.proj.weight,
        pos_embed=encoder.pos_embed,
        diff_pos=predictor.pos_embed,
        mask_token=predictor.mask_token,
        to_bert=predictor.proj.head[0].weight,
        predictor_last_wo=predictor.layers[-1].attn["Wo"].weight,
        decoder_cond=stage.decoder.net.cond_embed.weight,
    )


@each("stage2")
def test_stage2(sizes_file):
    sizes, weights, io = read(sizes_file)
    official = PRESETS["stage2-base-official"]().stage
    stage = Stage2(official, load(sizes, weights), {}, global_batch=2)
    video, visible, masked = io["video"], io["visible_index"], io["masked_index"]
    target = gather_tokens(stage.look(video), masked)
    assert not target.requires_grad
    assert_near(F.normalize(target, dim=-1), io["target"], OUTPUT, "target")
    predicted = stage.student(video, visible, masked).predicted
    decoded = F.normalize(stage.decoder(predicted), dim=-1)
    assert_near(decoded, io["predicted"], OUTPUT, "predicted")
    term = stage.latent_term(predicted, target)
    loss = term.total / term.count
    assert_near(loss, io["loss"], OUTPUT, "loss")
    loss.backward()
    assert_gradients(
        io,
        block0_qkv=stage.encoder.blocks[0].attn.qkv.weight,
        patch_embed=stage.encoder.patch_embed.proj.weight,
        mask_token=stage.predictor.mask_token,
        selfdist=stage.decoder.head[0].weight,
    )
