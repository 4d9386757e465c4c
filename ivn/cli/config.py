"""``ivn config``: prints a config, or how two differ."""

import shutil
from pathlib import Path

from ivn.config.presets import PRESETS, named_preset
from ivn.config.run import Config, differences, help_text, override, read, to_toml
from ivn.errors import UsageError
from ivn.train import folder

from .app import suggest_settings
from .options import ShowConfig


def show_config(options: ShowConfig) -> int:
    """Prints what was asked for; returns 0."""
    names, changes = options.names, options.settings
    match names:
        case () if not changes:
            print("\n".join(PRESETS))
        case ("diff", one, other):
            if changes:
                raise UsageError("--set changes a config that is printed, not one of a diff")
            _print_differences(one, other)
        case (name,) if name != "diff":
            print(to_toml(override(_named(name), *changes)), end="")
        case _:
            suggest_settings("ivn config", names)
            raise UsageError(
                f"ivn config {' '.join(names) or '--set'}: expected PRESET, or diff A B, or nothing"
            )
    return 0


def _named(name: str) -> Config:
    """Returns the config of a preset, of a run, or of a file."""
    if folder.is_run(Path(name)):
        return read(Path(name) / folder.CONFIG)
    return read(name) if name.endswith(".toml") else named_preset(name)


def _print_differences(one: str, other: str) -> None:
    rows = differences(_named(one), _named(other))
    column = max((len(key) for key, _, _ in rows), default=0)
    for key, ours, theirs in rows:
        print(f"{key:<{column}}  {ours}  ->  {theirs}")
    if not rows:
        print("no difference")


def print_settings() -> None:
    """Prints the settings that ``--set`` takes, below the help of the command."""
    width = min(shutil.get_terminal_size().columns, 100)
    print("\nsettings, for --set KEY=VALUE; ivn config PRESET prints a preset's values\n")
    print(help_text(width))
