"""Functions that hang, crash and eat memory, in the processes that tests start of this module."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ivn.corpus.pool import in_processes

BAD = {
    "hang": "took longer than 2 s",
    "spin": "took longer than 2 s",
    "segfault": "its process ended (SIGSEGV)",
    "exit": "its process ended (exit code 7)",
    "killed": "its process ended (SIGKILL, as when memory runs out)",
    "memory": "needs more than 1 GiB of memory",
    "raise": "a b: no such thing",
    "os": "[Errno 2] No such file or directory: '/no/such'",
    "defect": "its process ended (exit code 1)",
}


def ways_to_end(item):
    """What `item` names, or twice the number that it is."""
    match item:
        case "hang":
            time.sleep(1000)
        case "spin":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            while True:
                pass
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(7)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "memory":
            return len(bytearray(2 << 30))
        case "raise":
            raise ValueError("a b:\nno such thing")
        case "os":
            open("/no/such").close()
        case "defect":
            raise KeyError("a defect")
    return item * 2


def my_process(_):
    return os.getpid()


def nap(seconds):
    time.sleep(seconds)
    return os.getpid()


def everything(**options):
    items = [1, "hang", "segfault", 2, "exit", "spin", "killed", 3, "memory", "raise", "os"]
    items += ["defect", *range(4, 30)]
    settings = {"workers": 2, "seconds": 2.0, "memory": 1 << 30} | options
    return items, list(in_processes(ways_to_end, items, **settings))


def test_each_item_has_its_value_or_reason_in_order_whatever_became_of_others():
    items, outcomes = everything()
    assert [outcome.item for outcome in outcomes] == items
    for outcome in outcomes:
        expected = BAD.get(outcome.item, "")
        assert outcome.reason == expected
        assert outcome.value == (None if expected else outcome.item * 2)
    assert all(1.9 < o.seconds < 20 for o in outcomes if o.item in ("hang", "spin"))


def test_a_slow_item_does_not_hold_up_the_others():
    started = time.monotonic()
    taken = []

    def items():
        for number in range(40):
            taken.append(number)
            yield 1.5 if number == 0 else 0.0

    first = next(in_processes(nap, items(), workers=2, seconds=10))
    assert first.value != os.getpid()
    assert first.seconds > 1.49  # a sleep may end microseconds early by another clock
    assert len(taken) == 40, f"the other worker waited ({time.monotonic() - started} s)"


def test_processes_end_with_the_iterator():
    outcomes = in_processes(nap, [0.0, 0.0, 500.0, 500.0], workers=2, seconds=1000)
    there = {next(outcomes).value, next(outcomes).value}
    outcomes.close()
    assert there
    for process in there:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_items_are_taken_as_they_are_needed_and_without_end():
    def endless():
        number = 0
        while True:
            yield number
            number += 1

    outcomes = in_processes(ways_to_end, endless(), workers=1, seconds=10)
    assert [next(outcomes).value for _ in range(50)] == list(range(0, 100, 2))
    outcomes.close()


def test_no_item_is_no_outcome_and_no_worker_is_refused():
    assert list(in_processes(my_process, [], workers=1, seconds=1)) == []
    with pytest.raises(ValueError, match="0 workers"):
        next(in_processes(my_process, [1], workers=0, seconds=1))


SCRIPT = """
import os, signal, sys, time
from ivn.corpus.pool import in_processes
from tests.corpus.test_pool import nap

if __name__ == "__main__":
    # In the background of a shell, where tests may be run, Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    outcomes = in_processes(nap, [0.0, 1000.0, 1000.0], workers=2, seconds=1000)
    print(next(outcomes).value, flush=True)
    next(outcomes)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_main_process_however_it_ends(tmp_path, number):
    (tmp_path / "s.py").write_text(SCRIPT)
    # A package of our name where the command is given is none of our business.
    (tmp_path / "ivn.py").write_text("raise SystemExit('the wrong ivn')")
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-P", tmp_path / "s.py"],
        env=os.environ | {"PYTHONPATH": str(root)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        worker = int(process.stdout.readline())
        process.send_signal(number)
        process.wait(timeout=30)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the worker outlived its main process")


def test_a_script_without_its_guard_is_told_what_to_do(tmp_path):
    (tmp_path / "s.py").write_text(
        "from ivn.corpus.pool import in_processes\n"
        "def f(item): return item\n"
        "try:\n"
        "    list(in_processes(f, [1], workers=1, seconds=5))\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-P", tmp_path / "s.py"], capture_output=True, text=True, timeout=60
    )
    assert "cannot start (exit code 1)" in said.stdout
    assert '__name__ == "__main__"' in said.stdout
