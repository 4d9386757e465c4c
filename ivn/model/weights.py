"""Loads checkpoints, the release's and our own, as networks of the files' sizes."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from .alignment import Alignment
from .checkpoints import weights_file
from .decoder import Decoder, DiffusionDecoder, LatentHead, PixelDecoder, PixelHead
from .encoder import Encoder, EncoderConfig
from .internvideo2 import encoder_state, inferred_sizes
from .model import Model
from .predictor import (
    AnyPredictorConfig,
    Predictor,
    PredictorConfig,
    predictor_config,
    with_layers,
)
from .sizes import CARD, NOT_IN_SHAPES, Sizes, both_sides, card_beside, card_of, sizes_of
from .state_dict import (
    State,
    check_weight,
    read_state,
    shared_prefix,
    training_parts,
    with_our_keys,
)

# Parts with files of their own, by their names, beside our encoder.
_BESIDE = ("predictor", "decoder", "alignment", "pixel_decoder", "second_alignment")


def read_encoder(path: Path, sizes: Sizes) -> Encoder:
    """Returns the encoder of a checkpoint, in fp32, in evaluation mode.

    Args:
        path: file of weights, or folder with one.
        sizes: sizes that are not in a ``config.json`` beside the weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a size is missing or wrong, or keys are missing or unexpected.
    """
    file = weights_file(path, "encoder")
    return _encoder(_parts(file), sizes, file).eval()


def read_model(path: Path, sizes: Sizes, predictor: AnyPredictorConfig | None) -> Model:
    """Returns all networks of a checkpoint; see :func:`read_encoder`.

    If ``predictor`` is None, its sizes are those in the ``config.json`` beside the weights, or
    those of ModernBERT-large's last layers.
    """
    file = weights_file(path, "encoder")
    parts = defaultdict(dict, _parts(file))
    files = dict.fromkeys(_BESIDE, file)  # for messages
    if file.name == "encoder.safetensors":
        for name in _BESIDE:
            beside = file.with_name(f"{name}.safetensors")
            if beside.exists():
                parts[name], files[name] = read_state(beside), beside
    encoder = _encoder(parts, sizes, file)
    second = _alignment(parts["second_alignment"], encoder.config, files["second_alignment"])
    return Model(
        encoder,
        _predictor(parts["predictor"], predictor, encoder.config, files["predictor"]),
        _decoder(parts, files["decoder"]),
        _alignment(parts["alignment"], encoder.config, files["alignment"]),
        pixel_decoder=_pixel_decoder(parts["pixel_decoder"], files["pixel_decoder"]),
        second_alignment=second,
    ).eval()


def recorded(path: Path) -> dict[str, Any]:
    """Returns the model in the ``config.json`` beside the weights at ``path``; {} without one."""
    return card_beside(weights_file(path, "encoder"))


def load_diffusion_decoder(path: str | Path) -> DiffusionDecoder:
    """Returns the diffusion decoder of a checkpoint, in evaluation mode, with the weights' sizes.

    Its ``loss_terms(target, z, timestep, noise)`` returns ``(mse, variational)`` for each row.
    """
    file = weights_file(Path(path), "decoder")
    state = with_our_keys(read_state(file), str(file))
    own = {key.removeprefix("diffloss."): value for key, value in state.items() if "net." in key}
    if not own:
        raise ValueError(f"{file} has no diffusion decoder: no key begins with 'net.'")
    return _diffusion(own, file).eval()


def _parts(file: Path) -> dict[str, State]:
    state = read_state(file)
    internvideo2 = encoder_state(state, str(file))
    if internvideo2:
        return {"encoder": internvideo2}
    return {"encoder": {}} | training_parts(state, str(file))


def _encoder(parts: Mapping[str, State], given: Sizes, file: Path) -> Encoder:
    sizes = sizes_of(file, given)
    if _family(parts["encoder"]) == "internvideo2":
        sizes = inferred_sizes(parts["encoder"], sizes)
    config = _encoder_config(parts["encoder"], sizes, str(file))
    return _filled(Encoder, (config,), parts["encoder"], file)


def _predictor(
    state: State, sizes: AnyPredictorConfig | None, encoder: EncoderConfig, file: Path
) -> Predictor | None:
    if not state:
        return None
    if sizes is None:
        beside = card_beside(file).get("predictor")
        try:
            sizes = predictor_config(beside) if beside else PredictorConfig()
        except ValueError as error:
            raise ValueError(f"{card_of(file)}: {error}") from None
    output = "Wo" if isinstance(sizes, PredictorConfig) else "proj"
    found = _shape(state, f"layers.0.attn.{output}.weight", str(file), 2)[0]
    if found != sizes.width:
        raise ValueError(
            f"{file}: its predictor is {found} wide, not {sizes.width}: its heads, windows and "
            "places cannot be read off the weights: pass predictor=PredictorConfig(...)"
        )
    sizes = with_layers(sizes, _count(state, "layers", str(file)))
    return _filled(Predictor, (sizes, encoder.width, encoder.grid), state, file)


def _encoder_config(state: State, sizes: Sizes, where: str) -> EncoderConfig:
    """Returns the config of an encoder with these weights and the given other sizes."""
    features = _shape(state, "cls_token", where, 3)[2]
    missing = [name for name in NOT_IN_SHAPES if name not in sizes]
    if missing:
        raise ValueError(
            f"{where}: {', '.join(missing)} cannot be read off the weights and no {CARD} beside "
            f"them tells: pass {', '.join(f'{name}=' for name in missing)} (on the command line "
            f"{' '.join(f'--{name}' for name in missing).replace('_', '-')}), or write {CARD}"
        )
    height, width = both_sides(sizes["image_size"])
    for name in ("num_heads", "pool_heads"):
        if features % sizes[name]:
            raise ValueError(
                f"{where}: {name} is {sizes[name]}, but width {features} does not divide into "
                f"{sizes[name]} heads: correct it, in {CARD} if it is from there"
            )
    config = EncoderConfig(
        width=features,
        depth=_count(state, "blocks", where),
        heads=sizes["num_heads"],
        hidden=_shape(state, "blocks.0.mlp.fc1.weight", where, 2)[0],
        image_height=height,
        image_width=width,
        num_frames=sizes["num_frames"],
        patch_size=_shape(state, "patch_embed.proj.weight", where, 5)[4],
        pool_heads=sizes["pool_heads"],
        pool_width=_shape(state, "clip_projector.cross_attn.proj.weight", where, 2)[0],
        family=_family(state),
        image_table=_family(state) == "internvideo2" and "img_pos_embed" in state,
    )
    if config.depth != sizes.get("depth", config.depth):
        raise ValueError(
            f"{where} has {config.depth} blocks, the config.json beside it says {sizes['depth']}"
        )
    rows = _shape(state, "pos_embed", where, 3)[1]
    frames, h, w = config.grid
    if rows != config.cls_tokens + frames * h * w:
        raise ValueError(
            f"{where}: pos_embed has {rows} rows, but {frames} frames of {height} x {width} "
            f"pixels need {config.cls_tokens} + {frames} * {h} * {w}: check num_frames and "
            f"image_size, in {CARD} if they are from there"
        )
    return config


def _family(state: State) -> Literal["internvideo_next", "internvideo2"]:
    token = state.get("cls_token")
    lone = token is not None and token.ndim == 3 and token.shape[1] == 1
    return "internvideo2" if lone else "internvideo_next"


def _filled(kind: type[nn.Module], arguments: tuple, state: State, file: Path) -> Any:
    """Returns ``kind(*arguments)`` with exactly the tensors of ``state``, in fp32."""
    with torch.device("meta"):
        module = kind(*arguments)
    expected = module.state_dict()
    for key in (key for key in expected if key in state):
        check_weight(key, state[key], str(file))
    problems = [f"missing {key}" for key in expected if key not in state]
    problems += [f"unexpected {key}" for key in state if key not in expected]
    problems += [
        f"{key} is {list(state[key].shape)}, expected {list(value.shape)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(f"{file}: {kind.__name__}: {'; '.join(problems[:8])}{more}")
    module.load_state_dict({k: v.float().contiguous() for k, v in state.items()}, assign=True)
    return module.requires_grad_(True)


def _decoder(parts: Mapping[str, State], file: Path) -> Decoder | None:
    # Our own files call each kind "decoder"; keys tell the kinds apart.
    state = parts["diffusion"] or parts["latent"] or parts["decoder"]
    if "head.0.weight" in state:
        arguments = (state["head.0.weight"].shape[1], state["head.2.weight"].shape[0])
        return _filled(LatentHead, arguments, state, file)
    return _pixel_decoder(state, file)


def _pixel_decoder(state: State, file: Path) -> PixelDecoder | None:
    if not state:
        return None
    if "net.time_embed.mlp.0.weight" in state:
        return _diffusion(state, file)
    last = _count(state, "net", str(file)) - 1  # every second is an activation
    width, condition = _shape(state, "net.0.weight", str(file), 2)
    target = _shape(state, f"net.{last}.weight", str(file), 2)[0]
    return _filled(PixelHead, (target, condition, width, last // 2 + 1), state, file)


def _diffusion(state: State, file: Path) -> DiffusionDecoder:
    width, target = _shape(state, "net.input_proj.weight", str(file), 2)
    condition = _shape(state, "net.cond_embed.weight", str(file), 2)[1]
    arguments = (target, condition, width, _count(state, "net.res_blocks", str(file)))
    return _filled(DiffusionDecoder, arguments, state, file)


def _alignment(state: State, encoder: EncoderConfig, file: Path) -> Alignment | None:
    if not state:
        return None
    layers = _count(state, "layers", str(file))
    pooled = "pooled.norm.weight"
    pool_width, goal = 0, 0
    if pooled in state:
        pool_width, goal = encoder.pool_width, _shape(state, pooled, str(file), 1)[0]
    norm = "layers.0.norm.weight" if layers else pooled
    teacher_width = _shape(state, norm, str(file), 1)[0]
    arguments = (layers, encoder.width, teacher_width, pool_width, goal, encoder.grid)
    return _filled(Alignment, arguments, state, file)


def _shape(state: State, key: str, where: str, ndim: int) -> torch.Size:
    if key not in state:
        prefix = shared_prefix(state)
        wrapped = prefix and any(other.endswith(f".{key}") for other in state)
        more = f"; all of its keys begin with {prefix!r}: take that off them" if wrapped else ""
        raise ValueError(f"{where}: missing {key}{more}")
    if state[key].ndim != ndim:
        raise ValueError(f"{where}: {key} is {list(state[key].shape)}, expected {ndim} dimensions")
    return state[key].shape


def _count(state: State, prefix: str, where: str) -> int:
    """Returns the number of numbered modules under ``prefix``."""
    place = prefix.count(".") + 1
    places = (key.split(".")[place] for key in state if key.startswith(f"{prefix}."))
    last = max((int(number) for number in places if number.isdecimal()), default=-1)
    # Otherwise that many modules would be built before one is found to be missing.
    if last > 2 * len(state):
        raise ValueError(
            f"{where}: {prefix}.{last} is numbered beyond all of its {len(state)} keys"
        )
    return last + 1
