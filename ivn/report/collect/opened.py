"""Builds the stages of runs with the weights of their newest checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from ivn.config.run import Config, read
from ivn.model.encoder import Encoder, build_encoder
from ivn.model.state_dict import check_weight, read_state
from ivn.report.page.content import Missing
from ivn.stages.build import build_stage
from ivn.stages.stage import Stage
from ivn.train import checkpoint, folder

# Errors of reading others' files and of building the networks that they name: torch raises
# RuntimeError for too little memory and for sizes that are too large, Python the last two.
FAILURES = (
    *(OSError, ValueError, ImportError, SafetensorError),
    *(RuntimeError, MemoryError, OverflowError),
)


@dataclass(frozen=True)
class Opened:
    """A run whose config can be read.

    Attributes:
        name: the run's name.
        config: the run's config.
        stage: the stage with the checkpoint's weights, if any; None where it cannot be built.
        encoder: the trained encoder; None without a checkpoint.
    """

    name: str
    config: Config
    stage: Stage | None
    encoder: Encoder | None

    def untrained(self) -> Encoder:
        """Returns an encoder of the same sizes with random weights."""
        twin = build_encoder(self.config.model.encoder, seed=self.config.data.seed)
        return twin.eval().requires_grad_(False)


def open_run(path: Path, config: Config, name: str, missing: list[Missing]) -> Opened:
    """Opens the run in ``path``; ``missing`` gets a line for whatever cannot be read or built."""
    saved = checkpoint.latest(path)
    stage = _stage(config, missing)
    encoder = None
    if saved is None:
        lost = "weights, and all that is drawn with them"
        missing.append(Missing(lost, "there is no checkpoint: none was saved before the run ended"))
    else:
        try:
            if stage is not None:
                _fill(stage.parts, saved)
                encoder = stage.encoder
            else:
                encoder = build_encoder(config.model.encoder, seed=0)
                _fill({"encoder": encoder}, saved)
                encoder.eval().requires_grad_(False)
        except FAILURES as error:
            encoder = None
            missing.append(Missing("trained weights", str(error)))
    return Opened(name, config, stage, encoder)


def first_run(source: Mapping[str, Any], missing: list[Missing]) -> tuple[Path, Config] | None:
    """Returns the folder and config of the run that a run started from; None without one.

    Args:
        source: the run's record of its data and first weights.
        missing: gets a line where there is such a run and it cannot be read.
    """
    init = source.get("init")
    if not isinstance(init, str) or not init:
        return None
    what = "the encoder and the teacher that this run started from"
    try:
        path = Path(init).resolve()
        # A run, or one of its checkpoints.
        places = [place for place in (path, *path.parents[1:2]) if folder.is_run(place)]
        if places:
            return places[0], read(places[0] / folder.CONFIG)
        # What was a path is absolute; anything else is a hub id.
        gone = Path(init).is_absolute() and not path.exists()
        reason = f"{init} is {'not there' if gone else 'no run'}"
    except (OSError, ValueError) as error:
        reason = str(error)
    missing.append(Missing(what, reason))
    return None


def _stage(config: Config, missing: list[Missing]) -> Stage | None:
    try:
        stage = build_stage(
            config.model,
            config.stage,
            seed=config.data.seed,
            batch_size=config.optim.batch_size,
            pretrained=False,
        )
    except FAILURES as error:
        parts = "masks, the teacher's attention and features, reconstructions"
        missing.append(Missing(parts, f"the stage cannot be built here: {error}"))
        return None
    return stage.eval().requires_grad_(False)


def _fill(parts: Mapping[str, nn.Module], saved: Path) -> None:
    """Loads each part's file.

    Raises:
        OSError, ValueError: A file cannot be read, or does not fit.
    """
    for name, part in parts.items():
        state = read_state(saved / f"{name}.safetensors")
        ours = {key: tuple(value.shape) for key, value in part.state_dict().items()}
        theirs = {key: tuple(value.shape) for key, value in state.items()}
        if ours != theirs:
            key = min(key for key in ours | theirs if ours.get(key) != theirs.get(key))
            raise ValueError(
                f"{saved}: {name}.{key} is {theirs.get(key, 'missing')}, the run's config needs "
                f"{ours.get(key, 'none')}"
            )
        for key, value in state.items():
            check_weight(f"{name}.{key}", value, str(saved))
    for name, part in parts.items():
        part.load_state_dict(read_state(saved / f"{name}.safetensors"))
