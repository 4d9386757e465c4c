"""One run's whole configuration: the components' own, composed.

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
    "help_text",
    "override",
    "read",
    "to_dict",
    "to_toml",
]

# Groups that cannot change a result, and so may change when a run goes on.
HARMLESS = ("run", "efficiency")


@dataclass(frozen=True)
class Config:
    """A run, but for where its clips and first weights are.

    Attributes:
        name: of the preset it came from.
        data: how files become clips, and the seed of the run.
        model: the student's networks.
        stage: the objective.
        optim: batch size, optimiser and schedule.
        run: how it is watched and kept.
        efficiency: how it is executed.
    """

    name: str
    data: DataConfig
    model: ModelConfig
    stage: StageConfig  # of any kind that is known when text is read
    optim: OptimConfig
    run: RunConfig = field(default_factory=RunConfig)
    efficiency: EfficiencyConfig = field(default_factory=EfficiencyConfig)


def to_toml(config: Config) -> str:
    """``config`` as TOML, every field of it; :func:`from_toml` gives an equal one back."""
    return toml.dumps(config)


def to_dict(config: Config) -> dict[str, Any]:
    """``config`` as nested dicts and lists, for cards and checkpoints."""
    return toml.encode(config)


def from_toml(text: str) -> Config:
    """The config in ``text``; fields left out take their defaults.

    Raises:
        ConfigError: an unknown or missing key, or a value of the wrong type.
    """
    return toml.loads(text, Config)


def read(path: str | Path) -> Config:
    """The config in the file ``path``.

    Raises:
        OSError: it cannot be read.
        ConfigError: as :func:`from_toml`, or it is not text.
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
    """Each field in which two configs differ, but their names: key and both values, as TOML."""
    return toml.differences(replace(one, name=""), replace(other, name=""))


def help_text(width: int) -> str:
    """Every field of every kind of config with its meaning, in ``width`` columns."""
    return help.layout(help.tables(Config), width)


def override(config: Config, *assignments: str) -> Config:
    """``config`` with fields replaced, each as ``dotted.key=value``.

        override(config, "optim.lr=1e-3", "stage.mask=random")

    Raises:
        ConfigError: an unknown key, or a value of the wrong type.
    """
    return toml.override(config, *assignments)
