"""Starts a run from a config, and resumes it from its newest checkpoint."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ivn.config.run import HARMLESS, Config, override, read, to_dict, to_toml
from ivn.data.loader.loader import ClipLoader
from ivn.data.manifest.identity import first_difference, recorded
from ivn.data.manifest.listing import list_clips, unusable_rows
from ivn.data.sampling.pools import drawn_fingerprint
from ivn.devices import resolve_device
from ivn.errors import ConfigError, RunError
from ivn.load import local
from ivn.media.source import Source, is_url
from ivn.stages.build import build_stage, initialise
from ivn.stages.stage import Stage
from ivn.train import board, checkpoint, folder
from ivn.train.loop import pretrain

# Form of a run's record of its clips. One without a number has a fingerprint of whole paths.
_FORMAT = 2


def start(
    config: Config,
    *,
    data: str | Path,
    out: str | Path,
    init: str | Path = "",
    show_config: bool = True,
) -> int:
    """Trains from the beginning.

    Args:
        config: the run's config.
        data: a folder of videos, a video, or a list of them.
        out: the run's folder: new, or empty.
        init: weights of the encoder and the predictor to start from, given in any form that
            :func:`ivn.load.load_encoder` reads weights from; "" for random ones.
        show_config: whether to print the whole config first.

    Returns:
        The exit code of :func:`ivn.train.loop.pretrain`.

    Raises:
        RunError, OSError: The input or the run cannot be used; the message is one line.
    """
    run = Path(out)
    folder.check_free(run)
    # Wherever the run goes on from, the clips have the same names.
    place = Path(data).absolute()
    with _input_errors():
        sources = list_clips(data if is_url(str(data)) else place)
        found, clips = recorded(sources)
        source: dict[str, Any] = {
            "format": _FORMAT,
            "data": str(place),
            "init": str(Path(init).absolute()) if init and Path(init).exists() else str(init),
            "clips": len(sources),
            "fingerprint": found,
        }
        stage, loader = _parts(config, sources, source["init"], fresh=True)
    text = to_toml(config)
    folder.create(run, config=text, source=source, clips=clips)
    with folder.locked(run):
        try:
            if show_config:
                print(text)
            return _pretrain(config, stage, loader, run)
        except (Exception, KeyboardInterrupt):
            # The same command can be given again, once its cause is mended.
            folder.discard_unused(run)
            raise


def resume(out: str | Path, *, data: str | Path = "", changes: Sequence[str] = ()) -> int:
    """Trains from the newest checkpoint in ``out`` to the end of its run.

    Args:
        out: the run's folder.
        data: the run's clips, if they have moved; "" for their old place. The run remembers it.
        changes: ``key=value`` in groups that cannot change a result, for this start alone.

    Returns:
        The exit code of :func:`ivn.train.loop.pretrain`.

    Raises:
        RunError, OSError: The input or the run cannot be used; the message is one line.
    """
    run = Path(out)
    for change in changes:
        if change.partition(".")[0] not in HARMLESS:
            raise ConfigError(
                f"{change}: a run that goes on keeps its config; only {' and '.join(HARMLESS)} "
                "may change"
            )
    _, source = folder.read(run)
    config = override(read(run / folder.CONFIG), *changes)
    with folder.locked(run):
        with _input_errors():
            place = Path(data).absolute() if data else Path(source["data"])
            if not data and not place.exists():
                raise ValueError(
                    f"{place}: no such file or folder, where the clips of {run} were: say where "
                    f"they are, ivn pretrain --resume {run} --data FOLDER|LIST"
                )
            sources = list_clips(data if is_url(str(data)) else place)
            found, clips = recorded(sources)
            _check_same(run, source, place, sources, found, clips)
            fresh = checkpoint.latest(run) is None
            stage, loader = _parts(config, sources, source["init"], fresh=fresh)
        now = source | {"format": _FORMAT, "data": str(place), "fingerprint": found}
        if now != source:
            folder.write_source(run, now, clips)
        return _pretrain(config, stage, loader, run)


def _check_same(
    run: Path,
    source: dict[str, Any],
    place: Path,
    sources: Sequence[Source],
    found: str,
    clips: bytes,
) -> None:
    """Checks that the clips at ``place`` are those that ``run`` started with.

    Args:
        run: the run's folder.
        source: the run's record of its data.
        place: folder or list of the clips.
        sources: the clips.
        found, clips: their fingerprint and record, by :func:`ivn.data.manifest.identity.recorded`.

    Raises:
        ValueError: The clips differ; the first that does is named.
        RunError: The record of the run's clips is damaged.
    """
    if source.get("format") == _FORMAT:
        same = found == source["fingerprint"]
    else:
        base, instead = (
            os.path.join(path if place.is_dir() else path.parent, "")
            for path in (place, Path(source["data"]))
        )
        same = drawn_fingerprint(sources, base=base, instead=instead) == source["fingerprint"]
    if same:
        return
    first = ""
    if (run / folder.CLIPS).exists():
        try:
            first = f"; {first_difference(clips, (run / folder.CLIPS).read_bytes())}"
        except ValueError as error:
            raise RunError(f"{run / folder.CLIPS} is not as it was written ({error})") from error
    raise ValueError(
        f"the clips in {place} are not those that {run} started with "
        f"({len(sources)} now, {source['clips']} then{first}): restore them, say where they are "
        f"(--data), or start a new run with --init {run}"
    )


def _parts(
    config: Config, sources: Sequence[Any], init: str, *, fresh: bool
) -> tuple[Stage, ClipLoader]:
    """Returns the stage, with the weights that it starts from if ``fresh``, and its loader."""
    if line := unusable_rows(sources):
        print(line)
    device = resolve_device(config.efficiency.device, "efficiency.device")
    if config.run.tensorboard:
        board.check_installed()
    if config.optim.batch_size % config.efficiency.accumulation:
        raise ValueError(
            f"optim.batch_size {config.optim.batch_size} does not divide into "
            f"efficiency.accumulation {config.efficiency.accumulation} micro-batches"
        )
    if fresh and not init and config.stage.needs_start:
        raise ValueError(f"{config.stage.needs_start}: give --init RUN")
    anew = not init or "predictor" not in config.stage.inherited
    stage = build_stage(
        config.model,
        config.stage,
        seed=config.data.seed,
        batch_size=config.optim.batch_size,
        pretrained=fresh and anew,
    )
    if fresh and init:
        taken, new = initialise(stage, local(init))
        print(f"{' and '.join(taken)} from {init}; new: {', '.join(new) or 'nothing'}")
    loader = ClipLoader(
        sources,
        stage.clip_specs,
        config.data,
        batch_size=config.optim.batch_size,
        workers=config.efficiency.workers,
        device=device,
        prefetch_gib=config.efficiency.prefetch_gib,
    )
    return stage, loader


def _pretrain(config: Config, stage: Stage, loader: ClipLoader, run: Path) -> int:
    try:
        return pretrain(
            stage,
            loader,
            run,
            config=to_dict(config),
            optim=config.optim,
            run=config.run,
            efficiency=config.efficiency,
        )
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"the GPU has too little memory for micro-batches of "
            f"{config.optim.batch_size // config.efficiency.accumulation} clips: give "
            f"--set efficiency.accumulation={2 * config.efficiency.accumulation}, or more"
        ) from error


@contextlib.contextmanager
def _input_errors() -> Iterator[None]:
    """Turns errors about arguments into errors about the user's input."""
    try:
        yield
    except (ValueError, ImportError) as error:
        raise RunError(str(error)) from error
