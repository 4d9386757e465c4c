"""Tensors out of files: found, read without unpickling, and put under the keys of our modules."""

import pickle
import re
from collections import defaultdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

State = dict[str, Tensor]

_PREFIXES = ("model.", "module.", "_orig_mod.")
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
    # Built by the release, used by nothing.
    ("bert_decoder.embeddings.tok_embeddings.weight", "unused", ""),
    ("bert_decoder.embeddings.norm.weight", "unused", ""),
    ("bert_decoder.final_norm.weight", "unused", ""),
    ("selfdist_normproj_decoder.", "unused", ""),
    ("selfdist_proj_clip.", "unused", ""),
)


def read_state(file: Path) -> State:
    """The tensors of a ``.safetensors``, ``.pt``, ``.pth`` or ``.bin`` file, unwrapped."""
    if not file.exists():
        raise FileNotFoundError(f"no weights at {file}")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(
            f"{file} cannot be read as plain weights: {_remedy(file, error)}"
        ) from error
    for wrapper in ("module", "model", "state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise ValueError(f"{file} holds no dictionary of tensors")
    return loaded


def _remedy(file: Path, error: Exception) -> str:
    """Why plain weights could not be read from ``file``, and what to do."""
    # PyTorch's words for the first object that only unpickling could make.
    held = re.search(r"GLOBAL (\S+) was not an allowed", str(error))
    if held is None:
        return "it is damaged, or not what its name says; fetch or save it again"
    return (
        f"it also holds {held[1]}, and unpickling that runs what its author wrote; if you trust "
        f"the file, keep its tensors alone, in Python: d = torch.load({str(file)!r}, "
        "weights_only=False); torch.save({'module': d.get('module', d.get('model'))}, 'weights.pt')"
    )


def weights_file(path: Path, part: str) -> Path:
    """The file at ``path`` or, in a folder, that of ``part`` or of the whole model."""
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(f"no weights at {path}: expected a file, or a folder with one")
        return path
    patterns = (f"{part}.safetensors", "model.safetensors", "mp_rank_00_model_states.pt")
    nested = sorted(path.glob("checkpoints/step-*"))[-1:]
    for folder in (path, *nested):
        for pattern in patterns:
            if (folder / pattern).exists():
                return folder / pattern
    raise FileNotFoundError(f"{path} holds none of {', '.join(patterns)}")


def training_parts(state: State) -> dict[str, State]:
    """A training checkpoint's tensors by part, under our keys: "encoder", "predictor", ..."""
    parts: dict[str, State] = defaultdict(dict)
    for key, value in spelt(state, "the checkpoint").items():
        for theirs, part, ours in _TRAINING_KEYS:
            if key.startswith(theirs):
                parts[part][ours + key.removeprefix(theirs)] = value
                break
        else:
            parts["encoder"][key] = value
    if set(parts["alignment"]) == {"pos_embed"}:  # stage two keeps the table and none of the heads
        parts["unused"] |= parts.pop("alignment")
    return dict(parts)


def spelt(state: State, where: str) -> State:
    """The same tensors under the keys of our modules."""
    spelt: State = {}
    for given in state:
        key = given
        while key.startswith(_PREFIXES):
            key = key.split(".", 1)[1]
        key = _LAYER_SCALE.sub(r"\1.gamma", key)
        if key in spelt:
            raise ValueError(f"{where} has {key} under more than one name, among them {given}")
        spelt[key] = state[given]
    return spelt
