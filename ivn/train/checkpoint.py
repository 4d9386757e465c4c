"""Checkpoints: one folder per step, whole or absent, of which the last few are kept.

state.pt holds all that the next step depends on; beside it lies each of the stage's networks as
``<part>.safetensors``, with ``config.json`` as their card, which also has the state's SHA-256. A
folder appears whole: a crash at any moment leaves the checkpoint before it.
"""

import hashlib
import json
import os
import pickle
import platform
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from ivn.durable import new_folder, remove_folder
from ivn.errors import CheckpointError, DataError, WriteError
from ivn.model.checkpoints import checkpoints
from ivn.model.checkpoints import newest as latest
from ivn.provenance import commit, processor, versions

from . import folder

FORMAT = 2
STATE = "state.pt"
CARD = "config.json"

__all__ = ["CARD", "FORMAT", "STATE", "latest", "load", "save"]


def load(path: Path) -> dict[str, Any]:
    """Returns the ``state`` that :func:`save` was given, on the CPU.

    Raises:
        CheckpointError: the file is damaged, or of another format.
    """
    name = CARD
    try:
        card = json.loads((path / CARD).read_text())
        if card["format"] != FORMAT:
            raise CheckpointError(
                f"{path} has format {card['format']}, expected {FORMAT}: this version cannot go on "
                f"from it; a new run can start from its weights with --init {path}"
            )
        name = STATE
        # PyTorch's reader takes changed numbers for good, and may fail in any way on changed names.
        if _digest(path / STATE) != card["state_sha256"]:
            raise ValueError
        return torch.load(path / STATE, map_location="cpu", weights_only=True)
    except (OSError, ValueError, LookupError, TypeError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path / name} cannot be read ({_damage(error)}); remove {path} to go on from "
            "the checkpoint before it"
        ) from error


def save(
    run: Path,
    step: int,
    state: dict[str, Any],
    *,
    parts: dict[str, nn.Module],
    config: dict[str, Any],
    keep_last: int,
) -> Path:
    """Writes the checkpoint of ``step`` and removes all but the last ``keep_last``.

    Args:
        run: the run's folder, locked by the caller.
        step: steps taken.
        state: all that the next step depends on: tensors, numbers, strings, lists and dicts.
        parts: networks to write apart, by name.
        config: config of the run, for the card.
        keep_last: checkpoints to keep, this one among them.

    Raises:
        CheckpointError: it could not be written; what was there before still is.
    """
    target = run / folder.CHECKPOINTS / f"step-{step:08d}"
    if target.is_dir():
        return target
    try:
        with new_folder(target, failures=(SafetensorError,)) as temporary:
            _save_state(state, temporary / STATE)
            tensors = {name: _tensors(part) for name, part in parts.items()}
            card = _card(step, config, tensors) | {"state_sha256": _digest(temporary / STATE)}
            (temporary / CARD).write_text(json.dumps(card, indent=2) + "\n")
            for name, values in tensors.items():
                file = temporary / f"{name}.safetensors"
                save_file(values, file)
                shutil.copymode(temporary / CARD, file)  # safetensors has them for the owner alone
    except DataError as error:
        reason = error.reason if isinstance(error, WriteError) else "a file has its name"
        kept = latest(run)
        raise CheckpointError(
            f"checkpoint {target} could not be written ({reason}); "
            + (f"{kept} is kept" if kept else "there is none before it")
        ) from error
    for old in checkpoints(run)[:-keep_last]:
        remove_folder(old)
    return target


def _save_state(state: dict[str, Any], file: Path) -> None:
    """Writes ``state``; OSError where the file fails, not a tensor."""
    try:
        torch.save(state, file)
    except RuntimeError as error:
        if "PytorchStreamWriter" in str(error) or "inline_container" in str(error):
            raise OSError(None, "a write failed", file) from error
        raise


def _tensors(part: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in part.state_dict().items()}


def _card(step: int, config: dict[str, Any], tensors: dict[str, dict]) -> dict[str, Any]:
    shapes = {
        name: {key: list(value.shape) for key, value in values.items()}
        for name, values in tensors.items()
    }
    return {
        "format": FORMAT,
        "step": step,
        "ivn": versions("ivn")["ivn"],
        "git_commit": commit(),
        "versions": {"Python": platform.python_version(), "torch": torch.__version__},
        "machine": _machine(),
        "config": config,
        "shapes": shapes,
    }


def _machine() -> dict[str, str]:
    """System, processor and, where one computes, GPU."""
    found = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": f"{processor()}, {os.cpu_count()} threads",
    }
    if torch.cuda.is_initialized():
        found["GPU"] = torch.cuda.get_device_name()
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damage(error: Exception) -> str:
    """Why a file cannot be read, without PyTorch's advice, which is to trust it."""
    if isinstance(error, pickle.UnpicklingError):
        return "it holds more than plain data, which no run has written"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it is damaged"
