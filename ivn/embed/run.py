"""Videos in, one file of features out: streaming, in batches, going on where it was cut off."""

import hashlib
import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ivn.data.manifest.identity import fingerprint
from ivn.data.manifest.listing import list_clips, unusable_rows
from ivn.data.sliding import FrameWindow, SlidingWindows, sliding_windows
from ivn.durable import Parts, check_absent, parts_of
from ivn.embed.files import EmbeddingTable, writer_for
from ivn.embed.options import Embed
from ivn.embed.parts import WindowPart, add, finished, read
from ivn.errors import DataError, DecodeError, RequestError, as_text
from ivn.frozen.encoders import Frozen, check_finite
from ivn.load import load_frozen
from ivn.media.source import Source
from ivn.progress import bars, output
from ivn.train.settings import resolve_device

if TYPE_CHECKING:
    from rich.console import Console

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
    check_absent(request.out)
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
    console = output()
    for line in filter(None, map(unusable_rows, given)):
        console.print(line, markup=False)
    settings = header | {
        "videos": len(sources),
        "fingerprint": fingerprint(sources),
        "sizes": _digest_of_sizes(sources),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with parts_of(out, settings) as held:
        unusable = _embed_missing(held, sources, cuts, frozen, request, console)
        table = _table(held, sources, header, unusable)
        with held.completed() as temporary:
            write(temporary, table)
    windows, skipped = len(table.columns["video"]), len(unusable)
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
        for reason in unusable.values():
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
    held: Parts,
    sources: Sequence[Source],
    cuts: SlidingWindows,
    frozen: Frozen,
    request: Embed,
    console: "Console",
) -> dict[int, str]:
    """Makes all parts that are missing; gives number and reason of the videos that are unusable."""
    done = finished(held, sources)
    unusable = dict(done[-1].unusable) if done else {}
    first = (int(done[-1].video[-1]), int(done[-1].number[-1]) + 1) if done else (0, 0)
    count = sum(len(part.video) for part in done)
    with bars(console) as shown:
        bar = shown.add(total=len(sources), done=first[0])
        growing = _Growing(held, sources, unusable)
        stream = _stream(sources, cuts, frozen, first, unusable)
        for batch in _batches(stream, request.batch_size):
            clips = torch.stack([window.clip for _, window in batch])
            features = frozen.features(clips, request.pool)
            for (video, _), own in zip(batch, features, strict=True):
                check_finite(frozen, own, sources[video].path)
            growing.add(batch, features.numpy())
            count += len(batch)
            bar.update(batch[-1][0], f"{count} windows")
        growing.flush()
        bar.update(len(sources), f"{count} windows")
    return unusable


class _Growing:
    """The part that is being made."""

    def __init__(self, held: Parts, sources: Sequence[Source], unusable: Mapping[int, str]) -> None:
        self._held, self._sources, self._unusable = held, sources, unusable
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
        """Writes what there is, if anything."""
        if self._rows:
            features = np.concatenate(self._features)
            video, number, start, end, frames, left = map(np.array, zip(*self._rows, strict=True))
            part = WindowPart(features, video, number, start, end, frames, left, self._unusable)
            add(self._held, part, self._sources)
        self._rows, self._features, self._since = [], [], time.monotonic()


def _stream(
    sources: Sequence[Source],
    cuts: SlidingWindows,
    frozen: Frozen,
    first: tuple[int, int],
    unusable: dict[int, str],
) -> Iterator[tuple[int, FrameWindow]]:
    """Yields all windows from one on, with the number of their video.

    Videos that cannot be read are put into ``unusable``.
    """
    for video in range(first[0], len(sources)):
        number = first[1] if video == first[0] else 0
        try:
            for window in sliding_windows(sources[video], cuts, frozen.spec, first=number):
                yield video, window
        except DecodeError as error:
            unusable[video] = str(error)


def _batches(
    stream: Iterator[tuple[int, FrameWindow]], size: int
) -> Iterator[list[tuple[int, FrameWindow]]]:
    while batch := list(itertools.islice(stream, size)):
        yield batch


def _table(
    held: Parts, sources: Sequence[Source], header: dict[str, Any], unusable: dict[int, str]
) -> EmbeddingTable:
    """Returns all parts together, without the windows of videos that broke off later on."""
    columns = [read(path, features=False) for path in held.paths]
    good = [~np.isin(part.video, list(unusable)) for part in columns]
    if not any(rows.any() for rows in good):
        held.discard()
        reasons = "; ".join(list(unusable.values())[:3])
        raise DataError(f"none of {len(sources)} videos can be used: {reasons}")

    def pieces() -> Iterator[np.ndarray]:
        for path, rows in zip(held.paths, good, strict=True):
            yield read(path, features=True).features[rows]

    def column(name: str) -> np.ndarray:
        return np.concatenate(
            [getattr(part, name)[rows] for part, rows in zip(columns, good, strict=True)]
        )

    whole = {name: column(name) for name in ("video", "start", "end")}
    left = column("left")
    skipped = [{"video": video, "reason": as_text(reason)} for video, reason in unusable.items()]
    shape = read(held.paths[0], features=True).features.shape[1:]
    header = header | {
        "shape": list(shape),
        "short_videos": int((column("frames") < header["window"]).sum()),
        "uncovered_videos": int((left > 0).sum()),
        "uncovered_frames": int(left.sum()),
        "skipped": skipped,
    }
    return EmbeddingTable(
        header, [as_text(source.path) for source in sources], shape, whole, pieces
    )
