"""Videos in, one file of features out: streaming, in batches, going on where it was cut off."""

import hashlib
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ivn.data.manifest.identity import fingerprint
from ivn.data.manifest.listing import list_clips, unusable_rows
from ivn.data.sliding import FrameWindow, SlidingWindows, sliding_windows
from ivn.durable import held_partial
from ivn.embed.files import EmbeddingTable, writer_for
from ivn.embed.options import Embed
from ivn.embed.parts import Part, Parts
from ivn.errors import DataError, DecodeError, RequestError
from ivn.frozen.encoders import Frozen, check_finite
from ivn.load import load_frozen
from ivn.media.source import Source
from ivn.train.settings import resolve_device

# A part is written when it has come to any of these.
_PART_BYTES = 2**26
_PART_WINDOWS = 1024
_PART_SECONDS = 20.0


def embed(request: Embed) -> int:
    """Write the features of all windows of all videos to ``request.out``.

    Returns:
        0; 1 where videos could not be used: they are named, the file holds the others.

    Raises:
        DataError: the request makes no sense, there are no videos, or none can be used.
        DataError: features are not finite; there is no file then.
    """
    out = request.out.absolute()
    write = writer_for(out)
    if out.exists():
        raise DataError(f"{request.out}: is there already, and is not overwritten")
    given = [list_clips(video) for video in request.videos]
    sources = [source for some in given for source in some]
    frozen = _load(request)
    cuts = _checked(request, frozen)
    header = {
        "format": 1,
        "encoder": frozen.name,
        "identity": frozen.identity,
        "pool": request.pool,
        "layer": frozen.layer,
        "dtype": str(frozen.dtype).removeprefix("torch."),
        "clip_frames": frozen.spec.frames,
        "clip_size": frozen.spec.size,
        "window": cuts.frames,
        "stride": cuts.stride,
        "fps": cuts.fps,
        "tail": cuts.tail,
        "ivn": version("ivn"),
    }
    console = Console(highlight=False, soft_wrap=True)
    for line in filter(None, map(unusable_rows, given)):
        console.print(line, markup=False)
    settings = header | {
        "videos": len(sources),
        "fingerprint": fingerprint(sources),
        "sizes": _digest_of_sizes(sources),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with held_partial(out, settings) as folder:
        parts = Parts(folder)
        broken = _embed_missing(parts, sources, cuts, frozen, request, console)
        table = _table(parts, sources, header, broken)
        temporary = parts.folder / f"whole{out.suffix}"
        write(temporary, table)
        if out.exists():
            raise DataError(f"{out}: has appeared meanwhile, and is not overwritten")
        os.replace(temporary, out)
        parts.discard()
    windows, skipped = len(table.columns["video"]), len(broken)
    used = len(sources) - skipped
    console.print(
        f"{windows} windows of {used} videos, features {[windows, *table.shape]}: {request.out}",
        markup=False,
    )
    if short := table.header["short_videos"]:
        console.print(
            f"{short} of {used} videos are shorter than a window of {cuts.frames} frames: the "
            "frames that they have are spread over it",
            markup=False,
        )
    if ends := table.header["uncovered_videos"]:
        console.print(
            f"{ends} of {used} videos end in frames that no window covers, "
            f"{table.header['uncovered_frames']} in all: --tail cover adds a window up to the end",
            markup=False,
        )
    if skipped:
        console.print(f"{skipped} of {len(sources)} videos skipped:", markup=False)
        for reason in broken.values():
            console.print(f"  {reason}", markup=False)
    return 1 if skipped else 0


def _load(request: Embed) -> Frozen:
    """The encoder."""
    if request.device == "cuda" and not torch.cuda.is_available():
        raise DataError("--device cuda, but PyTorch sees no GPU; ivn doctor says why")
    return load_frozen(
        request.encoder,
        frames=request.frames or None,
        size=request.size or None,
        layer=request.layer,
        device=resolve_device(request.device),
        dtype=None if request.dtype == "float32" else getattr(torch, request.dtype),
        **request.sizes.given(),
    )


def _digest_of_sizes(sources: Sequence[Source]) -> str:
    """SHA-256 of the files' sizes: files that are replaced have others, nearly always."""
    digest = hashlib.sha256()
    for path in dict.fromkeys(source.path for source in sources):
        size = os.path.getsize(path) if os.path.isfile(path) else -1
        digest.update(f"{size}\n".encode())
    return digest.hexdigest()


def _checked(request: Embed, frozen: Frozen) -> SlidingWindows:
    """How videos are cut.

    Raises:
        RequestError: the request makes no sense.
    """
    if request.pool not in frozen.pools:
        raise RequestError(f"--pool {request.pool}: {frozen.name} gives {', '.join(frozen.pools)}")
    if request.batch_size < 1:
        raise RequestError(f"--batch-size {request.batch_size}: expected at least 1")
    frames = request.window or frozen.spec.frames
    try:
        return SlidingWindows(frames, request.stride or frames, request.fps, request.tail)
    except ValueError as error:
        raise RequestError(str(error)) from error


def _embed_missing(
    parts: Parts,
    sources: Sequence[Source],
    cuts: SlidingWindows,
    frozen: Frozen,
    request: Embed,
    console: Console,
) -> dict[int, str]:
    """Make all parts that are missing; gives number and reason of the videos that are broken."""
    done = [parts.columns(index) for index in range(len(parts))]
    broken = dict(done[-1].broken) if done else {}
    first = (int(done[-1].video[-1]), int(done[-1].number[-1]) + 1) if done else (0, 0)
    count = sum(len(part.video) for part in done)
    columns = MofNCompleteColumn(), BarColumn(None), TextColumn("{task.fields[windows]} windows")
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(sources), completed=first[0], windows=count)
        growing = _Growing(parts, broken)
        for batch in _batches(_stream(sources, cuts, frozen, first, broken), request.batch_size):
            clips = torch.stack([window.clip for _, window in batch])
            features = frozen.features(clips, request.pool)
            for (video, _), own in zip(batch, features, strict=True):
                check_finite(frozen, own, sources[video].path)
            growing.add(batch, features.numpy())
            count += len(batch)
            bar.update(task, completed=batch[-1][0], windows=count)
        growing.flush()
        bar.update(task, completed=len(sources))
    return broken


class _Growing:
    """The part that is being made."""

    def __init__(self, parts: Parts, broken: dict[int, str]) -> None:
        self._parts, self._broken = parts, broken
        self._rows: list[tuple[int, int, float, float, int, int]] = []
        self._features: list[np.ndarray] = []
        self._since = time.monotonic()

    def add(self, batch: Sequence[tuple[int, FrameWindow]], features: np.ndarray) -> None:
        """Take in the features of some windows, ``[w, ...]``."""
        self._rows += [
            (video, each.number, each.start, each.end, each.frames, each.left)
            for video, each in batch
        ]
        self._features.append(features)
        if (
            len(self._rows) >= _PART_WINDOWS
            or sum(array.nbytes for array in self._features) >= _PART_BYTES
            or time.monotonic() - self._since >= _PART_SECONDS
        ):
            self.flush()

    def flush(self) -> None:
        """Write what there is, if anything."""
        if self._rows:
            features = np.concatenate(self._features)
            video, number, start, end, frames, left = map(np.array, zip(*self._rows, strict=True))
            part = Part(features, video, number, start, end, frames, left, self._broken)
            self._parts.add(part)
        self._rows, self._features, self._since = [], [], time.monotonic()


def _stream(
    sources: Sequence[Source],
    cuts: SlidingWindows,
    frozen: Frozen,
    first: tuple[int, int],
    broken: dict[int, str],
) -> Iterator[tuple[int, FrameWindow]]:
    """All windows from one on, with the number of their video; puts broken videos in ``broken``."""
    for video in range(first[0], len(sources)):
        number = first[1] if video == first[0] else 0
        try:
            for window in sliding_windows(sources[video], cuts, frozen.spec, first=number):
                yield video, window
        except DecodeError as error:
            broken[video] = str(error)


def _batches(
    stream: Iterator[tuple[int, FrameWindow]], size: int
) -> Iterator[list[tuple[int, FrameWindow]]]:
    while batch := list(itertools.islice(stream, size)):
        yield batch


def _table(
    parts: Parts, sources: Sequence[Source], header: dict[str, Any], broken: dict[int, str]
) -> EmbeddingTable:
    """All parts together, without the windows of videos that turned out to be broken later on."""
    columns = [parts.columns(index) for index in range(len(parts))]
    good = [~np.isin(part.video, list(broken)) for part in columns]
    if not any(rows.any() for rows in good):
        parts.discard()
        reasons = "; ".join(list(broken.values())[:3])
        raise DataError(f"none of {len(sources)} videos can be used: {reasons}")

    def pieces() -> Iterator[np.ndarray]:
        for index, rows in enumerate(good):
            yield parts.features(index)[rows]

    def column(name: str) -> np.ndarray:
        return np.concatenate(
            [getattr(part, name)[rows] for part, rows in zip(columns, good, strict=True)]
        )

    whole = {name: column(name) for name in ("video", "start", "end")}
    left = column("left")
    skipped = [{"video": video, "reason": _text(reason)} for video, reason in broken.items()]
    shape = parts.features(0).shape[1:]
    header = header | {
        "shape": list(shape),
        "short_videos": int((column("frames") < header["window"]).sum()),
        "uncovered_videos": int((left > 0).sum()),
        "uncovered_frames": int(left.sum()),
        "skipped": skipped,
    }
    return EmbeddingTable(header, [_text(source.path) for source in sources], shape, whole, pieces)


def _text(name: str) -> str:
    """A file's name as text, which it need not be."""
    return name.encode("utf-8", "backslashreplace").decode()
