"""The ``ivn`` command.

Exit codes: 0 it worked, 1 it failed, 2 it was asked wrongly, 130 and 143 it was stopped.
Heavy imports wait until a command needs them, so that ``ivn --help`` is quick.
"""

import io
import os
import signal
import sys
from importlib.metadata import version

from ivn.errors import UsageError, UserError

from .app import read
from .commands import IVN


def main() -> int:
    """Runs the command line; gives the exit code."""
    try:
        try:
            return _run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has read enough, as head does. Nothing may be written at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _run() -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name need not be text; telling of it must not end a run.
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"ivn {version('ivn')}")
        return 0
    try:
        if arguments[:1] == ["probe"]:
            task = next(iter(arguments[1:]), "TASK")
            raise UsageError(f"ivn probe {task} is now ivn evaluate {task}, with the same options")
        command, options = read(IVN, "ivn", arguments)
        return command.load()(options)
    except SystemExit as stop:
        if stop.code == 0 and arguments[:1] == ["pretrain"]:
            from .config import print_settings

            print_settings()
        raise
    except UserError as error:
        return _fail(error, error.code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _fail(_in_words(error), 1)


def _in_words(error: OSError) -> str:
    """Returns what Python says of a file in our form, and our own errors as they are."""
    if error.strerror is None or error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror[:1].lower()}{error.strerror[1:]}"


def _fail(error: object, code: int) -> int:
    print(f"ivn: {error}", file=sys.stderr)
    return code
