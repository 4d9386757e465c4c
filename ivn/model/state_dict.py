"""Reads state dicts, and maps wrapped and respelt keys to those of our modules."""

import re
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

from .formats import check_dtype, read_file

State = dict[str, Tensor]

# The keys under which training code saves weights beside other objects.
_WRAPPERS = ("module", "model", "state_dict")

# Names of wrappers: data parallelism, FSDP, torch.compile, recomputation.
_INSIDE = ("module", "_fsdp_wrapped_module", "_orig_mod", "_checkpoint_wrapped_module")
# Names of modules that contain an encoder.
_OUTER = ("model", "backbone", "encoder")
_LAYER_SCALE = re.compile(r"(blocks\.\d+\.ls[12])\.(?:lr_scale|weight)$")

# The release's training keys: their prefix, the part they belong to, and our prefix there.
_TRAINING_KEYS = (
    ("bert_decoder.layers.", "predictor", "layers."),
    ("bert_mask_token", "predictor", "mask_token"),
    ("diff_pos_embed", "predictor", "pos_embed"),
    ("to_bert_proj.", "predictor", "proj."),
    ("diffloss.", "diffusion", ""),
    ("selfdist_decoder.", "latent", ""),
    ("clip_decoder.", "alignment", "layers."),
    ("final_clip_decoder.", "alignment", "pooled."),
    ("clip_pos_embed", "alignment", "pos_embed"),
    # The release builds these and does not use them.
    ("bert_decoder.embeddings.tok_embeddings.weight", "unused", ""),
    ("bert_decoder.embeddings.norm.weight", "unused", ""),
    ("bert_decoder.final_norm.weight", "unused", ""),
    ("selfdist_normproj_decoder.", "unused", ""),
    ("selfdist_proj_clip.", "unused", ""),
)


def read_state(file: Path) -> State:
    """Returns the tensors of a file of weights, or of all shards of an index, without wrappers.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: :func:`ivn.model.formats.read_file` cannot read it, or it holds no dictionary
            of tensors.
    """
    loaded = read_file(file)
    while isinstance(loaded, dict):
        wrapper = next((key for key in _WRAPPERS if isinstance(loaded.get(key), dict)), None)
        if wrapper is None:
            break
        loaded = loaded[wrapper]
    if not isinstance(loaded, dict):
        raise ValueError(f"{file} holds no dictionary of tensors but a {type(loaded).__name__}")
    others = [
        repr(key)
        for key, value in loaded.items()
        if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
    if others:
        more = " and more" if len(others) > 4 else ""
        raise ValueError(
            f"{file} holds no dictionary of tensors: {', '.join(others[:4])}{more} are none; save "
            "the weights alone"
        )
    for key, value in loaded.items():
        if value.is_meta or value.layout != torch.strided:
            found = "a shape without numbers" if value.is_meta else "a sparse tensor"
            raise ValueError(
                f"{file}: {key} is {found}, expected a dense tensor: save it with its numbers"
            )
    return loaded


def check_weight(key: str, value: Tensor, where: str) -> None:
    """Checks that a tensor can be a weight.

    Raises:
        ValueError: its numbers are integers, need a scale (fp8), or are not all finite in fp32.
    """
    check_dtype(key, value.dtype, where)
    if value.is_meta:
        return  # sizes without numbers
    if not value.float().isfinite().all():
        raise ValueError(
            f"{where}: {key} is not finite (NaN or infinity): the weights are damaged, or training "
            "had failed before they were saved"
        )


def training_parts(state: State, where: str) -> dict[str, State]:
    """Returns a training checkpoint's tensors by part ("encoder", ...), under our keys."""
    parts: dict[str, State] = defaultdict(dict)
    for key, value in with_our_keys(state, where).items():
        for theirs, part, ours in _TRAINING_KEYS:
            if key.startswith(theirs):
                parts[part][ours + key.removeprefix(theirs)] = value
                break
        else:
            parts["encoder"][key] = value
    if set(parts["alignment"]) == {"pos_embed"}:  # stage two keeps the table and none of the heads
        parts["unused"] |= parts.pop("alignment")
    return dict(parts)


def with_our_keys(state: State, where: str) -> State:
    """Returns the same tensors under the keys of our modules."""
    found: State = {}
    for given in state:
        key = _LAYER_SCALE.sub(r"\1.gamma", _inner(given))
        if key in found:
            raise ValueError(f"{where} has {key} under more than one name, among them {given}")
        found[key] = state[given]
    return found


def shared_prefix(state: State) -> str:
    """Returns the prefix of all keys up to their first dot, included; "" if they differ."""
    first = {key.partition(".")[0] for key in state if "." in key}
    whole = all("." in key for key in state)
    return f"{first.pop()}." if whole and len(first) == 1 else ""


def _inner(key: str) -> str:
    """Returns ``key`` without the names of wrappers of its module, its parts or the whole model."""
    parts = [part for part in key.split(".") if part not in _INSIDE]
    while len(parts) > 1 and parts[0] in _OUTER:
        del parts[0]
    return ".".join(parts)
