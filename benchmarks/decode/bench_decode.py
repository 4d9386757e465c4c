"""Compares decoding of real files by ours and our loader with each library's own best loop.

    ivn bench decode M.parquet --processes 1,2 --clips-per-second 28
    python -m ivn.benchmarks.decode.bench_decode M.parquet ...     where tyro is not installed

All ways decode the same frames of the same files, which are compared before anything is timed. A
file that one of them decodes differently, or cannot decode, is skipped for all and named. A round
times each way in turn; results are medians.
"""

import contextlib
import functools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from ivn.benchmarks.harness import script
from ivn.data.batch import ClipSpec
from ivn.data.config import DataConfig
from ivn.data.loader.loader import ClipLoader
from ivn.data.manifest.listing import list_clips
from ivn.data.sampling.frames import centre_frame_numbers
from ivn.durable import write_text
from ivn.errors import BenchError, DecodeError
from ivn.media.decode import decode
from ivn.media.source import Source
from ivn.options import parse
from ivn.processes import cores
from ivn.provenance import in_words, provenance, versions

from .decoders import DALI, OURS, PACKAGES, Dali, same, ways
from .options import BenchDecode
from .processes import DecodingProcesses, Job

LOADER, SHARDS = "our loader", "our loader, from shards"
# More files of a set than this a library must be able to decode to be compared with.
_SHARE = 0.5
# Epochs of the loader that are not timed, and that are.
_WARM, _EPOCHS = 2, 3


def bench(options: BenchDecode) -> int:
    """Measure, print and write; gives 0.

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
        # Only names, since results are published and folders are private.
        shards = Path(options.shards).name
        told = asdict(options) | {"data": Path(options.data).name, "shards": shards, "out": ""}
        found = about | {"options": told, "files": [Path(path).name for path, _ in jobs]}
        found |= {"notes": notes, "rows": rows, "advice": advice}
        text = json.dumps(found, indent=1, default=list) + "\n"
        write_text(Path(options.out) / "decode.json", text, overwrite=True)
    return 0


def _check(options: BenchDecode) -> None:
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
        script.make_folder(options.out)


def _processes() -> list[int]:
    """Returns 1, 2, 4 ... and the number of cores."""
    most = cores()
    return sorted({most, *(2**n for n in range(most.bit_length()) if 2**n <= most)})


def _compared(options: BenchDecode) -> tuple[list[Job], list[str], dict[str, str]]:
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
            why = f"skipped: {len(failed)} of {len(jobs)} files, {wrong[failed[0]][name]}"
            notes[name] = why
            del found[name]
    kept = [job for job in jobs if not wrong[job[0]].keys() & found.keys()]
    for path, reasons in wrong.items():
        for name in reasons.keys() & found.keys():
            notes[path] = f"skipped: {name} gives {reasons[name]}"
    if not kept:
        raise BenchError(f"{options.data}: no file that all decode alike")
    return kept, list(found), notes


def _job(source: Source, frames: int) -> Job | None:
    """Returns a file and its middle frames; None if the source is no whole file, or unusable."""
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
    """Returns, by name, what is wrong with a way's frames."""
    frames: dict[str, np.ndarray] = {}
    failed = {}
    for name, way in found.items():
        try:
            frames[name] = way(*job)
        # Each library raises its own errors: decord RuntimeErrors, OpenCV cv2.error.
        except (RuntimeError, ValueError, IndexError, OSError, TypeError) as error:
            failed[name] = f"an error ({str(error).strip().partition(chr(10))[0][:80]})"
    return failed | same(frames)


def _packed(jobs: list[Job], options: BenchDecode) -> list[Source]:
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
    options: BenchDecode,
    processes: int,
    threads: int,
) -> list[dict]:
    """Measures and prints a row for each way with these numbers of processes and threads."""
    with contextlib.ExitStack() as stack:
        workers = stack.enter_context(
            contextlib.closing(DecodingProcesses(jobs, processes=processes, threads=threads))
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
                if number:  # the first round is slower: files and libraries are not in memory yet
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


def _seconds_of(sources: list[Source], options: BenchDecode, processes: int) -> float:
    """How long the loader takes for an epoch of these clips; it crops and resizes, too."""
    config = DataConfig(augmentation="centre", decode_seconds=3600.0)
    specs = {"clip": ClipSpec(options.frames, options.size)}
    size = len(sources)
    # Closed after each turn, since it prefetches, in the time of others.
    with ClipLoader(sources, specs, config, batch_size=size, workers=processes) as loader:
        # Until its processes have started, and the batches made meanwhile are used up.
        for _ in range(_WARM):
            next(loader)
        started = time.perf_counter()
        for _ in range(_EPOCHS):
            next(loader)
        return (time.perf_counter() - started) / _EPOCHS


def _advice(rows: list[dict], wanted: float) -> dict:
    """Returns the fastest setting, and the number of cores that a rate needs at its speed."""
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


if __name__ == "__main__":
    sys.exit(script.run(lambda: bench(parse(BenchDecode))))
