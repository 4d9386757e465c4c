"""Loads an encoder from a file, a folder, a preset's name or a hub id."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ivn.errors import EncoderError

from .config.presets import PRESETS
from .data.batch import ClipSpec
from .frozen import LIBRARIES, RAW, read_network
from .frozen.encoders import Frozen, FrozenEncoder, FrozenNetwork, FrozenPixels
from .model import hub, weights
from .model.encoder import Encoder, EncoderConfig, build_encoder
from .model.model import Model
from .model.predictor import AnyPredictorConfig
from .model.sizes import Size, Sizes, both_sides, check_given
from .model.weights import load_diffusion_decoder

__all__ = ["EncoderError", "load_diffusion_decoder", "load_encoder", "load_frozen", "load_model"]

_FRAMES = 16  # of clips for what takes any number
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".json")


def load_encoder(
    source: str | Path,
    *,
    image_size: Size | None = None,
    num_frames: int | None = None,
    num_heads: int | None = None,
    pool_heads: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Encoder:
    """Returns an encoder in evaluation mode.

    >>> encoder = ivn.load_encoder("stage1-tiny")     # random weights of a preset's sizes
    >>> encoder = ivn.load_encoder("my-run")          # the newest checkpoint of a run
    >>> encoder = ivn.load_encoder("encoder.safetensors", image_size=224, num_frames=16,
    ...                            num_heads=12, pool_heads=16)

    Args:
        source: a run folder, a checkpoint folder, a weights file (InternVideo2's, too), a preset's
            name or a hub id.
        image_size: pixels of the checkpoint's position table, one number or (height, width).
        num_frames: frames of that table.
        num_heads, pool_heads: attention heads of the blocks and of the pooling head.
            These four are needed only for weights without a ``config.json`` beside them (a released
            InternVideo2 needs none), and replace a preset's own. The encoder takes clips of other
            sizes and lengths, too.
        device: device of the encoder; the CPU without it.
        dtype: number type of parameters and arithmetic: float32, bfloat16 or float64, on a GPU also
            float16; float32 without it.

    Raises:
        FileNotFoundError: Nothing has that name.
        ValueError: A size is missing or wrong, or differs from the ``config.json``; a key is
            missing or unexpected; a weight is an integer or not finite. The message names it.
    """
    sizes = _given(image_size, num_frames, num_heads, pool_heads)
    number = _dtype(dtype, device)
    if not Path(source).exists() and str(source) in PRESETS:
        config = _resized(PRESETS[str(source)]().model.encoder, sizes, str(source))
        encoder = build_encoder(config, seed=0).eval()
    else:
        encoder = weights.read_encoder(local(source), sizes)
    return encoder.to(_device(device), number)


def load_model(
    source: str | Path,
    *,
    image_size: Size | None = None,
    num_frames: int | None = None,
    num_heads: int | None = None,
    pool_heads: int | None = None,
    predictor: AnyPredictorConfig | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Model:
    """Returns encoder, predictor, decoder and alignment heads, each None where there is none.

    Reads runs and checkpoints of ivn, and the release's training checkpoints.

    Args:
        source, image_size, num_frames, num_heads, pool_heads, device, dtype: arguments of
            :func:`load_encoder`; ``source`` is no preset.
        predictor: the predictor's sizes; without them those of the ``config.json`` beside the
            weights, or of ModernBERT-large's last layers.
    """
    sizes = _given(image_size, num_frames, num_heads, pool_heads)
    number = _dtype(dtype, device)
    model = weights.read_model(local(source), sizes, predictor)
    return model.to(_device(device), number)


def load_frozen(
    source: str,
    *,
    frames: int | None = None,
    size: int | None = None,
    layer: int = -1,
    image_size: Size | None = None,
    num_frames: int | None = None,
    num_heads: int | None = None,
    pool_heads: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Frozen:
    """Returns any encoder, frozen, behind one function: :class:`ivn.frozen.encoders.Frozen`.

    >>> frozen = ivn.load_frozen("my-run")
    >>> frozen.features(clips, "mean")                # uint8 [B, T, S, S, 3] -> [B, C]

    Args:
        source: a ``source`` of :func:`load_encoder`; "timm:NAME" (timm:hf-hub:ID, timm:FOLDER) for
            a vision transformer of timm; "hf:ID" or "hf:FOLDER" for a video or image encoder of
            transformers (VideoMAE, V-JEPA 2, SigLIP, CLIP, DINOv2, ViT and others), each with
            "@random" behind it for random weights; "raw" for statistics of raw pixels.
        frames: frames of the clips; without it the encoder's own number, or 16 where it takes any.
        size: side of the clips' frames, in pixels; the encoder's own without it.
        layer: block behind which tokens are taken, counted from 0 or back from -1; networks of
            other libraries and "raw" have the last alone.
        image_size, num_frames, num_heads, pool_heads: sizes of the encoder itself, as
            :func:`load_encoder` takes them; not for other libraries' networks or "raw".
        device: device that the encoder computes on; the CPU without it.
        dtype: number type of parameters and arithmetic; float32 without it. "raw" has no choice.

    Raises:
        FileNotFoundError: Nothing has that name.
        EncoderError: The encoder cannot be loaded, or does not take such clips.
    """
    try:
        sizes = _given(image_size, num_frames, num_heads, pool_heads)
        foreign = source == RAW or source.startswith(LIBRARIES)
        if foreign and sizes:
            raise ValueError(f"{source} has no use for {', '.join(sizes)}: its sizes are its own")
        if foreign and layer != -1:
            raise ValueError(
                f"{source}: layer {layer}, expected -1, what it gives in the end: layers can be "
                "chosen of encoders of ivn"
            )
        if source == RAW and dtype is not None:
            raise ValueError(f"{source}: dtype {dtype}, expected none: it computes in fp64")
        if source == RAW:
            spec = ClipSpec(_FRAMES if frames is None else frames, 224 if size is None else size)
            return FrozenPixels(source, spec)
        if foreign:
            number = _dtype(dtype, device)
            network = read_network(source, image_size=size).to(_device(device), number)
            spec = ClipSpec(_FRAMES if frames is None else frames, network.image_size)
            return FrozenNetwork(source, network, spec)
        encoder = load_encoder(source, device=device, dtype=dtype, **sizes)
        return FrozenEncoder(source, encoder, _spec(source, encoder, frames, size), layer=layer)
    except (ValueError, ImportError) as error:
        raise EncoderError(str(error)) from error


def _spec(source: str, encoder: Encoder, frames: int | None, size: int | None) -> ClipSpec:
    config = encoder.config
    if size is None and config.image_height != config.image_width:
        raise ValueError(
            f"{source} is of frames of {config.image_height} x {config.image_width} pixels: give "
            "the side of the square frames that it is to see"
        )
    return ClipSpec(
        config.num_frames if frames is None else frames,
        config.image_height if size is None else size,
    )


def _given(
    image_size: Size | None, num_frames: int | None, num_heads: int | None, pool_heads: int | None
) -> dict[str, Any]:
    sizes = {
        "image_size": image_size,
        "num_frames": num_frames,
        "num_heads": num_heads,
        "pool_heads": pool_heads,
    }
    return {name: value for name, value in sizes.items() if value is not None}


def _resized(config: EncoderConfig, sizes: Sizes, where: str) -> EncoderConfig:
    """Returns the config with the given sizes."""
    check_given(sizes, where)
    height, width = both_sides(sizes.get("image_size", (config.image_height, config.image_width)))
    if height % config.patch_size or width % config.patch_size:
        raise ValueError(
            f"{where}: image_size is {height} x {width}, expected multiples of its patch size "
            f"{config.patch_size}"
        )
    for name in ("num_heads", "pool_heads"):
        if config.width % sizes.get(name, 1):
            raise ValueError(
                f"{where}: {name} is {sizes[name]}, but its width {config.width} does not divide "
                f"into {sizes[name]} heads"
            )
    return replace(
        config,
        image_height=height,
        image_width=width,
        num_frames=sizes.get("num_frames", config.num_frames),
        heads=sizes.get("num_heads", config.heads),
        pool_heads=sizes.get("pool_heads", config.pool_heads),
    )


def _device(device: torch.device | str | None) -> torch.device | str:
    return "cpu" if device is None else device


def _dtype(dtype: torch.dtype | None, device: torch.device | str | None) -> torch.dtype:
    """Returns the number type to compute in.

    Raises:
        ValueError: The device does not compute in it.
    """
    if dtype is None:
        return torch.float32
    if not dtype.is_floating_point or dtype.itemsize < 2:
        raise ValueError(f"dtype is {dtype}, expected torch.float32 or torch.bfloat16")
    if dtype == torch.float16 and torch.device(_device(device)).type == "cpu":
        raise ValueError(
            f"dtype is {dtype}, in which a CPU does not compute: give torch.bfloat16 or "
            "torch.float32"
        )
    return dtype


def local(source: str | Path) -> Path:
    """Returns the file or folder of weights that ``source`` means; a hub id is fetched first.

    Raises:
        FileNotFoundError: Nothing has that name.
        ValueError: The name is a preset's, or the hub's client is not installed.
    """
    path, name = Path(source), str(source)
    if path.exists():
        return path
    if name in PRESETS:
        raise ValueError(f"{name} is a preset without weights: give a run, a file or a hub id")
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or path.suffix in _SUFFIXES:
        raise FileNotFoundError(
            f"no encoder {name!r}: expected a run folder, a weights file, a hub id (owner/name) or "
            f"one of {', '.join(sorted(PRESETS))}"
        )
    return hub.fetch(name)
