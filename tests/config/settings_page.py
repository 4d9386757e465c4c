"""Writes docs/config.md from the dataclasses: ``python -m tests.config.settings_page``."""

from ivn.config.run import help_page
from tests.processes import ROOT

PAGE = ROOT / "docs" / "config.md"
INTRODUCTION = """\
# Settings

Every setting of a run, table by table. `ivn pretrain --help` lists the same in a terminal, and
`ivn config PRESET` prints the values of a preset. Change a setting on the command line with
`--set KEY=VALUE`, such as `--set optim.lr=3e-4`, or in the file of
`ivn pretrain --config FILE.toml`.

`data`, `model`, `stage` and `optim` can change a result; `run` and `efficiency` cannot, so they may
change when a run is resumed. A default is the value where a config does not mention the setting;
presets set many of them. "Table 3" and the like are tables of the paper (arXiv 2512.01342).

<!-- Written by `python -m tests.config.settings_page` from the docstrings; change those. -->
"""


def page() -> str:
    """Returns the whole document."""
    return f"{INTRODUCTION}\n{help_page()}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
