"""The `ivn` command, run in the tests' own process, and a run small enough for them."""

import contextlib
import io
import sys
from unittest import mock

from ivn import cli

from .small import SIZES

SMALL = [
    *SIZES,
    "optim.batch_size=2",
    "optim.steps=4",
    "run.log_every=1",
    "run.save_every=2",
    "efficiency.device=cpu",
    "efficiency.workers=0",
]
STAGE1 = [
    "stage.teacher.image_size=128",
    "model.decoder.depth=1",
    "model.decoder.width=32",
]


def command(*arguments):
    """Exit code, output and error output of ``ivn ARGUMENTS``."""
    # As strict about what is text as a terminal is; Python's errors output is not.
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    err = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["ivn", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = cli.main()
        except SystemExit as stop:
            code = stop.code
    return code, out.buffer.getvalue().decode(), err.getvalue()


def assert_one_line(said, *words):
    """Nothing but one line of error, with these words in it; gives the exit code."""
    code, out, err = said
    assert (out, err.count("\n")) == ("", 1), f"{out}\n{err}"
    assert err.startswith("ivn: ")
    assert "Traceback" not in err
    for word in words:
        assert word in err
    return code
