"""The whole configuration of a run, composed of the configs of its parts.

``data``, ``model``, ``stage`` and ``optim`` can change a result; ``run`` and ``efficiency`` cannot.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ivn import toml
from ivn.config import help
from ivn.data.config import DataConfig
from ivn.errors import ConfigError
from ivn.model.model import ModelConfig
from ivn.stages.build import StageConfig
from ivn.train.optimizer import OptimConfig
from ivn.train.settings import EfficiencyConfig, RunConfig

__all__ = [
    "HARMLESS",
    "Config",
    "ConfigError",
    "differences",
    "from_toml",
    "help_page",
    "help_text",
    "override",
    "read",
    "to_dict",
    "to_toml",
]

# Groups that cannot change a result, and so may change when a run is resumed.
HARMLESS = ("run", "efficiency")


@dataclass(frozen=True)
class Config:
    """The settings of a run, without its videos and first weights.

    Attributes:
        name: name of the preset that the config was made from.
        data: how files become clips, and the seed of the run.
        model: the student's networks.
        stage: the objective.
        optim: batch size, optimiser and schedule.
        run: logging, checkpoints, and when to stop.
        efficiency: device, memory and processes.
    """

    name: str
    data: DataConfig
    model: ModelConfig
    stage: StageConfig
    optim: OptimConfig
    run: RunConfig = field(default_factory=RunConfig)
    efficiency: EfficiencyConfig = field(default_factory=EfficiencyConfig)


def to_toml(config: Config) -> str:
    """Returns every field of ``config`` as TOML; :func:`from_toml` reads an equal one from it."""
    return toml.dumps(config)


def to_dict(config: Config) -> dict[str, Any]:
    """Returns ``config`` as nested dicts and lists, for model cards and checkpoints."""
    return toml.encode(config)


def from_toml(text: str) -> Config:
    """Returns the config that ``text`` describes; absent fields take their defaults.

    Raises:
        ConfigError: the text is not TOML, a key is unknown or missing, or a value does not fit.
    """
    return toml.loads(text, Config)


def read(path: str | Path) -> Config:
    """Reads the config in the file ``path``.

    Raises:
        OSError: the file cannot be read.
        ConfigError: the file is not UTF-8 text, or as for :func:`from_toml`.
    """
    try:
        return from_toml(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file, expected a config saved as TOML") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected a config as UTF-8 text (TOML)") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def differences(one: Config, other: Config) -> list[tuple[str, str, str]]:
    """Returns each field in which two configs differ, except ``name``: key and both values."""
    return toml.differences(replace(one, name=""), replace(other, name=""))


def override(config: Config, *assignments: str) -> Config:
    """Returns ``config`` with fields replaced, each given as ``dotted.key=value``.

        override(config, "optim.lr=1e-3", "stage.mask=random")

    Raises:
        ConfigError: a key is unknown, or a value does not fit.
    """
    return toml.override(config, *assignments)


def help_text(width: int) -> str:
    """Returns every field of every kind of config with its meaning, in ``width`` columns."""
    return help.layout(help.tables(Config), width)


def help_page() -> str:
    """Returns every field of every kind of config as Markdown, with type, default and meaning."""
    return help.markdown(help.tables(Config))
