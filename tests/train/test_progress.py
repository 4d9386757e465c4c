import io

import pytest

pytest.importorskip("rich")

from rich.console import Console

from ivn.train.progress import Display

TERMS = {"layers": -0.0416, "pixels": 1.0141, "pooled": -0.5}
LINE = {"loss": 0.4725, "terms": TERMS, "clips_per_s": 312.44, "wait_share": 0.26, "lr": 1e-3}


def shown(width, *, terminal, lines=None, total=120000):
    """What is left on a console of ``width`` columns."""
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=terminal, color_system=None, soft_wrap=True
    )
    with Display(total, 51233, 2048, console) as display:
        display.step()
        display.metrics(lines or [LINE | {"step": 51234}])
        display.say("a line that stays")
    return out.getvalue()


def last_frame(text):
    """The two lines of the bar as it was left."""
    return [
        line.rpartition("\x1b[2K")[2].rstrip()
        for line in text.removesuffix("\x1b[?25h").rstrip().split("\n")[-2:]
    ]


def test_all_of_stage_one_fits_80_columns():
    bar, losses = last_frame(shown(80, terminal=True))
    assert bar.lstrip().startswith("51234/120000 ━")
    assert bar.endswith(":--:-- 312.4 clips/s  waiting 26%")  # no time left after one step
    assert losses == "loss 0.4725  layers -0.0416  pixels 1.0141  pooled -0.5000"


def test_a_narrow_terminal_cuts_lines_and_never_breaks_them():
    bar, losses = last_frame(shown(50, terminal=True))
    assert len(bar) <= 50
    assert "312.4 clips/s" in bar
    assert losses == "loss 0.4725  layers -0.0416  pixels 1.0141  poole…"[:49] + "…"


def test_without_a_terminal_each_fetch_is_a_line():
    assert shown(20, terminal=False).splitlines() == [
        "step 51234/120000  loss 0.4725  layers -0.0416  pixels 1.0141  pooled -0.5000  "
        "312.4 clips/s  waiting 26%  lr 1.00e-03  left 5 days, 5:12:31",
        "a line that stays",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_warnings_of_all_lines_stay(terminal):
    lines = [LINE | {"step": 51233, "warning": "features [collapse]"}, LINE | {"step": 51234}]
    text = shown(80, terminal=terminal, lines=lines)
    assert text.count("warning: step 51233: features [collapse]\n") == 1
