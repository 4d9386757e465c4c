"""Chosen frames of real files: our decoding and our loader against each library's own best loop.

    ivn bench decode M.parquet --processes 1,2 --clips-per-second 28
    python -m ivn.benchmarks.decode.bench_decode M.parquet ...     where tyro is not installed

The same frames of the same files for all, compared before anything is timed: a file that one of
them cannot decode so is left out for all, and told. Rounds go through all in turn; medians count.
"""

import argparse
import contextlib
import functools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ivn.data.batch import ClipSpec
from ivn.data.config import DataConfig
from ivn.data.loader.loader import ClipLoader
from ivn.data.manifest.listing import list_clips
from ivn.data.sampling.frames import centre_frame_numbers
from ivn.durable import write_text
from ivn.errors import BenchError, DecodeError
from ivn.media.decode import decode
from ivn.media.source import Source
from ivn.processes import cores
from ivn.provenance import in_words, provenance, versions

from .decoders import DALI, OURS, PACKAGES, Dali, same, ways
from .workers import Job, Workers

LOADER, SHARDS = "our loader", "our loader, from shards"
# More files of a set than this a library must be able to decode to be compared with.
_SHARE = 0.5
# Epochs of the loader that are not timed, and that are.
_WARM, _EPOCHS = 2, 3


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        data: a manifest, list, folder or video.
        clips: how many of its files, evenly spread.
        frames: of a clip, evenly spread over the file.
        size: of the loader's crops, in pixels.
        processes, threads: how many decode, and threads in each; all pairs are measured.
        rounds: through all ways.
        clips_per_second: that a GPU takes; 0 does not ask.
        shards: manifest of ``data`` packed by ``ivn data shard``, for the loader; "" is none.
        out: a folder for decode.json; "" writes none.
    """

    data: str
    clips: int = 16
    frames: int = 16
    size: int = 224
    processes: Sequence[int] = ()
    threads: Sequence[int] = (1,)
    rounds: int = 3
    clips_per_second: float = 0.0
    shards: str = ""
    out: str = ""


def bench(options: Options) -> None:
    """Measure, print and write.

    Raises:
        BenchError: the options make no sense, or nothing can be compared.
        DataError: there is no data.
    """
    _check(options)
    torch.set_num_threads(1)
    about = provenance(torch.device("cpu")) | {"cores": str(cores())} | versions(*PACKAGES)
    print(in_words(about), flush=True)
    jobs, names, notes = _compared(options)
    loaded = {LOADER: [Source(path) for path, _ in jobs]}
    if options.shards:
        loaded[SHARDS] = _packed(jobs, options)
    print(f"{len(jobs)} files, {options.frames} frames of each, the same by every way", flush=True)
    for name, why in notes.items():
        print(f"  {name}: {why}", flush=True)
    settings = [(p, t) for p in options.processes or _processes() for t in options.threads]
    rows = [
        row
        for processes, threads in settings
        for row in _measured(jobs, names, loaded, options, processes, threads)
    ]
    advice = _advice(rows, options.clips_per_second)
    print(advice["in_words"])
    if options.out:
        # Names alone: results are shown to others, folders are this machine's.
        shards = Path(options.shards).name
        told = asdict(options) | {"data": Path(options.data).name, "shards": shards, "out": ""}
        found = about | {"options": told, "files": [Path(path).name for path, _ in jobs]}
        found |= {"notes": notes, "rows": rows, "advice": advice}
        text = json.dumps(found, indent=1, default=list) + "\n"
        write_text(Path(options.out) / "decode.json", text, overwrite=True)


def _check(options: Options) -> None:
    counts = {"clips": options.clips, "frames": options.frames, "rounds": options.rounds}
    counts |= {"processes": min(options.processes, default=1), "size": options.size}
    counts |= {"threads": min(options.threads, default=0)}
    for name, count in counts.items():
        if count < 1:
            raise BenchError(f"{name} is {count}, expected at least 1", code=2)
    if not 0 <= options.clips_per_second < math.inf:
        raise BenchError(
            f"clips per second is {options.clips_per_second}, expected 0 or more", code=2
        )
    if options.out:
        try:
            Path(options.out).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise BenchError(f"cannot write to {options.out} ({why}): give another --out") from None


def _processes() -> list[int]:
    """1, 2, 4 ... and all cores."""
    most = cores()
    return sorted({most, *(2**n for n in range(most.bit_length()) if 2**n <= most)})


def _compared(options: Options) -> tuple[list[Job], list[str], dict[str, str]]:
    """The jobs that all can do, who they are, and who cannot do what."""
    found, notes = ways()
    sources = list_clips(options.data)
    step = max(1, len(sources) // options.clips)
    jobs: list[Job] = []
    wrong: dict[str, dict[str, str]] = {}
    for source in sources[::step][: options.clips]:
        if (job := _job(source, options.frames)) is None:
            continue
        jobs.append(job)
        wrong[job[0]] = _wrong(job, found)
    if not jobs:
        raise BenchError(f"{options.data}: not one whole file that can be decoded")
    for name in list(found):
        failed = [path for path in wrong if name in wrong[path]]
        if len(failed) > _SHARE * len(jobs):
            why = f"left out: {len(failed)} of {len(jobs)} files, {wrong[failed[0]][name]}"
            notes[name] = why
            del found[name]
    kept = [job for job in jobs if not wrong[job[0]].keys() & found.keys()]
    for path, reasons in wrong.items():
        for name in reasons.keys() & found.keys():
            notes[path] = f"left out: {name} gives {reasons[name]}"
    if not kept:
        raise BenchError(f"{options.data}: no file that all decode alike")
    return kept, list(found), notes


def _job(source: Source, frames: int) -> Job | None:
    """The whole file and its middle frames, if that is what the source is and it can be used."""
    numbers: list[int] = []

    def choose(total: int) -> list[int]:
        numbers[:] = sorted(set(centre_frame_numbers(total, frames)))
        return numbers

    if source.member:
        return None
    try:
        decode(source.path, choose)
    except DecodeError:
        return None
    return source.path, numbers


def _wrong(job: Job, found: dict) -> dict[str, str]:
    """Name -> what is wrong with its frames."""
    frames: dict[str, np.ndarray] = {}
    failed = {}
    for name, way in found.items():
        try:
            frames[name] = way(*job)
        # Each library has errors of its own: decord's are RuntimeErrors, OpenCV's cv2.error.
        except (RuntimeError, ValueError, IndexError, OSError, TypeError) as error:
            failed[name] = f"an error ({str(error).strip().partition(chr(10))[0][:80]})"
    return failed | same(frames)


def _packed(jobs: list[Job], options: Options) -> list[Source]:
    """The clips of the shards that were made of the jobs' files."""
    sources, packed = list_clips(options.data), list_clips(options.shards)
    if len(sources) != len(packed):
        raise BenchError(
            f"{options.shards} has {len(packed)} clips, {options.data} has {len(sources)}: "
            "pack that very data"
        )
    of = {source.path: clip for source, clip in zip(sources, packed, strict=True)}
    return [of[path] for path, _ in jobs]


def _measured(
    jobs: list[Job],
    names: list[str],
    loaded: Mapping[str, list[Source]],
    options: Options,
    processes: int,
    threads: int,
) -> list[dict]:
    """A row for each way with so many processes and threads, printed as they come."""
    with contextlib.ExitStack() as stack:
        workers = stack.enter_context(
            contextlib.closing(Workers(jobs, processes=processes, threads=threads))
        )
        timed: dict[str, Callable[[], float]] = {
            name: functools.partial(workers.seconds, name) for name in names
        }
        if DALI in names:
            gpu = Dali(torch.device("cuda"), processes * threads)
            timed[DALI] = functools.partial(
                stack.enter_context(contextlib.closing(gpu)).seconds, jobs
            )
        for name, sources in loaded.items() if threads == 1 else ():
            timed[name] = functools.partial(_seconds_of, sources, options, processes)
        taken: dict[str, list[float]] = {name: [] for name in timed}
        for number in range(options.rounds + 1):
            for name, seconds_of in timed.items():
                seconds = seconds_of()
                if number:  # the first round finds files and libraries cold
                    taken[name].append(seconds)
    ours = statistics.median(taken[OURS])
    frames = sum(len(numbers) for _, numbers in jobs)
    rows = []
    print(f"{processes} processes of {threads} threads", flush=True)
    for name, times in taken.items():
        seconds = statistics.median(times)
        row = {
            "way": name,
            "processes": processes,
            "threads": threads,
            "clips_per_second": len(jobs) / seconds,
            "frames_per_second": frames / seconds,
            "seconds": times,
            "times_ours": ours / seconds,
        }
        rows.append(row)
        print(
            f"  {name:22} {row['clips_per_second']:9.2f} clips/s {row['frames_per_second']:9.1f} "
            f"frames/s {row['times_ours']:6.2f} x ours",
            flush=True,
        )
    return rows


def _seconds_of(sources: list[Source], options: Options, processes: int) -> float:
    """How long the loader takes for an epoch of these clips; it crops and resizes, too."""
    config = DataConfig(augmentation="centre", decode_seconds=3600.0)
    specs = {"clip": ClipSpec(options.frames, options.size)}
    size = len(sources)
    # Closed after each turn: it works ahead, in the time of others.
    with ClipLoader(sources, specs, config, batch_size=size, workers=processes) as loader:
        # Until its processes are there, and what was made while they came is used up.
        for _ in range(_WARM):
            next(loader)
        started = time.perf_counter()
        for _ in range(_EPOCHS):
            next(loader)
        return (time.perf_counter() - started) / _EPOCHS


def _advice(rows: list[dict], wanted: float) -> dict:
    """The setting that decodes most, and the cores that a rate needs at that speed."""
    mine = [row for row in rows if row["way"] == OURS]
    best = max(mine, key=lambda row: row["clips_per_second"])
    used = min(cores(), best["processes"] * best["threads"])
    each = best["clips_per_second"] / used
    told = (
        f"fastest: {best['processes']} workers of {best['threads']} threads, "
        f"{best['clips_per_second']:.1f} clips/s, {each:.1f} for each of {used} cores: "
        f"--set efficiency.workers={best['processes']}"
    )
    advice = {"processes": best["processes"], "threads": best["threads"]}
    advice |= {"clips_per_second_and_core": each}
    if wanted:
        advice["cores"] = math.ceil(wanted / each)
        told += f"; {wanted:g} clips/s need {advice['cores']} cores like these"
    return advice | {"in_words": told}


def main() -> int:
    """The same as ``ivn bench decode``, read with argparse."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", help="a manifest, list, folder or video")
    for name in ("clips", "frames", "size", "rounds"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Options, name), metavar="N")
    parser.add_argument("--processes", type=_counts, default=(), metavar="N,...")
    parser.add_argument("--threads", type=_counts, default=(1,), metavar="N,...")
    parser.add_argument("--clips-per-second", type=float, default=0.0, metavar="R")
    parser.add_argument("--shards", default="", metavar="M.parquet", help="the same data, packed")
    parser.add_argument("--out", default="", metavar="DIR", help="write decode.json there")
    try:
        bench(Options(**vars(parser.parse_args())))
    except (BenchError, ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.code if isinstance(error, BenchError) else 1
    return 0


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
