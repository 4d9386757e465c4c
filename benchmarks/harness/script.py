"""Options and results of the benchmarks of steps."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from ivn.errors import BenchError, UserError
from ivn.provenance import in_words, provenance


def parser(doc: str, *, rounds: int, on_gpus: bool) -> argparse.ArgumentParser:
    """Returns a parser of the options that all scripts have.

    Args:
        doc: docstring of the script; its first line is the description.
        rounds: default of ``--rounds``.
        on_gpus: whether the script runs on GPUs, too, and has the option ``--device``.
    """
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    if on_gpus:
        made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    else:
        made.set_defaults(device="cpu")
    made.add_argument(
        "--rounds", type=int, default=rounds, help=f"timed steps of each side (default {rounds})"
    )
    made.add_argument("--quick", action="store_true", help="few rounds")
    made.add_argument(
        "--threads", type=int, default=1,
        help="CPU threads, the same for all sides (default 1, which other programs disturb least)",
    )  # fmt: skip
    made.add_argument("--check", action="store_true", help="fail if the goal is missed")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    return made


def run(command: Callable[[], int]) -> int:
    """Runs a command; gives its exit code, after a line of what is wrong if anything is."""
    try:
        return command()
    except (UserError, ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return error.code if isinstance(error, UserError) else 1


def make_folder(out: str) -> None:
    """Makes the folder of ``--out``, before minutes are spent on results for it; or BenchError."""
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise BenchError(f"cannot write to {out} ({why}): give another --out") from None


def started(options: argparse.Namespace) -> dict:
    """Sets threads, and prints and returns the provenance of the results."""
    torch.set_num_threads(options.threads)
    about = provenance(torch.device(options.device))
    print(in_words(about))
    return dict(about)


def write(found: dict, options: argparse.Namespace) -> None:
    """Writes ``found`` as JSON to the file of ``--json``, if there is one."""
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
