"""``ivn config``: prints a config, or how two differ."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from ivn.errors import UsageError
from ivn.options import Positional, Settings

from .app import suggest_settings

if TYPE_CHECKING:
    from ivn.config.run import Config


@dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """Print a whole config as TOML, or how two differ, or the names of the presets.
    $ ivn config
    $ ivn config PRESET
    $ ivn config diff A B
    $ ivn config stage1-tiny --set optim.lr=3e-4 stage.mask=tube optim.betas='[0.9, 0.95]'
    $ ivn config stage1-tiny --set data.augmentation=random_resized data.crop_area='[0.2, 1.0]'
    $ ivn config stage1-tiny --set model.decoder.kind=pixel model.decoder.depth=3
    $ ivn config stage2-tiny --set stage.views.0.truncate=none --set efficiency.accumulation=4

    A saved config is printed with defaults filled in. diff prints a setting in each line, as key,
    value in A and value in B in TOML; a setting that one of the two lacks, because it belongs to
    another kind, is absent there. Without any difference it prints "no difference". The names of
    the configs are not compared. The exit code is 0 either way.

    Attributes:
        names: a preset or a saved FILE.toml; two of them behind diff; nothing for the names of the
            presets.
        settings: settings to change in the config that is printed, as in ivn pretrain.
    """

    names: Annotated[tuple[str, ...], Positional("[PRESET | diff A B]")] = ()
    settings: Settings = ()


def show_config(options: ShowConfig) -> int:
    """Prints what was asked for; returns 0."""
    names, changes = options.names, options.settings
    match names:
        case () if not changes:
            from ivn.config.presets import PRESETS

            print("\n".join(PRESETS))
        case ("diff", one, other):
            if changes:
                raise UsageError("--set changes a config that is printed, not one of a diff")
            _print_differences(one, other)
        case (name,) if name != "diff":
            from ivn.config.run import override, to_toml

            print(to_toml(override(_named(name), *changes)), end="")
        case _:
            suggest_settings("ivn config", names)
            raise UsageError(
                f"ivn config {' '.join(names) or '--set'}: expected PRESET, or diff A B, or nothing"
            )
    return 0


def _named(name: str) -> "Config":
    """The config of a preset, or of a file."""
    from ivn.config.presets import named_preset
    from ivn.config.run import read

    return read(name) if name.endswith(".toml") else named_preset(name)


def _print_differences(one: str, other: str) -> None:
    from ivn.config.run import differences

    rows = differences(_named(one), _named(other))
    column = max((len(key) for key, _, _ in rows), default=0)
    for key, ours, theirs in rows:
        print(f"{key:<{column}}  {ours}  ->  {theirs}")
    if not rows:
        print("no difference")
