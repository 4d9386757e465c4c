"""Finds what a user calls an encoder: a file, a folder, a preset's name or a hub id."""

from pathlib import Path
from typing import Any

import torch

from .data.clip import ClipSpec
from .model import weights
from .model.encoder import Encoder, build_encoder
from .model.model import Model
from .model.predictor import AnyPredictorConfig
from .model.teacher import read_network
from .model.weights import Size, load_diffusion_decoder
from .presets import PRESETS
from .probe.frozen import Frozen, FrozenEncoder, FrozenNetwork, FrozenPixels

__all__ = ["EncoderError", "load_diffusion_decoder", "load_encoder", "load_frozen", "load_model"]

_FRAMES = 16  # of clips for what takes any number
_HUB_FILES = ("config.json", "model.safetensors")


class EncoderError(ValueError):
    """What a user calls an encoder is none, or not of the sizes asked for; said in a line."""


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
    """An encoder in evaluation mode.

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
            These four are taken from the ``config.json`` beside the weights, or from here where
            there is none (a released InternVideo2 needs none); clips of other sizes and lengths
            are then simply passed in.
        device: where the encoder goes; the CPU without it.
        dtype: of its parameters and its arithmetic; fp32 without it.

    Raises:
        FileNotFoundError: there is nothing of that name.
        ValueError: a size is missing or wrong, or a key is missing or unexpected; it is named.
    """
    if not Path(source).exists() and str(source) in PRESETS:
        encoder = build_encoder(PRESETS[str(source)]().model.encoder, seed=0).eval()
    else:
        sizes = _given(image_size, num_frames, num_heads, pool_heads)
        encoder = weights.read_encoder(_local(source), sizes)
    return encoder.to(_device(device), _dtype(dtype))


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
    """Encoder, predictor, decoder and alignment heads, each None where ``source`` has none.

    Reads our runs and checkpoints, and the release's training checkpoints.

    Args:
        source, image_size, num_frames, num_heads, pool_heads, device, dtype: as
            :func:`load_encoder`, presets excepted.
        predictor: the predictor's sizes; without them those of the ``config.json`` beside the
            weights, or of ModernBERT-large's last layers.
    """
    sizes = _given(image_size, num_frames, num_heads, pool_heads)
    model = weights.read_model(_local(source), sizes, predictor)
    return model.to(_device(device), _dtype(dtype))


def load_frozen(
    source: str,
    *,
    frames: int | None = None,
    size: int | None = None,
    layer: int = -1,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Frozen:
    """Any encoder, frozen, behind one function: see :class:`ivn.probe.frozen.Frozen`.

    >>> frozen = ivn.load_frozen("my-run")
    >>> frozen.features(clips, "mean")                # uint8 [B, T, S, S, 3] -> [B, C]

    Args:
        source: what :func:`load_encoder` takes; "timm:NAME" (or timm:hf-hub:ID, timm:FOLDER) for
            a vision transformer of timm; "hf:ID" or "hf:FOLDER" for a video or image encoder of
            transformers (VideoMAE, V-JEPA 2, SigLIP, CLIP, DINOv2, ViT and others), each with
            "@random" behind it for random weights; "raw" for statistics of raw pixels.
        frames: of the clips that it will see; without it the encoder's own number, and 16 where
            it takes any.
        size: side of their frames, in pixels; the encoder's own without it.
        layer: block behind which its tokens are taken, counted from 0 or back from -1; of networks
            of other libraries and of "raw" there is the last alone.
        device: where the encoder computes; the CPU without it.
        dtype: of its parameters and its arithmetic; fp32 without it. "raw" has none to choose.

    Raises:
        FileNotFoundError: there is nothing of that name.
        EncoderError: it cannot be loaded, or does not take such clips; in a line.
    """
    try:
        if layer != -1 and (source == "raw" or source.startswith(("timm:", "hf:"))):
            raise ValueError(
                f"{source}: layer {layer}, expected -1, what it gives in the end: layers can be "
                "chosen of encoders of ivn"
            )
        if source == "raw" and dtype is not None:
            raise ValueError(f"{source}: dtype {dtype}, expected none: it computes in fp64")
        if source == "raw":
            spec = ClipSpec(_FRAMES if frames is None else frames, 224 if size is None else size)
            return FrozenPixels(source, spec)
        if source.startswith(("timm:", "hf:")):
            network = read_network(source, image_size=size).to(_device(device), _dtype(dtype))
            spec = ClipSpec(
                _FRAMES if frames is None else frames, network.image_size, network.mean, network.std
            )
            return FrozenNetwork(source, network, spec)
        encoder = load_encoder(source, device=device, dtype=dtype)
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


def _device(device: torch.device | str | None) -> torch.device | str:
    return "cpu" if device is None else device


def _dtype(dtype: torch.dtype | None) -> torch.dtype:
    return torch.float32 if dtype is None else dtype


def _local(source: str | Path) -> Path:
    """``source`` on this machine, fetched from the hub if it is an id."""
    path, name = Path(source), str(source)
    if path.exists():
        return path
    if name in PRESETS:
        raise ValueError(f"{name} is a preset without weights: give a run, a file or a hub id")
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or path.suffix:
        raise FileNotFoundError(
            f"no encoder {name!r}: expected a run folder, a weights file, a hub id (owner/name) or "
            f"one of {', '.join(sorted(PRESETS))}"
        )
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise ValueError(f'{name} is a hub id: pip install "ivn[hf]" to fetch it') from error
    try:
        files = [Path(hf_hub_download(name, file)) for file in _HUB_FILES]
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        reason = str(error).splitlines()[0]
        raise FileNotFoundError(f"{name} cannot be fetched from the hub: {reason}") from error
    return files[-1]
