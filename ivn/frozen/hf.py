"""Reads networks of transformers, without unpickling, and how their pixels are normalised."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ivn.model.hub import check_published

Pixels = tuple[tuple[float, float, float], tuple[float, float, float]]  # mean, standard deviation

_FACTS = ("model_type", "num_attention_heads", "layer_norm_eps", "hidden_act", "patch_size")
_PROCESSORS = ("preprocessor_config.json", "video_preprocessor_config.json")


def transformers() -> ModuleType:
    """Returns the library transformers, which an extra installs."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ImportError(
            f'this network needs transformers ({error}): pip install "ivn[hf]"'
        ) from None


def read_config(source: str) -> Any:
    """Returns the config of a checkpoint, by folder or hub id."""
    try:
        return transformers().AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise cannot_load(source, error) from None


def random_model(kind: Any, config: Any, **options: bool) -> Any:
    """Returns a model of class ``kind`` with random weights, the same in every call."""
    # transformers draws from the global generator: lend it a seed of its own.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return kind._from_config(config, attn_implementation="sdpa", **options)


def pretrained_model(
    kind: Any, source: str, config: Any, *, unread: Sequence[str] = (), **options: bool
) -> Any:
    """Returns a model of class ``kind`` with all of a checkpoint's weights, in fp32.

    ``unread`` are patterns of the checkpoint's keys that the model does not need: transformers
    would report every one of them.
    """
    check_published(source)
    # The module is transformers' own: it renames the keys of its own classes alone.
    members = {
        "_keys_to_ignore_on_load_unexpected": list(unread),
        "__module__": kind.__module__,
    }
    quiet: Any = type(kind.__name__, (kind,), members)
    try:
        model, info = quiet.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            attn_implementation="sdpa",
            use_safetensors=True,  # never unpickle
            output_loading_info=True,
            **options,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise cannot_load(source, error) from None
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ValueError(
            f"{source!r} lacks {len(missing)} of the weights of a {kind.__name__}, first "
            f"{missing[0]!r}, as transformers {transformers().__version__} reads it; ivn[hf] asks "
            "for 5.18 or newer"
        )
    return model


def pixel_statistics(source: str, usual: Pixels) -> Pixels:
    """Returns mean and deviation from a checkpoint's image processor; ``usual`` without one."""
    hub = importlib.import_module("transformers.utils.hub")
    for name in _PROCESSORS:
        try:
            file = hub.cached_file(source, name, _raise_exceptions_for_missing_entries=False)
        except OSError:  # neither a folder nor a repository within reach
            return usual
        if file is None:
            continue
        try:
            stated = json.loads(Path(file).read_text("utf-8"))
            mean, std = (
                tuple(map(float, stated["image_mean"])),
                tuple(map(float, stated["image_std"])),
            )
        except (KeyError, ValueError, TypeError):
            continue
        if len(mean) == len(std) == 3:
            return mean, std
    return usual


def cannot_load(source: str, error: Exception) -> ValueError:
    """Returns the error for a checkpoint that transformers could not load."""
    reason = str(error).strip().splitlines()[0]
    return ValueError(
        f"{source!r} is neither a folder with such a checkpoint (as safetensors) nor a hub id that "
        f"can be read: {reason}"
    )


def facts(config: Any) -> dict[str, Any]:
    """Returns facts of a network that its weights do not show, as plain values."""
    return {name: getattr(config, name) for name in _FACTS if hasattr(config, name)}


def square(name: str, value: Any) -> int:
    """Returns a side as one number, from a number or two equal ones in a config."""
    sides = (value, value) if isinstance(value, int) else tuple(value)
    if len(set(sides)) != 1:
        raise ValueError(f"the checkpoint's {name} is {value}, expected a square")
    return sides[0]
